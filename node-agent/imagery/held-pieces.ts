/** Which pieces are on disk, which of them may go, and making room: the cache's book. */
import { toError } from '../../protocol/base/errors.ts';
import type { AssetMeta, BlockStore, PieceName } from './block-store.ts';
import { createEviction } from './eviction.ts';
import { createPinnedHeaders } from './pinned-headers.ts';

export interface HeldAsset {
  key: string;
  meta: AssetMeta;
  pieces: Map<PieceName['index'], HeldPiece>;
}

export interface HeldPiece extends PieceName {
  bytes: number;
  /** Readers and grants that use it now; a used piece is not evicted. */
  uses: number;
  /** Its bytes were compared with its sum since the start. */
  verified: boolean;
}

export interface HeldPieces {
  readonly bytes: number;
  readonly assets: ReadonlyMap<string, HeldAsset>;
  /** Takes up what an earlier run left. */
  load(): Promise<void>;
  /** The asset's entry, made where there is none yet. */
  enter(key: string, meta: AssetMeta): HeldAsset;
  /** A piece for use until `leave`; undefined when it is not held, or its bytes went bad. */
  use(asset: HeldAsset, index: PieceName['index']): Promise<HeldPiece | undefined>;
  leave(piece: HeldPiece): void;
  /** Keeps a block; false when the disk has no room for it, which is no failure. */
  keep(asset: HeldAsset, piece: PieceName, bytes: Uint8Array): Promise<boolean>;
  /** Keeps an assembled whole, in use until `leave`; undefined when the disk has no room. */
  keepWhole(
    asset: HeldAsset,
    parts: () => AsyncIterable<Uint8Array>,
  ): Promise<HeldPiece | undefined>;
  drop(asset: HeldAsset, piece: HeldPiece): Promise<void>;
  dropAsset(asset: HeldAsset): Promise<void>;
}

export interface HeldSettings {
  bytesMax: number;
  diskFreeBytesMin: number;
}

/** First blocks hold the headers that every open reads: as many stay as fill no more than this. */
const headerShare = 1 / 8;
const outOfRoom: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EIO']);

export interface HeldDeps {
  store: BlockStore;
  warn(message: string): void;
  /** What is held of an asset has changed. */
  onChanged(asset: HeldAsset): void;
}

export function createHeldPieces(deps: HeldDeps, settings: HeldSettings): HeldPieces {
  const { store } = deps;
  const assets = new Map<string, HeldAsset>();
  const eviction = createEviction(settings.bytesMax);
  const headers = createPinnedHeaders(settings.bytesMax * headerShare);
  /** Bytes on their way to the disk: two writers must not count on the same room. */
  let comingBytes = 0;

  const findPiece = (id: string): { asset: HeldAsset; piece: HeldPiece } | undefined => {
    const at = id.indexOf('/');
    const asset = assets.get(id.slice(0, at));
    const index = id.slice(at + 1);
    const piece = asset?.pieces.get(index === 'whole' ? 'whole' : Number(index));
    return asset === undefined || piece === undefined ? undefined : { asset, piece };
  };
  const isPinned = (id: string): boolean => {
    const found = findPiece(id);
    if (found === undefined) return false;
    return found.piece.uses > 0 || headers.has(id);
  };
  const add = (asset: HeldAsset, piece: HeldPiece): void => {
    asset.pieces.set(piece.index, piece);
    if (isHeader(asset, piece)) headers.add(idOf(asset, piece), piece.bytes);
    eviction.add(idOf(asset, piece), piece.bytes);
    deps.onChanged(asset);
  };
  const forget = async (asset: HeldAsset, piece: HeldPiece): Promise<void> => {
    // One that took its place meanwhile goes by the same id, and stays counted.
    if (asset.pieces.get(piece.index) !== piece) return;
    asset.pieces.delete(piece.index);
    eviction.remove(idOf(asset, piece));
    headers.remove(idOf(asset, piece));
    await store.remove(asset.key, piece);
    if (asset.pieces.size === 0 && assets.get(asset.key) === asset) {
      assets.delete(asset.key);
      await store.removeAsset(asset.key);
    }
    deps.onChanged(asset);
  };
  const evictOne = async (): Promise<boolean> => {
    const id = eviction.takeVictim(isPinned);
    if (id === undefined) return false;
    const found = findPiece(id);
    if (found !== undefined) await forget(found.asset, found.piece);
    return true;
  };
  /** Evicts until the bytes fit, and counts on them; the caller gives them back. */
  const reserve = async (bytes: number): Promise<boolean> => {
    if (bytes > settings.bytesMax) return false;
    while (eviction.bytes + comingBytes + bytes > settings.bytesMax) {
      if (!(await evictOne())) return false;
    }
    while ((await store.freeBytes()) - comingBytes - bytes < settings.diskFreeBytesMin) {
      if (!(await evictOne())) return false;
    }
    comingBytes += bytes;
    return true;
  };
  let turns: Promise<unknown> = Promise.resolve();
  /** One at a time: between looking and counting another would see the same room. */
  const makeRoom = (bytes: number): Promise<boolean> => {
    const turn = turns.then(() => reserve(bytes));
    turns = turn.catch(() => undefined);
    return turn;
  };
  /** Makes room and writes; a disk that is full after all gets one more chance. */
  const tryKeep = async <Value>(
    bytes: number,
    write: () => Promise<Value>,
  ): Promise<Value | undefined> => {
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      const reserved = bytes * attempt;
      if (!(await makeRoom(reserved))) return undefined;
      try {
        return await write();
      } catch (caught) {
        const error = toError(caught);
        const code = 'code' in error ? String(error.code) : '';
        if (!outOfRoom.has(code)) throw error;
        if (attempt === 2) deps.warn(`The imagery cache cannot be written: ${error.message}`);
      } finally {
        comingBytes -= reserved;
      }
    }
    return undefined;
  };
  const findAgain = (asset: HeldAsset): HeldAsset => {
    const now = assets.get(asset.key);
    if (now !== undefined) return now;
    assets.set(asset.key, asset);
    return asset;
  };

  return {
    assets,
    get bytes() {
      return eviction.bytes;
    },
    async load() {
      for (const { key, meta, pieces } of await store.scan()) {
        const asset: HeldAsset = { key, meta, pieces: new Map() };
        assets.set(key, asset);
        for (const piece of pieces) add(asset, { ...piece, uses: 0, verified: false });
      }
      // The bound may be lower than that of the last run.
      await makeRoom(0);
    },
    enter(key, meta) {
      return assets.get(key) ?? { key, meta, pieces: new Map() };
    },
    async use(given, index) {
      const asset = assets.get(given.key);
      const piece = asset?.pieces.get(index);
      if (asset === undefined || piece === undefined) return undefined;
      piece.uses += 1;
      eviction.touch(idOf(asset, piece));
      headers.touch(idOf(asset, piece));
      if (piece.verified) return piece;
      const good = await store.verify(asset.key, piece).catch(() => false);
      if (good) {
        piece.verified = true;
        return piece;
      }
      piece.uses -= 1;
      deps.warn(`A piece of ${asset.meta.uri} went bad on disk and is fetched again.`);
      await forget(asset, piece);
      return undefined;
    },
    leave(piece) {
      piece.uses -= 1;
    },
    async keep(given, name, bytes) {
      const kept = await tryKeep(bytes.length, async () => {
        await store.write(given.key, given.meta, name, bytes);
        add(findAgain(given), { ...name, bytes: bytes.length, uses: 0, verified: true });
        return true;
      });
      return kept === true;
    },
    async keepWhole(given, parts) {
      const bytes = given.meta.sizeBytes;
      const kept = await tryKeep(bytes, async () => {
        const name = await store.assemble(given.key, given.meta, parts());
        const made: HeldPiece = { ...name, bytes, uses: 1, verified: true };
        const asset = findAgain(given);
        add(asset, made);
        return { asset, piece: made };
      });
      if (kept === undefined) return undefined;
      const { asset, piece } = kept;
      // The whole holds them all: twice on disk, they would push out what others use.
      for (const block of [...asset.pieces.values()]) {
        if (block.index === 'whole' || block.uses > 0) continue;
        await forget(asset, block);
      }
      return piece;
    },
    drop: forget,
    async dropAsset(given) {
      const asset = assets.get(given.key);
      if (asset === undefined) return;
      for (const piece of [...asset.pieces.values()]) await forget(asset, piece);
    },
  };
}

function idOf(asset: HeldAsset, piece: PieceName): string {
  return `${asset.key}/${piece.index}`;
}

function isHeader(asset: HeldAsset, piece: PieceName): boolean {
  return piece.index === 0 && asset.meta.blockBytes < asset.meta.sizeBytes;
}
