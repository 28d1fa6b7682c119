/**
 * The tasks of one worker, in line: those that wait in the agent, those that were written to the
 * harness, of which the first one runs; and whose output is whose.
 *
 * Tasks are written a little ahead of the harness's work when they are short (so that it never waits
 * for the agent) and one by one when they are long (so that the others can be taken back).
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { toError } from '../../protocol/base/errors.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { HarnessFrame } from './frames.ts';
import { encodeFileTask, encodeTask, HarnessFrameError } from './frames.ts';
import type { HeldResults } from './held-results.ts';
import { LogKeeper } from './log-keeper.ts';
import type { RunnerEvent, SpooledOutput, TaskInput, WorkerNumber } from './port.ts';
import { ResultSpool } from './result-spool.ts';
import { copyToStage, tryLink } from './staging.ts';
import type { TaskRun } from './task-run.ts';
import { attemptOf, resultOf } from './task-run.ts';
import type { Timers } from './timers.ts';

/** Work that is written ahead, in time: about what the way to the agent and back may take. */
const aheadMs = 4;
const aheadTasksMax = 256;
/** Of tasks up to this one is written ahead all the same: 10 ms tasks would lose some percent between two. */
const aheadOneMs = 20;
/** A runtime below this is the clock's grain. */
const runtimeFloorMs = 0.01;
/** Output while no task runs, of imports mostly; it goes to the task that follows. */
const strayBytesMax = 64 * 1024;
const logPassMs = 100;

export interface TaskLineDeps {
  worker: WorkerNumber;
  emit(event: RunnerEvent): void;
  /** A task with this number is over: what it was given may go. Answers what it gave out, if it succeeded. */
  ended(number: number, succeeded: boolean): readonly SpooledOutput[];
  now(): number;
  timers: Timers;
  /** Whether the harness may be written to now. */
  isWritable(): boolean;
  write(frames: Buffer): void;
  /** An argument file could not be put in place. */
  fail(message: string): void;
  inFolder: string;
  /** The same folder as the sandbox sees it. */
  inPath(): string;
  spoolFolder: string;
  resultBytesMax: number;
  /** Where large results may wait in memory; null where all go into files. */
  results: HeldResults | null;
}

interface WaitingTask {
  input: TaskInput;
  number: number;
  staged: 'no' | 'copying' | 'yes';
}

export class TaskLine {
  readonly #deps: TaskLineDeps;
  /** Given, not yet written to the harness; in order. */
  #waiting: WaitingTask[] = [];
  /** Written to the harness; all and only these may come back. */
  readonly #written: TaskRun[] = [];
  #tasksCount = 0;
  /** Moving mean of run times, null before the first task. */
  #taskMs: number | null = null;
  #stray: Buffer[] = [];
  #strayBytes = 0;
  #passTimer: NodeJS.Timeout | null = null;

  constructor(deps: TaskLineDeps) {
    this.#deps = deps;
  }

  /** The task that runs; null when the harness has none. */
  get running(): TaskRun | null {
    return this.#written[0] ?? null;
  }

  /** The newest output that belongs to no task. */
  get strayText(): string {
    return Buffer.concat(this.#stray).toString('utf8').trim();
  }

  feed(tasks: readonly TaskInput[]): void {
    for (const input of tasks) {
      this.#tasksCount += 1;
      this.#waiting.push({ input, number: this.#tasksCount, staged: 'no' });
    }
    this.advance();
  }

  /** Takes back those that were not written. */
  retract(tasks: readonly AttemptRef[]): AttemptRef[] {
    const names = new Set(tasks.map(nameOf));
    const isTaken = (task: WaitingTask) => names.has(nameOf(task.input));
    const taken = this.#waiting.filter(isTaken);
    this.#waiting = this.#waiting.filter((task) => !isTaken(task));
    return taken.map((task) => attemptOf(task.input));
  }

  /** Writes as many tasks as may be with the harness. */
  advance(): void {
    const frames: Buffer[] = [];
    while (this.#written.length <= this.#aheadMax() && this.#deps.isWritable()) {
      const task = this.#waiting[0];
      if (task === undefined || !this.#stage(task)) break;
      this.#waiting.shift();
      frames.push(this.#write(task));
    }
    const [first] = frames;
    if (first !== undefined) {
      this.#deps.write(frames.length === 1 ? first : Buffer.concat(frames));
    }
  }

  /** @throws HarnessFrameError when no such task runs. */
  takePart(frame: Extract<HarnessFrame, { kind: 'part' }>): void {
    const run = this.#runOf(frame.task);
    const { worker, spoolFolder, resultBytesMax, results } = this.#deps;
    run.spool ??= new ResultSpool({
      path: join(spoolFolder, `w${worker}-${run.number}`),
      bytesMax: resultBytesMax,
      held: results,
    });
    run.spool.write(frame.bytes);
  }

  /**
   * Ends the running task; its output must have been taken. The next one begins.
   * @throws HarnessFrameError when no such task runs.
   */
  takeDone(frame: Extract<HarnessFrame, { kind: 'done' }>): void {
    const run = this.#runOf(frame.task);
    run.log?.end();
    const result = resultOf(run, frame);
    this.#written.shift();
    const outputs = this.#deps.ended(run.number, result.status === 'success');
    const task = outputs.length === 0 ? result : { ...result, outputs };
    if (run.stagedPath !== null) rmSync(run.stagedPath, { force: true });
    // Geometric: one that the kernel kept waiting must not count for hundreds.
    const measured = Math.max(frame.runtimeMs, runtimeFloorMs);
    this.#taskMs =
      this.#taskMs === null ? measured : this.#taskMs * (measured / this.#taskMs) ** 0.25;
    this.#deps.emit({ kind: 'taskEnded', worker: this.#deps.worker, task });
    this.#begin();
    this.advance();
  }

  /** Output of the running task, or of the next one when none runs. */
  takeOutput(bytes: Buffer): void {
    const log = this.#written[0]?.log ?? null;
    if (log !== null) {
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

  /** Nothing comes any more: tells the rest of the running task's output. */
  end(): void {
    const run = this.#written[0];
    run?.log?.end();
    run?.spool?.discard();
  }

  #runOf(number: number): TaskRun {
    const run = this.#written[0];
    if (run?.number === number) return run;
    throw new HarnessFrameError('a result of a task that does not run');
  }

  /** Tasks that may wait inside the harness. */
  #aheadMax(): number {
    if (this.#taskMs === null || this.#taskMs >= aheadOneMs) return 0;
    return Math.min(aheadTasksMax, Math.max(1, Math.floor(aheadMs / this.#taskMs)));
  }

  /** Whether the task's argument file, if any, is in place; starts a copy when it must be copied. */
  #stage(task: WaitingTask): boolean {
    const { payloadPath } = task.input;
    if (payloadPath === null || task.staged === 'yes') return true;
    if (task.staged === 'copying') return false;
    const to = join(this.#deps.inFolder, String(task.number));
    try {
      if (tryLink(payloadPath, to)) {
        task.staged = 'yes';
        return true;
      }
    } catch (caught) {
      this.#deps.fail(`argument file: ${toError(caught).message}`);
      return false;
    }
    task.staged = 'copying';
    copyToStage(payloadPath, to).then(
      () => {
        task.staged = 'yes';
        this.advance();
      },
      (caught: unknown) => this.#deps.fail(`argument file: ${toError(caught).message}`),
    );
    return false;
  }

  #write(task: WaitingTask): Buffer {
    const { input, number } = task;
    const inline = input.payloadPath === null;
    this.#written.push({
      number,
      input,
      stagedPath: inline ? null : join(this.#deps.inFolder, String(number)),
      log: null,
      startedAtMs: 0,
      spool: null,
    });
    if (this.#written.length === 1) this.#begin();
    if (inline) return encodeTask(number, input.payload);
    return encodeFileTask(number, input.payloadTag, `${this.#deps.inPath()}/${number}`);
  }

  /** The first written task runs from now on: the harness takes them in order, one at a time. */
  #begin(): void {
    const run = this.#written[0];
    if (run === undefined) return;
    const { worker, emit, now } = this.#deps;
    const task = attemptOf(run.input);
    run.startedAtMs = now();
    run.log = new LogKeeper(
      (offset, bytes) => emit({ kind: 'taskOutput', worker, task, offset, bytes }),
      run.startedAtMs,
    );
    emit({ kind: 'taskStarted', worker, task });
    for (const bytes of this.#stray) run.log.write(bytes, run.startedAtMs);
    this.#stray = [];
    this.#strayBytes = 0;
  }

  #passLater(): void {
    this.#passTimer ??= this.#deps.timers.later(logPassMs, () => {
      this.#passTimer = null;
      const log = this.#written[0]?.log ?? null;
      log?.pass(this.#deps.now());
      if (log?.isWaiting === true) this.#passLater();
    });
  }
}

function nameOf(task: AttemptRef): string {
  return `${task.batch}-${task.index}-${task.attempt}`;
}
