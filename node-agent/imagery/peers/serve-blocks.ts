/** Answers the peers' requests for blocks: bounded, only members, and only what they may read. */
import { createHash } from 'node:crypto';
import type { Stream } from '@libp2p/interface';
import {
  createStreamReader,
  writeBytes,
  writeMessage,
} from '../../../protocol/net/stream-bytes.ts';
import type { BlocksAnswer, BlocksRequest } from './messages.ts';
import { checkBlocksRequest, heldTold, isProof, makeProof } from './messages.ts';
import type { BlockHolder } from './port.ts';

export interface ServeDeps {
  self: string;
  holder: BlockHolder;
  isMember(peer: string): Promise<boolean>;
  peerKeyOf(scope: string): Uint8Array | null;
  onJoined(key: string, peer: string): void;
  signal: AbortSignal;
}

/** Pieces of a block on the stream. */
const chunkBytes = 64 * 1024;
const closeMsMax = 5_000;
/** A peer gives up sooner; this only ends what nobody waits for. */
const fetchMsMax = 120_000;

/** A server that lends at most `uploadsMax` blocks at once and refuses what comes on top. */
export function createBlockServer(deps: ServeDeps, uploadsMax: number) {
  let uploads = 0;
  const mayRead = (request: BlocksRequest, peer: string): boolean => {
    const scope = deps.holder.scopeOf(request.key);
    const peerKey = scope === undefined ? null : deps.peerKeyOf(scope);
    if (peerKey === null) return false;
    const parties = { asker: peer, holder: deps.self, key: request.key };
    return isProof(request.proof, makeProof(peerKey, parties));
  };
  const serveGet = async (
    stream: Stream,
    { key, index, fetch }: Extract<BlocksRequest, { kind: 'get' }>,
  ): Promise<void> => {
    const { holder } = deps;
    let sum = holder.findSum(key, index);
    let bytes = await holder.read(key, index);
    if (bytes === undefined) {
      const isFetched = holder.isComing(key, index) || (fetch && holder.mayFetch(key, index));
      if (!isFetched) return answer(stream, { kind: 'absent' });
      await answer(stream, { kind: 'fetching' });
      const signal = AbortSignal.any([deps.signal, AbortSignal.timeout(fetchMsMax)]);
      bytes = await holder.fetch(key, index, signal).catch(() => undefined);
      sum = holder.findSum(key, index);
    }
    if (bytes === undefined) return answer(stream, { kind: 'absent' });
    // An assembled whole has no sums of its blocks.
    sum ??= createHash('sha256').update(bytes).digest('hex');
    await answer(stream, { kind: 'block', sum, sizeBytes: bytes.length });
    await writeBytes(stream, chunksOf(bytes));
  };
  return async (stream: Stream, peer: string): Promise<void> => {
    const reader = createStreamReader(stream);
    const request = checkBlocksRequest(await reader.readMessage());
    if (!(await deps.isMember(peer)) || !mayRead(request, peer)) {
      await answer(stream, { kind: 'absent' });
    } else if (request.kind === 'join') {
      deps.onJoined(request.key, peer);
      const held = deps.holder.listHeld(request.key).slice(0, heldTold);
      const coming = deps.holder.listComing(request.key).slice(0, heldTold);
      await answer(stream, { kind: 'joined', held, coming });
    } else if (uploads >= uploadsMax) {
      await answer(stream, { kind: 'busy' });
    } else {
      uploads += 1;
      try {
        await serveGet(stream, request);
      } finally {
        uploads -= 1;
      }
    }
    await stream.close({ signal: AbortSignal.timeout(closeMsMax) });
  };
}

const answer = (stream: Stream, message: BlocksAnswer): Promise<void> =>
  writeMessage(stream, message);

function* chunksOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}
