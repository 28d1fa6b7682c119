/**
 * Links between nodes: an optimization, never needed for a task. A node reaches only those that the
 * coordinator named, and serves only those that the coordinator knows; what they say is checked by
 * its digest by whoever asked for it.
 */
import type { Stream } from '@libp2p/interface';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import type { AssetId, ImageDigest, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import type { AgentMessage, Located, LocatedNode } from '../../protocol/wire/messages.ts';

export interface PeerDeps {
  host: Pick<MeshHost, 'open' | 'handle'>;
  /** Sends to the coordinator; what cannot be sent is dropped. */
  send(message: AgentMessage): void;
  /** Monotonic, in ms. */
  now(): number;
}

/** Whom a peer works for; null for every namespace. */
export interface PeerFacts {
  node: NodeId;
  namespaces: readonly NamespaceName[] | null;
}

export interface Peers {
  /**
   * Asks the coordinator which other nodes have some of these.
   * @throws PerigeeError unreachable when no answer came in time.
   */
  locate(
    query: { images?: readonly ImageDigest[]; assets?: readonly AssetId[] },
    signal: AbortSignal,
  ): Promise<LocatedNode[]>;
  /**
   * Opens a stream to a node that `locate` named.
   * @throws PerigeeError unreachable, protocol_version
   */
  open(node: LocatedNode, protocol: string, signal: AbortSignal): Promise<Stream>;
  /** Whether the coordinator knows the node; false as well when it cannot be asked. */
  isMember(peer: NodeId): Promise<boolean>;
  /** Serves a protocol to nodes of the mesh; a stream of anyone else is refused. */
  serve(
    protocol: string,
    handler: (stream: Stream, peer: PeerFacts) => Promise<void>,
    options: { streamsMax: number },
  ): Promise<void>;
  /** The coordinator answered. */
  take(message: Located): void;
  /** The session ended: questions that wait get no answer. */
  forget(): void;
}

/** An answer takes a round trip; more means that the coordinator is busy or away. */
const answerMsMax = 5_000;
/** A node's membership is believed for so long. */
const memberMs = 60_000;
/** Nodes whose membership is kept in mind. */
const membersMax = 4_096;
/** Questions without an answer at once. */
const waitingMax = 256;

/** Links of one agent to the others. */
export function createPeers(deps: PeerDeps): Peers {
  const waiting = new Map<number, PromiseWithResolvers<LocatedNode[]>>();
  const members = new Map<string, { facts: PeerFacts; untilMs: number }>();
  let nextRequest = 1;

  const ask = async (
    query: { images: ImageDigest[]; assets: AssetId[]; peers: NodeId[] },
    signal: AbortSignal,
  ): Promise<LocatedNode[]> => {
    if (waiting.size >= waitingMax) throw new PerigeeError('queue_full');
    const request = nextRequest;
    nextRequest += 1;
    const answer = Promise.withResolvers<LocatedNode[]>();
    const limit = AbortSignal.any([signal, AbortSignal.timeout(answerMsMax)]);
    const giveUp = (): void =>
      answer.reject(
        new PerigeeError('unreachable', 'The coordinator did not say where it is.', {
          cause: limit.reason,
        }),
      );
    limit.addEventListener('abort', giveUp, { once: true });
    waiting.set(request, answer);
    if (limit.aborted) giveUp();
    else deps.send({ kind: 'locate', request, ...query });
    try {
      return await answer.promise;
    } finally {
      waiting.delete(request);
      limit.removeEventListener('abort', giveUp);
    }
  };
  const remember = (nodes: readonly LocatedNode[]): void => {
    for (const { node, namespaces } of nodes) {
      members.delete(node);
      members.set(node, { facts: { node, namespaces }, untilMs: deps.now() + memberMs });
    }
    for (const oldest of members.keys()) {
      if (members.size <= membersMax) return;
      members.delete(oldest);
    }
  };
  const findMember = async (peer: NodeId): Promise<PeerFacts> => {
    const known = members.get(peer);
    if (known !== undefined && known.untilMs > deps.now()) return known.facts;
    const query = { images: [], assets: [], peers: [peer] };
    const found = await ask(query, AbortSignal.timeout(answerMsMax));
    const member = found.find((node) => node.node === peer);
    if (member === undefined) {
      throw new PerigeeError('forbidden', `${peer} is no node of this mesh.`);
    }
    return { node: peer, namespaces: member.namespaces };
  };
  return {
    locate: ({ images = [], assets = [] }, signal) =>
      ask({ images: [...images], assets: [...assets], peers: [] }, signal),
    async open(node, protocol, signal) {
      let error: unknown = new PerigeeError('unreachable', `${node.node} does not listen.`);
      for (const address of node.addresses) {
        // The peer id is in what is dialled, so that noise refuses whoever else answers there.
        const target = address.includes('/p2p/') ? address : `${address}/p2p/${node.node}`;
        if (!target.endsWith(`/p2p/${node.node}`)) continue;
        try {
          return await deps.host.open(target, protocol, { signal });
        } catch (caught) {
          error = caught;
          if (signal.aborted) break;
        }
      }
      throw error;
    },
    isMember: (peer) =>
      findMember(peer).then(
        () => true,
        () => false,
      ),
    serve: (protocol, handler, options) =>
      deps.host.handle(
        protocol,
        async (stream, peer) => handler(stream, await findMember(peer as NodeId)),
        options,
      ),
    take(message) {
      remember(message.nodes);
      waiting.get(message.request)?.resolve(message.nodes);
    },
    forget() {
      for (const answer of waiting.values()) {
        answer.reject(new PerigeeError('unreachable', 'The coordinator went away.'));
      }
    },
  };
}
