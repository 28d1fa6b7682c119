/** What a worker is told at its start, and what its exit says. */
import { constants } from 'node:os';
import { join } from 'node:path';
import { inlineBytesMax } from '../../protocol/wire/limits.ts';
import type { HarnessSetup } from './frames.ts';
import { setupTexts } from './frames.ts';
import type { LaunchPlan } from './launch.ts';
import type { WorkerStart } from './port.ts';
import type { WorkerLimits } from './worker-deps.ts';

/** The harness's first frame. */
export function buildSetup(
  start: WorkerStart,
  plan: LaunchPlan,
  limits: WorkerLimits,
): HarnessSetup {
  const { spec } = start;
  const image = imageSetup(start, plan);
  return {
    python: spec.python,
    functionKind: spec.functionKind,
    functionEntry: spec.functionEntry,
    functionName: spec.name,
    environment: { ...image.environment, ...spec.environment },
    imagePaths: image.paths,
    taskIsolation: spec.taskIsolation,
    resultFormat: spec.resultFormat,
    resultBytesMax: limits.resultBytesMax,
    inlineBytesMax,
    texts: setupTexts,
    ...plan.setup,
  };
}

/** What an image of a registry wishes, as far as the sandbox does not say otherwise. */
function imageSetup(
  { files }: WorkerStart,
  plan: LaunchPlan,
): { environment: Record<string, string>; paths: string[] } {
  if (files.environment === undefined) return { environment: {}, paths: [] };
  const { variables, programFolders, moduleFolders } = files.environment;
  const environment = Object.fromEntries(
    Object.entries(variables).filter(([name]) => !(name in plan.environment)),
  );
  // Without mounts the image is not the root, and its programs do not run by themselves.
  if (!plan.hasRoot) {
    return { environment, paths: moduleFolders.map((path) => join(files.rootfs ?? '/', path)) };
  }
  const own = (plan.environment['PATH'] ?? '').split(':');
  const ofLayer = own.filter((folder) => folder.startsWith('/perigee/'));
  environment['PATH'] = [...new Set([...ofLayer, ...programFolders, ...own])].join(':');
  return { environment, paths: [...moduleFolders] };
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
