/** What a group carries, in real sandboxes of every level: importable, readable, and nobody's to change. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIncludeFolders } from '../../node-agent/runner/include-folders.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import { everyLevel, isMissing, prelude } from './attack.ts';
import { openSandboxes } from './sandboxes.ts';

const hash = 'a'.repeat(64) as BlobHash;
let folder: string;
let archive: string;

async function writeTar(path: string, entries: readonly (readonly [string, string | null])[]) {
  const tar = pack();
  for (const [name, content] of entries) {
    if (content === null) tar.entry({ name, type: 'directory', mode: 0o755 });
    else tar.entry({ name, mode: 0o644 }, content);
  }
  tar.finalize();
  writeFileSync(path, await buffer(tar));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-include-'));
  archive = join(folder, 'archive.tar');
  await writeTar(archive, [
    ['soil', null],
    ['soil/__init__.py', 'from soil.deep import depth\n'],
    ['soil/deep.py', 'depth = 42\n'],
    ['tables', null],
    ['tables/clay.csv', 'clay,7\n'],
  ]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

for (const level of everyLevel)
  describe.skipIf(isMissing(level)).concurrent(`level ${level}`, () => {
    for (const python of ['2.7', '3.11'] as const)
      it(`has it before the function loads, read-only, under ${python}`, async () => {
        await using sandboxes = await openSandboxes(level);
        const include = { blob: hash, modules: ['soil'] };
        const source = `${prelude}
import soil
def f():
    at = os.environ['PERIGEE_INCLUDE']
    found = open('tables/clay.csv').read()
    os.unlink('tables')
    return [soil.depth, found, open(os.path.join(at, 'tables/clay.csv')).read(),
            attempt(lambda: write_file(os.path.join(at, 'tables/clay.csv'), b'x')),
            attempt(lambda: write_file(os.path.join(at, 'new'), b'x')),
            attempt(lambda: os.unlink(os.path.join(at, 'soil/deep.py')))]`;
        const options = { source, python, includePath: archive };
        const sandbox = sandboxes.start({ ...options, spec: { include, taskIsolation: 'task' } });
        const stopped = expect.stringContaining('stopped');
        const value = [42, 'clay,7\n', 'clay,7\n', stopped, stopped, stopped];
        expect(await sandbox.call()).toMatchObject({ kind: 'ended', value });
        // The next task of a group whose tasks are apart finds all of it again.
        expect(await sandbox.call()).toMatchObject({ kind: 'ended', value });
      });
  });

describe('an archive that is damaged', () => {
  it('fails the group’s tasks with why, and leaves the node in peace', async () => {
    await using sandboxes = await openSandboxes(null);
    const damaged = join(folder, 'damaged.tar');
    await writeTar(damaged, [['../out', 'x']]);
    const sandbox = sandboxes.start({
      source: 'def f(): pass',
      includePath: damaged,
      spec: { include: { blob: hash, modules: [] } },
    });
    const message = expect.stringContaining('cannot be unpacked');
    const end = { kind: 'unloadable', failure: { name: 'IncludeError', message } };
    expect(await sandbox.ended).toMatchObject({ end });
  });
});

describe('unpacked archives', () => {
  it('are unpacked once however many ask at once, and go when they are too many', async () => {
    const base = mkdtempSync(join(folder, 'base-'));
    const folders = createIncludeFolders(base, { unusedBytesMax: 0 });
    const leases = await Promise.all([1, 2, 3].map(() => folders.open(hash, archive)));
    expect(new Set(leases.map((lease) => lease.folder)).size).toBe(1);
    expect(readdirSync(leases[0]?.folder ?? '')).toEqual(['soil', 'tables']);
    for (const lease of leases.slice(1)) {
      await lease.release();
      await lease.release();
    }
    expect(readdirSync(base)).toEqual([hash]);
    await leases[0]?.release();
    expect(readdirSync(base)).toEqual([]);
    const again = await folders.open(hash, archive);
    expect(readdirSync(again.folder)).toEqual(['soil', 'tables']);
  });

  it('leave nothing of one that is cut short, and the next try is a new one', async () => {
    const base = mkdtempSync(join(folder, 'base-'));
    const folders = createIncludeFolders(base);
    const cut = join(folder, 'cut.tar');
    writeFileSync(cut, Buffer.alloc(700, 'x'));
    await expect(folders.open(hash, cut)).rejects.toMatchObject({ code: 'image_invalid' });
    expect(readdirSync(base)).toEqual([]);
    expect(readdirSync((await folders.open(hash, archive)).folder)).toEqual(['soil', 'tables']);
  });
});
