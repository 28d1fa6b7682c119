/** Images that a function waits for: those of its requirements, and those that a registry has. */
import { readFile } from 'node:fs/promises';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { ImageDetailView } from '../../protocol/wire/api.ts';
import { pause } from './deadline.ts';
import type { MeshLink } from './mesh-link.ts';
import { isPassing } from './mesh-link.ts';

/** Who waits, and for how long. */
export interface BuildWait {
  link: MeshLink;
  signal: AbortSignal;
  /** Is given the log of a build as it comes. */
  onBuildLog: (text: string) => void;
}

const lookAgainMs = 300;

/** Shows a build's log where a person sees it and no program reads it. */
export function showBuildLog(text: string): void {
  process.stderr.write(text);
}

/**
 * Makes sure that an image with the requirements is there; answers its digest.
 * @throws PerigeeError build_failed in pip's own words; invalid_request, queue_full
 */
export async function buildImage(
  wait: BuildWait,
  wanted: { requirements: readonly string[] | string; base: string | null; python: string | null },
): Promise<string> {
  const { requirements, base, python } = wanted;
  const lines = typeof requirements === 'string' ? await readLines(requirements) : requirements;
  const input = { requirements: [...lines], base, python };
  const { signal } = wait;
  const image = await wait.link.call('images.build', input, { signal });
  await follow(wait, image);
  return image.digest;
}

/**
 * Waits until an image is ready that somebody makes.
 * @throws PerigeeError build_failed
 */
export async function awaitImage(wait: BuildWait, digest: string): Promise<void> {
  const { signal } = wait;
  await follow(wait, await wait.link.call('images.show', { id: digest }, { signal }));
}

async function follow(wait: BuildWait, first: ImageDetailView): Promise<void> {
  const { link, signal, onBuildLog } = wait;
  const { digest, name } = first;
  let image = first;
  if (image.state === 'building') {
    onBuildLog(`[perigee] ${image.kind === 'oci' ? 'bringing in' : 'building'} ${name}\n`);
    const decoder = new TextDecoder();
    let offset = 0;
    while (image.state === 'building') {
      try {
        const input = { id: digest, offset, follow: true };
        for await (const item of link.subscribe('images.log', input, { signal })) {
          offset = item.offset + item.bytes.length;
          onBuildLog(decoder.decode(item.bytes, { stream: true }));
        }
      } catch (caught) {
        signal.throwIfAborted();
        if (!isPassing(caught)) throw caught;
      }
      image = await link.call('images.show', { id: digest }, { signal });
      if (image.state === 'building') await pause(lookAgainMs, signal);
    }
  }
  if (image.state !== 'build_failed') return;
  const { message, fix } = image.failure ?? { message: `${name} could not be made.`, fix: '' };
  throw new PerigeeError('build_failed', message, { fix, details: { digest } });
}

async function readLines(file: string): Promise<string[]> {
  try {
    return (await readFile(file, 'utf8')).split(/\r?\n/);
  } catch (cause) {
    throw new PerigeeError('invalid_request', `The requirements file ${file} cannot be read.`, {
      cause,
      fix: "A list of requirements is written ['affine==2.3.0'].",
    });
  }
}
