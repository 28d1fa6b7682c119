/** What a run must keep whatever happens to it, in words for those it broke. */
import type { FleetResult, FleetScenario } from './run-fleet.ts';

/** A machine that has run into the cap finishes what it holds and leaves. */
const lastSecondsMax = 120 + 10;

export function findBrokenPromises(scenario: FleetScenario, result: FleetResult): string[] {
  const { spendPerHourMax = null, spendTotalMax = null, warm = 0 } = scenario.pool ?? {};
  const broken: string[] = [];
  const promise = (isKept: boolean, text: string): void => {
    if (!isKept) broken.push(text);
  };
  const { makespanSeconds: makespan, boundSeconds: bound } = result;
  if (spendTotalMax === null) promise(result.done, 'not all work was done');
  promise(result.leaked === 0, `${result.leaked} machines leaked`);
  promise(result.busyKilled === 0, `${result.busyKilled} busy machines were killed`);
  promise(result.live <= warm, 'it never came back to no machine');
  promise(
    !result.done || makespan >= bound,
    `done after ${makespan} s, before the bound, ${bound}`,
  );
  promise(
    spendPerHourMax === null || result.pricePerHourMax <= spendPerHourMax,
    `it cost $${result.pricePerHourMax} an hour`,
  );
  const overshoot = (result.pricePerHourMax * lastSecondsMax) / 3600;
  promise(
    spendTotalMax === null || result.spent <= spendTotalMax + overshoot,
    `it cost $${result.spent}`,
  );
  return broken;
}
