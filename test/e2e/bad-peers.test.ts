/** Peers that talk garbage or another version to the mesh port: each is told, and nobody else is disturbed. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import type { Stream } from '@libp2p/interface';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorTable } from '../../protocol/base/errors.ts';
import { createMeshHost, type MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { createFrameStream } from '../../protocol/net/frame-stream.ts';
import { generateMeshKey } from '../../protocol/net/mesh-key.ts';
import { encode } from '../../protocol/wire/codec.ts';
import { encodeFrame } from '../../protocol/wire/frames.ts';
import { frameBytesMax } from '../../protocol/wire/limits.ts';
import {
  agentProtocol,
  blobProtocol,
  clientProtocol,
  type Hello,
} from '../../protocol/wire/messages.ts';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { startWitness, type Witness } from '../chaos/witness.ts';
import { launcher, runProgram } from '../setup/run-program.ts';

const answerMsMax = 40_000;

let mesh: Mesh;
let witness: Witness;
let peer: MeshHost;

beforeAll(async () => {
  mesh = await startMesh({ PERIGEE_NODE_IDLE_MS: '120000', PERIGEE_GREETING_MS_MAX: '2000' });
  witness = await startWitness(mesh);
  peer = await createMeshHost({ key: await generateMeshKey(), listen: [], connectionsMax: 10 });
});

afterAll(async () => {
  await peer?.stop();
  await mesh?.close();
});

afterEach(() => witness.goesOn());

const hello = (): Hello => ({
  kind: 'hello',
  protocol: 1,
  software: 'test',
  joinToken: mesh.joinToken,
  nodeName: 'stranger',
  instance: null,
  capacity: { slots: 1, cpus: 1, memoryBytes: 1024 ** 3, diskBytes: 1024 ** 3 },
  images: [],
  isolation: 'standard',
  mounts: [],
  peerAddresses: [],
  pid: 1,
  held: [],
  draining: false,
});

const open = (protocol: string): Promise<Stream> =>
  peer.open(mesh.join, protocol, { signal: AbortSignal.timeout(answerMsMax) });

/** What the coordinator answers to raw bytes, until it closes the stream. */
async function answersTo(bytes: Uint8Array, protocol = agentProtocol): Promise<unknown[]> {
  const stream = await open(protocol);
  const answers: unknown[] = [];
  const ended = Promise.withResolvers<void>();
  const frames = createFrameStream(stream, {
    onMessage: (message) => answers.push(message),
    onClose: () => ended.resolve(),
  });
  const timer = setTimeout(() => frames.abort(new Error('no answer')), answerMsMax);
  stream.send(bytes);
  await ended.promise;
  clearTimeout(timer);
  return answers;
}

/** The answer to one well-framed message. */
const answersToMessage = (message: unknown): Promise<unknown[]> =>
  answersTo(encodeFrame(encode(message)));

const refused = (code: keyof typeof errorTable, message: RegExp) => [
  {
    kind: 'refused',
    code,
    message: expect.stringMatching(message),
    fix: expect.stringMatching(/\w{3}/),
  },
];

describe('raw TCP at the mesh port', () => {
  it.each([
    { what: 'garbage', bytes: () => randomBytes(100_000) },
    { what: 'an HTTP request', bytes: () => Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n') },
  ])('that is $what is hung up on', async ({ bytes }) => {
    const [, port] = /\/tcp\/(\d+)\//.exec(mesh.join) ?? [];
    const socket = connect(Number(port), '127.0.0.1');
    // A reset is an end as well.
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(bytes());
    const closed = await new Promise((resolve) => {
      socket.once('close', () => resolve(true));
      socket.setTimeout(answerMsMax, () => resolve(false));
    });
    socket.destroy();
    expect(closed).toBe(true);
  });
});

describe('a peer that speaks the agents’ protocol', () => {
  it('and sends a frame that is no message is told so', async () => {
    const found = await answersTo(encodeFrame(Buffer.alloc(200, 0xc1)));
    expect(found).toEqual(refused('frame_invalid', /msgpack|not a message|decode/i));
  });

  it('and sends random bytes, whose length is beyond any frame, is told so', async () => {
    const found = await answersTo(Buffer.concat([Buffer.alloc(4, 0xff), randomBytes(5_000)]));
    expect(found).toEqual(refused('frame_invalid', new RegExp(String(frameBytesMax))));
  });

  it.each([
    { what: 'a capacity that is text', change: { capacity: 'large' } },
    {
      what: 'a negative number of slots',
      change: { capacity: { slots: -1, cpus: 1, memoryBytes: 1, diskBytes: 1 } },
    },
    { what: 'a pid that is a list', change: { pid: [1] } },
    { what: 'attempts that are no attempts', change: { held: [{ batch: 'x' }] } },
    { what: 'no name', change: { nodeName: undefined } },
  ])('and says a hello with $what is told which field', async ({ change }) => {
    const [field = ''] = Object.keys(change);
    expect(await answersToMessage({ ...hello(), ...change })).toEqual(
      refused('frame_invalid', new RegExp(field)),
    );
  });

  it('and says something else first is told so', async () => {
    expect(await answersToMessage({ kind: 'pull', heldMax: 10 })).toEqual(
      refused('frame_invalid', /hello/),
    );
  });

  it('and says nothing at all is hung up on', async () => {
    expect(await answersTo(new Uint8Array(0))).toEqual([]);
  });

  it('and has a wrong join token is told so', async () => {
    expect(await answersToMessage({ ...hello(), joinToken: 'pgj_wrong' })).toEqual(
      refused('join_token_wrong', /not known/),
    );
  });

  it('in version 99 is told both versions', async () => {
    expect(await answersToMessage({ ...hello(), protocol: 99, capacity: 'of the future' })).toEqual(
      refused('protocol_version', /version 99 .*version 1/),
    );
  });

  it('in a protocol of another name is told that it is not spoken here', async () => {
    await expect(open('/perigee/agent/99')).rejects.toMatchObject({
      code: 'protocol_version',
      message: expect.stringContaining('/perigee/agent/99'),
    });
  });
});

describe('garbage on the other protocols', () => {
  it.each([blobProtocol, clientProtocol])('ends its own stream alone (%s)', async (protocol) => {
    const found = await answersTo(randomBytes(50_000), protocol);
    for (const answer of found) expect(answer).toMatchObject({ code: expect.any(String) });
  });
});

describe('an agent whose coordinator is of another version', () => {
  it.each([
    {
      how: 'says so',
      serve: (host: MeshHost) =>
        host.handle(
          agentProtocol,
          (stream) => {
            const frames = createFrameStream(stream, {
              onMessage() {
                const { fix } = errorTable.protocol_version;
                const message =
                  'The agent speaks version 1 of the protocol, the coordinator version 99.';
                frames.send({ kind: 'refused', code: 'protocol_version', message, fix });
                void frames.close();
              },
              onClose: () => undefined,
            });
          },
          { streamsMax: 10 },
        ),
      says: 'the coordinator version 99',
    },
    {
      how: 'does not speak its protocol',
      serve: async () => undefined,
      says: 'does not speak /perigee/agent/1',
    },
  ])('leaves with the code and the fix when it $how', async ({ serve, says }) => {
    const key = await generateMeshKey();
    const host = await createMeshHost({
      key,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      connectionsMax: 10,
    });
    try {
      await serve(host);
      const ended = await runProgram([launcher, 'agent', '--join', host.addresses()[0] ?? ''], {
        env: {
          ...mesh.environment,
          PERIGEE_JOIN_TOKEN: 'pgj_any',
          PERIGEE_RECONNECT_MS_MAX: '200',
        },
      });
      expect(ended.status).toBe(errorTable.protocol_version.exitCode);
      expect(ended.stderr).toContain(says);
      expect(ended.stderr).toContain(`${errorTable.protocol_version.fix} (protocol_version)`);
    } finally {
      await host.stop();
    }
  });
});

it('lost nothing of what the other client was mapping all the while', async () => {
  const verdict = await witness.end();
  expect(verdict.faults).toEqual([]);
  expect(verdict.tasks).toBeGreaterThan(50);
});
