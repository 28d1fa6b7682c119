/** A group for tests that need one and care little which. */
import type { BlobHash, GroupId, ImageDigest, NamespaceName } from '../../protocol/wire/ids.ts';
import type { GroupSpec } from '../../protocol/wire/task.ts';

/** Python source that speaks JSON, and no limits of note; say only what matters. */
export function sourceGroup(changes: Partial<GroupSpec> = {}): GroupSpec {
  return {
    group: '0123456789ab' as GroupId,
    namespace: 'default' as NamespaceName,
    name: 'f',
    imageName: 'i',
    imageDigest: `sha256:${'0'.repeat(64)}` as ImageDigest,
    functionKind: 'source',
    functionBlob: '1'.repeat(64) as BlobHash,
    functionEntry: 'f',
    cloudpickleBlob: null,
    cloudpickleVersion: null,
    python: { implementation: 'CPython', version: '3.11.2' },
    cpus: 1,
    memoryBytes: 1,
    taskTimeoutMs: 60_000,
    retryCount: 0,
    maximumConcurrency: null,
    queueTimeoutMs: null,
    priority: 0,
    taskIsolation: 'worker',
    isolationMin: 'none',
    network: false,
    environment: {},
    resultFormat: 'json',
    ...changes,
  };
}
