import { describe, expect, it } from 'vitest';
import { noFaults, plantedFaults } from './faults.ts';
import { runWorld } from './world.ts';

const seeds = 500;
const eventsMin = 2_000;
/** A fault that takes longer to show is one that the storm hardly tries. */
const seedsToFault = 100;

/** The first seed from 1 on whose world breaks a promise; undefined when none of `seedsToFault` does. */
function findBreakingSeed(
  fault: () => ReturnType<typeof createFaults>,
): { seed: number; text: string } | undefined {
  for (let seed = 1; seed <= seedsToFault; seed += 1) {
    try {
      runWorld(seed, fault());
    } catch (caught) {
      return { seed, text: String(caught) };
    }
  }
  return undefined;
}
const createFaults = () => noFaults;

describe('the simulated mesh', () => {
  it(`keeps its promises through ${seeds} storms of at least ${eventsMin} events`, () => {
    const endings = new Set<string>();
    let fewest = Number.POSITIVE_INFINITY;
    for (let seed = 1; seed <= seeds; seed += 1) {
      try {
        const report = runWorld(seed, noFaults);
        fewest = Math.min(fewest, report.events);
        for (const ending of Object.keys(report.endings)) endings.add(ending);
      } catch (cause) {
        throw new Error(
          `seed ${seed} broke a promise; replay it with: scripts/sim --seed ${seed}`,
          {
            cause,
          },
        );
      }
    }
    expect(fewest).toBeGreaterThanOrEqual(eventsMin);
    // A storm in which nothing went wrong would show nothing.
    expect([...endings].sort()).toEqual(
      expect.arrayContaining(['cancelled', 'crash', 'exception', 'oom', 'success', 'timeout']),
    );
  }, 900_000);

  it('is the same for the same seed', () => {
    expect(runWorld(42, noFaults)).toEqual(runWorld(42, noFaults));
  });
});

describe('a planted fault is found', () => {
  it.each(Object.keys(plantedFaults))(
    '%s',
    (name) => {
      const fault = plantedFaults[name];
      expect(fault).toBeDefined();
      const found = fault && findBreakingSeed(fault);
      expect(found, `no promise was broken in ${seedsToFault} seeds`).toBeDefined();
      process.stdout.write(`${name}: seed ${found?.seed}: ${found?.text}\n`);
    },
    300_000,
  );
});
