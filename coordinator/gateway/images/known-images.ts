/** Which images a new group may choose, and what to say to who chose another. */
import { assertNever } from '../../../protocol/base/assert.ts';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { ImageKind, ImageState } from '../../../protocol/wire/api.ts';
import type { ImageDigest, NamespaceName } from '../../../protocol/wire/ids.ts';
import {
  basePython3,
  canonicalImageName,
  findGeospatialImage,
  geospatialPython2,
} from '../../../protocol/wire/image-names.ts';
import type { NodeImage, PythonVersion } from '../../../protocol/wire/task.ts';
import { pythonTag } from '../../../protocol/wire/task.ts';
import type { CoordinatorState } from '../../core/entities.ts';
import type { ImageCatalogue } from '../../images/catalogue.ts';
import { namesFor } from '../../images/catalogue.ts';
import type { CatalogueImage, ImageFailure } from '../../images/image.ts';
import { findNear } from '../input/near-names.ts';
import type { Services } from '../services.ts';
import { servesNamespace } from '../views/nodes.ts';

/** An image that some machine has, would have, or will have once it is built. */
export interface KnownImage extends NodeImage {
  /** Live nodes of the namespace that have it. */
  nodes: number;
  kind: ImageKind;
  state: ImageState;
  base: ImageDigest | null;
  /** Null for images of set-up, which nobody noted down. */
  createdAtMs: number | null;
  /** Why its build failed; null unless it did. */
  failure: ImageFailure | null;
}

/** As `listKnownImages`, of a gateway's own mesh. */
export async function readKnownImages(
  services: Services,
  namespace: NamespaceName,
): Promise<KnownImage[]> {
  const { images, catalogue, driver } = services.deps;
  const local = await images.list();
  return listKnownImages(driver.state(), { local, catalogue, namespace });
}

/**
 * Every image that a namespace could use, newest first: those of its catalogue, those of the
 * machines to be made (the newest build comes first there), then those of nodes, latest joined
 * first. What the catalogue gives to other namespaces is left out, wherever it lies.
 */
export function listKnownImages(
  state: CoordinatorState,
  sources: {
    local: readonly NodeImage[];
    catalogue: Pick<ImageCatalogue, 'list' | 'find'>;
    namespace: NamespaceName;
  },
): KnownImage[] {
  const { local, catalogue, namespace } = sources;
  const known = new Map<string, KnownImage>();
  for (const image of catalogue.list()) {
    const names = namesFor(image, namespace);
    if (names.length > 0) known.set(image.digest, knownOf(image, names));
  }
  const add = (image: NodeImage, nodes: number): void => {
    const found = known.get(image.digest);
    if (catalogue.find(image.digest) !== undefined) {
      if (found !== undefined) found.nodes += nodes;
      return;
    }
    // What has no name of its own is had through a catalogue alone, and not this one's.
    if (image.names.length === 0) return;
    if (found === undefined) {
      known.set(image.digest, {
        ...image,
        nodes,
        kind: 'builtin',
        state: 'ready',
        base: null,
        createdAtMs: null,
        failure: null,
      });
    } else {
      found.nodes += nodes;
      found.names = [...new Set([...found.names, ...image.names])];
    }
  };
  for (const image of local) add(image, 0);
  const nodes = [...state.nodes.values()]
    .filter((node) => servesNamespace(node, namespace))
    .sort((a, b) => b.joinedAtMs - a.joinedAtMs);
  for (const node of nodes) for (const image of node.profile?.images ?? []) add(image, 1);
  return [...known.values()];
}

function knownOf(image: CatalogueImage, names: string[]): KnownImage {
  const { digest, python, arch, sizeBytes, base, createdAtMs, failure } = image;
  return {
    digest,
    names,
    python,
    arch,
    sizeBytes,
    nodes: 0,
    kind: image.source.kind,
    state: image.state === 'ready' || image.state === 'building' ? image.state : 'build_failed',
    base,
    createdAtMs,
    failure,
  };
}

/**
 * The image for a new group. Without a name: the default one that runs the function's Python.
 * @throws PerigeeError image_unknown, image_building, build_failed, version_mismatch
 */
export function chooseImage(
  images: readonly KnownImage[],
  wanted: { image: string | null; python: PythonVersion | null },
): { image: KnownImage; name: string } {
  const name = wanted.image ?? defaultName(images, wanted.python);
  const image = findImage(images, name);
  if (image === undefined) throw unknownImage(images, name);
  requireReady(image, name);
  if (wanted.python !== null && pythonTag(wanted.python) !== pythonTag(image.python)) {
    throw mismatch(images, { image, name, python: wanted.python });
  }
  return { image, name };
}

/** The image of a name as a user wrote it; the newest when several answer to it. */
export function findImage(images: readonly KnownImage[], name: string): KnownImage | undefined {
  const canonical = canonicalImageName(name);
  return images.find(
    (image) =>
      image.names.includes(name) || image.names.includes(canonical) || image.digest === name,
  );
}

/** @throws PerigeeError image_building, build_failed */
export function requireReady(image: KnownImage, name: string): void {
  const details = { image: name, digest: image.digest };
  switch (image.state) {
    case 'ready':
      return;
    case 'building':
      throw new PerigeeError('image_building', `The image "${name}" is still being built.`, {
        details,
      });
    case 'build_failed': {
      const why = image.failure?.message ?? 'nobody noted why';
      throw new PerigeeError('build_failed', `The image "${name}" could not be built: ${why}`, {
        ...(image.failure === null ? {} : { fix: image.failure.fix }),
        details,
      });
    }
    default:
      assertNever(image.state);
  }
}

function defaultName(images: readonly KnownImage[], python: PythonVersion | null): string {
  if (python === null) return geospatialPython2;
  const own = findGeospatialImage(minorOf(python));
  const fits = [own ?? geospatialPython2, basePython3].find((name) => {
    const image = findImage(images, name);
    return image !== undefined && pythonTag(image.python) === pythonTag(python);
  });
  return fits ?? geospatialPython2;
}

export function unknownImage(images: readonly KnownImage[], name: string): PerigeeError {
  const served = [...new Set(images.flatMap((image) => image.names))].sort();
  const near = findNear(name, served);
  const hint = near.length === 0 ? '' : ` Did you mean ${near.join(' or ')}?`;
  if (served.length === 0) {
    return new PerigeeError('image_unknown', `No machine of this mesh has any image yet.`, {
      fix: 'Run `npm run setup` where the nodes are, or join a node that has images.',
      details: { image: name, served, near },
    });
  }
  const minor = /^perigee\/geospatial:py([0-9.]+)$/.exec(name)?.[1];
  const made = minor === undefined ? undefined : findGeospatialImage(minor);
  return new PerigeeError(
    'image_unknown',
    `No machine of this mesh has the image "${name}".${hint} Served: ${served.join(', ')}.`,
    {
      ...(made !== undefined && { fix: `${setUpFor(made)}, or use one of the images served.` }),
      details: { image: name, served, near },
    },
  );
}

function mismatch(
  images: readonly KnownImage[],
  wanted: { image: KnownImage; name: string; python: PythonVersion },
): PerigeeError {
  const client = pythonTag(wanted.python);
  const other = images.find((image) => pythonTag(image.python) === client)?.names[0];
  const launcher = launcherFor(wanted.image.python);
  const made = findGeospatialImage(minorOf(wanted.python));
  const minors = [...new Set(images.map((image) => pythonTag(image.python)))].sort();
  const setUp = made === undefined ? null : `${setUpFor(made)} and choose image="${made}"`;
  const choices = [
    other === undefined ? setUp : `choose image="${other}"`,
    launcher === null ? `run your script with ${pythonTag(wanted.image.python)}` : launcher,
  ].filter((choice) => choice !== null);
  return new PerigeeError(
    'version_mismatch',
    `Your function was pickled by ${client}; image ${wanted.name} runs ${pythonTag(wanted.image.python)}. A pickle works only where implementation and minor version are the same. This mesh serves ${minors.join(', ')}.`,
    {
      fix: `To mend it, ${choices.join(', or ')}.`,
      details: { client, image: pythonTag(wanted.image.python), served: minors },
    },
  );
}

function minorOf(python: PythonVersion): string {
  return python.implementation === 'CPython'
    ? python.version.split('.').slice(0, 2).join('.')
    : python.implementation;
}

function setUpFor(image: string): string {
  return `run \`npm run setup -- --image ${image}\` where the nodes are`;
}

function launcherFor(python: PythonVersion): string | null {
  switch (pythonTag(python)) {
    case 'CPython 2.7':
      return 'run your script with `scripts/perigee python`';
    case 'CPython 3.11':
      return 'run your script with `scripts/perigee python --py3`';
    case 'CPython 3.9':
    case 'CPython 3.13':
      return `run your script with \`scripts/perigee python --py${minorOf(python)}\``;
    default:
      return null;
  }
}
