import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCredentials } from '../../../../node-agent/imagery/origins/credentials.ts';
import { namespace, never, openCache, other } from './caches.ts';
import type { Fault, RangeServer } from './range-server.ts';
import { makeBytes, startRangeServer } from './range-server.ts';

const mib = 1024 ** 2;
let server: RangeServer;
beforeEach(async () => {
  server = await startRangeServer();
  server.files.set('/large.tif', makeBytes(21 * mib + 5));
  server.files.set('/small.tif', makeBytes(300_000, 7));
});
afterEach(() => server[Symbol.asyncDispose]());

const options = { namespace, signal: never };
const large = (): { uri: string; namespace: typeof namespace } => ({
  uri: server.url('/large.tif'),
  namespace,
});
const filesIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((one) => one.isFile() && one.name !== 'meta.json')
    .map((one) => join(one.parentPath, one.name));

describe('the imagery cache', () => {
  it('reads any range as the origin has it, and the second time from its disk', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const { cache } = test;
    const version = await cache.stat(large(), never);
    const truth = server.files.get('/large.tif') ?? new Uint8Array();
    for (const range of [
      { offset: 0, length: 16_384 },
      { offset: 4 * mib - 3, length: 7 },
      { offset: 3 * mib, length: 9 * mib },
      { offset: 21 * mib, length: 4_096 },
      { offset: 30 * mib, length: 10 },
    ]) {
      const bytes = await cache.read(version, range, options);
      const expected = truth.subarray(range.offset, range.offset + range.length);
      expect(Buffer.compare(bytes, expected)).toBe(0);
    }
    const gets = server.gets;
    await cache.read(version, { offset: 0, length: 12 * mib }, options);
    expect(server.gets).toBe(gets);
    expect(cache.stats()).toMatchObject({ peerBytes: 0, heldAssets: 1 });
  });

  it('asks the origin once for a hundred readers, with neighbours in one request', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const version = await test.cache.stat(large(), never);
    await Promise.all(
      Array.from({ length: 100 }, () =>
        test.cache.read(version, { offset: 0, length: 8 * mib }, options),
      ),
    );
    expect({ gets: server.gets, bytes: server.bytesSent }).toEqual({ gets: 1, bytes: 8 * mib });
  });

  it('goes on for the others when one reader leaves, and stops when the last does', async () => {
    await using test = await openCache({ allowed: [server.host], stallMsMax: 60_000 });
    const version = await test.cache.stat(large(), never);
    server.faults = ['stalls'];
    const leaving = [new AbortController(), new AbortController()];
    const reads = leaving.map(({ signal }) =>
      test.cache.read(version, { offset: 0, length: 10 }, { namespace, signal }),
    );
    await expect.poll(() => server.gets).toBe(1);
    leaving[0]?.abort(new Error('first'));
    await expect(reads[0]).rejects.toThrow('first');
    leaving[1]?.abort(new Error('second'));
    await expect(reads[1]).rejects.toThrow('second');
    const bytes = await test.cache.read(version, { offset: 0, length: 10 }, options);
    expect(bytes).toEqual(Buffer.from(server.files.get('/large.tif')?.subarray(0, 10) ?? []));
  });

  it.each<Fault>(['status500', 'status503', 'shortBody', 'stalls', 'wrongContentRange', 'resets'])(
    'asks again after %s',
    async (fault) => {
      await using test = await openCache({ allowed: [server.host] });
      const version = await test.cache.stat(large(), never);
      server.faults = [fault, fault];
      const bytes = await test.cache.read(version, { offset: 5, length: 100 }, options);
      expect(Buffer.compare(bytes, makeBytes(200).subarray(5, 105))).toBe(0);
      expect(server.gets).toBe(3);
    },
  );

  it('names the scene, the range and the answer when the origin goes on failing', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const version = await test.cache.stat(large(), never);
    server.faults = ['status500', 'status500', 'status500', 'status500'];
    await expect(
      test.cache.read(version, { offset: 5 * mib, length: 1 }, options),
    ).rejects.toMatchObject({
      code: 'asset_unreachable',
      message: expect.stringMatching(
        /large\.tif, bytes 4194304-8388607: .*status 500.*the disk is on fire/,
      ),
    });
    server.faults = ['status403'];
    await expect(test.cache.read(version, { offset: 0, length: 1 }, options)).rejects.toMatchObject(
      { code: 'asset_denied' },
    );
    await expect(
      test.cache.stat({ uri: server.url('/none.tif'), namespace }, never),
    ).rejects.toMatchObject({ code: 'asset_not_found' });
  });

  it('refuses an origin that ignores ranges, unless the whole asset was asked for', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const version = await test.cache.stat(large(), never);
    server.faults = Array.from({ length: 8 }, () => 'ignoresRange' as const);
    await expect(test.cache.read(version, { offset: 0, length: 1 }, options)).rejects.toMatchObject(
      { code: expect.stringMatching(/asset_invalid|asset_unreachable/) },
    );
    server.faults = ['ignoresRange'];
    const small = { uri: server.url('/small.tif'), namespace };
    const whole = await test.cache.openWhole(small, never);
    expect(Buffer.compare(await readFile(whole.path), makeBytes(300_000, 7))).toBe(0);
    whole.release();
  });

  it('tells a change under the reader and never mixes two versions', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const before = await test.cache.stat(large(), never);
    await test.cache.read(before, { offset: 0, length: 1 }, options);
    server.files.set('/large.tif', makeBytes(21 * mib + 5, 99));
    server.etags.set('/large.tif', '"v2"');
    await expect(
      test.cache.read(before, { offset: 8 * mib, length: 1 }, options),
    ).rejects.toMatchObject({ code: 'asset_changed' });
    expect(test.cache.stats().heldBytes).toBe(0);
    const after = await test.cache.stat(large(), never);
    expect(after.version).toBe('"v2"');
    const bytes = await test.cache.read(after, { offset: 0, length: 64 }, options);
    expect(Buffer.compare(bytes, makeBytes(64, 99))).toBe(0);
  });

  it('keeps what has no version of its own for one look alone', async () => {
    server.etags.set('/large.tif', '');
    await using patient = await openCache({ allowed: [server.host] });
    const known = await patient.cache.stat(large(), never);
    await patient.cache.read(known, { offset: 0, length: 10 }, options);
    expect(await patient.cache.stat(large(), never)).toEqual(known);

    await using test = await openCache({ allowed: [server.host], freshMs: 0 });
    const before = await test.cache.stat(large(), never);
    await test.cache.read(before, { offset: 0, length: 10 }, options);
    const changed = makeBytes(21 * mib + 5, 99);
    server.files.set('/large.tif', changed);
    const after = await test.cache.stat(large(), never);
    // Over the border of a block that was read before and one that was not.
    const bytes = await test.cache.read(after, { offset: 4 * mib - 8, length: 16 }, options);
    expect(Buffer.compare(bytes, changed.subarray(4 * mib - 8, 4 * mib + 8))).toBe(0);
    server.files.set('/large.tif', makeBytes(20 * mib));
    await expect(
      test.cache.read(after, { offset: 8 * mib, length: 1 }, options),
    ).rejects.toMatchObject({ code: 'asset_changed' });
  });

  it('keeps what it has over a restart, without what a crash left, and notices a bad block', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const version = await test.cache.stat(large(), never);
    await test.cache.read(version, { offset: 0, length: 8 * mib }, options);
    const files = await filesIn(test.folder);
    expect(files).toHaveLength(2);
    const [bad = '', good = ''] = files.sort();
    const bytes = await readFile(bad);
    bytes[77] = (bytes[77] ?? 0) ^ 1;
    await writeFile(bad, bytes);
    await writeFile(join(good, '..', `5.${'0'.repeat(64)}`), 'cut off by a crash');
    await mkdir(join(test.folder, 'tmp'), { recursive: true });
    await writeFile(join(test.folder, 'tmp', '9'), 'unfinished');
    await test.reopen();
    const gets = server.gets;
    const read = await test.cache.read(version, { offset: 0, length: 8 * mib }, options);
    expect(Buffer.compare(read, makeBytes(8 * mib))).toBe(0);
    expect(server.gets).toBe(gets + 1);
    expect(test.warnings).toEqual([expect.stringContaining('went bad')]);
    expect(await filesIn(test.folder)).toHaveLength(2);
  });

  it('stays within its bytes, and keeps what is in use and the header', async () => {
    await using test = await openCache({ allowed: [server.host], bytesMax: 12 * mib });
    server.files.set('/other.tif', makeBytes(20 * mib, 3));
    const small = { uri: server.url('/small.tif'), namespace };
    const whole = await test.cache.openWhole(small, never);
    await test.cache.prefetch(large(), null, never);
    await test.cache.prefetch({ uri: server.url('/other.tif'), namespace }, null, never);
    expect(test.cache.stats().heldBytes).toBeLessThanOrEqual(12 * mib);
    expect(await readFile(whole.path)).toHaveLength(300_000);
    whole.release();
  });

  it('keeps the headers that are read again through scans of everything else', async () => {
    // An eighth of it is two header blocks.
    await using test = await openCache({ allowed: [server.host], bytesMax: 64 * mib });
    const open = async (name: string): Promise<void> => {
      const version = await test.cache.stat({ uri: server.url(name), namespace }, never);
      await test.cache.read(version, { offset: 0, length: 16_384 }, options);
    };
    await open('/large.tif');
    for (let scan = 0; scan < 12; scan += 1) {
      const name = `/scan${scan}.tif`;
      server.files.set(name, makeBytes(9 * mib, scan));
      await test.cache.prefetch({ uri: server.url(name), namespace }, null, never);
      // The readers of a scan come to its header several times.
      for (let at = 0; at < 3; at += 1) await open(name);
      server.files.delete(name);
    }
    expect(test.cache.stats().heldBytes).toBeLessThanOrEqual(64 * mib);
    const gets = server.gets;
    await open('/large.tif');
    expect(server.gets).toBe(gets);
  });

  it('assembles a large asset into one file, which counts and is used from then on', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const whole = await test.cache.openWhole(large(), never);
    expect(Buffer.compare(await readFile(whole.path), makeBytes(21 * mib + 5))).toBe(0);
    expect(test.cache.stats().heldBytes).toBe(21 * mib + 5);
    const sent = server.bytesSent;
    await test.cache.read(whole.version, { offset: 9 * mib, length: mib }, options);
    expect(server.bytesSent).toBe(sent);
    expect(sent).toBe(21 * mib + 5);
    whole.release();
  });

  it('passes bytes through when nothing can be kept', async () => {
    await using test = await openCache({ allowed: [server.host], diskFreeBytesMin: 2 ** 60 });
    const version = await test.cache.stat(large(), never);
    const bytes = await test.cache.read(version, { offset: mib, length: mib }, options);
    expect(Buffer.compare(bytes, makeBytes(2 * mib).subarray(mib))).toBe(0);
    expect(test.cache.stats()).toMatchObject({ heldBytes: 0, originBytes: mib });
    await expect(test.cache.openWhole(large(), never)).rejects.toThrow(/no room/);
  });

  it('never serves one namespace what another read with its credentials', async () => {
    const credentials = parseCredentials({
      namespaces: {
        'team-a': [{ match: server.url('/'), http: { headers: { authorization: 'Bearer a' } } }],
      },
    });
    await using test = await openCache({ allowed: [server.host], credentials });
    const mine = await test.cache.stat(large(), never);
    await test.cache.read(mine, { offset: 0, length: 1 }, options);
    expect(server.headers.every((one) => one.authorization === 'Bearer a')).toBe(true);
    server.faults = ['status403'];
    await expect(
      test.cache.read(mine, { offset: 0, length: 1 }, { namespace: other, signal: never }),
    ).rejects.toMatchObject({ code: 'asset_denied' });
    expect(server.headers.at(-1)?.authorization).toBeUndefined();
  });

  it('does not read loopback and metadata addresses', async () => {
    await using test = await openCache();
    for (const uri of [
      server.url('/large.tif'),
      'http://169.254.169.254/latest/meta-data/iam',
      'http://[::ffff:127.0.0.1]:80/x',
      'http://localhost:1/x',
      'http://2130706433/x',
    ]) {
      await expect(test.cache.stat({ uri, namespace }, never)).rejects.toMatchObject({
        code: 'asset_denied',
      });
    }
    expect(server.heads + server.gets).toBe(0);
  });

  it('does not follow an open origin to a closed address', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const version = await test.cache.stat(large(), never);
    server.faults = ['redirectsToMetadata'];
    await expect(test.cache.read(version, { offset: 0, length: 1 }, options)).rejects.toMatchObject(
      {
        code: 'asset_denied',
        message: expect.stringContaining('169.254.169.254'),
      },
    );
  });

  it('reads files below an offered folder alone, whatever the link', async () => {
    await using test = await openCache({ allowed: [server.host] });
    const root = join(test.folder, 'root');
    await mkdir(root);
    await writeFile(join(root, 'scene.tif'), makeBytes(1_000));
    await writeFile(join(test.folder, 'secret'), 'secret');
    await chmod(root, 0o755);
    const { symlink } = await import('node:fs/promises');
    await symlink(join(test.folder, 'secret'), join(root, 'link.tif'));
    await using files = await openCache({ roots: [{ path: root, name: 'scenes' }] });
    for (const uri of ['file:///data/scenes/scene.tif', `file://${root}/scene.tif`]) {
      const version = await files.cache.stat({ uri, namespace }, never);
      const bytes = await files.cache.read(version, { offset: 10, length: 5 }, options);
      expect(Buffer.compare(bytes, makeBytes(1_000).subarray(10, 15))).toBe(0);
    }
    for (const uri of [
      `file://${test.folder}/secret`,
      `file://${root}/link.tif`,
      'file:///data/scenes/link.tif',
      'file:///data/scenes/../../etc/passwd',
      'file:///etc/passwd',
    ]) {
      await expect(files.cache.stat({ uri, namespace }, never)).rejects.toMatchObject({
        code: 'asset_denied',
      });
    }
  });
});
