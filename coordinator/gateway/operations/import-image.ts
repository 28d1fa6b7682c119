/** Images of registries, brought in when they are named. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { ImageDigest, NamespaceName } from '../../../protocol/wire/ids.ts';
import { findOciReference } from '../../images/oci/reference.ts';
import { readOwnNamespace, requireWriter } from '../caller.ts';
import { findImage, readKnownImages } from '../images/known-images.ts';
import type { Input } from '../input/fields.ts';
import { readText } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { getNamespace } from './namespaces.ts';

const referenceCharsMax = 500;

/**
 * Begins to pull an image, or finds that it is here; the answer does not wait for it.
 * @throws PerigeeError invalid_request, image_unknown, image_invalid, registry_denied,
 * registry_unreachable, setup_missing, disk_full, forbidden
 */
export async function importImage(
  context: Context,
  input: Input,
): Promise<{ digest: ImageDigest; name: string; state: 'building' | 'ready' }> {
  requireWriter(context.caller);
  const namespace = readOwnNamespace(context.caller, input);
  await getNamespace(context, namespace);
  const name = readText(input, 'reference', referenceCharsMax);
  const reference = findOciReference(name);
  if (reference === undefined) {
    throw new PerigeeError('invalid_request', `"${name}" is not a reference to a registry.`, {
      fix: 'Write it with its registry: docker.io/library/python:3.11-slim.',
    });
  }
  await context.deps.disk.assertRoom(0);
  const { digest, state } = await context.deps.importer.importImage(reference, namespace);
  return { digest, name, state: state === 'ready' ? 'ready' : 'building' };
}

/**
 * The digest for a new group's image when its name is a registry's: a tag means what it means now,
 * whatever it meant before. Null for every other name.
 * @throws PerigeeError as `importImage`
 */
export async function resolveGroupImage(
  context: Context,
  namespace: NamespaceName,
  name: string | null,
): Promise<ImageDigest | null> {
  const reference = name === null ? undefined : findOciReference(name);
  if (name === null || reference === undefined) return null;
  if (reference.digest !== null) {
    // By digest it cannot have moved: no need to ask the registry, which may be away.
    const known = findImage(await readKnownImages(context, namespace), name);
    if (known?.state === 'ready') return known.digest;
  }
  return (await context.deps.importer.importImage(reference, namespace)).digest;
}
