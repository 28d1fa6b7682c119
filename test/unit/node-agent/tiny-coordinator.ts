/** The agent's protocol from the other end, over real libp2p, with a test at the wheel. */
import { createHash } from 'node:crypto';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import { serveBlobs } from '../../../protocol/net/blob-transfer.ts';
import { checkAgentMessage } from '../../../protocol/net/check-message.ts';
import { createMeshHost } from '../../../protocol/net/create-mesh-host.ts';
import type { FrameStream } from '../../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../../protocol/net/frame-stream.ts';
import { encodeBlock } from '../../../protocol/wire/block.ts';
import type { BatchNumber, BlobHash, NodeId } from '../../../protocol/wire/ids.ts';
import type {
  AgentMessage,
  CoordinatorMessage,
  Hello,
  Welcome,
} from '../../../protocol/wire/messages.ts';
import { agentProtocol, blobProtocol } from '../../../protocol/wire/messages.ts';
import type { GroupSpec } from '../../../protocol/wire/task.ts';

type Kind = AgentMessage['kind'];
type MessageOf<K extends Kind> = Extract<AgentMessage, { kind: K }>;

/** One session that an agent opened. */
export interface TinySession {
  readonly hello: Hello;
  send(message: CoordinatorMessage): void;
  /** The next message of a kind that was not taken yet; waits for it, with a bound. */
  next<K extends Kind>(kind: K): Promise<MessageOf<K>>;
  /** Messages of a kind so far, in order, taken or not. */
  all<K extends Kind>(kind: K): MessageOf<K>[];
  /** Every kind so far, in order. */
  kinds(): Kind[];
  /** Cuts the line without a word. */
  cut(): void;
  readonly closed: Promise<void>;
}

export interface TinyCoordinator extends AsyncDisposable {
  readonly address: string;
  readonly key: Uint8Array;
  /** Waits for the next session's hello. */
  accept(): Promise<TinySession>;
  /** Blobs to serve, and those that agents put. */
  readonly blobs: Map<BlobHash, Uint8Array>;
  /** Streams of agents so far, those that said nothing too. */
  openedStreams(): number;
  /** Peer ids of the agents, one for each stream. */
  peers(): readonly string[];
  /** How often each was read. */
  readonly blobReads: Map<BlobHash, number>;
}

/** Starting a process takes a second, and ten of them where all processors are taken. */
const waitMsMax = 45_000;

/** A coordinator that decides nothing. */
export async function startTinyCoordinator(key: Uint8Array): Promise<TinyCoordinator> {
  const host = await createMeshHost({ key, listen: ['/ip4/127.0.0.1/tcp/0'], connectionsMax: 10 });
  const sessions = createQueue<TinySession>('a session');
  const blobs = new Map<BlobHash, Uint8Array>();
  const blobReads = new Map<BlobHash, number>();
  let opened = 0;
  const peers: string[] = [];
  await host.handle(
    agentProtocol,
    (stream, peer) => {
      opened += 1;
      peers.push(peer);
      greet(stream, sessions.push);
    },
    { streamsMax: 4 },
  );
  await host.handle(
    blobProtocol,
    (stream) =>
      serveBlobs(stream, {
        size(hash) {
          const blob = blobs.get(hash);
          if (blob === undefined) throw new PerigeeError('not_found');
          return Promise.resolve(blob.length);
        },
        async *read(hash, offset) {
          blobReads.set(hash, (blobReads.get(hash) ?? 0) + 1);
          yield (blobs.get(hash) ?? new Uint8Array(0)).subarray(offset);
        },
        async write(hash, bytes) {
          const parts: Uint8Array[] = [];
          for await (const part of bytes) parts.push(Buffer.from(part));
          blobs.set(hash, Buffer.concat(parts));
        },
      }),
    { streamsMax: 16 },
  );
  const [address] = host.addresses();
  if (address === undefined) throw new Error('the host listens nowhere');
  return {
    address,
    key,
    accept: sessions.next,
    openedStreams: () => opened,
    peers: () => peers,
    blobs,
    blobReads,
    [Symbol.asyncDispose]: () => host.stop(),
  };
}

/** The blob's hash, once the coordinator has it. */
export function addBlob(coordinator: TinyCoordinator, bytes: Uint8Array): BlobHash {
  const hash = createHash('sha256').update(bytes).digest('hex') as BlobHash;
  coordinator.blobs.set(hash, bytes);
  return hash;
}

export function welcome(change: Partial<Welcome> = {}): Welcome {
  return {
    kind: 'welcome',
    protocol: 1,
    software: 'tiny',
    node: '12D3KooWDcLt3CLgAKYFYCd4kkfmGGSnzt9XQhkYUqrhPsvU49HM' as NodeId,
    settings: { heartbeatMs: 100, leaseMs: 5_000 },
    drop: [],
    logOffsets: [],
    ...change,
  };
}

/** A grant of one run, one payload each. */
export function grants(
  spec: GroupSpec,
  payloads: readonly Uint8Array[],
  options: { lo?: number; batch?: number; attempt?: number } = {},
): CoordinatorMessage {
  return {
    kind: 'grants',
    groups: [spec],
    grants: [
      {
        group: spec.group,
        batch: (options.batch ?? 1) as BatchNumber,
        lo: options.lo ?? 0,
        count: payloads.length,
        attempt: options.attempt ?? 1,
        block: encodeBlock(payloads),
      },
    ],
  };
}

function greet(
  stream: Parameters<typeof createFrameStream>[0],
  accepted: (session: TinySession) => void,
): void {
  const messages: AgentMessage[] = [];
  const taken = new Set<AgentMessage>();
  let wake = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  const frames: FrameStream = createFrameStream(stream, {
    onMessage(raw) {
      const message = checkAgentMessage(raw);
      if (message.kind === 'hello') {
        accepted({
          hello: message,
          send: (answer) => frames.send(answer),
          async next(kind) {
            for (;;) {
              const found = messages.find(
                (candidate): candidate is MessageOf<typeof kind> =>
                  candidate.kind === kind && !taken.has(candidate),
              );
              if (found !== undefined) {
                taken.add(found);
                return found;
              }
              await within(
                wake.promise,
                `a ${kind} message; so far: ${messages.map((m) => m.kind)}`,
              );
            }
          },
          all: (kind) =>
            messages.filter((found): found is MessageOf<typeof kind> => found.kind === kind),
          kinds: () => messages.map((found) => found.kind),
          cut: () => frames.abort(new Error('cut by the test')),
          closed: closed.promise,
        });
        return;
      }
      messages.push(message);
      wake.resolve();
      wake = Promise.withResolvers<void>();
    },
    onClose: () => closed.resolve(),
  });
}

/** Things that come and are waited for, one by one. */
export function createQueue<Item>(what: string) {
  const items: Item[] = [];
  let wake = Promise.withResolvers<void>();
  return {
    push(item: Item) {
      items.push(item);
      wake.resolve();
      wake = Promise.withResolvers<void>();
    },
    async next(): Promise<Item> {
      for (;;) {
        const item = items.shift();
        if (item !== undefined) return item;
        await within(wake.promise, what);
      }
    },
  };
}

/** The promise, or an error that says what was waited for. */
export async function within<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`waited too long for ${what}`)), waitMsMax);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
