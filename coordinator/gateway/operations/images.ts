/** Images that a new group may choose: listed, shown, removed, and the logs of their builds. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { ImageDetailView, ImageView, Page } from '../../../protocol/wire/api.ts';
import type { ImageDigest, NamespaceName } from '../../../protocol/wire/ids.ts';
import type { CatalogueImage } from '../../images/image.ts';
import { readNamespace, readOwnNamespace, requireOperator, requireWriter } from '../caller.ts';
import type { KnownImage } from '../images/known-images.ts';
import { findImage, readKnownImages, unknownImage } from '../images/known-images.ts';
import type { Input } from '../input/fields.ts';
import { readBooleanOr, readIntegerOr, readText } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { servesNamespace } from '../views/nodes.ts';
import { formatTimeOrNull } from '../views/times.ts';

const idCharsMax = 512;

/** All images that nodes of the namespace have, machines to be made would have, or builds make. */
export async function listImages(context: Context, input: Input): Promise<Page<ImageView>> {
  const namespace = readNamespace(context.caller, input);
  const images = await readKnownImages(context, namespace);
  return { items: images.map(viewImage), next: null };
}

/**
 * One image in full.
 * @throws PerigeeError image_unknown, ambiguous_id
 */
export async function showImage(context: Context, input: Input): Promise<ImageDetailView> {
  const namespace = readNamespace(context.caller, input);
  const images = await readKnownImages(context, namespace);
  const image = getImage(images, readText(input, 'id', idCharsMax));
  const entry = context.deps.catalogue.find(image.digest);
  const nodes = [...context.deps.driver.state().nodes.values()].filter(
    (node) => servesNamespace(node, namespace) && node.profile?.digests.has(image.digest) === true,
  );
  const base = images.find(({ digest }) => digest === image.base);
  return {
    ...viewImage(image),
    baseName: base?.names[0] ?? null,
    ...sourceOf(entry),
    packages: { ...entry?.packages },
    failure: image.failure,
    nodeNames: nodes.map((node) => node.profile?.name ?? node.id).sort(),
    endedAt: formatTimeOrNull(entry?.endedAtMs ?? null),
  };
}

/**
 * Takes an image from a namespace; the last one that has it lets it go altogether.
 * @throws PerigeeError image_unknown, image_in_use, image_building, forbidden, invalid_request
 */
export async function removeImage(
  context: Context,
  input: Input,
): Promise<{ digest: ImageDigest }> {
  requireWriter(context.caller);
  const namespace = readOwnNamespace(context.caller, input);
  const { catalogue } = context.deps;
  const image = getImage(
    await readKnownImages(context, namespace),
    readText(input, 'id', idCharsMax),
  );
  const { digest } = image;
  const entry = catalogue.find(digest);
  if (entry === undefined) {
    throw new PerigeeError('invalid_request', `${image.names[0]} is one of set-up’s images.`, {
      fix: 'Run `scripts/perigee clean` on the machine to remove what set-up made there.',
    });
  }
  if (entry.names.some((name) => name.namespace === null)) requireOperator(context.caller);
  if (entry.state === 'building') {
    throw new PerigeeError('image_building', `The image "${image.names[0]}" is being built.`, {
      fix: 'Remove it when the build is over.',
    });
  }
  refuseUsed(context, { entry, namespace });
  const kept = entry.names.filter(
    (name) => name.namespace !== null && name.namespace !== namespace,
  );
  if (kept.length > 0) await catalogue.update(digest, { names: kept });
  else {
    // The entry first: files without an entry are swept at the next start, never the other way.
    await catalogue.update(digest, { names: [], state: 'removed', archive: null });
    await context.deps.images.remove(digest);
  }
  return { digest };
}

/** The log of a build that is about to be read. */
export interface BuildLogReading {
  offset: number;
  items(
    signal: AbortSignal,
  ): AsyncGenerator<{ offset: number; bytes: Uint8Array }, void, undefined>;
}

/**
 * Opens the log of an image's build; with `follow` it goes on until the build is over.
 * @throws PerigeeError image_unknown, invalid_request
 */
export async function openBuildLog(context: Context, input: Input): Promise<BuildLogReading> {
  const namespace = readOwnNamespace(context.caller, input);
  const range = { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 };
  const offset = readIntegerOr(input, 'offset', range);
  const follow = readBooleanOr(input, 'follow', false);
  const images = await readKnownImages(context, namespace);
  const { digest } = getImage(images, readText(input, 'id', idCharsMax));
  const { catalogue, buildLogs } = context.deps;
  const isOpen = (): boolean => follow && catalogue.find(digest)?.state === 'building';
  return { offset, items: (signal) => buildLogs.read(digest, { offset, isOpen, signal }) };
}

/** @throws PerigeeError image_in_use */
function refuseUsed(
  context: Context,
  used: { entry: CatalogueImage; namespace: NamespaceName },
): void {
  const { digest } = used.entry;
  const groups = [...context.deps.driver.state().groups.values()].filter(
    ({ spec, state }) =>
      spec.imageDigest === digest && spec.namespace === used.namespace && state !== 'terminated',
  );
  const above = context.deps.catalogue.list().filter((image) => image.base === digest);
  const users = [
    ...groups.map(({ spec }) => `group ${spec.group} (${spec.name})`),
    ...above.map((image) => `image ${image.names[0]?.name ?? image.digest}`),
  ];
  if (users.length === 0) return;
  const shown = users.slice(0, 3).join(', ');
  throw new PerigeeError(
    'image_in_use',
    `The image is used by ${shown}${users.length > 3 ? ` and ${users.length - 3} more` : ''}.`,
    { details: { digest } },
  );
}

/** @throws PerigeeError image_unknown, ambiguous_id */
function getImage(images: readonly KnownImage[], id: string): KnownImage {
  const named = findImage(images, id);
  if (named !== undefined) return named;
  const digits = id.replace(/^sha256:/, '');
  const fits = /^[0-9a-f]{4,64}$/.test(digits)
    ? images.filter(({ digest }) => digest.startsWith(`sha256:${digits}`))
    : [];
  const [first, second] = fits;
  if (first === undefined) throw unknownImage(images, id);
  if (second === undefined) return first;
  throw new PerigeeError('ambiguous_id', `"${id}" fits ${fits.length} images.`, {
    details: { fits: fits.map(({ digest }) => digest) },
  });
}

function viewImage(image: KnownImage): ImageView {
  const { digest, names, kind, state, python, arch, sizeBytes, base, nodes } = image;
  return {
    name: names[0] ?? digest,
    names,
    digest,
    kind,
    state,
    python,
    arch,
    sizeBytes,
    base,
    nodes,
    createdAt: formatTimeOrNull(image.createdAtMs),
  };
}

function sourceOf(
  entry: CatalogueImage | undefined,
): Pick<ImageDetailView, 'requirements' | 'reference'> {
  switch (entry?.source.kind) {
    case 'requirements':
      return { requirements: [...entry.source.requirements], reference: null };
    case 'oci':
      return { requirements: [], reference: entry.source.reference };
    default:
      return { requirements: [], reference: null };
  }
}
