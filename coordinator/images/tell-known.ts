/**
 * Tells the core which images a node without them could fetch: those of set-up on this machine, and
 * those that the catalogue says are ready. At start, at every change of the catalogue, and when the
 * folder has others than before, which people may change by hand.
 */
import { toError } from '../../protocol/base/errors.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import type { NodeImage } from '../../protocol/wire/task.ts';
import type { KnownImage } from '../core/events.ts';
import type { Driver } from '../driver-port.ts';
import type { ImageCatalogue } from './catalogue.ts';

export interface TellKnownDeps {
  driver: Pick<Driver, 'dispatch'>;
  catalogue: Pick<ImageCatalogue, 'list' | 'find' | 'onChange'>;
  images: { list(): Promise<readonly NodeImage[]> };
  log: { warn(fields: object, message: string): void };
}

/** Between two looks into the folder: a listing is a few small files. */
const lookMs = 5_000;

/** Tells at once, and from now on until it is stopped; resolves when the core will hear of the first. */
export async function tellKnownImages(deps: TellKnownDeps): Promise<{ stop(): Promise<void> }> {
  const { driver, catalogue, images, log } = deps;
  let told = '';
  let isStopped = false;
  const tell = async (): Promise<void> => {
    try {
      const known = listFetchable(await images.list(), catalogue);
      const text = JSON.stringify(known);
      if (isStopped || text === told) return;
      told = text;
      driver.dispatch({ kind: 'imagesKnown', images: known });
    } catch (caught) {
      log.warn({ err: toError(caught) }, 'the images cannot be listed');
    }
  };
  // One look after another, so that an older list never follows a newer one.
  let last = tell();
  const tellNext = (): void => {
    last = last.then(tell);
  };
  const unsubscribe = catalogue.onChange(tellNext);
  await last;
  const timer = setInterval(tellNext, lookMs);
  timer.unref();
  return {
    async stop() {
      isStopped = true;
      unsubscribe();
      clearInterval(timer);
      await last;
    },
  };
}

/** In order of their digests, so that the same images are the same list. */
export function listFetchable(
  local: readonly NodeImage[],
  catalogue: Pick<ImageCatalogue, 'list' | 'find'>,
): KnownImage[] {
  const known = new Map<ImageDigest, KnownImage>();
  for (const { digest, names, sizeBytes, arch } of local) {
    // A layer that the catalogue does not know was removed, or belongs to another coordinator.
    if (names.length === 0 || arch === '' || catalogue.find(digest) !== undefined) continue;
    known.set(digest, { digest, sizeBytes, arch, base: null });
  }
  for (const { digest, state, sizeBytes, arch, base } of catalogue.list()) {
    if (state === 'ready') known.set(digest, { digest, sizeBytes, arch, base });
  }
  return [...known.values()].sort((left, right) => (left.digest < right.digest ? -1 : 1));
}
