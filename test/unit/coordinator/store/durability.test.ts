import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDataDirectory } from '../../../../coordinator/store/data-directory.ts';
import { openSqliteStore } from '../../../../coordinator/store/open-sqlite.ts';
import { nextBelow, seedRandom } from '../../../../protocol/base/random.ts';
import type { BatchNumber } from '../../../../protocol/wire/ids.ts';

const program = join(import.meta.dirname, 'committing-process.ts');
const tasks = 50;

/** Runs the program until it has acknowledged so many batches, then kills it; the last number heard. */
async function commitAndKill(folder: string, batches: number): Promise<number> {
  const child = spawn(process.execPath, [program, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => {
    child.once('exit', (_code, signal) => resolve(signal));
  });
  let heard = 0;
  let last = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    last = Number(line);
    heard += 1;
    if (heard === batches) child.kill('SIGKILL');
  }
  expect(await ended).toBe('SIGKILL');
  return last;
}

describe('the store of a killed process', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-kill-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('has everything that was acknowledged, whole, and nothing in part', async () => {
    const seed = 20_261_123;
    const random = seedRandom(seed);
    let acknowledged = 0;
    for (let round = 0; round < 5; round += 1) {
      acknowledged = await commitAndKill(folder, 1 + nextBelow(random, 60));
      // Its lock died with it: nothing has to be cleaned up by hand.
      const directory = openDataDirectory(folder);
      const store = openSqliteStore(directory.databaseFile);
      try {
        const { batches, nextBatch, groups, outcomeNumbers } = await store.restore();
        expect(nextBatch, `seed ${seed}`).toBeGreaterThan(acknowledged);
        expect(batches.map((batch) => batch.batch)).toEqual(
          Array.from({ length: nextBatch - 1 }, (_, index) => index + 1),
        );
        for (const batch of batches) {
          expect([batch.doneCount, batch.open.length, batch.next]).toEqual([25, 25, tasks]);
          const { batch: number } = batch;
          const log = await store.readLog(
            { batch: number, index: 0, attempt: 1 },
            { offset: 0, bytesMax: 100 },
          );
          expect(Buffer.concat(log.chunks.map(({ bytes }) => bytes)).toString()).toBe(
            `log ${number}`,
          );
        }
        const succeeded = (nextBatch - 1) * (tasks / 2);
        expect(groups[0]?.counts).toEqual({ queued: succeeded, succeeded, failed: 0 });
        expect(outcomeNumbers).toEqual([['alice', succeeded]]);
        const last = { batch: acknowledged as BatchNumber, index: 24 };
        const outcome = await store.findOutcome(last);
        expect(Buffer.from(outcome?.outcome.result ?? []).toString()).toBe(
          `J${acknowledged * 1_000 + 24}`,
        );
      } finally {
        await store.close();
        directory.release();
      }
    }
  }, 60_000);
});
