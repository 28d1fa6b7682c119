/** The transport and its streams over real libp2p and HTTP on loopback, against a small coordinator. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { createMeshHost, type MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createFrameStream, type FrameStream } from '../../../../protocol/net/frame-stream.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import type { ClientReply } from '../../../../protocol/wire/client.ts';
import { clientProtocol } from '../../../../protocol/wire/messages.ts';
import type { ClientStream } from '../../../../sdk/ts/client-calls.ts';
import { createMeshTransport, type MeshTransport } from '../../../../sdk/ts/mesh-transport.ts';

interface TinyCoordinator extends AsyncDisposable {
  url: string;
  /** What clients said, in order. */
  said: unknown[];
  /** Puts another identity behind the same URL. */
  replaceIdentity(): Promise<void>;
}

type Reply = (message: Record<string, unknown>, frames: FrameStream) => void;

async function startTinyCoordinator(reply: Reply): Promise<TinyCoordinator> {
  const said: unknown[] = [];
  let host = await startHost(said, reply);
  const http = createServer((_, answer) => {
    const view = { peerId: host.peerId, addresses: host.addresses(), protocol: 1, version: '0' };
    answer.end(JSON.stringify(view));
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    said,
    async replaceIdentity() {
      await host.stop();
      host = await startHost(said, reply);
    },
    async [Symbol.asyncDispose]() {
      await host.stop();
      http.closeAllConnections();
      http.close();
    },
  };
}

async function startHost(said: unknown[], reply: Reply): Promise<MeshHost> {
  const host = await createMeshHost({
    key: await generateMeshKey(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    connectionsMax: 10,
  });
  await host.handle(
    clientProtocol,
    (stream) => {
      const frames = createFrameStream(stream, {
        onMessage: (message) => {
          said.push(message);
          reply(message as Record<string, unknown>, frames);
        },
        onClose: () => undefined,
      });
    },
    { streamsMax: 10 },
  );
  return host;
}

const say = (frames: FrameStream, message: ClientReply): void => {
  frames.send(message);
};

const connectTo = (
  coordinator: TinyCoordinator,
  peerId: string | null = null,
): MeshTransport & AsyncDisposable => {
  const transport = createMeshTransport({ url: coordinator.url, token: 'secret', peerId });
  return { ...transport, [Symbol.asyncDispose]: transport.stop };
};

const open = (transport: MeshTransport): Promise<ClientStream> =>
  transport.open(AbortSignal.timeout(10_000));

const ask = (stream: ClientStream, input: object = {}): Promise<unknown> =>
  new Promise((resolve, reject) => {
    stream.start('whoami', input, { onItem: () => undefined, onEnd: resolve, onFail: reject });
  });

describe('a stream to the coordinator', () => {
  it('says its token first, then its calls, without fields that are undefined', async () => {
    await using coordinator = await startTinyCoordinator((message, frames) => {
      if (message['kind'] === 'call') say(frames, { kind: 'result', id: 1, output: 'ok' });
    });
    await using transport = connectTo(coordinator);
    const stream = await open(transport);
    expect(await ask(stream, { namespace: undefined, name: 'x' })).toBe('ok');
    expect(coordinator.said).toEqual([
      {
        kind: 'open',
        protocol: 1,
        software: expect.stringMatching(/^perigee-sdk /),
        token: 'secret',
      },
      { kind: 'call', id: 1, name: 'whoami', input: { name: 'x' } },
    ]);
  });

  it('fails its calls with the code, text and fix of a refusal', async () => {
    await using coordinator = await startTinyCoordinator((message, frames) => {
      if (message['kind'] !== 'open') return;
      say(frames, { kind: 'refused', code: 'token_expired', message: 'Too late.', fix: 'Renew.' });
      frames.close().catch(() => undefined);
    });
    await using transport = connectTo(coordinator);
    const stream = await open(transport);
    const refusal = { code: 'token_expired', message: 'Too late.', fix: 'Renew.' };
    await expect(ask(stream)).rejects.toMatchObject(refusal);
    await expect(ask(stream)).rejects.toMatchObject(refusal);
  });

  it('fails one call by its own error, a code of a later version as internal', async () => {
    await using coordinator = await startTinyCoordinator((message, frames) => {
      if (message['kind'] !== 'call') return;
      const id = Number(message['id']);
      const code = id === 1 ? 'not_found' : 'code_of_tomorrow';
      say(frames, { kind: 'failed', id, code, message: 'No.', fix: '', details: { id } });
    });
    await using transport = connectTo(coordinator);
    const stream = await open(transport);
    await expect(ask(stream)).rejects.toMatchObject({ code: 'not_found', details: { id: 1 } });
    await expect(ask(stream)).rejects.toMatchObject({ code: 'internal', message: 'No.' });
    expect(stream.isOpen).toBe(true);
  });

  it.each<[string, unknown]>([
    ['no map', 'hello'],
    ['of an unknown kind', { kind: 'greeting', id: 1 }],
    ['without an id', { kind: 'result', output: 1 }],
  ])('ends at a reply that is %s', async (_, reply) => {
    await using coordinator = await startTinyCoordinator((message, frames) => {
      if (message['kind'] === 'call') frames.send(reply);
    });
    await using transport = connectTo(coordinator);
    const stream = await open(transport);
    await expect(ask(stream)).rejects.toMatchObject({ code: 'frame_invalid' });
    expect(stream.isOpen).toBe(false);
  });
});

describe('the transport', () => {
  it('refuses another identity than the one that is pinned, before it says the token', async () => {
    await using coordinator = await startTinyCoordinator(() => undefined);
    const pinned = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp';
    await using transport = connectTo(coordinator, pinned);
    await expect(open(transport)).rejects.toMatchObject({ code: 'forbidden' });
    expect(coordinator.said).toEqual([]);
  });

  it('holds on to the first identity, though the URL names another one later', async () => {
    await using coordinator = await startTinyCoordinator(() => undefined);
    await using transport = connectTo(coordinator);
    const stream = await open(transport);
    const lost = expect(ask(stream)).rejects.toBeInstanceOf(PerigeeError);
    await coordinator.replaceIdentity();
    await lost;
    const count = coordinator.said.length;
    // The first finds the old address dead, the second asks where the mesh is now.
    await expect(open(transport)).rejects.toMatchObject({ code: 'unreachable' });
    await expect(open(transport)).rejects.toMatchObject({ code: 'forbidden' });
    expect(coordinator.said).toHaveLength(count);
  });

  it('opens anew after it hung up', async () => {
    await using coordinator = await startTinyCoordinator((message, frames) => {
      if (message['kind'] === 'call') say(frames, { kind: 'result', id: 1, output: 'ok' });
    });
    await using transport = connectTo(coordinator);
    const first = await open(transport);
    expect(await ask(first)).toBe('ok');
    await transport.hangUp();
    expect(first.isOpen).toBe(false);
    expect(await ask(await open(transport))).toBe('ok');
  });
});
