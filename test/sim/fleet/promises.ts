/** What a run must keep whatever happens to it, in words for those it broke. */
import type { FleetResult, FleetScenario } from './run-fleet.ts';

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
  promise(spendTotalMax !== null || result.capReturned === 0, 'tasks were returned without a cap');
  promise(
    !result.done || makespan >= bound,
    `done after ${makespan} s, before the bound, ${bound}`,
  );
  promise(
    spendPerHourMax === null || result.pricePerHourMax <= spendPerHourMax + 1e-9,
    `it cost $${result.pricePerHourMax} an hour`,
  );
  // Billed by the second, a minute at least; a cap is never passed, by no second.
  promise(spendTotalMax === null || result.spent <= spendTotalMax, `it cost $${result.spent}`);
  promise(
    result.believed >= result.spent - 1e-9,
    `it cost $${result.spent}, and the fleet knows of $${result.believed}`,
  );
  return broken;
}
