/** Builds of images from a user's requirements. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { ImageDetailView } from '../../../protocol/wire/api.ts';
import { pythonTag } from '../../../protocol/wire/task.ts';
import { normalizeRequirements } from '../../images/requirements.ts';
import { readOwnNamespace, requireWriter } from '../caller.ts';
import type { KnownImage } from '../images/known-images.ts';
import { chooseImage, readKnownImages } from '../images/known-images.ts';
import type { Input } from '../input/fields.ts';
import { readTextOr, readTextsOrNull, refused, refuseUnknownFields } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { showImage } from './images.ts';
import { getNamespace } from './namespaces.ts';

const linesMax = 5_000;

/**
 * Makes sure that an image with these requirements is there or is being built; the same set on the
 * same base is the same image.
 * @throws PerigeeError invalid_request, image_unknown, version_mismatch, queue_full, forbidden
 */
export async function buildImage(
  context: Context,
  input: Input,
): Promise<ImageDetailView & { created: boolean }> {
  requireWriter(context.caller);
  const namespace = readOwnNamespace(context.caller, input);
  refuseUnknownFields(
    input,
    ['name', 'base', 'python', 'requirements', 'namespace'],
    'A build of an image',
  );
  await getNamespace(context, namespace);
  const lines = readTextsOrNull(input, 'requirements', linesMax);
  if (lines === null) throw refused('requirements', 'must be a list of texts', undefined);
  const requirements = normalizeRequirements(lines);
  const images = await readKnownImages(context, namespace);
  const base = chooseBase(images, input);
  const name = readName(input, images);
  const { builds } = context.deps;
  const { image, created } = await builds.request({ namespace, name, base, requirements });
  const view = await showImage(context, { id: image.digest, namespace });
  return { ...view, created };
}

function chooseBase(
  images: readonly KnownImage[],
  input: Input,
): { digest: KnownImage['digest']; name: string } & Pick<KnownImage, 'python' | 'arch'> {
  const given = readTextOr(input, 'python', { charsMax: 40, fallback: null });
  if (given !== null && !/^[0-9]+\.[0-9]+(\.[0-9]+)?$/.test(given)) {
    throw refused('python', 'must be a version, for example "2.7"', given);
  }
  const python = given === null ? null : { implementation: 'CPython', version: given };
  const wanted = readTextOr(input, 'base', { charsMax: 512, fallback: null });
  // Without a name, the first image of set-up that runs the asked for Python.
  const fitting = images.find(
    (image) =>
      python !== null && image.kind === 'builtin' && pythonTag(image.python) === pythonTag(python),
  );
  const fallback = wanted ?? fitting?.names[0] ?? null;
  const { image, name } = chooseImage(images, { image: fallback, python });
  if (image.base !== null) {
    throw new PerigeeError('invalid_request', `"${name}" has requirements of its own.`, {
      fix: 'Name its base, and write all requirements together.',
    });
  }
  return {
    digest: image.digest,
    name: image.names[0] ?? name,
    python: image.python,
    arch: image.arch,
  };
}

function readName(input: Input, images: readonly KnownImage[]): string | null {
  const name = readTextOr(input, 'name', { charsMax: 200, fallback: null });
  if (name === null) return null;
  const isNew = !images.some((image) => image.kind === 'builtin' && image.names.includes(name));
  const isPlain = /^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?(:[A-Za-z0-9._-]+)?$/.test(name);
  if (isNew && isPlain && !/^(perigee\/|sha256:|[0-9a-f]{12,}$)/.test(name)) return name;
  throw refused(
    'name',
    'must be of a-z, 0-9 and inner . _ / -, perhaps with :tag, and not one of set-up’s names',
    name,
  );
}
