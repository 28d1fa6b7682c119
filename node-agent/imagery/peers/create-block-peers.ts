/**
 * Reads with the others: every node that reads an asset knows the others that do, and each block is
 * fetched from the origin by one of them, its owner. A late-comer tells everybody and hears what
 * they hold before it fetches anything, so that of two nodes at least one knows of the other.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { MeshHost } from '../../../protocol/net/create-mesh-host.ts';
import { createStreamReader, writeMessage } from '../../../protocol/net/stream-bytes.ts';
import { rangeOfBlock } from '../block-plan.ts';
import { createLatencies, ownerOf, pickCheck } from './decisions.ts';
import type { BlocksRequest } from './messages.ts';
import { blocksProtocol, checkBlocksAnswer, makeProof } from './messages.ts';
import type {
  BlockHolder,
  BlockPeers,
  PeerAsset,
  PeerBlock,
  PeerDirectory,
  PeerFetch,
} from './port.ts';
import { createBlockServer } from './serve-blocks.ts';

export interface PeersDeps {
  host: MeshHost;
  directory: PeerDirectory;
  peerKeyOf(scope: string): Uint8Array | null;
  now(): number;
  random(): number;
  warn(message: string): void;
}

export interface PeersSettings {
  uploadsMax: number;
  /** One block in so many is held against the origin. */
  checkOneIn: number;
  hedgeMsMin: number;
}

/** What is known of the readers of one asset. */
interface Circle {
  entered: Promise<void> | undefined;
  enteredAtMs: number;
  /** Where each is dialled; a peer that came to us is connected already. */
  members: Map<string, string>;
  holders: Map<string, Set<number>>;
  /** Sums that peers told, with who told them first. */
  sums: Map<number, { sum: string; peer: string }>;
}

const circlesMax = 10_000;
/** After so long the coordinator is asked again who reads an asset. */
const enteredMsMax = 60_000;
const joinMsMax = 3_000;
const membersMax = 64;
const busyTriesMax = 40;
const busyPauseMs = 50;
/** Blocks remembered with the peer they came from, to be discarded when it is caught. */
const originsMax = 100_000;

type Asked = { kind: 'block'; block: PeerBlock } | { kind: 'absent' } | { kind: 'busy' };

export function createBlockPeers(
  deps: PeersDeps,
  holder: BlockHolder,
  settings: PeersSettings,
): BlockPeers {
  const { host } = deps;
  const self = host.peerId;
  const circles = new Map<string, Circle>();
  const banned = new Set<string>();
  const cameFrom = new Map<string, string>();
  const stopping = new AbortController();
  const firstAnswers = createLatencies({
    msMin: settings.hedgeMsMin,
    msUnknown: Math.max(1_000, settings.hedgeMsMin),
  });
  const wholeBlocks = createLatencies({
    msMin: Math.max(1_000, settings.hedgeMsMin),
    msUnknown: Math.max(10_000, settings.hedgeMsMin),
  });

  const circleOf = (key: string): Circle => {
    let circle = circles.get(key);
    if (circle === undefined) {
      circle = {
        entered: undefined,
        enteredAtMs: 0,
        members: new Map(),
        holders: new Map(),
        sums: new Map(),
      };
      circles.set(key, circle);
      for (const oldest of circles.keys()) {
        if (circles.size <= circlesMax) break;
        circles.delete(oldest);
      }
    }
    return circle;
  };
  const drop = (peer: string, why: string): void => {
    if (banned.has(peer)) return;
    banned.add(peer);
    deps.warn(`The peer ${peer} is dropped: ${why}.`);
    for (const circle of circles.values()) {
      circle.members.delete(peer);
      circle.holders.delete(peer);
    }
    for (const [name, from] of cameFrom) {
      if (from !== peer) continue;
      cameFrom.delete(name);
      const [key = '', index = ''] = name.split('/');
      holder.discard(key, Number(index)).catch((caught: unknown) => {
        deps.warn(`A block could not be discarded: ${toError(caught).message}`);
      });
    }
  };
  const tellSum = (key: string, index: number, told: { sum: string; peer: string }): boolean => {
    const { sums } = circleOf(key);
    const known = sums.get(index);
    if (known === undefined) sums.set(index, told);
    return known === undefined || known.sum === told.sum;
  };

  const ask = async (
    asset: PeerAsset,
    peer: string,
    request: { kind: 'join' } | { kind: 'get'; index: number; fetch: boolean },
    signal: AbortSignal,
  ) => {
    const peerKey = deps.peerKeyOf(asset.scope);
    if (peerKey === null) return undefined;
    const target = circleOf(asset.key).members.get(peer) ?? peer;
    const stream = await host.open(target, blocksProtocol, { signal });
    const giveUp = (): void => stream.abort(toError(signal.reason));
    signal.addEventListener('abort', giveUp, { once: true });
    const reader = createStreamReader(stream);
    const proof = makeProof(peerKey, { asker: self, holder: peer, key: asset.key });
    await writeMessage(stream, { ...request, key: asset.key, proof } satisfies BlocksRequest);
    const end = async (): Promise<void> => {
      signal.removeEventListener('abort', giveUp);
      await stream.close({ signal: AbortSignal.timeout(5_000) }).catch((caught: unknown) => {
        stream.abort(toError(caught));
      });
    };
    return { reader, end };
  };

  const join = async (asset: PeerAsset, peer: string): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(joinMsMax)]);
    const circle = circleOf(asset.key);
    const line = await ask(asset, peer, { kind: 'join' }, signal);
    if (line === undefined) return;
    const answer = checkBlocksAnswer(await line.reader.readMessage());
    await line.end();
    // It may be no reader of just this version; then it is no member of this circle.
    if (answer.kind !== 'joined') {
      circle.members.delete(peer);
      return;
    }
    circle.holders.set(peer, new Set([...answer.held.map(({ index }) => index), ...answer.coming]));
    for (const { index, sum } of answer.held) tellSum(asset.key, index, { sum, peer });
  };
  const enter = async (asset: PeerAsset, circle: Circle): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(joinMsMax)]);
    const found = await deps.directory.enter(asset.asset, signal);
    const others = found.filter(({ node }) => node !== self && !banned.has(node));
    for (const { node, addresses } of others.slice(0, membersMax)) {
      circle.members.set(node, addresses[0] ?? node);
    }
    await Promise.all(
      [...circle.members.keys()].map((peer) =>
        join(asset, peer).catch(() => {
          // It cannot be reached: it must not own blocks.
          circle.members.delete(peer);
        }),
      ),
    );
  };

  /** One request for a block, up to its last byte. */
  const askBlock = async (
    asset: PeerAsset,
    index: number,
    asking: {
      peer: string;
      fetch: boolean;
      signal: AbortSignal;
      /** The peer has the block, or is getting it. */
      onComing(): void;
    },
  ): Promise<Asked> => {
    const { peer, fetch, signal } = asking;
    const began = deps.now();
    const line = await ask(asset, peer, { kind: 'get', index, fetch }, signal);
    if (line === undefined) return { kind: 'absent' };
    let answer = checkBlocksAnswer(await line.reader.readMessage());
    firstAnswers.add(deps.now() - began);
    // A refusal brings the block no nearer: the origin's turn must come all the same.
    if (answer.kind === 'fetching' || answer.kind === 'block') asking.onComing();
    if (answer.kind === 'fetching') answer = checkBlocksAnswer(await line.reader.readMessage());
    if (answer.kind === 'busy' || answer.kind === 'absent') {
      await line.end();
      return { kind: answer.kind };
    }
    const { length } = rangeOfBlock(asset.shape, index);
    if (answer.kind !== 'block' || answer.sizeBytes !== length) {
      throw new PerigeeError('frame_invalid', 'The peer sent another block than was asked for.');
    }
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    for await (const part of line.reader.readBytes(length)) {
      bytes.set(part, filled);
      filled += part.length;
    }
    await line.end();
    const sum = createHash('sha256').update(bytes).digest('hex');
    if (sum !== answer.sum)
      throw new PerigeeError('frame_invalid', 'The bytes do not have their sum.');
    wholeBlocks.add(deps.now() - began);
    return { kind: 'block', block: { bytes, sum, source: 'peer' } };
  };

  const candidatesFor = (asset: PeerAsset, index: number, mayAskOwner: boolean) => {
    const circle = circleOf(asset.key);
    const holders = [...circle.holders]
      .filter(([peer, held]) => held.has(index) && circle.members.has(peer))
      .map(([peer]) => ({ peer, fetch: false, at: deps.random() }))
      .sort((one, other) => one.at - other.at);
    const owner = ownerOf([self, ...circle.members.keys()], asset.key, index);
    if (!mayAskOwner || owner === undefined || owner === self) return holders;
    return [...holders, { peer: owner, fetch: true, at: 1 }];
  };

  /** Tries those who may have the block, one after another. */
  const tryPeers = async (
    asset: PeerAsset,
    index: number,
    fetch: PeerFetch & { onComing(): void },
  ): Promise<PeerBlock | undefined> => {
    for (const { peer, fetch: asOwner } of candidatesFor(asset, index, fetch.mayAskOwner)) {
      for (let tries = 0; tries < busyTriesMax; tries += 1) {
        let asked: Asked;
        try {
          asked = await askBlock(asset, index, {
            peer,
            fetch: asOwner,
            signal: fetch.signal,
            onComing: fetch.onComing,
          });
        } catch (caught) {
          fetch.signal.throwIfAborted();
          const error = toError(caught);
          const isWrong = error instanceof PerigeeError && error.code === 'frame_invalid';
          if (isWrong) drop(peer, error.message);
          circleOf(asset.key).members.delete(peer);
          break;
        }
        if (asked.kind === 'absent') break;
        if (asked.kind === 'busy') {
          await pause(busyPauseMs * (1 + deps.random()), undefined, { signal: fetch.signal });
          continue;
        }
        const { block } = asked;
        if (!(await isTrusted(asset, index, { block, peer, fetch }))) break;
        cameFrom.set(`${asset.key}/${index}`, peer);
        for (const oldest of cameFrom.keys()) {
          if (cameFrom.size <= originsMax) break;
          cameFrom.delete(oldest);
        }
        return block;
      }
    }
    return undefined;
  };
  const isTrusted = async (
    asset: PeerAsset,
    index: number,
    given: { block: PeerBlock; peer: string; fetch: PeerFetch },
  ): Promise<boolean> => {
    const { block, peer, fetch } = given;
    // Two say different things: the origin decides, and `settle` finds out who lied.
    if (!tellSum(asset.key, index, { sum: block.sum, peer })) return false;
    const whole = rangeOfBlock(asset.shape, index);
    const part = pickCheck(whole.length, {
      oneIn: settings.checkOneIn,
      random: deps.random(),
      place: deps.random(),
    });
    if (part === undefined) return true;
    const range = { offset: whole.offset + part.offset, length: part.length };
    const truth = await fetch.check(range, fetch.signal);
    const own = block.bytes.subarray(part.offset, part.offset + part.length);
    if (truth === undefined || Buffer.compare(truth, own) === 0) return true;
    circleOf(asset.key).sums.delete(index);
    drop(peer, `it sent other bytes of ${asset.asset} than the origin`);
    return false;
  };

  const fetchHedged = async (
    asset: PeerAsset,
    index: number,
    fetch: PeerFetch,
  ): Promise<PeerBlock | undefined> => {
    const peerEnd = new AbortController();
    const originEnd = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = Promise.withResolvers<'late'>();
    const wait = (ms: number): void => {
      clearTimeout(timer);
      timer = setTimeout(() => late.resolve('late'), ms);
    };
    wait(firstAnswers.hedgeAfterMs());
    fetch.onAsked();
    const fromPeer = tryPeers(asset, index, {
      ...fetch,
      signal: AbortSignal.any([fetch.signal, peerEnd.signal]),
      onComing: () => wait(2 * wholeBlocks.hedgeAfterMs()),
    });
    try {
      const first = await Promise.race([fromPeer, late.promise]);
      if (first !== 'late') return first;
      fetch.onGivenUp();
      const fromOrigin = fetch.fromOrigin(AbortSignal.any([fetch.signal, originEnd.signal]));
      const found = fromPeer.then((block) => block ?? fromOrigin);
      return await Promise.any([found, fromOrigin]).catch(() => fromOrigin);
    } finally {
      clearTimeout(timer);
      // The slower of the two goes on for nobody.
      peerEnd.abort(new DOMException('The block is there.', 'AbortError'));
      originEnd.abort(new DOMException('The block is there.', 'AbortError'));
      fromPeer.catch(() => undefined);
    }
  };

  const serve = createBlockServer(
    {
      self,
      holder,
      isMember: async (peer) => !banned.has(peer) && (await deps.directory.isMember(peer)),
      peerKeyOf: deps.peerKeyOf,
      onJoined(key, peer) {
        const { members } = circleOf(key);
        if (members.size < membersMax && !members.has(peer)) members.set(peer, peer);
      },
      signal: stopping.signal,
    },
    settings.uploadsMax,
  );

  return {
    get dropped() {
      return banned.size;
    },
    start: () => host.handle(blocksProtocol, serve, { streamsMax: 256 }),
    async stop() {
      stopping.abort(new DOMException('The cache stops.', 'AbortError'));
      await host.unhandle(blocksProtocol);
    },
    async enter(asset, signal) {
      const circle = circleOf(asset.key);
      const isOld = deps.now() - circle.enteredAtMs > enteredMsMax;
      if (circle.entered === undefined || isOld) {
        circle.enteredAtMs = deps.now();
        // Without the coordinator the node reads alone.
        circle.entered = enter(asset, circle).catch(() => undefined);
      }
      await circle.entered;
      signal.throwIfAborted();
    },
    hasMembers: (key) => (circles.get(key)?.members.size ?? 0) > 0,
    async fetch(asset, index, fetch) {
      if (candidatesFor(asset, index, fetch.mayAskOwner).length === 0) return undefined;
      return fetchHedged(asset, index, fetch);
    },
    settle(key, index, sum) {
      const told = circles.get(key)?.sums.get(index);
      if (told === undefined || told.sum === sum) return;
      circles.get(key)?.sums.delete(index);
      drop(told.peer, 'the sum that it told of a block is not the origin’s');
    },
  };
}
