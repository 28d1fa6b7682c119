/** Between the cache and the nodes around it: what it asks of them, and what they ask of it. */
import type { AssetId } from '../../../protocol/wire/ids.ts';
import type { BlockShape } from '../block-plan.ts';
import type { ByteRange } from '../port.ts';

/** An asset's version as peers know it. */
export interface PeerAsset {
  key: string;
  asset: AssetId;
  shape: BlockShape;
  scope: string;
}

export interface PeerBlock {
  bytes: Uint8Array;
  sum: string;
  source: 'peer' | 'origin';
}

/** Of one block that is wanted. */
export interface PeerFetch {
  signal: AbortSignal;
  /** False for a block that this node fetches as its owner: owners ask no owner, or they would wait in a ring. */
  mayAskOwner: boolean;
  /** A peer is waited for, and is no more. */
  onAsked(): void;
  onGivenUp(): void;
  fromOrigin(signal: AbortSignal): Promise<PeerBlock>;
  /** Bytes of the origin to hold a peer's against; undefined when they cannot be had. */
  check(range: ByteRange, signal: AbortSignal): Promise<Uint8Array | undefined>;
}

export interface BlockPeers {
  /** Wrong peers that were caught. */
  readonly dropped: number;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Makes this node known as a reader of the asset, and learns of the others. Never fails. */
  enter(asset: PeerAsset, signal: AbortSignal): Promise<void>;
  hasMembers(key: string): boolean;
  /** The block, from a peer or, when it was slow, from the origin; undefined: the origin's turn. */
  fetch(asset: PeerAsset, index: number, fetch: PeerFetch): Promise<PeerBlock | undefined>;
  /** The origin has spoken: peers that said otherwise lied. */
  settle(key: string, index: number, sum: string): void;
}

/** What peers may ask for. */
export interface BlockHolder {
  scopeOf(key: string): string | undefined;
  findSum(key: string, index: number): string | undefined;
  listHeld(key: string): { index: number; sum: string }[];
  /** Blocks on their way from the origin. */
  listComing(key: string): number[];
  isComing(key: string, index: number): boolean;
  /** Whether the node reads the asset itself, and so may fetch of it for others. */
  mayFetch(key: string, index: number): boolean;
  read(key: string, index: number): Promise<Uint8Array | undefined>;
  fetch(key: string, index: number, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** The bytes came from a liar. */
  discard(key: string, index: number): Promise<void>;
}

/** The coordinator, as far as it knows who reads what. */
export interface PeerDirectory {
  /**
   * Says that this node reads an asset, and asks who else does. The two travel in this order, so
   * that of two nodes the later one always learns of the earlier.
   */
  enter(
    asset: AssetId,
    signal: AbortSignal,
  ): Promise<readonly { node: string; addresses: readonly string[] }[]>;
  /** False as well when the coordinator cannot be asked. */
  isMember(peer: string): Promise<boolean>;
}
