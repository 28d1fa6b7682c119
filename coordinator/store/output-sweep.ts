/**
 * Removes the bytes of outputs that nothing refers to: those of removed groups, and those of attempts
 * whose report never counted. A blob that was put lately is left, for its report may be on its way.
 */
import { toError } from '../../protocol/base/errors.ts';
import type { BlobStore, Store } from './port.ts';

export interface OutputSweepDeps {
  store: Pick<Store, 'listOutputBlobs' | 'forgetOutputBlob'>;
  blobs: Pick<BlobStore, 'remove'>;
  clock: { nowMs(): number };
  log: { warn(fields: object, message: string): void };
}

export interface OutputSweepSettings {
  everyMs: number;
  /** Since a blob was last put. Far above a lease: a node may be away, and report late. */
  graceMs: number;
}

export const outputSweepDefaults: OutputSweepSettings = {
  everyMs: 3_600_000,
  graceMs: 24 * 3_600_000,
};

/** Rows looked at before others have their turn. */
const pageRows = 500;

export interface OutputSweep {
  start(): void;
  /** Looks through all of them once; answers how many were removed. */
  sweep(): Promise<number>;
  /** Idempotent; waits for a sweep that is under way. */
  stop(): Promise<void>;
}

/** A sweep that is not started. */
export function createOutputSweep(
  deps: OutputSweepDeps,
  settings: OutputSweepSettings = outputSweepDefaults,
): OutputSweep {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let running: Promise<number> | null = null;

  const sweepOnce = async (): Promise<number> => {
    const putBeforeMs = deps.clock.nowMs() - settings.graceMs;
    let removed = 0;
    let after = '';
    while (!stopped) {
      const page = await deps.store.listOutputBlobs({ after, limit: pageRows });
      for (const { hash, isReferenced } of page) {
        after = hash;
        if (isReferenced || stopped) continue;
        if (!(await deps.blobs.remove(hash, putBeforeMs))) continue;
        await deps.store.forgetOutputBlob(hash);
        removed += 1;
      }
      if (page.length < pageRows) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return removed;
  };
  const sweep = (): Promise<number> => {
    running ??= sweepOnce().finally(() => {
      running = null;
    });
    return running;
  };
  const sweepQuietly = (): void => {
    sweep().catch((caught: unknown) => {
      deps.log.warn({ err: toError(caught) }, 'outputs that nothing refers to stay for now');
    });
  };
  return {
    start() {
      sweepQuietly();
      timer = setInterval(sweepQuietly, settings.everyMs);
    },
    sweep,
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running?.catch(() => undefined);
    },
  };
}
