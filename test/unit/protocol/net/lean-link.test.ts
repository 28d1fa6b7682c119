/** What the mesh writes to its sockets: few pieces, and no answer to every frame. */
import { Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createFrameStream } from '../../../../protocol/net/frame-stream.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';

describe('a lean link', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('writes a message in one piece, and does not answer short frames with window updates', async () => {
    const protocol = '/perigee/test/1';
    const make = async (listen: string[]) =>
      createMeshHost({ key: await generateMeshKey(), listen, connectionsMax: 4 });
    await using server = await make(['/ip4/127.0.0.1/tcp/0']);
    await using client = await make([]);
    const messagesMax = 50;
    let received = 0;
    const arrived = Promise.withResolvers<void>();
    await server.handle(
      protocol,
      (stream) => {
        createFrameStream(stream, {
          onMessage() {
            received += 1;
            if (received === messagesMax) arrived.resolve();
          },
          onClose: () => undefined,
        });
      },
      { streamsMax: 1 },
    );
    const signal = AbortSignal.timeout(60_000);
    const stream = await client.open(server.addresses()[0] ?? '', protocol, { signal });
    const frames = createFrameStream(stream, {
      onMessage: () => undefined,
      onClose: () => undefined,
    });
    const write = vi.spyOn(Socket.prototype, 'write');
    for (let message = 0; message < messagesMax; message += 1) {
      frames.send({ message, text: 'x'.repeat(200) });
      // A turn of its own for each.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await arrived.promise;
    // One of the sender for each, hardly any of the receiver; libp2p's own pings come on top.
    expect(write.mock.calls.length).toBeGreaterThanOrEqual(messagesMax);
    expect(write.mock.calls.length).toBeLessThan(messagesMax * 1.5);
  });
});
