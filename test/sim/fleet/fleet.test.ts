import { describe, expect, it } from 'vitest';
import { planFleet } from '../../../coordinator/autoscaler/plan/plan-fleet.ts';
import { boundSeconds } from './bound.ts';
import { findBrokenPromises } from './promises.ts';
import { runFleet } from './run-fleet.ts';
import { scenarios } from './scenarios.ts';

const seeds = 5;

describe.each(scenarios)('a fleet through $name', (scenario) => {
  it('keeps every promise', { timeout: 120_000 }, () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const result = runFleet(scenario, seed, planFleet);
      expect({ seed, broken: findBrokenPromises(scenario, result) }).toEqual({ seed, broken: [] });
    }
  });
});

it('is found out when it buys nothing, or never lets go', () => {
  const [burst] = scenarios;
  if (burst === undefined) throw new Error('there is no scenario');
  const scenario = { ...burst, hoursMax: 1 };
  const idle = runFleet(scenario, 1, () => ({
    ...{ decisions: [], outlooks: [], work: [], lookAgainMs: null },
  }));
  expect(findBrokenPromises(scenario, idle)).toContain('not all work was done');
  const hoarding = runFleet(scenario, 1, (inputs) => {
    const plan = planFleet(inputs);
    return { ...plan, decisions: plan.decisions.filter(({ kind }) => kind !== 'drain') };
  });
  expect(findBrokenPromises(scenario, hoarding)).toContain('it never came back to no machine');
}, 120_000);

describe('the bound', () => {
  const options = { capacity: 2, bootMsMin: 100_000, isWarm: false };

  it('is the work by capacity, or the longest task, after one boot', () => {
    const tasks = [40_000, 40_000, 40_000].map((runMs) => ({ atMs: 0, runMs }));
    expect(boundSeconds(tasks, options)).toBe(160);
    expect(boundSeconds([{ atMs: 0, runMs: 300_000 }, ...tasks], options)).toBe(400);
  });

  it('has no second boot for what comes later', () => {
    const tasks = [0, 500_000].map((atMs) => ({ atMs, runMs: 30_000 }));
    expect(boundSeconds(tasks, options)).toBe(530);
  });

  it('has no boot at all where spares waited for the first task', () => {
    const tasks = [{ atMs: 500_000, runMs: 30_000 }];
    expect(boundSeconds(tasks, options)).toBe(630);
    expect(boundSeconds(tasks, { ...options, isWarm: true })).toBe(530);
  });
});
