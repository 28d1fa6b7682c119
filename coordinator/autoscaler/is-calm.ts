/** When the fleet may be looked at less often: nothing is asked of it, and no machine comes or goes. */
import type { CoordinatorState } from '../core/state.ts';
import type { FleetState } from './lifecycle/state.ts';

/** Whether only time can change what the fleet should do: how long machines have idled, for one. */
export function isCalm(
  fleet: Pick<FleetState, 'instances' | 'orphans'>,
  core: Pick<CoordinatorState, 'batches' | 'tasks'>,
): boolean {
  if (core.batches.size > 0 || core.tasks.size > 0 || fleet.orphans.size > 0) return false;
  return [...fleet.instances.values()].every(
    ({ phase, ending, interrupted, absences }) =>
      phase === 'working' && ending === null && !interrupted && absences === 0,
  );
}
