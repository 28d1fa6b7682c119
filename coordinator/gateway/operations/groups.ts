/** Groups: made after everything that could be wrong with them has been looked at. */
import { randomBytes } from 'node:crypto';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { GroupView, Page } from '../../../protocol/wire/api.ts';
import type { BlobHash, GroupId, NamespaceName } from '../../../protocol/wire/ids.ts';
import { nameCharsMax } from '../../../protocol/wire/limits.ts';
import type { GroupSpec } from '../../../protocol/wire/task.ts';
import type { StoredGroup } from '../../store/port.ts';
import { readNamespace, readOwnNamespace, requireWriter } from '../caller.ts';
import type { KnownImage } from '../images/known-images.ts';
import { chooseImage, readKnownImages } from '../images/known-images.ts';
import type { Input } from '../input/fields.ts';
import { readBooleanOr, readText, readTextOr } from '../input/fields.ts';
import type { CheckedGroupRequest, CheckedInclude } from '../input/group-request.ts';
import { readGroupLimits, readGroupRequest } from '../input/group-request.ts';
import type { Context } from '../services.ts';
import { viewGroup } from '../views/groups.ts';
import { isReadableBlob } from './blobs.ts';
import { getGroupId, getStoredGroup } from './find-group.ts';
import { resolveGroupImage } from './import-image.ts';
import { getNamespace } from './namespaces.ts';
import { readPage } from './pages.ts';
import { checkSatisfiable } from './satisfiable.ts';

/**
 * Makes a group.
 * @throws PerigeeError invalid_request, image_unknown, image_building, build_failed,
 * version_mismatch, unsatisfiable, not_found, too_large, disk_full, forbidden
 */
export async function createGroup(context: Context, input: Input): Promise<GroupView> {
  requireWriter(context.caller);
  const namespace = readOwnNamespace(context.caller, input);
  const request = readGroupRequest(input);
  await getNamespace(context, namespace);
  const digest = await resolveGroupImage(context, namespace, request.image);
  const images = await readKnownImages(context, namespace);
  const { image } = chooseImage(images, { ...request, image: digest ?? request.image });
  const chosen = { image, name: request.image ?? image.names[0] ?? image.digest };
  checkSatisfiable(context, namespace, request);
  checkInclude(request.include, chosen);
  const functionBlob = await storeFunction(context, namespace, request);
  const spec = makeSpec({ namespace, request, functionBlob, ...chosen });
  await context.deps.driver.request({ kind: 'groupCreated', spec });
  return view(context, await getStoredGroup(context, namespace, spec.group));
}

/** Groups, newest first. */
export async function listGroups(context: Context, input: Input): Promise<Page<GroupView>> {
  const namespace = readNamespace(context.caller, input);
  const name = readTextOr(input, 'name', { charsMax: nameCharsMax, fallback: null });
  const page = await context.deps.store.listGroups(namespace, { ...readPage(input), name });
  const images = await readKnownImages(context, namespace);
  return { items: page.items.map((stored) => viewWith(context, stored, images)), next: page.next };
}

/** One group, by id or unique prefix. */
export async function getGroup(context: Context, input: Input): Promise<GroupView> {
  const namespace = readNamespace(context.caller, input);
  return view(context, await getStoredGroup(context, namespace, readText(input, 'id', 200)));
}

/** Changes limits for attempts that have not started (decision 10). */
export async function updateGroup(context: Context, input: Input): Promise<GroupView> {
  requireWriter(context.caller);
  const namespace = readNamespace(context.caller, input);
  const stored = await getStoredGroup(context, namespace, readText(input, 'id', 200));
  const { group } = stored.spec;
  const spec = context.deps.driver.state().groups.get(group)?.spec ?? stored.spec;
  const limits = readGroupLimits(input, spec);
  await context.deps.driver.request({ kind: 'groupUpdated', group, limits });
  return view(context, await getStoredGroup(context, namespace, group));
}

/** Ends a group: no new tasks, queued ones are cancelled, running ones too unless `drain`. */
export async function terminateGroup(context: Context, input: Input): Promise<GroupView> {
  requireWriter(context.caller);
  const namespace = readNamespace(context.caller, input);
  const group = await getGroupId(context, namespace, readText(input, 'id', 200));
  const drain = readBooleanOr(input, 'drain', false);
  await context.deps.driver.request({ kind: 'groupTerminated', group, drain });
  return view(context, await getStoredGroup(context, namespace, group));
}

/** Extension modules are of one processor, and the image of its own. */
function checkInclude(
  include: CheckedInclude | null,
  chosen: { image: KnownImage; name: string },
): void {
  if (include === null || include.arch === null || include.arch === chosen.image.arch) return;
  throw new PerigeeError(
    'version_mismatch',
    `The group carries extension modules for ${include.arch}; image ${chosen.name} is for ${chosen.image.arch}.`,
    { fix: `Build them on ${chosen.image.arch}, or leave them out of include_modules.` },
  );
}

/**
 * Removes a group that is over, with its tasks, results and logs.
 * @throws PerigeeError conflict while it is not over
 */
export async function removeGroup(context: Context, input: Input): Promise<{ id: GroupId }> {
  requireWriter(context.caller);
  const namespace = readNamespace(context.caller, input);
  const group = await getGroupId(context, namespace, readText(input, 'id', 200));
  await context.deps.retention.removeGroup(group);
  return { id: group };
}

async function storeFunction(
  context: Context,
  namespace: NamespaceName,
  request: CheckedGroupRequest,
): Promise<BlobHash> {
  const { blobs, disk, store, clock } = context.deps;
  const named = [
    request.functionBlob,
    request.cloudpickle?.blob ?? null,
    request.include?.blob ?? null,
  ];
  for (const hash of named) {
    if (hash === null || (await isReadableBlob(context, namespace, hash))) continue;
    throw new PerigeeError('not_found', `There is no blob ${hash} in ${namespace}.`, {
      fix: `Put it first: PUT /v1/blobs/${hash}.`,
      details: { blob: hash },
    });
  }
  if (request.functionBytes === null) return request.functionBlob ?? neverWithout();
  await disk.assertRoom(request.functionBytes.length);
  const hash = await blobs.writeBytes(request.functionBytes);
  await store.grantBlob(namespace, hash, clock.nowMs());
  return hash;
}

function neverWithout(): never {
  throw new PerigeeError('internal', 'A checked request has a function.');
}

function makeSpec(parts: {
  namespace: NamespaceName;
  request: CheckedGroupRequest;
  functionBlob: BlobHash;
  image: KnownImage;
  name: string;
}): GroupSpec {
  const { namespace, request, functionBlob, image } = parts;
  return {
    group: randomBytes(6).toString('hex') as GroupId,
    namespace,
    name: request.name,
    imageName: parts.name,
    imageDigest: image.digest,
    functionKind: request.functionKind,
    functionBlob,
    functionEntry: request.functionEntry,
    cloudpickleBlob: request.cloudpickle?.blob ?? null,
    cloudpickleVersion: request.cloudpickle?.version ?? null,
    python: request.functionKind === 'pickle' && request.python ? request.python : image.python,
    cpus: request.cpus,
    memoryBytes: request.memoryBytes,
    taskTimeoutMs: request.taskTimeoutMs,
    retryCount: request.retryCount,
    maximumConcurrency: request.maximumConcurrency,
    queueTimeoutMs: request.queueTimeoutMs,
    priority: request.priority,
    taskIsolation: request.taskIsolation,
    isolationMin: request.isolationMin,
    network: request.network,
    environment: request.environment,
    resultFormat: request.resultFormat,
    ...(request.include === null
      ? {}
      : { include: { blob: request.include.blob, modules: request.include.modules } }),
  };
}

async function view(context: Context, stored: StoredGroup): Promise<GroupView> {
  return viewWith(context, stored, await readKnownImages(context, stored.spec.namespace));
}

function viewWith(context: Context, stored: StoredGroup, images: readonly KnownImage[]): GroupView {
  const { spec } = stored;
  return viewGroup({
    stored,
    live: context.deps.driver.state().groups.get(spec.group),
    imagePython: images.find((image) => image.digest === spec.imageDigest)?.python ?? null,
    withContents: spec.namespace === context.caller.namespace,
  });
}
