/**
 * Registry images in the catalogue. A reference is resolved when it is asked for; the pull behind it
 * runs once per manifest, however many ask, and goes on from the start when the coordinator was
 * ended in the middle of it.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import type { BuildLogs } from '../build-log.ts';
import type { ImageCatalogue } from '../catalogue.ts';
import type { CatalogueImage } from '../image.ts';
import { pullImage, removeUnfinishedPulls } from './pull-image.ts';
import type { OciReference } from './reference.ts';
import { findOciReference, formatReference } from './reference.ts';
import type { RegistrySettings, ResolvedImage } from './registry.ts';
import { resolveImage } from './registry.ts';

export interface ImporterDeps {
  catalogue: ImageCatalogue;
  buildLogs: BuildLogs;
  clock: { nowMs(): number };
  log: { warn(fields: object, message: string): void };
}

export interface ImporterSettings extends RegistrySettings {
  /** `<home>/images`. */
  folder: string;
  arch: string;
  isRoot: boolean;
  /** Pulls at once; others wait their turn in state `building`. */
  pullsMax: number;
}

export interface ImageImporter {
  /** Cleans up behind an earlier run, and begins its pulls anew. */
  start(): Promise<void>;
  /**
   * What a reference stands for now, under that name in that namespace: `ready`, or `building` with
   * the pull under way.
   * @throws PerigeeError image_unknown, image_invalid, registry_denied, registry_unreachable, setup_missing, forbidden
   */
  importImage(reference: OciReference, namespace: NamespaceName): Promise<CatalogueImage>;
  /** Ends what is under way; idempotent. */
  stop(): Promise<void>;
}

/** Of a pull that has not begun: nobody has looked inside. */
const unknownPython = { implementation: '', version: '' };

export function createImageImporter(deps: ImporterDeps, settings: ImporterSettings): ImageImporter {
  const { catalogue, buildLogs, clock } = deps;
  const stopping = new AbortController();
  const { signal } = stopping;
  /** By digest, or by what is done for it. */
  const pulls = new Map<string, Promise<void>>();
  /** Entries that are being written, before their pull. */
  const beginnings = new Map<string, Promise<void>>();
  const waiting: (() => void)[] = [];
  let running = 0;

  const takeTurn = async (): Promise<void> => {
    if (running >= settings.pullsMax) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push(resolve);
      await promise;
    } else running += 1;
  };
  const passTurn = (): void => {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  };
  const pull = async (image: ResolvedImage): Promise<void> => {
    const { digest } = image;
    await takeTurn();
    // Each piece waits for the one before: the log on disk has no gaps.
    let written: Promise<unknown> = Promise.resolve();
    const write = (text: string): void => {
      written = written.then(() => buildLogs.append(digest, Buffer.from(text)));
      written.catch(() => undefined);
    };
    try {
      const pulled = await pullImage({ ...settings, image, settings, signal, onOutput: write });
      await written;
      const { implementation, version } = pulled.python;
      await catalogue.update(digest, {
        state: 'ready',
        python: { implementation, version },
        sizeBytes: pulled.sizeBytes,
        failure: null,
        endedAtMs: clock.nowMs(),
      });
    } catch (caught) {
      // Stopped: the entry stays as it is, and the next start begins anew.
      if (signal.aborted) return;
      const error = toError(caught);
      const { message, fix } =
        error instanceof PerigeeError ? error : new PerigeeError('internal', error.message);
      write(`\n${message}\n${fix}\n`);
      await written.catch(() => undefined);
      deps.log.warn({ digest, err: error }, 'an image could not be imported');
      const failure = { message, fix };
      await catalogue.update(digest, { state: 'buildFailed', failure, endedAtMs: clock.nowMs() });
    } finally {
      passTurn();
      buildLogs.end(digest);
    }
  };
  const beginPull = (image: ResolvedImage): void => {
    const under = pull(image)
      .catch((caught: unknown) => {
        const err = toError(caught);
        deps.log.warn({ digest: image.digest, err }, 'the end of an import could not be noted');
      })
      .finally(() => pulls.delete(image.digest));
    pulls.set(image.digest, under);
  };
  const isOnDisk = (image: ResolvedImage): Promise<boolean> =>
    stat(join(settings.folder, image.digest.slice(7, 39), 'image.json')).then(
      () => true,
      () => false,
    );
  const begin = async (
    image: ResolvedImage,
    names: CatalogueImage['names'],
  ): Promise<CatalogueImage> => {
    const entry: CatalogueImage = {
      digest: image.digest,
      source: {
        kind: 'oci',
        reference: formatReference(image.reference),
        manifest: image.manifest,
      },
      state: 'building',
      names,
      requestKey: image.digest,
      generation: 0,
      python: unknownPython,
      arch: image.arch,
      sizeBytes: 0,
      base: null,
      packages: {},
      archive: null,
      failure: null,
      createdAtMs: clock.nowMs(),
      endedAtMs: null,
    };
    // Noted before anything is awaited: two who ask at once share one pull.
    const beginning = Promise.withResolvers<void>();
    beginnings.set(image.digest, beginning.promise);
    try {
      await catalogue.put(entry);
      await buildLogs.begin(image.digest);
      beginPull(image);
    } finally {
      beginnings.delete(image.digest);
      beginning.resolve();
    }
    return entry;
  };

  return {
    async start() {
      await removeUnfinishedPulls(settings.folder);
      for (const entry of catalogue.list()) {
        if (entry.source.kind !== 'oci' || entry.state !== 'building') continue;
        const reference = findOciReference(entry.source.reference);
        if (reference === undefined) continue;
        const { manifest } = entry.source;
        // In the background: a registry that does not answer must not hold the mesh up.
        const again = resolveImage({ ...reference, digest: manifest }, settings, {
          arch: entry.arch,
          signal,
        })
          .then((image) => begin({ ...image, reference, digest: entry.digest }, entry.names))
          .then(() => undefined)
          .catch(async (caught: unknown) => {
            if (signal.aborted) return;
            const { message } = toError(caught);
            const failure = {
              message: `The import was interrupted. ${message}`,
              fix: 'Ask again.',
            };
            const endedAtMs = clock.nowMs();
            await catalogue.update(entry.digest, { state: 'buildFailed', failure, endedAtMs });
            buildLogs.end(entry.digest);
          });
        pulls.set(
          `again ${entry.digest}`,
          again.finally(() => pulls.delete(`again ${entry.digest}`)),
        );
      }
    },
    async importImage(reference, namespace) {
      const image = await resolveImage(reference, settings, { arch: settings.arch, signal });
      const name = { name: formatReference(reference), namespace };
      await beginnings.get(image.digest);
      const known = catalogue.find(image.digest);
      const isUnderWay = pulls.has(image.digest);
      if (isUnderWay || (known?.state === 'ready' && (await isOnDisk(image)))) {
        return await catalogue.addName(image.digest, name);
      }
      const others = (known?.names ?? []).filter(
        (other) => other.name !== name.name || other.namespace !== namespace,
      );
      return await begin(image, [...others, name]);
    },
    async stop() {
      stopping.abort();
      for (const next of waiting.splice(0)) next();
      await Promise.allSettled(pulls.values());
    },
  };
}
