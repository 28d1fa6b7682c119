import { createHash } from 'node:crypto';
import type { AssetId } from '../wire/ids.ts';

/** What an asset is called between nodes and coordinator: short, and it tells nobody the URI. */
export function assetId(uri: string): AssetId {
  return createHash('sha256').update(uri).digest('hex').slice(0, 16) as AssetId;
}
