/** What a worker is told at its start, and what its exit says. */
import { constants } from 'node:os';
import { inlineBytesMax } from '../../protocol/wire/limits.ts';
import type { GroupSpec } from '../../protocol/wire/task.ts';
import type { HarnessSetup } from './frames.ts';
import { setupTexts } from './frames.ts';
import type { LaunchPlan } from './launch.ts';
import type { WorkerLimits } from './worker-deps.ts';

/** The harness's first frame. */
export function buildSetup(spec: GroupSpec, plan: LaunchPlan, limits: WorkerLimits): HarnessSetup {
  return {
    python: spec.python,
    functionKind: spec.functionKind,
    functionEntry: spec.functionEntry,
    functionName: spec.name,
    environment: { ...spec.environment },
    taskIsolation: spec.taskIsolation,
    resultFormat: spec.resultFormat,
    resultBytesMax: limits.resultBytesMax,
    inlineBytesMax,
    texts: setupTexts,
    ...plan.setup,
  };
}

/** How the process inside ended; launchers hand on a death by signal as 128 and its number. */
export function readExit(exit: { code: number | null; signal: string | null }): {
  exitCode: number | null;
  signal: string | null;
} {
  if (exit.signal !== null || exit.code === null) return { exitCode: null, signal: exit.signal };
  const found = Object.entries(constants.signals).find(([, number]) => number + 128 === exit.code);
  return found === undefined
    ? { exitCode: exit.code, signal: null }
    : { exitCode: null, signal: found[0] };
}
