/** What the rest of the agent asks of the imagery cache. */
import type { AssetId, NamespaceName } from '../../protocol/wire/ids.ts';

/** An asset on behalf of a namespace, whose credentials are used for it. */
export interface AssetRequest {
  uri: string;
  namespace: NamespaceName;
}

/** An asset as it was when somebody looked; reads of it never mix in bytes of another version. */
export interface AssetVersion {
  asset: AssetId;
  /** In its canonical spelling. */
  uri: string;
  /** The origin's ETag, else time of change and size, else the name of one look at it. */
  version: string;
  sizeBytes: number;
}

export interface ByteRange {
  offset: number;
  length: number;
}

/** In the details of `openWhole`'s error: nothing is wrong with the asset, the cache has no room for it. */
export const noRoom = 'noRoom';

/** One complete file on this machine's disk. */
export interface WholeAsset {
  version: AssetVersion;
  /** Never changes in place: a hard link to it stays what it is. */
  path: string;
  /** Unpins it; idempotent. */
  release(): void;
}

/** What was read from where, in bytes handed to readers; counted since the agent's start. */
export interface AssetStats {
  hits: number;
  misses: number;
  cacheBytes: number;
  peerBytes: number;
  originBytes: number;
}

export interface CacheStats extends AssetStats {
  /** On disk now. */
  heldBytes: number;
  heldAssets: number;
  /** Peers that were caught with wrong bytes. */
  peersDropped: number;
  /** By asset, where asked for; the assets read last. */
  assets: ReadonlyMap<AssetId, AssetStats>;
}

/** A node's bounded cache of imagery files. */
export interface ImageryCache {
  /**
   * Looks at the origin, or at what it said a moment ago.
   * @throws PerigeeError asset_not_found, asset_denied, asset_unreachable, asset_invalid
   */
  stat(request: AssetRequest, signal: AbortSignal): Promise<AssetVersion>;
  /**
   * Brings the whole asset to the disk and pins it there until `release`.
   * @throws PerigeeError as `stat`, and asset_changed
   */
  openWhole(request: AssetRequest, signal: AbortSignal): Promise<WholeAsset>;
  /**
   * Bytes of one version; a range that reaches beyond the end is cut there.
   * @throws PerigeeError as `stat`, and asset_changed when the source is no longer that version
   */
  read(
    version: AssetVersion,
    range: ByteRange,
    options: { namespace: NamespaceName; signal: AbortSignal },
  ): Promise<Uint8Array>;
  /** Brings ranges, or everything, to the disk; resolves when they are there. */
  prefetch(
    request: AssetRequest,
    ranges: readonly ByteRange[] | null,
    signal: AbortSignal,
  ): Promise<void>;
  stats(options?: { assets: boolean }): CacheStats;
  /** Looks through what an earlier run left. */
  start(): Promise<void>;
  /** Gives up what is under way; idempotent. */
  stop(): Promise<void>;
}
