/** The one way out of a build: to the index, by plain requests and by tunnels, and to nothing else. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openIndexProxy } from '../../../../../coordinator/images/builder/index-proxy.ts';

let folder: string;
let path: string;
let heard: { url: string; authorization: string | undefined }[];
let index: ReturnType<typeof createServer>;
let host: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-proxy-'));
  path = join(folder, 'index.sock');
  heard = [];
  index = createServer((incoming, answer) => {
    const { authorization, 'proxy-authorization': forProxy } = incoming.headers;
    heard.push({ url: incoming.url ?? '', authorization: authorization ?? forProxy });
    answer.end('the index');
  });
  index.on('connect', (incoming, socket) => {
    heard.push({ url: incoming.url ?? '', authorization: incoming.headers['proxy-authorization'] });
    socket.end('HTTP/1.1 200 OK\r\n\r\nthrough');
  });
  index.listen(0, '127.0.0.1');
  await once(index, 'listening');
  host = `127.0.0.1:${(index.address() as AddressInfo).port}`;
});
afterEach(async () => {
  index.closeAllConnections();
  index.close();
  await once(index, 'close');
  rmSync(folder, { recursive: true, force: true });
});

async function get(url: string): Promise<{ status: number | undefined; body: string }> {
  const asked = request({ socketPath: path, path: url, headers: { authorization: 'Basic x' } });
  asked.end();
  const [answer] = await once(asked, 'response');
  return { status: answer.statusCode, body: await text(answer) };
}

/** What a tunnel says until it ends. */
async function tunnel(place: string, then = ''): Promise<string> {
  const socket = connect(path);
  socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n\r\n${then}`);
  return await text(socket);
}

describe('the proxy of a build', () => {
  it('passes requests to the index on, with their credentials', async () => {
    await using proxy = await openIndexProxy(path, { hosts: new Set([host]), proxy: null });
    expect(await get(`http://${host}/simple/affine/?a=1`)).toEqual({
      status: 200,
      body: 'the index',
    });
    expect(heard).toEqual([{ url: '/simple/affine/?a=1', authorization: 'Basic x' }]);
    const asked = `GET /tunnelled HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    expect(await tunnel(host, asked)).toMatch(/^HTTP\/1\.1 200 [\s\S]*the index/);
    expect(heard[1]?.url).toBe('/tunnelled');
    expect([...proxy.refused]).toEqual([]);
  });

  it('refuses every other place, names it, and connects to none', async () => {
    await using proxy = await openIndexProxy(path, {
      hosts: new Set(['index.example:443']),
      proxy: null,
    });
    expect(await get(`http://${host}/`)).toMatchObject({ status: 403 });
    expect((await get(`http://${host}/`)).body).toContain(host);
    expect(await tunnel(host)).toContain('403 Forbidden');
    // Another port of the index's host, and no URL at all, are other places.
    expect(await tunnel('index.example:22')).toContain('403 Forbidden');
    expect(await get('/etc/passwd')).toMatchObject({ status: 403 });
    expect([...proxy.refused]).toEqual([host, 'index.example:22']);
    expect(heard).toEqual([]);
  });

  it('goes through the machine’s own proxy, with that one’s password', async () => {
    const own = new URL(`http://me:p%40ss@${host}`);
    const authorization = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    await using _proxy = await openIndexProxy(path, {
      hosts: new Set(['index.example:80', 'index.example:443']),
      proxy: own,
    });
    expect(await get('http://index.example/simple/')).toMatchObject({ body: 'the index' });
    expect(heard[0]).toMatchObject({ url: 'http://index.example/simple/' });
    expect(await tunnel('index.example:443')).toContain('through');
    expect(heard[1]).toEqual({ url: 'index.example:443', authorization });
  });

  it('answers 502 when the index is not there, and leaves no socket open', async () => {
    const place = '127.0.0.1:1';
    const proxy = await openIndexProxy(path, { hosts: new Set([place]), proxy: null });
    expect(await get(`http://${place}/`)).toMatchObject({ status: 502 });
    expect(await tunnel(place)).toBe('');
    await proxy[Symbol.asyncDispose]();
    await expect(get(`http://${place}/`)).rejects.toThrow();
  });
});
