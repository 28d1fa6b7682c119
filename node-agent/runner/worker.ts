/**
 * One worker, from its launch to its end.
 *
 * starting → ready → ended. It is `starting` until the harness says that the function is loaded;
 * `kill`, a broken frame and every end of the process lead to `ended`, which is told once, after the
 * rest of its output and when nothing of it is left.
 */
import type { Socket } from 'node:net';
import { assert, assertNever } from '../../protocol/base/assert.ts';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { Door } from '../imagery/door/door.ts';
import { openDoor } from '../imagery/door/door.ts';
import type { OutputDoor } from '../outputs/output-door.ts';
import { openOutputDoor } from '../outputs/output-door.ts';
import type { HarnessFrame } from './frames.ts';
import { encodeAcknowledgement, encodeQuit, encodeSetup, HarnessFrameReader } from './frames.ts';
import type { IncludeLease } from './include-folders.ts';
import type { LaunchPlan } from './launch.ts';
import type { LaunchedWorker } from './launch-process.ts';
import { launchWorker } from './launch-process.ts';
import type { PipeReader } from './pipe-reader.ts';
import type { SpooledOutput, TaskInput, WorkerEnd, WorkerStart } from './port.ts';
import { measureTree } from './process-tree.ts';
import { copyToStage, tryLink } from './staging.ts';
import { TaskLine } from './task-line.ts';
import { attemptOf } from './task-run.ts';
import { Timers } from './timers.ts';
import type { WorkerDeps } from './worker-deps.ts';
import { buildSetup, readExit } from './worker-facts.ts';
import { WorkerKiller } from './worker-killer.ts';

/** More than a window of short tasks answers at once. */
const resultsDrainBytesMax = 256 * 1024;
const stopMsMax = 1_000;
/** How long processes that hold the pipes open may outlive their worker's main process. */
const stragglerMsMax = 1_000;
/** Without control groups; each look reads /proc once. */
const watchMs = 50;
const unstartableCharsMax = 4_000;

export class Worker {
  readonly #start: WorkerStart;
  readonly #deps: WorkerDeps;
  readonly #line: TaskLine;
  readonly #timers = new Timers();
  readonly #reader = new HarnessFrameReader();
  #phase: 'starting' | 'ready' | 'ended' = 'starting';
  #plan: LaunchPlan | null = null;
  #commands: Socket | null = null;
  #output: PipeReader | null = null;
  #results: PipeReader | null = null;
  #killer: WorkerKiller | null = null;
  #door: Door | null = null;
  #outputDoor: OutputDoor | null = null;
  #include: IncludeLease | null = null;
  /** Told to end by the core. */
  #asked = false;
  /** Why it is being killed, when not by the core's wish. */
  #verdict: WorkerEnd | null = null;
  /** Output that has been read while it is not yet known which task is the running one. */
  #held: Buffer | null = null;
  #inFrames = false;
  /** Resolves when nothing of it is left. */
  readonly ended: Promise<void>;

  constructor(start: WorkerStart, deps: WorkerDeps) {
    this.#start = start;
    this.#deps = deps;
    this.#line = new TaskLine({
      worker: start.worker,
      emit: deps.emit,
      ended: (number, succeeded) => this.#endTask(number, succeeded),
      now: deps.now,
      timers: this.#timers,
      isWritable: () => this.#isWritable(),
      write: (frames) => this.#commands?.write(frames),
      fail: (message) => this.#fail({ kind: 'unstartable', message }),
      inFolder: deps.folder.inFolder,
      inPath: () => this.#plan?.inPath ?? '',
      spoolFolder: deps.spoolFolder,
      resultBytesMax: deps.limits.resultBytesMax,
      results: deps.results,
    });
    this.ended = this.#live();
  }

  get number(): number {
    return this.#start.worker;
  }

  feed(tasks: readonly TaskInput[]): void {
    this.#line.feed(tasks);
  }

  retract(tasks: readonly AttemptRef[]): AttemptRef[] {
    return this.#line.retract(tasks);
  }

  stop(): void {
    this.#asked = true;
    if (this.#phase !== 'ready') {
      this.#killer?.kill();
      return;
    }
    this.#commands?.write(encodeQuit());
    this.#timers.later(stopMsMax, () => this.#killer?.kill());
  }

  kill(): void {
    this.#asked = true;
    // During the launch there is none yet; `#run` looks at `#asked` when there is.
    this.#killer?.kill();
  }

  /** The whole life: launch, wait for the end of everything, clean up, tell. */
  async #live(): Promise<void> {
    // The caller has the worker in hand before anything happens to it.
    await Promise.resolve();
    let end: WorkerEnd;
    try {
      end = await this.#run();
    } catch (caught) {
      end = { kind: 'unstartable', message: toError(caught).message };
    }
    this.#line.end();
    this.#phase = 'ended';
    this.#timers.close();
    await this.#cleanUp();
    this.#tellEnd(end);
  }

  async #run(): Promise<WorkerEnd> {
    const deps = this.#deps;
    await this.#openDoors();
    const refusal = await this.#openInclude();
    if (refusal !== null) return refusal;
    const on = {
      output: (bytes: Buffer) => this.#onOutput(bytes),
      results: (bytes: Buffer) => this.#onResults(bytes),
    };
    const launched = await launchWorker(this.#start, deps, on, this.#include?.folder ?? null);
    this.#hold(launched);
    launched.commands.write(encodeSetup(buildSetup(this.#start, launched.plan, deps.limits)));
    if (deps.cgroup === null) this.#watchMemory(launched.child.pid ?? 0);
    this.#timers.later(deps.limits.readyMsMax, () => {
      if (this.#phase !== 'starting') return;
      this.#fail({ kind: 'unstartable', message: this.#unreadyText('it took too long') });
    });
    const exit = await launched.exited;
    await this.#killer?.sweep();
    await Promise.all([this.#awaitEnd(launched.output), this.#awaitEnd(launched.results)]);
    return this.#endOf(exit);
  }

  /** What the group carries, unpacked; the end of the worker when that cannot be. */
  async #openInclude(): Promise<WorkerEnd | null> {
    const { spec, files } = this.#start;
    if (spec.include === undefined || files.includePath == null) return null;
    try {
      this.#include = await this.#deps.includes.open(spec.include.blob, files.includePath);
      return null;
    } catch (caught) {
      // What cannot be unpacked is the group's own fault; every other failure is this machine's.
      if (!(caught instanceof PerigeeError) || caught.code !== 'image_invalid') throw caught;
      const message = `What the group carries cannot be unpacked: ${caught.message}`;
      const failure = { name: 'IncludeError', message, traceback: '' };
      return { kind: 'unloadable', code: 'exception', failure };
    }
  }

  /** Before the launch: the sandbox finds the socket in its /in. */
  async #openDoors(): Promise<void> {
    const { imagery, folder, log, outputs } = this.#deps;
    const currentTask = (): number | null => {
      // The last task may have ended, and said so in the other pipe, before this one asked.
      if (!this.#inFrames) this.#results?.drain(resultsDrainBytesMax);
      return this.#line.running?.number ?? null;
    };
    const warn = (fields: object, message: string): void =>
      log.warn({ worker: this.number, ...fields }, message);
    this.#outputDoor = await openOutputDoor({
      ...{ spool: outputs, folder: folder.inFolder },
      ...{ currentTask, warn },
    });
    if (imagery === null) return;
    this.#door = await openDoor({
      cache: imagery,
      namespace: this.#start.spec.namespace,
      folder: folder.inFolder,
      inPath: () => this.#plan?.inPath ?? '',
      lazy: this.#deps.lazy,
      place: async (from, to) => {
        if (!tryLink(from, to)) await copyToStage(from, to);
      },
      currentTask,
      warn,
    });
  }

  #endTask(number: number, succeeded: boolean): readonly SpooledOutput[] {
    this.#door?.endTask(number);
    if (succeeded) return this.#outputDoor?.take(number) ?? [];
    this.#outputDoor?.discard(number);
    return [];
  }

  #hold(launched: LaunchedWorker): void {
    const killer = new WorkerKiller(launched.child, launched.plan, this.#deps, this.#timers);
    this.#plan = launched.plan;
    this.#commands = launched.commands;
    this.#output = launched.output;
    this.#results = launched.results;
    this.#killer = killer;
    launched.commands.on('drain', () => this.#line.advance());
    void launched.insidePid.then((pid) => {
      killer.insidePid = pid;
      if (this.#asked || this.#verdict !== null) killer.kill();
    });
    if (this.#asked) killer.kill();
  }

  #isWritable(): boolean {
    if (this.#phase !== 'ready' || this.#asked || this.#verdict !== null) return false;
    return this.#commands !== null && !this.#commands.writableNeedDrain;
  }

  // What the sandbox says -------------------------------------------------------------------------

  #onResults(bytes: Buffer): void {
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
        this.#line.takePart(frame);
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
    this.#line.advance();
  }

  #onDone(frame: Extract<HarnessFrame, { kind: 'done' }>): void {
    if (frame.wroteOutput) {
      // The harness waits for this: the pipe is empty before the next task begins.
      this.#attributeHeld();
      this.#output?.drain();
      this.#commands?.write(encodeAcknowledgement());
    }
    this.#line.takeDone(frame);
  }

  /**
   * The bytes are of one task. Tasks that wrote nothing may have ended before it, and what the
   * harness said of them is in the other pipe by now; a task that wrote waits to be acknowledged.
   * So the writer is the first one there that wrote, or else the running one.
   */
  #onOutput(bytes: Buffer): void {
    if (this.#inFrames) {
      this.#line.takeOutput(bytes);
      return;
    }
    this.#held = bytes;
    this.#results?.drain(resultsDrainBytesMax);
    this.#attributeHeld();
  }

  #attributeHeld(): void {
    const bytes = this.#held;
    this.#held = null;
    if (bytes !== null) this.#line.takeOutput(bytes);
  }

  // Its end ---------------------------------------------------------------------------------------

  /** Ends the worker for a reason other than the core's wish. */
  #fail(end: WorkerEnd): void {
    this.#verdict ??= end;
    this.#killer?.kill();
  }

  async #awaitEnd(pipe: PipeReader): Promise<void> {
    const timer = this.#timers.later(stragglerMsMax, () => pipe.close());
    await pipe.ended;
    this.#timers.cancel(timer);
  }

  #endOf(exit: { code: number | null; signal: string | null }): WorkerEnd {
    const peakMemoryBytes = this.#deps.cgroup?.readPeakMemoryBytes() ?? 0;
    if (this.#verdict !== null) return this.#verdict;
    if (this.#asked) return { kind: 'asked' };
    const died = readExit(exit);
    const oomKills = this.#deps.cgroup?.countOomKills() ?? 0;
    // A launcher that outlives its sandbox tells of the loss by a status of its own.
    const wasKilled = died.signal === 'SIGKILL' || this.#deps.level === 'strong';
    if (oomKills > 0 && wasKilled) return { kind: 'oom', peakMemoryBytes };
    if (this.#phase === 'starting') {
      const how = died.signal ?? `status ${died.exitCode}`;
      return { kind: 'unstartable', message: this.#unreadyText(`it ended with ${how}`) };
    }
    return { kind: 'died', ...died, peakMemoryBytes };
  }

  #unreadyText(what: string): string {
    const said = this.#line.strayText.slice(-unstartableCharsMax);
    return `the sandbox did not become ready: ${what}${said === '' ? '' : `: ${said}`}`;
  }

  /** Resident memory by polling, where no control group keeps the limit. */
  #watchMemory(pid: number): void {
    this.#timers.later(watchMs, () => {
      const use = measureTree(pid);
      if (use.residentBytes > this.#start.spec.memoryBytes) {
        this.#fail({ kind: 'oom', peakMemoryBytes: use.residentBytes });
      } else {
        this.#watchMemory(pid);
      }
    });
  }

  async #cleanUp(): Promise<void> {
    const { cgroup, folder, log } = this.#deps;
    try {
      await this.#door?.close();
      await this.#outputDoor?.close();
      await this.#include?.release();
      if (cgroup !== null && !(await cgroup.remove())) {
        log.warn({ worker: this.number }, 'A control group of a worker stays behind.');
      }
      await folder.remove();
    } catch (caught) {
      log.warn({ worker: this.number, error: toError(caught).message }, 'Clean-up of a worker.');
    }
  }

  #tellEnd(end: WorkerEnd): void {
    const { running } = this.#line;
    this.#deps.emit({
      kind: 'workerEnded',
      worker: this.number,
      end,
      running:
        running === null
          ? null
          : {
              ...attemptOf(running.input),
              runtimeMs: this.#deps.now() - running.startedAtMs,
              logBytes: running.log?.totalBytes ?? 0,
            },
    });
  }
}
