/**
 * Takes batches of tasks. The hot way in: the block is looked through once, as bytes; nothing is
 * made per task.
 */
import { createHash } from 'node:crypto';
import { assert } from '../../../protocol/base/assert.ts';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { BatchView } from '../../../protocol/wire/api.ts';
import { readAssetList } from '../../../protocol/wire/asset-list.ts';
import { indexBlock } from '../../../protocol/wire/block.ts';
import type { BlobHash, GroupId, NamespaceName } from '../../../protocol/wire/ids.ts';
import { batchBytesMax, batchTasksMax, inlineBytesMax } from '../../../protocol/wire/limits.ts';
import { findBlobReference, payloadTags } from '../../../protocol/wire/payload.ts';
import type { TaskAssets } from '../../../protocol/wire/task.ts';
import { readOwnNamespace, requireWriter } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readBytes, readIntegerOr, readText, refused } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { isReadableBlob } from './blobs.ts';
import { getGroupId } from './find-group.ts';

const uuidPattern = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
/** Hashing a longer block on this thread would hold every other call for over a millisecond. */
const hashHereBytesMax = 512 * 1024;

/** A batch as it was sent. */
interface SentBatch {
  namespace: NamespaceName;
  group: GroupId;
  clientBatch: string;
  count: number;
  block: Uint8Array;
  assets: TaskAssets | null;
  /** Of the block, and of the list of assets behind it when there is one. */
  blockHash: string;
}

/**
 * Takes a batch; the answer means that it is on disk. The same id and bytes again give the same
 * answer, also while the first is still on its way (decision 8).
 * @throws PerigeeError invalid_request, too_large, conflict, group_terminated, queue_full, disk_full,
 * not_found, forbidden
 */
export async function submitBatch(context: Context, input: Input): Promise<BatchView> {
  requireWriter(context.caller);
  const namespace = readOwnNamespace(context.caller, input);
  const block = readBlock(input);
  const count = readCount(input);
  const clientBatch = readClientBatch(input);
  const group = await getGroupId(context, namespace, readText(input, 'group', 200));
  const list = readList(input);
  const assets = list === null ? null : readAssets(list, count);
  const blockHash = await hashBlock(list === null ? block : Buffer.concat([block, list]));
  const sent: SentBatch = { namespace, group, clientBatch, count, block, assets, blockHash };
  const inFlight = context.submissions.find(namespace, clientBatch);
  if (inFlight !== undefined) {
    refuseDifferent(sent, inFlight);
    return { ...(await inFlight.taken), created: false };
  }
  const taken = take(context, sent);
  context.submissions.add(namespace, clientBatch, { blockHash, group, count, taken });
  return taken;
}

async function take(context: Context, sent: SentBatch): Promise<BatchView> {
  const { namespace, group, clientBatch, count, block, assets, blockHash } = sent;
  const { store, driver, disk } = context.deps;
  const known = await store.findBatchByClient(namespace, clientBatch);
  if (known !== undefined) {
    refuseDifferent(sent, known);
    const { batch, submittedAfter } = known;
    return { batch, count, submittedAfter, namespace, created: false };
  }
  refuseTerminated(context, group);
  for (const hash of checkBlock(block, count)) {
    if (await isReadableBlob(context, namespace, hash)) continue;
    throw new PerigeeError('not_found', `A payload refers to blob ${hash}, which is not there.`, {
      fix: `Put it first: PUT /v1/blobs/${hash}.`,
      details: { blob: hash },
    });
  }
  await disk.assertRoom(block.length);
  const answer = await driver.request({
    kind: 'batchSubmitted',
    group,
    clientBatch,
    blockHash,
    count,
    block,
    assets,
  });
  assert(answer.kind === 'batchTaken', 'a submitted batch is taken or refused');
  const { batch, submittedAfter } = answer;
  return { batch, count, submittedAfter, namespace, created: true };
}

function refuseTerminated(context: Context, group: GroupId): void {
  const live = context.deps.driver.state().groups.get(group);
  if (live?.state === 'running') return;
  throw new PerigeeError(
    'group_terminated',
    `Group ${live?.spec.name ?? group} takes no more tasks: it was terminated.`,
  );
}

function refuseDifferent(
  sent: SentBatch,
  known: { blockHash: string; group: string; count: number },
): void {
  const isSame = sent.blockHash === known.blockHash && sent.group === known.group;
  if (isSame && sent.count === known.count) return;
  throw new PerigeeError(
    'conflict',
    `Batch ${sent.clientBatch} was submitted before, with other ${sent.group === known.group ? 'bytes' : 'tasks, to another group'}.`,
    { fix: 'Use a fresh UUID for each batch, and the same bytes when you send one again.' },
  );
}

/**
 * Looks through a block; answers the blobs that its payloads refer to.
 * @throws PerigeeError invalid_request, too_large
 */
export function checkBlock(block: Uint8Array, count: number): Set<BlobHash> {
  const offsets = indexOf(block, count);
  const blobs = new Set<BlobHash>();
  let start = 4;
  for (let index = 0; index < count; index += 1) {
    const end = offsets[index] ?? 0;
    const tag = block[start];
    if (end <= start || !isTag(tag)) throw noPayload(index, end <= start ? undefined : tag);
    if (end - start > inlineBytesMax + 1) {
      throw new PerigeeError(
        'too_large',
        `Payload ${index} has ${end - start - 1} bytes behind its tag; inline ones have at most ${inlineBytesMax}.`,
        { fix: 'Put longer payloads as blobs and refer to them.' },
      );
    }
    if (tag === payloadTags.blob) {
      const reference = readReference(block.subarray(start, end), index);
      blobs.add(reference);
    }
    start = end + 4;
  }
  return blobs;
}

function isTag(tag: number | undefined): boolean {
  return (
    tag === payloadTags.pickle ||
    tag === payloadTags.json ||
    tag === payloadTags.msgpack ||
    tag === payloadTags.blob
  );
}

function noPayload(index: number, tag: number | undefined): PerigeeError {
  const found = tag === undefined ? 'is empty' : `begins with byte ${tag}`;
  return new PerigeeError('invalid_request', `Payload ${index} ${found}.`, {
    fix: 'A payload begins with P, J, M or B; docs/api.md, "Blocks and payloads".',
  });
}

function indexOf(block: Uint8Array, count: number): Uint32Array {
  try {
    return indexBlock(block, count);
  } catch (cause) {
    throw new PerigeeError('invalid_request', `The block is not exactly ${count} payloads.`, {
      cause,
      fix: 'Each payload stands behind its length as u32 big-endian, and the count must fit.',
    });
  }
}

function readReference(payload: Uint8Array, index: number): BlobHash {
  try {
    const reference = findBlobReference(payload);
    assert(reference !== undefined, 'a payload with the tag of a blob is a reference');
    return reference.hash;
  } catch (cause) {
    throw new PerigeeError('invalid_request', `Payload ${index} is a malformed blob reference.`, {
      cause,
      fix: 'B, the inner tag, 32 bytes of SHA-256, and the size as u64 big-endian.',
    });
  }
}

function readBlock(input: Input): Uint8Array {
  const block = readBytes(input, 'block');
  if (block.length <= batchBytesMax) return block;
  throw new PerigeeError(
    'too_large',
    `The batch has ${block.length} bytes; the limit is ${batchBytesMax}.`,
    { fix: 'Cut it into several batches.' },
  );
}

function readList(input: Input): Uint8Array | null {
  return input['assets'] === undefined || input['assets'] === null
    ? null
    : readBytes(input, 'assets');
}

function readAssets(list: Uint8Array, count: number): TaskAssets {
  try {
    return readAssetList(list, count);
  } catch (cause) {
    const { message } = toError(cause);
    throw new PerigeeError('invalid_request', `The list of assets is malformed: ${message}.`, {
      cause,
      fix: 'For each task one byte with the number of its assets, then 8 bytes for each; docs/api.md.',
    });
  }
}

function readCount(input: Input): number {
  const given = input['count'];
  if (typeof given === 'number' && given > batchTasksMax) {
    throw new PerigeeError(
      'too_large',
      `The batch has ${given} tasks; the limit is ${batchTasksMax}.`,
      { fix: 'Cut it into several batches.' },
    );
  }
  const range = { min: 1, max: batchTasksMax, fallback: null };
  const count = readIntegerOr(input, 'count', range);
  if (count === null) throw refused('count', 'must say how many payloads the block has', given);
  return count;
}

function readClientBatch(input: Input): string {
  const text = readText(input, 'clientBatch', 36);
  if (!uuidPattern.test(text)) throw refused('clientBatch', 'must be a UUID', text);
  return text.toLowerCase().replaceAll('-', '');
}

async function hashBlock(block: Uint8Array): Promise<string> {
  if (block.length <= hashHereBytesMax) return createHash('sha256').update(block).digest('hex');
  const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(block));
  return Buffer.from(digest).toString('hex');
}
