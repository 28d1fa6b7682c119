/**
 * The agent's one loop: events in order, one step each, effects performed in order. Everything that
 * happens in a turn of the event loop is one turn of the core, so that a thousand short tasks cost
 * one report and one feed.
 */
import { isErrorCode, PerigeeError, toError } from '../protocol/base/errors.ts';
import { indexBlock, payloadAt } from '../protocol/wire/block.ts';
import type { AttemptRef, BlobHash, ImageDigest } from '../protocol/wire/ids.ts';
import {
  exceptionMessageCharsMax,
  exceptionNameCharsMax,
  inlineBytesMax,
  tracebackCharsMax,
} from '../protocol/wire/limits.ts';
import type { AgentMessage, CoordinatorMessage, Grants } from '../protocol/wire/messages.ts';
import { findBlobReference, isPayload } from '../protocol/wire/payload.ts';
import type { Failure } from '../protocol/wire/task.ts';
import { createClockRhythm } from './clock-rhythm.ts';
import { nextTickMs } from './core/clock-wake.ts';
import type { AgentEffect, ExitReason, FedTask } from './core/effects.ts';
import type { AgentEvent, EndedTask, GrantedRun, SpooledOutput, WorkerEnd } from './core/events.ts';
import type { AgentState } from './core/state.ts';
import { step } from './core/step.ts';
import type { FoundImage } from './images/find-images.ts';
import type { MeshImages } from './images/mesh-images.ts';
import type { LogForwarder } from './mesh/log-forwarder.ts';
import type { Runner, RunnerEvent, TaskInput } from './runner/port.ts';

/** What the core hears of the coordinator; the rest is between the shells. */
export type DriverMessage = Exclude<
  CoordinatorMessage,
  { kind: 'welcome' | 'refused' | 'located' | 'holdingsAsked' | 'originShares' }
>;

/** What the loop needs of the world. */
export interface DriverDeps {
  runner: Runner;
  logs: LogForwarder;
  link: {
    send(message: AgentMessage): void;
    sendAfterLogs(refs: readonly AttemptRef[], message: AgentMessage): void;
    offerLogs(): void;
    reset(): void;
  };
  blobs: {
    pathOf(hash: BlobHash): string;
    fetch(hash: BlobHash): Promise<void>;
    release(hash: BlobHash): Promise<void>;
  };
  images: Pick<MeshImages, 'fetch' | 'use' | 'release'>;
  /** Stores a spool file and removes it; answers the payload that refers to it. */
  uploadResult(result: { path: string; tag: number }): Promise<Uint8Array>;
  /** Stores a file that a task gave out, and removes it here. */
  uploadOutput(output: SpooledOutput): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Monotonic, in ms. */
  now(): number;
  warn(message: string): void;
  /** Nothing has been held for a few seconds. */
  onRested(): void;
}

export interface Driver {
  /** Queues an event for the next turn. */
  dispatch(event: AgentEvent): void;
  /** What the coordinator said, other than welcome and refused. */
  receive(message: DriverMessage): void;
  /** Takes in everything that has happened, now: a hello must not miss a grant that waits its turn. */
  settle(): void;
  /** Resolves once, when the core wants the process to leave. */
  readonly finished: Promise<ExitReason>;
  /** No event is taken any more. */
  stop(): void;
}

/** A loop over a state; it owns the state from here on. */
export function createDriver(
  state: AgentState,
  deps: DriverDeps,
  options: { tickMs: number },
): Driver {
  const finished = Promise.withResolvers<ExitReason>();
  /** Of each worker that the runner was told to start and that has not ended. */
  const imagesInUse = new Map<number, FoundImage>();
  let queue: AgentEvent[] = [];
  let scheduled = false;
  let stopped = false;
  let logTimer: NodeJS.Timeout | undefined;

  const dispatch = (event: AgentEvent): void => {
    if (stopped) return;
    queue.push(event);
    schedule();
  };
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(runTurn);
  };
  const runTurn = (): void => {
    scheduled = false;
    if (stopped) return;
    const now = deps.now();
    const events = queue;
    queue = [];
    // Behind a rest the first thing it sees is the time, as behind a pause of the process.
    let ticked = clock.isResting;
    if (ticked) performAll(step(state, { kind: 'clockTicked' }, now));
    for (const event of events) {
      if (event.kind === 'clockTicked') ticked = true;
      performAll(step(state, event, now));
    }
    performAll(step(state, { kind: 'turnEnded' }, now));
    clock.look(ticked);
    if (deps.logs.hasUnsent) offerLogsSoon();
  };
  // A task that ends within the delay sends its output with its report: one write, not two.
  const offerLogsSoon = (): void => {
    logTimer ??= setTimeout(() => {
      logTimer = undefined;
      deps.link.offerLogs();
    }, logDelayMs);
  };
  const performAll = (effects: readonly AgentEffect[]): void => {
    for (const effect of effects) perform(effect);
  };
  const perform = (effect: AgentEffect): void => {
    switch (effect.kind) {
      case 'sendPull':
        deps.link.send({ kind: 'pull', heldMax: effect.heldMax });
        break;
      case 'sendStarted':
        deps.link.send({ kind: 'started', attempts: [...effect.attempts] });
        break;
      case 'sendReport':
        deps.link.sendAfterLogs(effect.outcomes, {
          kind: 'report',
          report: effect.report,
          outcomes: [...effect.outcomes],
        });
        break;
      case 'sendReturned':
        deps.link.send({ kind: 'returned', attempts: [...effect.attempts] });
        break;
      case 'sendDrainAsked':
        deps.link.send({ kind: 'drainAsked', reason: effect.reason });
        break;
      case 'sendGoodbye':
        deps.link.send({ kind: 'goodbye' });
        break;
      case 'startWorker':
        startWorker(effect);
        break;
      case 'feedWorker':
        deps.runner.feed(effect.worker, effect.tasks.map(inputOf));
        break;
      case 'retractTasks': {
        const tasks = deps.runner.retract(effect.worker, effect.tasks);
        if (tasks.length > 0) dispatch({ kind: 'tasksRetracted', worker: effect.worker, tasks });
        break;
      }
      case 'stopWorker':
        deps.runner.stop(effect.worker);
        break;
      case 'killWorker':
        deps.runner.kill(effect.worker);
        break;
      case 'fetchBlob':
        fetchBlob(effect.hash);
        break;
      case 'fetchImage':
        fetchImage(effect.digest);
        break;
      case 'releaseBlob':
        deps.blobs.release(effect.hash).catch(warnOf('A blob could not be removed'));
        break;
      case 'uploadResult':
        uploadResult(effect);
        break;
      case 'uploadOutput':
        uploadOutput(effect);
        break;
      case 'removeResult':
        deps.removeFile(effect.path).catch(warnOf('A result could not be removed'));
        break;
      case 'forgetLogs':
        deps.logs.forget(effect.attempts);
        break;
      case 'resetSession':
        deps.warn(effect.message);
        deps.link.reset();
        break;
      case 'warn':
        deps.warn(effect.message);
        break;
      case 'exit':
        finished.resolve(effect.reason);
        break;
    }
  };
  const startWorker = (effect: Extract<AgentEffect, { kind: 'startWorker' }>): void => {
    const { worker, slot, spec } = effect;
    const image = deps.images.use(spec.imageDigest);
    if (image === undefined) {
      // It was removed to make room, or by people: no fault of the group's or of this node's sandboxes.
      dispatch({ kind: 'imageLost', digest: spec.imageDigest });
      dispatch({ kind: 'workerEnded', worker, end: { kind: 'asked' }, running: null });
      return;
    }
    imagesInUse.set(worker, image);
    const cloudpickle = spec.cloudpickleBlob;
    deps.runner.start({
      worker,
      slot,
      spec,
      files: {
        rootfs: image.rootfs,
        pythonPath: image.pythonPath,
        sitePath: image.sitePath,
        ...(image.environment === undefined ? {} : { environment: image.environment }),
        functionPath: deps.blobs.pathOf(spec.functionBlob),
        cloudpicklePath: cloudpickle === null ? null : deps.blobs.pathOf(cloudpickle),
        includePath: spec.include === undefined ? null : deps.blobs.pathOf(spec.include.blob),
      },
    });
  };
  const releaseImage = (worker: number): void => {
    const image = imagesInUse.get(worker);
    imagesInUse.delete(worker);
    if (image !== undefined) deps.images.release(image);
  };
  const inputOf = (task: FedTask): TaskInput => ({
    batch: task.batch,
    index: task.index,
    attempt: task.attempt,
    payload: task.blob === null ? task.payload : nothing,
    payloadPath: task.blob === null ? null : deps.blobs.pathOf(task.blob.hash),
    payloadTag: task.blob === null ? (task.payload[0] ?? 0) : task.blob.tag,
  });
  const fetchBlob = (hash: BlobHash): void => {
    deps.blobs.fetch(hash).then(
      () => dispatch({ kind: 'blobReady', hash }),
      (caught: unknown) => dispatch({ kind: 'blobFailed', hash, ...transferFailure(caught) }),
    );
  };
  const fetchImage = (digest: ImageDigest): void => {
    deps.images.fetch(digest).then(
      () => dispatch({ kind: 'imageReady', digest }),
      (caught: unknown) => {
        const isFull = caught instanceof PerigeeError && caught.code === 'disk_full';
        dispatch({ kind: 'imageFailed', digest, isFull, ...transferFailure(caught) });
      },
    );
  };
  const uploadResult = (effect: Extract<AgentEffect, { kind: 'uploadResult' }>): void => {
    const { attempt, path, tag } = effect;
    deps.uploadResult({ path, tag }).then(
      (payload) => dispatch({ kind: 'resultUploaded', attempt, payload }),
      (caught: unknown) =>
        dispatch({ kind: 'resultUploadFailed', attempt, ...transferFailure(caught) }),
    );
  };
  const uploadOutput = (effect: Extract<AgentEffect, { kind: 'uploadOutput' }>): void => {
    const { attempt, output } = effect;
    const { name } = output;
    deps.uploadOutput(output).then(
      () => dispatch({ kind: 'outputUploaded', attempt, name }),
      (caught: unknown) => {
        const failure = transferFailure(caught);
        deps.warn(`Output ${name} of a task could not be handed in: ${failure.message}`);
        dispatch({ kind: 'outputUploadFailed', attempt, name, ...failure });
      },
    );
  };
  const warnOf = (what: string) => (caught: unknown) => {
    deps.warn(`${what}: ${toError(caught).message}`);
  };
  const onRunnerEvent = (event: RunnerEvent): void => {
    switch (event.kind) {
      case 'taskOutput':
        // Past the core: output decides nothing, and there may be a flood of it.
        deps.logs.append(event.task, { offset: event.offset, bytes: event.bytes });
        schedule();
        break;
      case 'taskEnded':
        dispatch({ kind: 'taskEnded', worker: event.worker, task: checkResult(event.task) });
        break;
      case 'workerEnded':
        releaseImage(event.worker);
        dispatch({ ...event, end: checkEnd(event.end) });
        break;
      default:
        dispatch(event);
    }
  };

  deps.runner.onEvent(onRunnerEvent);
  const clock = createClockRhythm({
    tick: () => dispatch({ kind: 'clockTicked' }),
    nextTickMs: (nowMs) => nextTickMs(state, nowMs),
    now: deps.now,
    onRested: deps.onRested,
    tickMs: options.tickMs,
  });

  return {
    dispatch,
    receive(message) {
      for (const event of eventsOf(message)) dispatch(event);
    },
    settle: runTurn,
    finished: finished.promise,
    stop() {
      stopped = true;
      clock.stop();
      clearTimeout(logTimer);
    },
  };
}

/** How long live output may wait; nobody who reads along sees it. */
const logDelayMs = 20;
const nothing = new Uint8Array(0);

function eventsOf(message: DriverMessage): AgentEvent[] {
  switch (message.kind) {
    case 'grants':
      return [{ kind: 'granted', groups: message.groups, runs: runsOf(message) }];
    case 'ack':
      return [{ kind: 'reportAcknowledged', report: message.report }];
    case 'cancel':
      return [{ kind: 'attemptsCancelled', attempts: message.attempts }];
    case 'drain':
      return [{ kind: 'drainOrdered' }];
    case 'undrain':
      return [{ kind: 'undrainOrdered' }];
  }
}

function runsOf(message: Grants): GrantedRun[] {
  return message.grants.map((grant) => {
    const offsets = indexBlock(grant.block, grant.count);
    const tasks = Array.from(offsets, (_, at) => {
      const payload = payloadAt(grant.block, offsets, at);
      const reference = findBlobReference(payload);
      const blob = reference === undefined ? null : { hash: reference.hash, tag: reference.tag };
      return { index: grant.lo + at, payload, blob };
    });
    return { group: grant.group, batch: grant.batch, attempt: grant.attempt, tasks };
  });
}

/** Only a line that failed, or a disk that is full, is worth another try. */
function transferFailure(caught: unknown): { message: string; retryable: boolean } {
  const error = toError(caught);
  if (!(error instanceof PerigeeError)) return { message: error.message, retryable: true };
  const finalCodes = ['not_found', 'forbidden', 'too_large', 'image_invalid', 'setup_missing'];
  const isFinal = finalCodes.includes(error.code);
  return { message: error.message, retryable: isErrorCode(error.code) && !isFinal };
}

/** What a worker says comes from user code: cut to what the coordinator takes, or refused here. */
function checkResult(task: EndedTask): EndedTask {
  const isWhole = task.resultPath !== null || task.status !== 'success' || isPayload(task.result);
  if (!isWhole || task.result.length > inlineBytesMax + 1) {
    const message = 'The worker answered with something that is not a result.';
    const failure = { name: 'WorkerBroken', message, traceback: '' };
    return { ...task, status: 'exception', result: nothing, resultPath: null, failure };
  }
  return task.failure === null ? task : { ...task, failure: cutFailure(task.failure) };
}

/** A function that could not be loaded tells its own text, too. */
function checkEnd(end: WorkerEnd): WorkerEnd {
  return end.kind === 'unloadable' ? { ...end, failure: cutFailure(end.failure) } : end;
}

function cutFailure(failure: Failure): Failure {
  return {
    name: failure.name.slice(0, exceptionNameCharsMax),
    message: cutMiddle(failure.message, exceptionMessageCharsMax),
    traceback: cutMiddle(failure.traceback, tracebackCharsMax),
  };
}

function cutMiddle(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text;
  const mark = '\n[perigee: cut]\n';
  const half = Math.floor((charsMax - mark.length) / 2);
  return `${text.slice(0, half)}${mark}${text.slice(-half)}`;
}
