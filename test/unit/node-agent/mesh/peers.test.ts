import { afterEach, describe, expect, it } from 'vitest';
import { peerListenAddresses } from '../../../../node-agent/mesh/peer-listen.ts';
import type { Peers } from '../../../../node-agent/mesh/peers.ts';
import { createPeers } from '../../../../node-agent/mesh/peers.ts';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import { createStreamReader, writeMessage } from '../../../../protocol/net/stream-bytes.ts';
import type { NodeId } from '../../../../protocol/wire/ids.ts';
import type { AgentMessage, LocatedNode } from '../../../../protocol/wire/messages.ts';

const protocol = '/perigee/test/1';
const signal = () => AbortSignal.timeout(5_000);
const hosts: MeshHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.stop();
});

/** An agent's links, over real libp2p; `members` is what its coordinator would say. */
async function createNode(members: () => LocatedNode[]) {
  const key = await generateMeshKey();
  const host = await createMeshHost({ key, listen: ['/ip4/127.0.0.1/tcp/0'], connectionsMax: 8 });
  hosts.push(host);
  const asked: AgentMessage[] = [];
  const peers: Peers = createPeers({
    host,
    now: () => performance.now(),
    send(message) {
      asked.push(message);
      if (message.kind !== 'locate') return;
      const { request } = message;
      setImmediate(() => peers.take({ kind: 'located', request, nodes: members() }));
    },
  });
  const located: LocatedNode = {
    node: host.peerId as NodeId,
    addresses: host.addresses(),
    namespaces: null,
    images: [],
    assets: [],
  };
  return { host, peers, asked, located };
}

describe('links between nodes', () => {
  it('serve a node that the coordinator knows, and ask for it only once', async () => {
    const client = await createNode(() => []);
    const server = await createNode(() => [client.located]);
    await server.peers.serve(
      protocol,
      async (stream, peer) => {
        await writeMessage(stream, { hello: peer.node });
        await stream.close();
      },
      { streamsMax: 4 },
    );
    for (let round = 0; round < 2; round += 1) {
      const stream = await client.peers.open(server.located, protocol, signal());
      const reader = createStreamReader(stream);
      expect(await reader.readMessage()).toEqual({ hello: client.host.peerId });
    }
    expect(server.asked).toEqual([
      { kind: 'locate', request: 1, images: [], assets: [], peers: [client.host.peerId] },
    ]);
  });

  it('refuse a stranger, though it dials the right address', async () => {
    const stranger = await createNode(() => []);
    const server = await createNode(() => []);
    let served = false;
    await server.peers.serve(
      protocol,
      async () => {
        served = true;
      },
      { streamsMax: 4 },
    );
    const stream = await stranger.peers.open(server.located, protocol, signal());
    await expect(createStreamReader(stream).readMessage()).rejects.toThrow();
    expect(served).toBe(false);
  });

  it('never dial an address that names another peer', async () => {
    const [client, server, other] = [
      await createNode(() => []),
      await createNode(() => []),
      await createNode(() => []),
    ];
    const lie = { ...server.located, addresses: other.located.addresses };
    await expect(client.peers.open(lie, protocol, signal())).rejects.toThrow(/does not listen/);
  });

  it('give up a question when the coordinator is away', async () => {
    const { peers } = await createNode(() => []);
    const silent = createPeers({
      host: { open: () => Promise.reject(new Error('unused')), handle: async () => undefined },
      now: () => 0,
      send: () => undefined,
    });
    const answer = silent.locate({ assets: [] }, signal());
    silent.forget();
    await expect(answer).rejects.toThrow(/went away/);
    await expect(peers.locate({}, signal())).resolves.toEqual([]);
  });
});

describe('where an agent listens for others', () => {
  const far = '/ip4/192.0.2.1/tcp/7481/p2p/x';
  it('is nowhere beyond loopback unless asked', () => {
    expect(peerListenAddresses(null, far)).toEqual([]);
    expect(peerListenAddresses(null, '/ip4/127.0.0.1/tcp/7481/p2p/x')).toEqual([
      '/ip4/127.0.0.1/tcp/0',
    ]);
    expect(peerListenAddresses('none', '/ip4/127.0.0.1/tcp/1/p2p/x')).toEqual([]);
  });

  it('is the address that was given, with any port or one', () => {
    expect(peerListenAddresses('192.0.2.7', far)).toEqual(['/ip4/192.0.2.7/tcp/0']);
    expect(peerListenAddresses('192.0.2.7:7482', far)).toEqual(['/ip4/192.0.2.7/tcp/7482']);
    expect(peerListenAddresses('[2001:db8::7]:7482', far)).toEqual(['/ip6/2001:db8::7/tcp/7482']);
    expect(() => peerListenAddresses('somewhere', far)).toThrow(/--peer-listen is 'somewhere'/);
    expect(() => peerListenAddresses('192.0.2.7:70000', far)).toThrow(/--peer-listen/);
  });
});
