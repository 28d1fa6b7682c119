/** What an imagery file is called on the wire: short, and the same on every node. */
import { createHash } from 'node:crypto';
import { PerigeeError } from '../base/errors.ts';
import type { AssetId } from '../wire/ids.ts';

/** A URI longer than this names no asset. */
export const assetUriCharsMax = 4_096;

const schemes = ['file:', 'http:', 'https:', 's3:', 'gs:'];

/**
 * One spelling for each asset: host in lower case, no default port, no fragment, no user.
 * @throws PerigeeError asset_invalid when the text is no URI of a kind that can be read.
 */
export function canonicalUri(uri: string): string {
  if (uri.length > assetUriCharsMax) throw invalid(uri.slice(0, 80), 'it is too long');
  const parsed = URL.parse(uri);
  if (parsed === null) throw invalid(uri, 'it is no URI');
  if (!schemes.includes(parsed.protocol)) {
    throw invalid(uri, `its scheme is none of ${schemes.join(' ')}`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalid(`${parsed.protocol}//${parsed.host}…`, 'it holds a password');
  }
  if (parsed.protocol === 'file:') {
    if (parsed.host !== '') throw invalid(uri, 'a file: URI names no host');
  } else if (parsed.host === '' || parsed.pathname.length < 2) {
    throw invalid(uri, 'it names no object');
  }
  parsed.hash = '';
  return parsed.href;
}

/** The id of an asset by its URI in any spelling. @throws PerigeeError asset_invalid */
export function assetId(uri: string): AssetId {
  return createHash('sha256').update(canonicalUri(uri)).digest('hex').slice(0, 16) as AssetId;
}

function invalid(uri: string, why: string): PerigeeError {
  return new PerigeeError('asset_invalid', `${uri} cannot be read: ${why}.`, {
    fix: 'Give an https:, http:, s3:, gs: or file: URI; credentials are the node’s, not the URI’s.',
  });
}
