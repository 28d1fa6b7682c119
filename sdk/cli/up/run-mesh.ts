/**
 * The life of a one-machine mesh: starting → up ⇄ restarting → stopping → ended.
 *
 * A coordinator that crashes is started again after a pause that doubles; its ports and its state
 * are in the data directory, and the nodes keep working meanwhile. SIGTERM or SIGINT drains; a
 * second SIGINT kills. However it ends, no process with the mesh's mark is left.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { Environment } from '../../ts/config.ts';
import { Interrupted } from '../output/errors.ts';
import {
  type CoordinatorProcess,
  describeEnd,
  type ProcessEnd,
  type ReadyLine,
  startCoordinator,
} from './coordinator-process.ts';
import { endMarked } from './mesh-processes.ts';
import { isWorthRestarting } from './start-failure.ts';

export interface MeshRun {
  flags: readonly string[];
  environment: Environment;
  /** Calls the listener at every signal until the returned function is called. */
  onSignal(listener: (signal: NodeJS.Signals) => void): () => void;
  onLogLine(line: string): void;
  /** After each start: the first, and those after a crash. */
  onReady(ready: ReadyLine, run: { restarts: number }): Promise<void>;
  say(text: string): void;
}

const firstPauseMs = 250;
/** Well below a lease: running tasks outlive the pause. */
const pauseMaxMs = 5_000;
/** A coordinator that was up for so long starts the pauses over. */
const healthyMs = 10_000;
/** Starts in a row that fail before it gives up. */
const failedStartsMax = 8;
/** For nodes that the coordinator left behind; their tasks were drained with it. */
const leftoverGraceMs = 5_000;

const stoppingText =
  'Stopping: running tasks have a few seconds to finish; what is left runs again at the next start. ' +
  'Ctrl-C again stops at once.';

/**
 * Runs a mesh until it is told to stop.
 * @throws PerigeeError when the coordinator cannot start, Interrupted after the second Ctrl-C.
 */
export async function runMesh(run: MeshRun): Promise<void> {
  const mark = randomUUID();
  const stop = watchSignals(run);
  try {
    await superviseCoordinator(run, mark, stop);
  } finally {
    stop.unsubscribe();
    await endMarked(mark, { graceMs: stop.isNow() ? 0 : leftoverGraceMs });
  }
  if (stop.isNow()) throw new Interrupted('SIGINT');
}

interface StopRequest {
  /** Aborted at the first signal. */
  readonly asked: AbortSignal;
  isNow(): boolean;
  /** What is to be stopped from now on. */
  watch(coordinator: CoordinatorProcess): void;
  unsubscribe(): void;
}

function watchSignals(run: MeshRun): StopRequest {
  const controller = new AbortController();
  let current: CoordinatorProcess | undefined;
  let interrupts = 0;
  const unsubscribe = run.onSignal((signal) => {
    if (signal === 'SIGINT') interrupts += 1;
    if (interrupts >= 2) {
      current?.kill();
      return;
    }
    if (controller.signal.aborted) return;
    controller.abort();
    run.say(stoppingText);
    current?.drain();
  });
  return {
    asked: controller.signal,
    isNow: () => interrupts >= 2,
    watch(coordinator) {
      current = coordinator;
      if (interrupts >= 2) coordinator.kill();
      else if (controller.signal.aborted) coordinator.drain();
    },
    unsubscribe,
  };
}

async function superviseCoordinator(run: MeshRun, mark: string, stop: StopRequest): Promise<void> {
  let failures = 0;
  for (let restarts = 0; !stop.asked.aborted; restarts += 1) {
    const coordinator = startCoordinator({ ...run, mark });
    stop.watch(coordinator);
    const startedAtMs = performance.now();
    const failure = await watchStart(run, coordinator, restarts);
    if (failure !== undefined) {
      const isLast = restarts === 0 || failures >= failedStartsMax || !isWorthRestarting(failure);
      await coordinator.ended;
      if (stop.asked.aborted) return;
      if (isLast) throw failure;
    }
    const end = await coordinator.ended;
    if (stop.asked.aborted) {
      if (end.code !== 0 && !stop.isNow()) {
        run.say(`The coordinator ${describeEnd(end)} while it was stopping.`);
      }
      return;
    }
    // Someone else told it to stop; a mesh without its coordinator is no mesh.
    if (end.code === 0 && failure === undefined) return;
    failures = performance.now() - startedAtMs > healthyMs ? 1 : failures + 1;
    await pauseBeforeRestart(run, { end, failures, stop });
  }
}

/** Waits for the ready line; answers why there was none. */
async function watchStart(
  run: MeshRun,
  coordinator: CoordinatorProcess,
  restarts: number,
): Promise<PerigeeError | undefined> {
  let ready: ReadyLine;
  try {
    ready = await coordinator.ready;
  } catch (caught) {
    coordinator.kill();
    if (caught instanceof PerigeeError) return caught;
    throw caught;
  }
  await run.onReady(ready, { restarts });
  return undefined;
}

async function pauseBeforeRestart(
  run: MeshRun,
  crash: { end: ProcessEnd; failures: number; stop: StopRequest },
): Promise<void> {
  const pauseMs = Math.min(pauseMaxMs, firstPauseMs * 2 ** (crash.failures - 1));
  run.say(
    `The coordinator ${describeEnd(crash.end)}; it is started again in ${pauseMs / 1000} s. ` +
      'What was accepted is on disk, and running tasks go on.',
  );
  await delay(pauseMs, undefined, { signal: crash.stop.asked }).catch((caught: unknown) => {
    if (!crash.stop.asked.aborted) throw caught;
  });
}
