/**
 * The imagery cache's line to the coordinator: tells it what the cache holds and begins to read, whole
 * at each session's opening and by numbered changes after that, and asks it who else reads an asset.
 */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { AssetId, NodeId } from '../../protocol/wire/ids.ts';
import { holdingsChangesMax } from '../../protocol/wire/limits.ts';
import type { AgentMessage, ImageryMode, ImageryReads } from '../../protocol/wire/messages.ts';
import type { Peers } from '../mesh/peers.ts';
import type { OriginShares } from './origins/origin-shares.ts';
import type { PeerDirectory } from './peers/port.ts';

/** What a session needs; there from the agent's start on. */
export interface ImageryLinkEnds {
  peers: Pick<Peers, 'locate' | 'isMember'>;
  send(message: AgentMessage): void;
}

export interface ImageryLink extends PeerDirectory {
  /** What this node may ask of origins. */
  readonly origins: OriginShares;
  /** How large assets come to tasks. */
  mode: ImageryMode;
  /** What tasks have read; null while there is no cache. */
  reads: () => ImageryReads | null;
  /** Bytes on disk of one version of an asset, as one credential reads it; 0 when it is gone. */
  heldChanged(asset: AssetId, key: string, bytes: number): void;
  connect(ends: ImageryLinkEnds): void;
  /** A session stands. */
  sessionOpened(): void;
  /** The coordinator has missed something: all that is held is told. */
  tellAll(): void;
  sessionLost(): void;
}

export interface ImageryLinkSettings {
  /** Names this run of the agent. */
  epoch: number;
  /** Changes are gathered for so long, that a full cache in use costs the coordinator little. */
  gatherMs: number;
  /** A node counts as a reader for so long after it said so, though nothing is held yet. */
  readingMs: number;
}

export const defaultImageryLinkSettings: Omit<ImageryLinkSettings, 'epoch'> = {
  gatherMs: 1_000,
  // Twice the time after which a reader says it again.
  readingMs: 120_000,
};

export function createImageryLink(
  now: () => number,
  origins: OriginShares,
  settings: ImageryLinkSettings,
): ImageryLink {
  /** By asset, and in it by version and credential. */
  const held = new Map<AssetId, Map<string, number>>();
  const readUntilMs = new Map<AssetId, number>();
  /** What the coordinator was told last; what differs from it is a change. */
  const told = new Map<AssetId, number>();
  const changed = new Set<AssetId>();
  let ends: ImageryLinkEnds | undefined;
  let isOpen = false;
  let sequence = 0;
  let timer: NodeJS.Timeout | undefined;

  /** Undefined when the node has nothing to do with the asset. */
  const bytesOf = (asset: AssetId): number | undefined => {
    const versions = held.get(asset);
    if (versions === undefined) return readUntilMs.has(asset) ? 0 : undefined;
    let bytes = 0;
    for (const one of versions.values()) bytes += one;
    return bytes;
  };
  const forgetReads = (): void => {
    const nowMs = now();
    // They are in the order of their ends.
    for (const [asset, untilMs] of readUntilMs) {
      if (untilMs > nowMs) break;
      readUntilMs.delete(asset);
      changed.add(asset);
    }
  };
  const send = (change: {
    full: boolean;
    add: { asset: AssetId; bytes: number }[];
    drop: AssetId[];
  }): void => {
    sequence += 1;
    ends?.send({ kind: 'holdings', epoch: settings.epoch, sequence, ...change });
  };
  const tellAll = (): void => {
    isOpen = true;
    forgetReads();
    changed.clear();
    told.clear();
    const add = [...new Set([...held.keys(), ...readUntilMs.keys()])]
      .map((asset) => ({ asset, bytes: bytesOf(asset) ?? 0 }))
      .sort((one, other) => other.bytes - one.bytes)
      .slice(0, holdingsChangesMax);
    for (const { asset, bytes } of add) told.set(asset, bytes);
    send({ full: true, add, drop: [] });
  };
  const tellChanges = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (!isOpen) return;
    forgetReads();
    if (changed.size > holdingsChangesMax) {
      tellAll();
      return;
    }
    const add: { asset: AssetId; bytes: number }[] = [];
    const drop: AssetId[] = [];
    for (const asset of changed) {
      const bytes = bytesOf(asset);
      if (bytes === told.get(asset)) continue;
      if (bytes === undefined) {
        told.delete(asset);
        drop.push(asset);
      } else {
        told.set(asset, bytes);
        add.push({ asset, bytes });
      }
    }
    changed.clear();
    if (add.length + drop.length > 0) send({ full: false, add, drop });
  };
  const note = (asset: AssetId): void => {
    changed.add(asset);
    timer ??= setTimeout(tellChanges, settings.gatherMs).unref();
  };

  return {
    mode: 'whole',
    reads: () => null,
    origins,
    heldChanged(asset, key, bytes) {
      const versions = held.get(asset) ?? new Map<string, number>();
      if (bytes > 0) versions.set(key, bytes);
      else versions.delete(key);
      if (versions.size > 0) held.set(asset, versions);
      else held.delete(asset);
      note(asset);
    },
    connect(given) {
      ends = given;
      origins.connect(given.send);
    },
    tellAll,
    sessionOpened() {
      tellAll();
      origins.sessionOpened();
    },
    sessionLost() {
      isOpen = false;
      origins.sessionLost();
    },
    async enter(asset, signal) {
      readUntilMs.delete(asset);
      readUntilMs.set(asset, now() + settings.readingMs);
      if (ends === undefined || !isOpen) {
        throw new PerigeeError('unreachable', 'The coordinator is away.');
      }
      changed.add(asset);
      if (!told.has(asset)) tellChanges();
      const located = await ends.peers.locate({ assets: [asset] }, signal);
      return located
        .filter(({ addresses }) => addresses.length > 0)
        .map(({ node, addresses }) => ({ node, addresses }));
    },
    async isMember(peer) {
      return ends !== undefined && (await ends.peers.isMember(peer as NodeId));
    },
  };
}
