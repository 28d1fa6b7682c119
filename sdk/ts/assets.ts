/** The imagery that calls read, told with them so that a task runs beside a cache that has it. */
import { createHash } from 'node:crypto';
import { PerigeeError } from '../../protocol/base/errors.ts';
import { canonicalUri } from '../../protocol/net/asset-id.ts';
import { taskAssetsMax } from '../../protocol/wire/asset-list.ts';
import type { Value } from './value.ts';

/** How deep arrays and objects in arguments are looked through, as in the Python SDK. */
const depthMax = 4;
/** Elements of one array or object in arguments that are looked at. */
const elementsMax = 100;
const uriCharsMax = 4_096;
const webSuffixes = ['.tif', '.tiff', '.jp2', '.vrt', '.nc'];
const idBytes = 8;

/**
 * The assets of one call as they are sent: their number, then 8 bytes for each. Doubles count once,
 * and what no cache keeps (`data:`) not at all.
 * @throws PerigeeError invalid_request when one of them is not text.
 */
export function packAssets(uris: Iterable<unknown>): Uint8Array {
  const ids = new Map<string, Uint8Array>();
  for (const uri of uris) {
    if (typeof uri !== 'string') {
      throw new PerigeeError('invalid_request', `assets are URIs, not ${String(uri)}.`, {
        fix: 'Answer an array of texts for each call.',
      });
    }
    const canonical = findCanonical(uri);
    if (canonical === undefined || ids.has(canonical)) continue;
    if (ids.size === taskAssetsMax) break;
    const digest = createHash('sha256').update(canonical).digest();
    ids.set(canonical, digest.subarray(0, idBytes));
  }
  return Buffer.concat([Uint8Array.of(ids.size), ...ids.values()]);
}

/** Asset URIs among arguments: `s3://`, `gs://` and `file:`, and web addresses of rasters. */
export function findAssets(
  args: readonly Value[],
  kwargs: Readonly<Record<string, Value | undefined>>,
): string[] {
  const found: string[] = [];
  const search = (value: unknown, depth: number): void => {
    if (typeof value === 'string') {
      if (isAsset(value)) found.push(value);
      return;
    }
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return;
    if (depth > depthMax || found.length >= taskAssetsMax) return;
    const elements = Array.isArray(value) ? value : Object.values(value);
    for (const element of elements.slice(0, elementsMax)) search(element, depth + 1);
  };
  search(args, 0);
  search(kwargs, 0);
  return found;
}

function isAsset(text: string): boolean {
  if (text.length <= 5 || text.length >= uriCharsMax) return false;
  if (/^(?:s3:\/\/|gs:\/\/|file:)/.test(text)) return true;
  if (!/^https?:\/\//.test(text)) return false;
  const path = text.replace(/[?#].*$/s, '').toLowerCase();
  return webSuffixes.some((suffix) => path.endsWith(suffix));
}

function findCanonical(uri: string): string | undefined {
  try {
    return canonicalUri(uri);
  } catch {
    // No asset that a cache keeps; the task itself hears what is wrong with it.
    return undefined;
  }
}
