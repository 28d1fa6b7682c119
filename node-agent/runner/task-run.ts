/** A task in a worker's hands: what was written of it and what came back so far. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { toError } from '../../protocol/base/errors.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { Failure } from '../../protocol/wire/task.ts';
import type { HarnessFrame } from './frames.ts';
import { HarnessFrameError } from './frames.ts';
import type { LogKeeper } from './log-keeper.ts';
import type { TaskInput, TaskResult } from './port.ts';

/** Large results are written to the disk as they come; the agent's memory never holds one. */
export class ResultSpool {
  readonly path: string;
  readonly #bytesMax: number;
  #fd: number | null = null;
  #sizeBytes = 0;
  /** Why it could not be kept; later parts are dropped. */
  #failure: string | null = null;

  constructor(path: string, bytesMax: number) {
    this.path = path;
    this.#bytesMax = bytesMax;
  }

  get failure(): string | null {
    return this.#failure;
  }

  /** @throws HarnessFrameError beyond the bound, which the harness keeps too. */
  write(bytes: Buffer): void {
    this.#sizeBytes += bytes.length;
    if (this.#sizeBytes > this.#bytesMax) throw new HarnessFrameError('a result beyond its bound');
    if (this.#failure !== null) return;
    try {
      this.#fd ??= openSync(this.path, 'wx', 0o600);
      for (let rest = bytes; rest.length > 0; ) rest = rest.subarray(writeSync(this.#fd, rest));
    } catch (caught) {
      this.#failure = toError(caught).message;
    }
  }

  finish(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    if (this.#failure !== null) this.discard();
  }

  discard(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    rmSync(this.path, { force: true });
  }
}

/** A task that has been written to the harness. */
export interface TaskRun {
  /** Within the worker, from 1. */
  number: number;
  input: TaskInput;
  /** Where the argument file was staged; null when inline. */
  stagedPath: string | null;
  /** Null until it is the first in line: only then does it run. */
  log: LogKeeper | null;
  startedAtMs: number;
  spool: ResultSpool | null;
}

export function attemptOf(input: AttemptRef): AttemptRef {
  return { batch: input.batch, index: input.index, attempt: input.attempt };
}

/**
 * What the agent is told of a finished run.
 * @throws HarnessFrameError when the frame does not fit what came before it.
 */
export function resultOf(run: TaskRun, done: Extract<HarnessFrame, { kind: 'done' }>): TaskResult {
  const common = {
    ...attemptOf(run.input),
    runtimeMs: done.runtimeMs,
    peakMemoryBytes: done.peakMemoryBytes,
    logBytes: run.log?.totalBytes ?? 0,
  };
  const failed = (failure: Failure): TaskResult => ({
    ...common,
    status: 'exception',
    result: new Uint8Array(),
    resultPath: null,
    resultTag: 0,
    failure,
  });
  const { outcome } = done;
  if (outcome.kind === 'exception') {
    run.spool?.discard();
    return failed(outcome.failure);
  }
  if (outcome.kind === 'success') {
    if (run.spool !== null) throw new HarnessFrameError('an inline result behind parts');
    // A copy: the payload is a view of a read buffer that may be large.
    const result = Uint8Array.from(outcome.payload);
    const resultTag = result[0] ?? 0;
    return { ...common, status: 'success', result, resultPath: null, resultTag, failure: null };
  }
  if (run.spool === null) throw new HarnessFrameError('a result in parts without parts');
  run.spool.finish();
  if (run.spool.failure !== null) {
    return failed({
      name: 'ResultNotStored',
      message: `the node could not store the result: ${run.spool.failure}`,
      traceback: '',
    });
  }
  return {
    ...common,
    status: 'success',
    result: new Uint8Array(),
    resultPath: run.spool.path,
    resultTag: outcome.tag,
    failure: null,
  };
}
