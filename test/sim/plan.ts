/** What the users of a simulated mesh want, and what their functions do; all from the seed. */
import {
  nextBelow,
  nextFloat,
  nextHex,
  type RandomState,
  seedRandom,
} from '../../protocol/base/random.ts';
import type { AssetId, BlobHash, GroupId, NamespaceName } from '../../protocol/wire/ids.ts';
import type { GroupSpec, TaskAssets, TaskOutput } from '../../protocol/wire/task.ts';
import { simImage } from './hello.ts';

/** What one run of a task does, fixed by seed, task and attempt. */
export interface TaskDeed {
  durationMs: number;
  end: 'success' | 'exception' | 'crash' | 'oom' | 'hang';
}

/** The result that a task must have: its own name, so that a mixed-up result shows. */
export function expectedResult(task: { batch: number; index: number }): Uint8Array {
  return Uint8Array.from([0x50, task.batch & 0xff, (task.batch >> 8) & 0xff, task.index]);
}

/** The files that an attempt gives out, if it succeeds: a third of all tasks none; each names its attempt. */
export function expectedOutputs(attempt: {
  batch: number;
  index: number;
  attempt: number;
}): TaskOutput[] {
  const count = (attempt.batch + attempt.index) % 3;
  return Array.from({ length: count }, (_, at) => {
    const digits = [attempt.batch, attempt.index, attempt.attempt, at]
      .map((number) => number.toString(16).padStart(8, '0'))
      .join('');
    return {
      name: `out-${at}`,
      hash: digits.padEnd(64, '0') as BlobHash,
      sizeBytes: 1,
      mediaType: 'text/plain',
      metadata: '{}',
    };
  });
}

/** A group with random limits. */
export function planGroup(random: RandomState, namespace: NamespaceName): GroupSpec {
  const pace = nextBelow(random, 3);
  return {
    group: nextHex(random, 12) as GroupId,
    namespace,
    name: `pace${pace}`,
    imageName: 'image',
    imageDigest: simImage,
    functionKind: 'pickle',
    functionBlob: '0'.repeat(64) as BlobHash,
    functionEntry: '',
    cloudpickleBlob: null,
    cloudpickleVersion: null,
    python: { implementation: 'CPython', version: '2.7.18' },
    cpus: 1,
    memoryBytes: 1024 * 1024 * 1024,
    taskTimeoutMs: 30_000,
    retryCount: nextBelow(random, 4),
    maximumConcurrency: nextFloat(random) < 0.2 ? 1 + nextBelow(random, 3) : null,
    queueTimeoutMs: nextFloat(random) < 0.1 ? 60_000 : null,
    priority: nextBelow(random, 2),
    taskIsolation: 'worker',
    isolationMin: 'standard',
    network: nextFloat(random) < 0.2,
    environment: {},
    resultFormat: 'pickle',
  };
}

/** Scenes of a simulated mesh. */
const scenes = 12;

/** Up to two scenes for each task. */
export function planAssets(random: RandomState, count: number): TaskAssets {
  const starts = new Uint32Array(count + 1);
  const named: number[] = [];
  for (let index = 0; index < count; index += 1) {
    for (let left = nextBelow(random, 3); left > 0; left -= 1)
      named.push(nextBelow(random, scenes));
    starts[index + 1] = named.length * 8;
  }
  const bytes = new Uint8Array(named.length * 8);
  for (const [at, scene] of named.entries()) bytes[at * 8 + 7] = scene;
  return { bytes, starts };
}

/** What a node's cache holds, or how that changed; some scenes, as `planAssets` names them. */
export function planHoldings(random: RandomState): {
  add: { asset: AssetId; bytes: number }[];
  drop: AssetId[];
} {
  const some = (): AssetId[] =>
    Array.from({ length: nextBelow(random, 4) }, () => {
      const scene = nextBelow(random, scenes);
      return scene.toString(16).padStart(16, '0') as AssetId;
    });
  const add = some().map((asset) => ({ asset, bytes: nextBelow(random, 500_000_000) }));
  return { add, drop: some() };
}

/** What an attempt does; short, middling or long by the group's pace. */
export function planDeed(
  seed: number,
  spec: GroupSpec,
  attempt: { batch: number; index: number; attempt: number },
): TaskDeed {
  const random = seedRandom(
    seed ^
      Math.imul(attempt.batch, 7919) ^
      Math.imul(attempt.index + 1, 104_729) ^
      Math.imul(attempt.attempt, 15_485_863),
  );
  const scale = { pace0: 5, pace1: 800, pace2: 20_000 }[spec.name] ?? 5;
  const durationMs = nextFloat(random) * scale;
  const chance = nextFloat(random);
  if (chance < 0.05) return { durationMs, end: 'exception' };
  if (chance < 0.08) return { durationMs, end: 'crash' };
  if (chance < 0.09) return { durationMs, end: 'oom' };
  if (chance < 0.1) return { durationMs, end: 'hang' };
  return { durationMs, end: 'success' };
}
