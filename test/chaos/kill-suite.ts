/** The suite of kills; `npm test` runs a few rounds of it, `.ci/run` twenty. */
import { describe, expect, it } from 'vitest';
import { seedRandom } from '../../protocol/base/random.ts';
import { runClientKills } from './client-kills.ts';
import { kills, runKills, runWorkerKills } from './kills.ts';
import { startMesh } from './mesh.ts';

const seed = Number(process.env['PERIGEE_TEST_SEED'] ?? Date.now() % 1_000_000);
const tasksPerRound = 24;
const roundMsMax = 60_000;

/**
 * Each kind of kill at `rounds` random moments, on a mesh of its own. Side by side the kinds share the
 * processors, of which they need little: most of a round is the wait until a lease has run out.
 */
export function describeKills(rounds: number, options: { sideBySide: boolean }): void {
  const title = `what was acknowledged survives kill -9 (PERIGEE_TEST_SEED=${seed})`;
  describe(title, { concurrent: options.sideBySide }, () => {
    it.each(kills)(
      'of $name',
      async (kill) => {
        const verdict = await runKills(kill, { rounds, random: seedRandom(seed), tasksPerRound });
        expect(verdict.faults).toEqual([]);
        if (!kill.mayRunAgain) expect(verdict.ranAgain).toEqual([]);
        expect(verdict.tasks).toBe(2 + rounds * tasksPerRound);
      },
      60_000 + rounds * roundMsMax,
    );

    it(
      'of a worker: its running task alone is blamed, and tried again',
      async () => {
        const verdict = await runWorkerKills({ rounds, random: seedRandom(seed) });
        expect(verdict.faults).toEqual([]);
      },
      60_000 + rounds * roundMsMax,
    );

    it(
      'of a client in mid-map: another process takes its tasks up by their ids',
      async () => {
        const mesh = await startMesh();
        try {
          const verdict = await runClientKills(mesh, { rounds, random: seedRandom(seed) });
          expect(verdict.faults).toEqual([]);
          expect(verdict.tasks).toBeGreaterThan(rounds);
        } finally {
          await mesh.close();
        }
      },
      60_000 + rounds * roundMsMax,
    );
  });
}
