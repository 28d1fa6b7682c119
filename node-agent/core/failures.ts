/** What a user reads when an attempt failed for a reason that is not an exception of the function. */
import { exceptionMessageCharsMax } from '../../protocol/wire/limits.ts';
import type { AttemptOutcome, Failure, FailureCode, GroupSpec } from '../../protocol/wire/task.ts';
import type { WorkerEnd } from './events.ts';

const mib = 1024 * 1024;
const gib = 1024 * mib;

/** An outcome without a result. */
export function failedOutcome(
  status: FailureCode,
  failure: Failure,
  measured: { runtimeMs?: number; peakMemoryBytes?: number; logBytes?: number } = {},
): AttemptOutcome {
  return {
    status,
    result: new Uint8Array(0),
    failure,
    runtimeMs: measured.runtimeMs ?? 0,
    peakMemoryBytes: measured.peakMemoryBytes ?? 0,
    logBytes: measured.logBytes ?? 0,
  };
}

/** A failure that has no traceback. */
export function failureOf(name: string, message: string): Failure {
  return { name, message: message.slice(0, exceptionMessageCharsMax), traceback: '' };
}

export function cancelledFailure(): Failure {
  return failureOf('Cancelled', 'The task was cancelled.');
}

export function timeoutFailure(spec: GroupSpec): Failure {
  const seconds = spec.taskTimeoutMs / 1000;
  return failureOf(
    'Timeout',
    `The task ran longer than its task_timeout of ${seconds} s and was stopped. ` +
      `Give it more: create_function(…, task_timeout=${Math.ceil(seconds * 2)}), or do less in one task.`,
  );
}

/** The outcome of the task that was running when its worker ended by itself. */
export function deathOutcome(
  spec: GroupSpec,
  end: Exclude<WorkerEnd, { kind: 'unstartable' | 'unloadable' }>,
  ran: { runtimeMs: number; logBytes: number },
): AttemptOutcome {
  switch (end.kind) {
    case 'oom':
      return failedOutcome('oom', memoryFailure(spec, end.peakMemoryBytes), {
        ...ran,
        peakMemoryBytes: end.peakMemoryBytes,
      });
    case 'died':
      return failedOutcome('crash', deathFailure(spec, end), {
        ...ran,
        peakMemoryBytes: end.peakMemoryBytes,
      });
    case 'broke':
      return failedOutcome(
        'crash',
        failureOf(
          'WorkerBroken',
          `The worker stopped speaking its protocol and was ended: ${end.message}. ` +
            'The function may have written to file descriptors that are not its own.',
        ),
        ran,
      );
    case 'asked':
      return failedOutcome('crash', failureOf('WorkerStopped', 'The worker was stopped.'), ran);
  }
}

/** Why every task of a group fails when its worker dies before it can take one. */
export function loadDeath(
  spec: GroupSpec,
  end: Extract<WorkerEnd, { kind: 'oom' | 'died' | 'broke' }>,
): { status: 'oom' | 'crash'; failure: Failure } {
  const { status, failure } = deathOutcome(spec, end, { runtimeMs: 0, logBytes: 0 });
  const message = `While the function was being loaded: ${failure?.message ?? ''}`;
  return {
    status: status === 'oom' ? 'oom' : 'crash',
    failure: failureOf(failure?.name ?? 'WorkerDied', message),
  };
}

function memoryFailure(spec: GroupSpec, peakMemoryBytes: number): Failure {
  const used = peakMemoryBytes > 0 ? ` (it had used ${formatBytes(peakMemoryBytes)})` : '';
  return failureOf(
    'MemoryLimit',
    `The task needed more than its memory of ${formatBytes(spec.memoryBytes)} and was stopped${used}. ` +
      `Give it more: create_function(…, memory='${largerMemory(spec.memoryBytes)}').`,
  );
}

function deathFailure(spec: GroupSpec, end: Extract<WorkerEnd, { kind: 'died' }>): Failure {
  const how =
    end.signal === null
      ? `exited with code ${end.exitCode ?? 'unknown'}`
      : `was killed by ${end.signal}`;
  const memory =
    end.peakMemoryBytes > 0
      ? ` It had used ${formatBytes(end.peakMemoryBytes)} of ${formatBytes(spec.memoryBytes)} of memory.`
      : '';
  // A kill near the limit is most often the kernel's, seen too late to be told apart.
  const near = end.signal === 'SIGKILL' && end.peakMemoryBytes >= spec.memoryBytes * 0.9;
  const hint = near
    ? ` If that was the cause, give it more: create_function(…, memory='${largerMemory(spec.memoryBytes)}').`
    : '';
  return failureOf(
    'WorkerDied',
    `The Python process ${how} while it ran the task.${memory}${hint}`,
  );
}

/** The sandbox could not be started: the node's fault, said so. */
export function unstartableFailure(message: string): Failure {
  return failureOf(
    'SandboxFailed',
    `This node could not start a sandbox: ${message}. The function itself did not run.`,
  );
}

export function setbackFailure(count: number): Failure {
  return failureOf(
    'WorkerDied',
    `The Python process ended ${count} times before it could begin this task.`,
  );
}

export function argumentFailure(message: string): Failure {
  return failureOf('ArgumentUnavailable', `The task's arguments could not be fetched: ${message}`);
}

export function imageFailure(name: string, message: string): Failure {
  return failureOf(
    'ImageUnavailable',
    `This node could not get the image ${name}: ${message}. The function itself did not run.`,
  );
}

export function functionFailure(message: string): Failure {
  return failureOf('FunctionUnavailable', `The function could not be fetched: ${message}`);
}

export function resultFailure(message: string): Failure {
  return failureOf('ResultNotStored', `The task's result could not be stored: ${message}`);
}

export function outputFailure(name: string, message: string): Failure {
  return failureOf('OutputNotStored', `The task's output ${name} could not be stored: ${message}`);
}

/** Why this node could never run a task of a group; undefined when it could. */
export function findMisfit(
  spec: GroupSpec,
  node: { cpus: number; memoryBytes: number; allowNetwork: boolean },
): Failure | undefined {
  if (spec.memoryBytes > node.memoryBytes || spec.cpus > node.cpus) {
    return failureOf(
      'NodeTooSmall',
      `The group asks for ${spec.cpus} cpus and ${formatBytes(spec.memoryBytes)}; this node has ` +
        `${node.cpus} cpus and ${formatBytes(node.memoryBytes)}.`,
    );
  }
  if (spec.network && !node.allowNetwork) {
    return failureOf(
      'NetworkNotAllowed',
      'The group asks for network, which this node does not give. Start its agent with ' +
        '--allow-network, or create the function without network=True.',
    );
  }
  return undefined;
}

/** `1.5 GiB`, for people. */
export function formatBytes(bytes: number): string {
  if (bytes >= gib) return `${round(bytes / gib)} GiB`;
  if (bytes >= mib) return `${round(bytes / mib)} MiB`;
  return `${bytes} bytes`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** About twice a limit, as `memory=` takes it. */
function largerMemory(bytes: number): string {
  const doubled = bytes * 2;
  return doubled >= gib ? `${Math.ceil(doubled / gib)}Gi` : `${Math.ceil(doubled / mib)}Mi`;
}
