/**
 * The catalogue from the other threads' side. Its thread is started at the first call, and again
 * when a geometry made it stand still: what waited behind that one call is asked again.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { isErrorCode, PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { StacCatalogue } from './port.ts';
import type { StacAnswer, StacCall, StacQuestion } from './worker.ts';

export interface CatalogueSettings {
  /** Where its file is, or will be. */
  file: string;
  /** After which a search is given up. */
  searchMsMax: number;
}

/** Defaults of what has one. */
export const catalogueDefaults = { searchMsMax: 15_000 } as const;

/** Calls that wait; more are refused with queue_full. */
const waitingMax = 1_000;
/** Of the thread: 32 MiB of items as objects, twice over. */
const heapMibMax = 768;

interface Waiting {
  call: StacCall;
  resolve(output: unknown): void;
  reject(error: Error): void;
}

/** A catalogue that has not opened its file yet. */
export function createStacCatalogue(settings: CatalogueSettings): StacCatalogue {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let lastId = 0;
  let isStopped = false;
  let stuckTimer: NodeJS.Timeout | undefined;
  /** The search that the thread is at; null when it is at none. */
  let searching: number | null = null;
  const post = (question: StacQuestion): void => {
    worker ??= start();
    worker.postMessage(question);
  };
  const start = (): Worker => {
    const started = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: settings,
      resourceLimits: { maxOldGenerationSizeMb: heapMibMax },
    });
    let failure: Error | undefined;
    started.on('message', (answer: StacAnswer) => {
      clearTimeout(stuckTimer);
      if (answer.kind === 'began') {
        searching = answer.id;
        // A search looks at its clock between rows: one that is late hangs in a single geometry.
        stuckTimer = setTimeout(() => void started.terminate(), 2 * settings.searchMsMax);
        return;
      }
      searching = null;
      const waiter = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.kind === 'result') waiter?.resolve(answer.output);
      else waiter?.reject(errorOf(answer));
    });
    started.on('error', (error) => {
      failure = toError(error);
    });
    started.on('exit', () => {
      clearTimeout(stuckTimer);
      worker = undefined;
      goOn(failure ?? new PerigeeError('internal', 'The catalogue’s thread has ended.'));
    });
    return started;
  };
  /** After an end that nobody asked for: without the search that caused it, if one did. */
  const goOn = (failure: Error): void => {
    const culprit = searching === null ? undefined : waiting.get(searching);
    if (searching !== null) waiting.delete(searching);
    searching = null;
    if (culprit === undefined || isStopped) {
      culprit?.reject(failure);
      for (const { reject } of waiting.values()) reject(failure);
      waiting.clear();
      return;
    }
    culprit.reject(
      new PerigeeError('timed_out', 'A geometry of the search takes too much to compare.', {
        fix: 'Simplify it, or name a smaller box and time.',
        cause: failure,
      }),
    );
    for (const { call } of waiting.values()) post(call);
  };
  return {
    call(name, input) {
      if (isStopped) return Promise.reject(new PerigeeError('draining'));
      if (waiting.size >= waitingMax) return Promise.reject(new PerigeeError('queue_full'));
      lastId += 1;
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      const call: StacCall = { kind: 'call', id: lastId, name, input };
      waiting.set(lastId, { call, resolve, reject });
      post(call);
      // The thread runs what the port names.
      return promise as Promise<never>;
    },
    async stop() {
      isStopped = true;
      const running = worker;
      if (running === undefined) return;
      const ended = once(running, 'exit');
      running.postMessage({ kind: 'close' } satisfies StacQuestion);
      await ended;
    },
  };
}

function errorOf(answer: Extract<StacAnswer, { kind: 'failed' }>): Error {
  const { code, message, fix, details } = answer;
  if (!isErrorCode(code)) return new Error(message);
  return new PerigeeError(code, message, { fix, details });
}
