import { describe, expect, it } from 'vitest';
import { planFleet } from '../../../coordinator/autoscaler/plan/plan-fleet.ts';
import { runFleet } from './run-fleet.ts';
import { scenarios } from './scenarios.ts';

const seeds = Number(process.env['PERIGEE_FLEET_SEEDS'] ?? 5);

describe.each(scenarios)('a fleet through $name', (scenario) => {
  it('ends all work, leaks no machine and kills no busy node', { timeout: 120_000 }, () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const result = runFleet(scenario, seed, planFleet);
      expect({ seed, ...result }).toMatchObject({ done: true, leaked: 0, busyKilled: 0 });
    }
  });
});
