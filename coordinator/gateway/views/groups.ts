/** Groups as the API shows them. */
import type { GroupView } from '../../../protocol/wire/api.ts';
import type { GroupSpec, PythonVersion } from '../../../protocol/wire/task.ts';
import type { Group } from '../../core/entities.ts';
import type { StoredGroup } from '../../store/port.ts';
import { formatTime, formatTimeOrNull } from './times.ts';

/** Of a group that may also be in the core, whose limits and counts are the present ones. */
export interface GroupSources {
  stored: StoredGroup;
  live: Group | undefined;
  /** Null when no machine has the image any more: then the function's own Python is shown. */
  imagePython: PythonVersion | null;
  /** False for an operator of another namespace: the environment may hold secrets. */
  withContents: boolean;
}

/** The view of a group. */
export function viewGroup({ stored, live, imagePython, withContents }: GroupSources): GroupView {
  const spec = live?.spec ?? stored.spec;
  return {
    ...viewSpec(spec, withContents),
    imagePython: imagePython ?? spec.python,
    state: live?.state ?? stored.state,
    createdAt: formatTime(stored.createdAtMs),
    terminatedAt: formatTimeOrNull(stored.terminatedAtMs),
    tasks: live === undefined ? storedTasks(stored) : liveTasks(live),
  };
}

function viewSpec(
  spec: GroupSpec,
  withContents: boolean,
): Omit<GroupView, 'imagePython' | 'state' | 'createdAt' | 'terminatedAt' | 'tasks'> {
  return {
    id: spec.group,
    namespace: spec.namespace,
    name: spec.name,
    image: spec.imageName,
    imageDigest: spec.imageDigest,
    function: {
      kind: spec.functionKind,
      blob: spec.functionBlob,
      entry: spec.functionEntry,
    },
    cloudpickle:
      spec.cloudpickleBlob === null
        ? null
        : { version: spec.cloudpickleVersion ?? '', blob: spec.cloudpickleBlob },
    python: spec.python,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    taskTimeoutSeconds: spec.taskTimeoutMs / 1000,
    retryCount: spec.retryCount,
    maximumConcurrency: spec.maximumConcurrency,
    queueTimeoutSeconds: spec.queueTimeoutMs === null ? null : spec.queueTimeoutMs / 1000,
    priority: spec.priority,
    isolation: spec.taskIsolation,
    isolationMin: spec.isolationMin,
    network: spec.network,
    environment: withContents ? { ...spec.environment } : {},
    resultFormat: spec.resultFormat,
    include:
      spec.include === undefined
        ? null
        : { blob: spec.include.blob, modules: [...spec.include.modules] },
  };
}

function liveTasks(group: Group): GroupView['tasks'] {
  return {
    queued: group.freshCount + group.waiting.size,
    running: group.running,
    succeeded: group.succeeded,
    failed: group.failed,
  };
}

function storedTasks(stored: StoredGroup): GroupView['tasks'] {
  const { submitted, succeeded, failed } = stored.counts;
  return { queued: Math.max(0, submitted - succeeded - failed), running: 0, succeeded, failed };
}
