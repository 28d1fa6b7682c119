/** A task in a worker's hands: what was written of it and what came back so far. */
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { Failure } from '../../protocol/wire/task.ts';
import type { HarnessFrame } from './frames.ts';
import { HarnessFrameError } from './frames.ts';
import type { LogKeeper } from './log-keeper.ts';
import type { TaskInput, TaskResult } from './port.ts';
import type { ResultSpool } from './result-spool.ts';

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
    return failed({ name: 'ResultNotStored', message: run.spool.failure, traceback: '' });
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
