/** The thread of the catalogue: long searches and large batches hold up nothing else. */
import { parentPort, workerData } from 'node:worker_threads';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { StacCalls } from './port.ts';
import type { StacRunner } from './run-calls.ts';
import { openStacRunner } from './run-calls.ts';

/** What the thread is asked. */
export type StacQuestion = StacCall | { kind: 'close' };

export interface StacCall {
  kind: 'call';
  id: number;
  name: keyof StacCalls;
  input: unknown;
}

/** What it answers. */
export type StacAnswer =
  /** A search, which may not end by itself. */
  | { kind: 'began'; id: number }
  | { kind: 'result'; id: number; output: unknown }
  | {
      kind: 'failed';
      id: number;
      /** Null for what nobody foresaw. */
      code: string | null;
      message: string;
      fix: string;
      details: Readonly<Record<string, unknown>>;
    };

interface Begin {
  file: string;
  searchMsMax: number;
}

const port = parentPort;
if (port !== null) {
  const { file, searchMsMax } = workerData as Begin;
  // Opened by the first call, which tells what is wrong with the file.
  let runner: StacRunner | undefined;
  const open = (): StacRunner => {
    runner ??= openStacRunner(file, { searchMsMax, nowMs: () => Date.now() });
    return runner;
  };
  port.on('message', (question: StacQuestion) => {
    if (question.kind === 'close') {
      runner?.close();
      port.close();
      return;
    }
    const { id, name, input } = question;
    try {
      const opened = open();
      if (name === 'search') port.postMessage({ kind: 'began', id });
      port.postMessage({ kind: 'result', id, output: opened.run(name, input) });
    } catch (caught) {
      port.postMessage({ kind: 'failed', id, ...tell(toError(caught)) });
    }
  });
}

function tell(error: Error): Omit<Extract<StacAnswer, { kind: 'failed' }>, 'kind' | 'id'> {
  if (error instanceof PerigeeError) {
    const { code, message, fix, details } = error;
    return { code, message, fix, details };
  }
  return { code: null, message: error.stack ?? error.message, fix: '', details: {} };
}
