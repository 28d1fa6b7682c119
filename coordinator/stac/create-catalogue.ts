/** The catalogue from the other threads' side: started at the first call, again after it broke. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { isErrorCode, PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { StacCatalogue } from './port.ts';
import type { StacAnswer, StacQuestion } from './worker.ts';

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

interface Waiting {
  resolve(output: unknown): void;
  reject(error: Error): void;
}

/** A catalogue that has not opened its file yet. */
export function createStacCatalogue(settings: CatalogueSettings): StacCatalogue {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let lastId = 0;
  let isStopped = false;
  const failAll = (error: Error): void => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  const start = (): Worker => {
    const started = new Worker(new URL('./worker.ts', import.meta.url), { workerData: settings });
    started.on('message', (answer: StacAnswer) => {
      const waiter = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.kind === 'result') waiter?.resolve(answer.output);
      else waiter?.reject(errorOf(answer));
    });
    started.on('error', (error) => failAll(toError(error)));
    started.on('exit', () => {
      if (worker === started) worker = undefined;
      failAll(new PerigeeError('internal', 'The catalogue’s thread has ended.'));
    });
    return started;
  };
  return {
    call(name, input) {
      if (isStopped) return Promise.reject(new PerigeeError('draining'));
      if (waiting.size >= waitingMax) return Promise.reject(new PerigeeError('queue_full'));
      worker ??= start();
      lastId += 1;
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      waiting.set(lastId, { resolve, reject });
      worker.postMessage({ kind: 'call', id: lastId, name, input } satisfies StacQuestion);
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
