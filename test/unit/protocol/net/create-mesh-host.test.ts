import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey, peerIdOfKey } from '../../../../protocol/net/mesh-key.ts';
import type { HostPair } from './hosts.ts';
import { createHostPair, testProtocol } from './hosts.ts';

const signal = (): AbortSignal => AbortSignal.timeout(5_000);

describe('mesh host', () => {
  let pair: HostPair;
  beforeEach(async () => {
    pair = await createHostPair();
  });
  afterEach(async () => {
    await pair[Symbol.asyncDispose]();
  });

  it('tells the handler who the peer is, as noise has proved it', async () => {
    const peer = new Promise<string>((resolve) => {
      void pair.server.handle('/perigee/who/1', (_stream, from) => resolve(from), {
        streamsMax: 1,
      });
    });
    const stream = await pair.client.open(pair.address, '/perigee/who/1', { signal: signal() });
    expect(await peer).toBe(pair.client.peerId);
    stream.abort(new Error('done'));
  });

  it('has the peer id of its key, in its addresses too', async () => {
    const key = await generateMeshKey();
    const host = await createMeshHost({ key, listen: ['/ip4/127.0.0.1/tcp/0'], connectionsMax: 1 });
    try {
      expect(host.peerId).toBe(peerIdOfKey(key));
      expect(host.addresses()).toHaveLength(1);
      expect(host.addresses()[0]).toMatch(/^\/ip4\/127\.0\.0\.1\/tcp\/[1-9]\d*\/p2p\//);
      expect(host.addresses()[0]).toContain(host.peerId);
    } finally {
      await host.stop();
    }
  });

  it('says port_taken when another program listens on the port', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    try {
      const address = taken.address();
      const port = typeof address === 'object' ? address?.port : 0;
      const listen = [`/ip4/127.0.0.1/tcp/${port}`];
      await expect(
        createMeshHost({ key: await generateMeshKey(), listen, connectionsMax: 1 }),
      ).rejects.toMatchObject({ code: 'port_taken' });
    } finally {
      await new Promise((resolve) => taken.close(resolve));
    }
  });

  it('refuses addresses that are not addresses', async () => {
    const key = await generateMeshKey();
    await expect(
      createMeshHost({ key, listen: ['127.0.0.1:7481'], connectionsMax: 1 }),
    ).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(
      pair.client.open('/ip4/nowhere', testProtocol, { signal: signal() }),
    ).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('tells a peer that does not speak the protocol from one that is not there', async () => {
    await expect(
      pair.client.open(pair.address, '/perigee/other/1', { signal: signal() }),
    ).rejects.toMatchObject({ code: 'protocol_version' });
    const gone = pair.address.replace(/tcp\/\d+/, 'tcp/1');
    await pair.client.hangUp(pair.server.peerId);
    await expect(pair.client.open(gone, testProtocol, { signal: signal() })).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  it('refuses a peer that answers under another id than the address names', async () => {
    const other = peerIdOfKey(await generateMeshKey());
    const address = pair.address.replace(pair.server.peerId, other);
    await expect(
      pair.client.open(address, testProtocol, { signal: signal() }),
    ).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('stops twice without harm', async () => {
    await pair.server.stop();
    await pair.server.stop();
    expect(pair.server.addresses()).toEqual([]);
  });
});
