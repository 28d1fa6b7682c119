/** Two real libp2p hosts on loopback, for tests of what runs over their streams. */
import type { Stream } from '@libp2p/interface';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';

export const testProtocol = '/perigee/test/1';

export interface HostPair extends AsyncDisposable {
  server: MeshHost;
  client: MeshHost;
  address: string;
  /** A fresh stream: the client's end, and the server's. */
  openStream(): Promise<{ near: Stream; far: Stream }>;
}

export async function createHostPair(): Promise<HostPair> {
  const settings = { listen: ['/ip4/127.0.0.1/tcp/0'], connectionsMax: 10 };
  const server = await createMeshHost({ ...settings, key: await generateMeshKey() });
  const client = await createMeshHost({ ...settings, listen: [], key: await generateMeshKey() });
  const [address = ''] = server.addresses();
  let arrived: ((stream: Stream) => void) | undefined;
  await server.handle(testProtocol, (stream) => arrived?.(stream), { streamsMax: 100 });
  return {
    server,
    client,
    address,
    async openStream() {
      const far = new Promise<Stream>((resolve) => {
        arrived = resolve;
      });
      const near = await client.open(address, testProtocol, { signal: AbortSignal.timeout(5_000) });
      return { near, far: await far };
    },
    async [Symbol.asyncDispose]() {
      await client.stop();
      await server.stop();
    },
  };
}
