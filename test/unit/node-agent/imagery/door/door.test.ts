import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Door } from '../../../../../node-agent/imagery/door/door.ts';
import { openDoor } from '../../../../../node-agent/imagery/door/door.ts';
import { fileNameOf } from '../../../../../node-agent/imagery/door/grants.ts';
import {
  encodeMessage,
  MessageReader,
} from '../../../../../node-agent/imagery/door/message-reader.ts';
import { connectionsMax } from '../../../../../node-agent/runner/task-connections.ts';
import type { NamespaceName } from '../../../../../protocol/wire/ids.ts';
import type { FolderCache } from '../../../../imagery/folder-cache.ts';
import { createFolderCache } from '../../../../imagery/folder-cache.ts';

describe("a worker's door to imagery", () => {
  let folder: string;
  let cache: FolderCache;
  let door: Door;
  let task: number | null;
  const open: Socket[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-door-'));
    writeFileSync(join(folder, 'source'), 'pixels');
    cache = createFolderCache(join(folder, 'cache'), { 'a.tif': join(folder, 'source') });
    task = 1;
    door = await openDoor({
      cache,
      namespace: 'mine' as NamespaceName,
      folder,
      inPath: () => '/in',
      lazy: null,
      place: async (from, to) => linkSync(from, to),
      currentTask: () => task,
      warn: () => {},
    });
  });

  afterEach(async () => {
    for (const socket of open.splice(0)) socket.destroy();
    await door.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const dial = (): Socket => {
    const socket = connect(join(folder, 'imagery.sock'));
    socket.on('error', () => {});
    open.push(socket);
    return socket;
  };

  /** The next answer; undefined when the connection closes instead. */
  const hear = async (socket: Socket): Promise<Record<string, unknown> | undefined> => {
    const reader = new MessageReader();
    const answer = Promise.withResolvers<Record<string, unknown> | undefined>();
    const take = (bytes: Buffer): void => {
      reader.push(bytes);
      const message = reader.shift();
      if (message !== undefined) answer.resolve(JSON.parse(message.toString()));
    };
    socket.on('data', take);
    socket.once('close', () => answer.resolve(undefined));
    const heard = await answer.promise;
    socket.off('data', take);
    return heard;
  };

  const ask = async (request: object, socket = dial()) => {
    socket.write(encodeMessage(request));
    return await hear(socket);
  };

  it('gives a file that goes when its task ends, and no other', async () => {
    const answer = await ask({ kind: 'open', uri: 'mem://mine/a.tif' });
    expect(answer).toMatchObject({ path: '/in/assets/1/a.tif', sizeBytes: 6, way: 'whole' });
    expect(readFileSync(join(folder, 'assets/1/a.tif'), 'utf8')).toBe('pixels');
    expect(cache.pinned.size).toBe(1);
    door.endTask(2);
    expect(existsSync(join(folder, 'assets/1'))).toBe(true);
    door.endTask(1);
    await expect.poll(() => existsSync(join(folder, 'assets/1'))).toBe(false);
    expect(cache.pinned.size).toBe(0);
  });

  it('gives every asker of a task the same file, and the next task another', async () => {
    const uri = 'mem://mine/a.tif';
    const answers = await Promise.all([ask({ kind: 'open', uri }), ask({ kind: 'open', uri })]);
    expect(answers[0]?.['path']).toBe(answers[1]?.['path']);
    door.endTask(1);
    task = 2;
    expect((await ask({ kind: 'open', uri }))?.['path']).toBe('/in/assets/2/a.tif');
  });

  it('refuses everything while no task runs', async () => {
    task = null;
    const answer = await ask({ kind: 'open', uri: 'mem://mine/a.tif' });
    expect(answer).toMatchObject({ error: { code: 'forbidden' } });
    expect(cache.pinned.size).toBe(0);
  });

  it("refuses another namespace's asset, with the cache's own words", async () => {
    const answer = await ask({ kind: 'open', uri: 'mem://theirs/a.tif' });
    expect(answer).toMatchObject({ error: { code: 'asset_denied' } });
    expect(await ask({ kind: 'open', uri: 'mem://mine/b.tif' })).toMatchObject({
      error: { code: 'asset_not_found', message: expect.stringContaining('404') },
    });
  });

  it.each([
    ['no JSON', Buffer.from('\0\0\0\x01{', 'latin1')],
    ['no object', encodeMessage([1])],
    ['an unknown kind', encodeMessage({ kind: 'read' })],
    ['no URI', encodeMessage({ kind: 'open' })],
    ['a long URI', encodeMessage({ kind: 'open', uri: 'a'.repeat(5_000) })],
    ['a URI with a line break', encodeMessage({ kind: 'open', uri: 'mem://mine/a\nb' })],
    ['many URIs', encodeMessage({ kind: 'prefetch', uris: Array(300).fill('a') })],
  ])('answers %s with an error and goes on', async (_, bytes) => {
    const socket = dial();
    socket.write(bytes);
    expect(await hear(socket)).toMatchObject({ error: { code: 'invalid_request' } });
    expect(await ask({ kind: 'stat', uri: 'mem://mine/a.tif' }, socket)).toMatchObject({
      sizeBytes: 6,
    });
  });

  it('ends a connection whose message is too long', async () => {
    const socket = dial();
    socket.write(Buffer.from([0x7f, 0xff, 0xff, 0xff]));
    expect(await hear(socket)).toMatchObject({ error: { code: 'too_large' } });
    expect(await hear(socket)).toBeUndefined();
  });

  it('serves the others when one connection floods it, and bounds how many there are', async () => {
    const flood = dial();
    const line = encodeMessage({ kind: 'stat', uri: 'mem://mine/a.tif' });
    flood.write(Buffer.concat(Array(20_000).fill(line)));
    expect(await ask({ kind: 'stat', uri: 'mem://mine/a.tif' })).toMatchObject({ sizeBytes: 6 });
    for (let count = open.length; count < connectionsMax; count += 1) dial();
    expect(await ask({ kind: 'stat', uri: 'mem://mine/a.tif' })).toBeUndefined();
  });

  it('gives up what a task still asks for when it ends', async () => {
    const begun = Promise.withResolvers<void>();
    cache.beforeOpen = async (_, signal) => {
      begun.resolve();
      const aborted = Promise.withResolvers<never>();
      signal.addEventListener('abort', () => aborted.reject(signal.reason));
      await aborted.promise;
    };
    const answer = ask({ kind: 'open', uri: 'mem://mine/a.tif' });
    await begun.promise;
    door.endTask(1);
    expect(await answer).toMatchObject({ error: { code: 'not_found' } });
    expect(cache.pinned.size).toBe(0);
  });

  it('hands prefetches on', async () => {
    expect(await ask({ kind: 'prefetch', uris: ['mem://mine/a.tif'] })).toEqual({ started: 1 });
    expect(cache.prefetched).toEqual(['mem://mine/a.tif']);
  });

  it.each([
    ['https://host/scenes/B04.tif?sig=/../x', 'B04.tif'],
    ['https://host/a/..', 'asset'],
    ['s3://bucket/a b/ü.tif', '_.tif'],
    ['https://host/', 'asset'],
  ])('names the file of %s %s', (uri, name) => {
    expect(fileNameOf(uri)).toBe(name);
  });
});
