/**
 * One worker, from its launch to its end.
 *
 * starting → ready → ended. It is `starting` until the harness says that the function is loaded;
 * `kill`, a broken frame and every end of the process lead to `ended`, which is told once, after the
 * rest of its output.
 *
 * Tasks are written to the harness a little ahead of its work when they are short (so that it never
 * waits for the agent) and one by one when they are long (so that the others can be taken back).
 */
import type { ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { assert, assertNever } from '../../protocol/base/assert.ts';
import { toError } from '../../protocol/base/errors.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import { inlineBytesMax } from '../../protocol/wire/limits.ts';
import type { HarnessFrame, HarnessSetup } from './frames.ts';
import {
  encodeAcknowledgement,
  encodeFileTask,
  encodeQuit,
  encodeSetup,
  encodeTask,
  HarnessFrameReader,
  setupTexts,
} from './frames.ts';
import type { LaunchPlan } from './launch.ts';
import { launchWorker } from './launch-process.ts';
import { LogKeeper } from './log-keeper.ts';
import type { PipeReader } from './pipe-reader.ts';
import type { TaskInput, WorkerEnd, WorkerStart } from './port.ts';
import { killTree, killUser, listChildren, measureTree, signal } from './process-tree.ts';
import { copyToStage, tryLink } from './staging.ts';
import type { TaskRun } from './task-run.ts';
import { attemptOf, ResultSpool, resultOf } from './task-run.ts';
import type { WorkerDeps } from './worker-deps.ts';

/** Work that is written ahead, in time: about what the way to the agent and back may take. */
const aheadMs = 4;
const aheadTasksMax = 256;
/** Output while no task runs, of imports mostly; it goes to the task that follows. */
const strayBytesMax = 64 * 1024;
/** More than a window of short tasks answers at once. */
const resultsDrainBytesMax = 256 * 1024;
const stopMsMax = 1_000;
/** How long processes that hold the output open may outlive their worker's main process. */
const stragglerMsMax = 1_000;
const logPassMs = 100;
const watchMs = 100;
/** Without control groups: room for tasks' own threads is in the limit of processes. */
const unstartableTextBytes = 4_000;

interface WaitingTask {
  input: TaskInput;
  number: number;
  staged: 'no' | 'copying' | 'yes';
}

export class Worker {
  readonly #start: WorkerStart;
  readonly #deps: WorkerDeps;
  readonly #reader = new HarnessFrameReader();
  #phase: 'starting' | 'ready' | 'ended' = 'starting';
  /** Given, not yet written to the harness; in order. */
  #waiting: WaitingTask[] = [];
  /** Written to the harness; the first one runs. */
  #written: TaskRun[] = [];
  #tasksCount = 0;
  /** Smoothed run time, null before the first task. */
  #taskMs: number | null = null;
  #stray: Buffer[] = [];
  #strayBytes = 0;
  #plan: LaunchPlan | null = null;
  #child: ChildProcess | null = null;
  #commands: Socket | null = null;
  #output: PipeReader | null = null;
  #results: PipeReader | null = null;
  /** Output that has been read while it is not yet known which task is the running one. */
  #held: Buffer | null = null;
  #inFrames = false;
  /** First process inside the sandbox, in the agent's own numbering, once known. */
  #insidePid: number | null = null;
  #asked = false;
  /** Set when the process is to be killed for a reason of its own. */
  #verdict: WorkerEnd | null = null;
  #timers = new Set<NodeJS.Timeout>();
  #passTimer: NodeJS.Timeout | null = null;
  /** Resolves when nothing of it is left. */
  readonly ended: Promise<void>;

  constructor(start: WorkerStart, deps: WorkerDeps) {
    this.#start = start;
    this.#deps = deps;
    this.ended = this.#live();
  }

  get number(): number {
    return this.#start.worker;
  }

  feed(tasks: readonly TaskInput[]): void {
    for (const input of tasks) {
      this.#tasksCount += 1;
      this.#waiting.push({ input, number: this.#tasksCount, staged: 'no' });
    }
    this.#writeTasks();
  }

  retract(tasks: readonly AttemptRef[]): AttemptRef[] {
    const names = new Set(tasks.map(nameOf));
    const taken = this.#waiting.filter((task) => names.has(nameOf(task.input)));
    this.#waiting = this.#waiting.filter((task) => !taken.includes(task));
    return taken.map((task) => attemptOf(task.input));
  }

  stop(): void {
    this.#asked = true;
    if (this.#phase !== 'ready' || this.#commands === null) {
      this.#kill();
      return;
    }
    this.#commands.write(encodeQuit());
    this.#later(stopMsMax, () => this.#kill());
  }

  kill(): void {
    this.#asked = true;
    this.#kill();
  }

  /** The whole life: launch, wait for the end of everything, clean up, tell. */
  async #live(): Promise<void> {
    // The caller gets the worker before anything happens to it.
    await Promise.resolve();
    let end: WorkerEnd;
    try {
      end = await this.#run();
    } catch (caught) {
      end = { kind: 'unstartable', message: toError(caught).message };
    }
    const running = this.#written[0];
    running?.log?.end();
    running?.spool?.discard();
    this.#phase = 'ended';
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#cleanUp();
    this.#deps.emit({
      kind: 'workerEnded',
      worker: this.number,
      end,
      running:
        running === undefined
          ? null
          : {
              ...attemptOf(running.input),
              runtimeMs: this.#deps.now() - running.startedAtMs,
              logBytes: running.log?.totalBytes ?? 0,
            },
    });
  }

  async #run(): Promise<WorkerEnd> {
    const deps = this.#deps;
    const launched = await launchWorker(this.#start, deps, {
      output: (bytes) => this.#onOutput(bytes),
      results: (bytes) => this.#onBytes(bytes),
    });
    this.#plan = launched.plan;
    this.#child = launched.child;
    this.#commands = launched.commands;
    this.#output = launched.output;
    this.#results = launched.results;
    launched.commands.on('drain', () => this.#writeTasks());
    launched.commands.write(encodeSetup(this.#setupOf(launched.plan)));
    this.#watchMemory();
    this.#later(deps.limits.readyMsMax, () => {
      if (this.#phase !== 'starting') return;
      this.#fail({ kind: 'unstartable', message: this.#unreadyText('it took too long') });
    });
    void launched.insidePid.then((pid) => {
      this.#insidePid = pid;
      if (this.#asked || this.#verdict !== null) this.#kill();
    });
    if (this.#asked) this.#kill();
    const exit = await launched.exited;
    await this.#sweepStragglers();
    await Promise.all([this.#awaitEnd(launched.output), this.#awaitEnd(launched.results)]);
    return this.#endOf(exit);
  }

  #setupOf(plan: LaunchPlan): HarnessSetup {
    const { spec } = this.#start;
    return {
      python: spec.python,
      functionKind: spec.functionKind,
      functionEntry: spec.functionEntry,
      functionName: spec.name,
      environment: { ...spec.environment },
      taskIsolation: spec.taskIsolation,
      resultFormat: spec.resultFormat,
      resultBytesMax: this.#deps.limits.resultBytesMax,
      inlineBytesMax,
      texts: setupTexts,
      ...plan.setup,
    };
  }

  // Tasks ---------------------------------------------------------------------------------------

  #writeTasks(): void {
    if (this.#phase !== 'ready' || this.#asked || this.#verdict !== null) return;
    const commands = this.#commands;
    if (commands === null) return;
    const frames: Buffer[] = [];
    while (this.#written.length <= this.#aheadMax() && !commands.writableNeedDrain) {
      const task = this.#waiting[0];
      if (task === undefined || !this.#stage(task)) break;
      this.#waiting.shift();
      frames.push(this.#writeTask(task));
    }
    if (frames.length > 0)
      commands.write(frames.length === 1 ? (frames[0] ?? '') : Buffer.concat(frames));
  }

  /** Tasks that may wait inside the harness. */
  #aheadMax(): number {
    if (this.#taskMs === null || this.#taskMs >= aheadMs) return 0;
    return Math.min(aheadTasksMax, Math.floor(aheadMs / Math.max(this.#taskMs, 0.01)));
  }

  /** Whether the task's argument file, if any, is in place; starts a copy when it must be copied. */
  #stage(task: WaitingTask): boolean {
    const { payloadPath } = task.input;
    if (payloadPath === null || task.staged === 'yes') return true;
    if (task.staged === 'copying') return false;
    const to = join(this.#deps.folder.inFolder, String(task.number));
    try {
      if (tryLink(payloadPath, to)) {
        task.staged = 'yes';
        return true;
      }
    } catch (caught) {
      this.#fail({ kind: 'unstartable', message: `argument file: ${toError(caught).message}` });
      return false;
    }
    task.staged = 'copying';
    copyToStage(payloadPath, to).then(
      () => {
        task.staged = 'yes';
        this.#writeTasks();
      },
      (caught: unknown) => {
        this.#fail({ kind: 'unstartable', message: `argument file: ${toError(caught).message}` });
      },
    );
    return false;
  }

  #writeTask(task: WaitingTask): Buffer {
    const { input, number } = task;
    const inline = input.payloadPath === null;
    this.#written.push({
      number,
      input,
      stagedPath: inline ? null : join(this.#deps.folder.inFolder, String(number)),
      log: null,
      startedAtMs: 0,
      spool: null,
    });
    if (this.#written.length === 1) this.#begin();
    if (inline) return encodeTask(number, input.payload);
    const inPath = this.#plan?.inPath ?? '';
    return encodeFileTask(number, input.payloadTag, `${inPath}/${number}`);
  }

  /** The first written task runs from now on: the harness takes them in order, one at a time. */
  #begin(): void {
    const run = this.#written[0];
    if (run === undefined) return;
    const task = attemptOf(run.input);
    const emit = (offset: number, bytes: Buffer) =>
      this.#deps.emit({ kind: 'taskOutput', worker: this.number, task, offset, bytes });
    run.startedAtMs = this.#deps.now();
    run.log = new LogKeeper(emit, run.startedAtMs);
    this.#deps.emit({ kind: 'taskStarted', worker: this.number, task });
    for (const bytes of this.#stray) run.log.write(bytes, run.startedAtMs);
    this.#stray = [];
    this.#strayBytes = 0;
  }

  // What the sandbox says -------------------------------------------------------------------------

  #onBytes(bytes: Buffer): void {
    if (this.#phase === 'ended' || this.#verdict !== null) return;
    assert(!this.#inFrames, 'frames are read one after another');
    this.#inFrames = true;
    try {
      for (const frame of this.#reader.push(bytes)) {
        this.#onFrame(frame);
        if (this.#verdict !== null) return;
      }
    } catch (caught) {
      this.#fail({ kind: 'broke', message: toError(caught).message });
    } finally {
      this.#inFrames = false;
    }
  }

  #onFrame(frame: HarnessFrame): void {
    switch (frame.kind) {
      case 'ready':
        this.#onReady();
        break;
      case 'unloadable':
        if (this.#phase === 'starting') this.#fail(frame);
        else this.#fail({ kind: 'broke', message: 'it said twice how its function loads' });
        break;
      case 'part':
        this.#onPart(frame);
        break;
      case 'done':
        this.#onDone(frame);
        break;
      default:
        assertNever(frame);
    }
  }

  #onReady(): void {
    if (this.#phase !== 'starting') {
      this.#fail({ kind: 'broke', message: 'it said twice that it is ready' });
      return;
    }
    this.#phase = 'ready';
    if (this.#asked) return;
    this.#deps.emit({ kind: 'workerReady', worker: this.number });
    this.#writeTasks();
  }

  #onPart(frame: Extract<HarnessFrame, { kind: 'part' }>): void {
    const run = this.#written[0];
    if (run === undefined || run.number !== frame.task) {
      this.#fail({ kind: 'broke', message: 'a part of a result of a task that does not run' });
      return;
    }
    const name = `w${this.number}-${run.number}`;
    run.spool ??= new ResultSpool(
      join(this.#deps.spoolFolder, name),
      this.#deps.limits.resultBytesMax,
    );
    run.spool.write(frame.bytes);
  }

  #onDone(frame: Extract<HarnessFrame, { kind: 'done' }>): void {
    const run = this.#written[0];
    if (run === undefined || run.number !== frame.task) {
      this.#fail({ kind: 'broke', message: 'a result of a task that does not run' });
      return;
    }
    // The harness waits: the pipe is empty before the next task begins.
    if (frame.wroteOutput) {
      this.#attributeHeld();
      this.#output?.drain();
      this.#commands?.write(encodeAcknowledgement());
    }
    run.log?.end();
    const task = resultOf(run, frame);
    this.#written.shift();
    if (run.stagedPath !== null) rmSync(run.stagedPath, { force: true });
    this.#taskMs =
      this.#taskMs === null ? frame.runtimeMs : this.#taskMs * 0.75 + frame.runtimeMs * 0.25;
    this.#deps.emit({ kind: 'taskEnded', worker: this.number, task });
    this.#begin();
    this.#writeTasks();
  }

  /**
   * The bytes are of one task. Tasks that wrote nothing may have ended before it, and what the
   * harness said of them is in the other pipe by now; a task that wrote waits to be acknowledged.
   * So the writer is the first one there that wrote, or else the running one.
   */
  #onOutput(bytes: Buffer): void {
    if (this.#inFrames) {
      this.#attribute(bytes);
      return;
    }
    this.#held = bytes;
    this.#results?.drain(resultsDrainBytesMax);
    this.#attributeHeld();
  }

  #attributeHeld(): void {
    const bytes = this.#held;
    this.#held = null;
    if (bytes !== null) this.#attribute(bytes);
  }

  #attribute(bytes: Buffer): void {
    const log = this.#written[0]?.log;
    if (log !== undefined && log !== null) {
      log.write(bytes, this.#deps.now());
      if (log.isWaiting) this.#passLater();
      return;
    }
    this.#stray.push(bytes);
    this.#strayBytes += bytes.length;
    while (this.#strayBytes > strayBytesMax && this.#stray.length > 1) {
      this.#strayBytes -= this.#stray.shift()?.length ?? 0;
    }
  }

  #passLater(): void {
    this.#passTimer ??= this.#later(logPassMs, () => {
      this.#passTimer = null;
      const log = this.#written[0]?.log;
      log?.pass(this.#deps.now());
      if (log?.isWaiting === true) this.#passLater();
    });
  }

  // Its end ---------------------------------------------------------------------------------------

  /** Ends the worker for a reason other than the core's wish. */
  #fail(end: WorkerEnd): void {
    this.#verdict ??= end;
    this.#kill();
  }

  #kill(): void {
    const child = this.#child;
    const pid = child?.pid;
    // Before the launch is done `#asked` is seen by it; after the exit there is nothing to kill.
    if (child === null || pid === undefined) return;
    if (child.exitCode !== null || child.signalCode !== null) return;
    if (this.#plan?.setup.sweep === 'namespace') this.#killNamespace(pid);
    else this.#killPlain(pid);
  }

  /** The namespace's first process takes all others with it; the launcher outside then ends by itself. */
  #killNamespace(pid: number): void {
    const inside = this.#insidePid ?? (this.#plan?.hasInfo === true ? null : listChildren(pid)[0]);
    if (inside !== null && inside !== undefined) {
      signal(inside, 'SIGKILL');
      return;
    }
    // Still setting up. The launcher's death takes the rest along, only not as quickly.
    this.#later(stragglerMsMax / 2, () => {
      signal(this.#insidePid ?? pid, 'SIGKILL');
      this.#deps.cgroup?.kill();
    });
  }

  #killPlain(pid: number): void {
    const { cgroup, identity } = this.#deps;
    if (cgroup !== null) cgroup.kill();
    else if (identity !== null && this.#plan?.setup.sweep === 'uid') void killUser(identity);
    else killTree(pid);
    signal(pid, 'SIGKILL');
  }

  /** Without a namespace the main process may leave others behind. */
  async #sweepStragglers(): Promise<void> {
    if (this.#plan?.setup.sweep === 'namespace') return;
    this.#deps.cgroup?.kill();
    const { identity } = this.#deps;
    if (identity !== null && this.#plan?.setup.sweep === 'uid') await killUser(identity);
  }

  async #awaitEnd(pipe: PipeReader): Promise<void> {
    const timer = this.#later(stragglerMsMax, () => pipe.close());
    await pipe.ended;
    clearTimeout(timer);
  }

  #endOf(exit: { code: number | null; signal: string | null }): WorkerEnd {
    const peakMemoryBytes = this.#deps.cgroup?.readPeakMemoryBytes() ?? 0;
    if (this.#verdict !== null) return this.#verdict;
    if (this.#asked) return { kind: 'asked' };
    const died = readExit(exit);
    const oomKills = this.#deps.cgroup?.countOomKills() ?? 0;
    if (oomKills > 0 && died.signal === 'SIGKILL') return { kind: 'oom', peakMemoryBytes };
    if (this.#phase === 'starting') {
      const how = died.signal ?? `status ${died.exitCode}`;
      return { kind: 'unstartable', message: this.#unreadyText(`it ended with ${how}`) };
    }
    return { kind: 'died', ...died, peakMemoryBytes };
  }

  #unreadyText(what: string): string {
    const said = Buffer.concat(this.#stray).subarray(-unstartableTextBytes).toString('utf8').trim();
    return `the sandbox did not become ready: ${what}${said === '' ? '' : `: ${said}`}`;
  }

  /** Resident memory by polling, where no control group keeps the limit. */
  #watchMemory(): void {
    if (this.#deps.cgroup !== null) return;
    const look = () => {
      const pid = this.#child?.pid;
      if (pid === undefined || this.#phase === 'ended') return;
      const use = measureTree(pid);
      if (use.residentBytes > this.#start.spec.memoryBytes) {
        this.#fail({ kind: 'oom', peakMemoryBytes: use.residentBytes });
      } else {
        this.#later(watchMs, look);
      }
    };
    this.#later(watchMs, look);
  }

  async #cleanUp(): Promise<void> {
    const { cgroup, folder, log } = this.#deps;
    try {
      if (cgroup !== null && !(await cgroup.remove())) {
        log.warn({ worker: this.number }, 'a control group of a worker stays behind');
      }
      await folder.remove();
    } catch (caught) {
      log.warn({ worker: this.number, error: toError(caught).message }, 'clean-up of a worker');
    }
  }

  #later(ms: number, act: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (this.#phase !== 'ended') act();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }
}

/** Launchers hand on a death by signal as 128 and its number. */
function readExit(exit: { code: number | null; signal: string | null }): {
  exitCode: number | null;
  signal: string | null;
} {
  if (exit.signal !== null || exit.code === null) return { exitCode: null, signal: exit.signal };
  const name = Object.entries(constants.signals).find(([, number]) => number + 128 === exit.code);
  assert(exit.code >= 0, 'an exit status is not negative');
  return name === undefined
    ? { exitCode: exit.code, signal: null }
    : { exitCode: null, signal: name[0] };
}

function nameOf(task: AttemptRef): string {
  return `${task.batch}-${task.index}-${task.attempt}`;
}
