import { createHash, randomUUID } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { discardBytesMax } from '../../../../coordinator/gateway/http/read-body.ts';
import type { GatewaySettings } from '../../../../coordinator/gateway/settings.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { batchBytesMax } from '../../../../protocol/wire/limits.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { createTestGroup, startGatewayMesh, testBlock } from './gateway-mesh.ts';
import { makeSelfSigned } from './self-signed.ts';

let mesh: GatewayMesh | undefined;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await mesh?.stop();
  expect(mesh?.errors ?? []).toEqual([]);
  mesh = undefined;
});

const start = async (changes: Partial<GatewaySettings> = {}): Promise<GatewayMesh> => {
  mesh = await startGatewayMesh(changes);
  return mesh;
};

/** A client of bare bytes, as the Python SDK is one. */
class RawClient {
  readonly socket: Socket;
  #text = '';
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.socket.on('data', (bytes) => {
      this.#text += bytes.toString('latin1');
      this.#wake();
    });
    const end = (): void => {
      this.#ended = true;
      this.#wake();
    };
    this.socket.on('close', end).on('error', end);
    sockets.push(this.socket);
  }

  /** The next answer: status line, headers, and a body of the declared length. */
  async answer(): Promise<{ status: number; head: string; body: string }> {
    for (;;) {
      const end = this.#text.indexOf('\r\n\r\n');
      if (end >= 0) {
        const head = this.#text.slice(0, end);
        const length = Number(/content-length: ([0-9]+)/i.exec(head)?.[1] ?? 0);
        if (this.#text.length >= end + 4 + length) {
          const body = this.#text.slice(end + 4, end + 4 + length);
          this.#text = this.#text.slice(end + 4 + length);
          return { status: Number(head.split(' ')[1]), head, body };
        }
      }
      if (this.#ended) throw new Error(`the connection ended after: ${this.#text.slice(0, 200)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async closed(): Promise<void> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const batchHead = (
  running: GatewayMesh,
  group: string,
  options: { length: number; count: number; extra?: string },
): string =>
  [
    `PUT /v1/groups/${group}/batches/${randomUUID()} HTTP/1.1`,
    'Host: perigee',
    `Authorization: Bearer ${running.operator}`,
    `X-Perigee-Count: ${options.count}`,
    'Content-Type: application/octet-stream',
    `Content-Length: ${options.length}`,
    ...(options.extra === undefined ? [] : [options.extra]),
    '\r\n',
  ].join('\r\n');

describe('one connection', () => {
  it('carries many batches, one behind the other and pipelined', async () => {
    const running = await start();
    const group = await createTestGroup(running);
    const client = new RawClient(running.url);
    const block = testBlock(2);
    const one = Buffer.concat([
      Buffer.from(batchHead(running, group, { length: block.length, count: 2 })),
      block,
    ]);
    for (let round = 1; round <= 3; round += 1) {
      client.socket.write(
        Buffer.concat([
          Buffer.from(batchHead(running, group, { length: block.length, count: 2 })),
          block,
        ]),
      );
      const answer = await client.answer();
      expect(JSON.parse(answer.body)).toMatchObject({ batch: round, count: 2 });
    }
    client.socket.write(Buffer.concat([one, one]));
    const [first, second] = [await client.answer(), await client.answer()];
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(first.body).toBe(second.body);
  });

  it('is asked to go on when it expects to be', async () => {
    const running = await start();
    const group = await createTestGroup(running);
    const client = new RawClient(running.url);
    const block = testBlock(1);
    const extra = 'Expect: 100-continue';
    client.socket.write(batchHead(running, group, { length: block.length, count: 1, extra }));
    expect((await client.answer()).status).toBe(100);
    client.socket.write(block);
    expect((await client.answer()).status).toBe(201);
  });

  it('survives a body that is too large, even when all of it is sent before anything is read', async () => {
    const running = await start();
    const group = await createTestGroup(running);
    const client = new RawClient(running.url);
    const body = Buffer.alloc(batchBytesMax + 1_000_000);
    client.socket.write(batchHead(running, group, { length: body.length, count: 1 }));
    client.socket.write(body);
    const refused = await client.answer();
    expect(refused.status).toBe(413);
    expect(JSON.parse(refused.body)).toMatchObject({ code: 'too_large' });
    const block = testBlock(1);
    client.socket.write(batchHead(running, group, { length: block.length, count: 1 }));
    client.socket.write(block);
    expect((await client.answer()).status).toBe(201);
  });

  it('survives an upload that was refused unread', async () => {
    const running = await start();
    const client = new RawClient(running.url);
    const body = Buffer.alloc(5_000_000);
    const path = `/v1/blobs/${'0'.repeat(64)}`;
    client.socket.write(
      `PUT ${path} HTTP/1.1\r\nHost: perigee\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    client.socket.write(body);
    const refused = await client.answer();
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([401, 'token_missing']);
    client.socket.write('GET /v1/health HTTP/1.1\r\nHost: perigee\r\n\r\n');
    expect((await client.answer()).status).toBe(200);
  });
});

describe('an upload that need not have come', () => {
  const upload = (running: GatewayMesh, body: Buffer): RawClient => {
    const client = new RawClient(running.url);
    const hash = createHash('sha256').update(body).digest('hex');
    client.socket.write(
      `PUT /v1/blobs/${hash} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${running.operator}\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    return client;
  };
  /** Whether the connection carries another call. */
  const goesOn = async (client: RawClient): Promise<boolean> => {
    client.socket.write('GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n');
    return (await client.answer()).status === 200;
  };

  it('is read to its end, however long, when the blob is there already', async () => {
    const running = await start();
    const body = Buffer.alloc(discardBytesMax + 5_000_000, 'again');
    for (const status of [201, 200]) {
      const client = upload(running, body);
      client.socket.write(body);
      expect((await client.answer()).status).toBe(status);
      expect(await goesOn(client)).toBe(true);
      client.socket.destroy();
    }
  });

  it('does not hold its call when it stands still', async () => {
    const running = await start({ idleTimeoutMs: 200 });
    const body = Buffer.alloc(100_000, 'still');
    const whole = upload(running, body);
    whole.socket.write(body);
    expect((await whole.answer()).status).toBe(201);
    const stuck = upload(running, body);
    stuck.socket.write(body.subarray(0, 500));
    await stuck.closed();
  });

  it('is read to its end when it is refused half-way', async () => {
    const running = await start();
    const write = running.blobs.write.bind(running.blobs);
    running.blobs.write = async (_hash, bytes) => {
      for await (const _chunk of bytes) throw new PerigeeError('disk_full');
    };
    const body = Buffer.alloc(20_000_000, 'refused');
    const client = upload(running, body);
    client.socket.write(body);
    const refused = await client.answer();
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([507, 'disk_full']);
    expect(await goesOn(client)).toBe(true);
    running.blobs.write = write;
  });
});

describe('a client that misbehaves', () => {
  it('gets a problem for what is not HTTP, and for a head that is too long', async () => {
    const running = await start();
    const garbage = new RawClient(running.url);
    garbage.socket.write('\x16\x03\x01 this is TLS, perhaps\r\n\r\n');
    const answer = await garbage.answer();
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'invalid_request', status: 400 });
    await garbage.closed();
    const long = new RawClient(running.url);
    long.socket.write(`GET / HTTP/1.1\r\nHost: x\r\nCookie: ${'c'.repeat(20_000)}\r\n\r\n`);
    expect(JSON.parse((await long.answer()).body).code).toBe('invalid_request');
    await long.closed();
  });

  it('is dropped when its head, or its body, comes too slowly', async () => {
    const running = await start({ headersTimeoutMs: 300, bodyTimeoutMs: 200, idleTimeoutMs: 200 });
    const group = await createTestGroup(running);
    const slowHead = new RawClient(running.url);
    slowHead.socket.write('GET /v1/health HT');
    const slowBody = new RawClient(running.url);
    slowBody.socket.write(batchHead(running, group, { length: 1_000, count: 1 }));
    slowBody.socket.write('only a little');
    const refused = await slowBody.answer();
    expect(JSON.parse(refused.body)).toMatchObject({ code: 'timed_out', status: 504 });
    await slowBody.closed();
    const stuck = new RawClient(running.url);
    stuck.socket.write(
      `PUT /v1/blobs/${'0'.repeat(64)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${running.operator}\r\nContent-Length: 1000\r\n\r\nsome`,
    );
    const given = await stuck.answer();
    expect(JSON.parse(given.body)).toMatchObject({ code: 'timed_out' });
    await stuck.closed();
    await slowHead.closed();
  });

  it('leaves nothing behind when it goes in the middle of an upload or a stream', async () => {
    const running = await start({ heartbeatMs: 50, streamsMax: 1 });
    const group = await createTestGroup(running);
    const upload = new RawClient(running.url);
    upload.socket.write(batchHead(running, group, { length: 1_000, count: 1 }));
    upload.socket.write('only a little');
    const reader = new RawClient(running.url);
    reader.socket.write(
      `GET /v1/outcomes?after=0&follow=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${running.operator}\r\n\r\n`,
    );
    expect((await reader.answer()).status).toBe(200);
    reader.socket.destroy();
    upload.socket.destroy();
    // The one stream that is allowed is free again.
    await expect
      .poll(async () => (await running.call('GET', '/v1/outcomes?after=0')).status)
      .toBe(200);
    const tasks = await running.call('GET', '/v1/tasks');
    expect(await tasks.json()).toEqual({ items: [], next: null });
  });
});

describe('a gateway that stops', () => {
  it('answers "draining" to what still comes, and then is gone', async () => {
    const running = await start();
    const client = new RawClient(running.url);
    // The second head is half there when the first is answered.
    client.socket.write(
      'GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/health HTTP/1.1\r\nHost: x\r\n',
    );
    expect((await client.answer()).status).toBe(200);
    const stopped = running.gateway.stop();
    client.socket.write('\r\n');
    const refused = await client.answer();
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([503, 'draining']);
    await stopped;
    await client.closed();
    await expect(running.call('GET', '/v1/health')).rejects.toThrow();
  });
});

describe('listening', () => {
  it('beyond loopback needs TLS, a proxy, or an explicit word', async () => {
    await expect(startGatewayMesh({ host: '0.0.0.0' })).rejects.toMatchObject({
      code: 'insecure_listen',
    });
    const open = await start({ host: '0.0.0.0', insecureHttp: true });
    expect(open.url).toMatch(/^http:\/\/127\.0\.0\.1:/);
    expect((await open.call('GET', '/v1/health')).status).toBe(200);
  });

  it('with a certificate speaks HTTPS', async () => {
    const tls = makeSelfSigned();
    const running = await start({ host: '0.0.0.0', tls });
    expect(running.url).toMatch(/^https:\/\/127\.0\.0\.1:/);
    const status = await new Promise<number | undefined>((resolve, reject) => {
      httpsRequest(`${running.url}/v1/health`, { ca: tls.cert, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(200);
  });

  it('on a port in use says so', async () => {
    const running = await start();
    const port = Number(new URL(running.url).port);
    const refused = await startGatewayMesh({ port }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(PerigeeError);
    expect(refused).toMatchObject({
      code: 'port_taken',
      message: `Port ${port} on 127.0.0.1 is in use.`,
    });
  });
});
