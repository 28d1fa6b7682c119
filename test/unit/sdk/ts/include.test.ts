/** What travels with a function of the TypeScript SDK: which files, where they lie, what is refused. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hashArchive, readArchive } from '../../../../sdk/ts/include-archive.ts';
import type { IncludeOptions } from '../../../../sdk/ts/include-files.ts';
import { collectIncludes } from '../../../../sdk/ts/include-files.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-include-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, content: string | Buffer = ''): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), content);
}

async function namesOf(options: IncludeOptions): Promise<string[]> {
  const found = await collectIncludes({ includeFrom: folder, ...options });
  return [...(found?.files.keys() ?? [])].sort();
}

describe('modules', () => {
  it('are files, and packages with their data and without caches', async () => {
    for (const path of ['src/soil/__init__.py', 'src/soil/a/table.csv', 'src/soil/.git/x'])
      write(path);
    for (const path of ['src/soil/__pycache__/x.pyc', 'src/soil/x.pyc', 'lone.py']) write(path);
    const options = { includeModules: ['src/soil', 'lone.py'] };
    expect(await namesOf(options)).toEqual(['lone.py', 'soil/__init__.py', 'soil/a/table.csv']);
    const found = await collectIncludes({ includeFrom: folder, ...options });
    expect(found).toMatchObject({ modules: ['soil', 'lone'], arch: null });
  });

  it('say for which processor they were built', async () => {
    write('soil/_fast.so', Buffer.from(`7f454c46020101${'00'.repeat(9)}0300b700`, 'hex'));
    const found = await collectIncludes({ includeFrom: folder, includeModules: ['soil'] });
    expect(found?.arch).toBe('arm64');
    write('soil/_fast.so', 'no program');
    await expect(namesOf({ includeModules: ['soil'] })).rejects.toThrow('not for Linux');
  });

  it('are refused when they are not there or cannot be imported', async () => {
    write('no-name.py');
    write('data.csv');
    await expect(namesOf({ includeModules: ['gone'] })).rejects.toThrow('cannot be read');
    await expect(namesOf({ includeModules: ['no-name.py'] })).rejects.toThrow('could import');
    await expect(namesOf({ includeModules: ['data.csv'] })).rejects.toThrow('could import');
  });
});

describe('data', () => {
  it('keeps its relative path, by name or by pattern', async () => {
    for (const path of ['a/1.tif', 'a/2.txt', 'a/b/c/3.tif', 'a/.hidden.tif', 'odd[1].tif'])
      write(path);
    expect(await namesOf({ includeData: ['a/*.tif'] })).toEqual(['a/1.tif']);
    expect(await namesOf({ includeData: ['a/**/*.tif'] })).toEqual(['a/1.tif', 'a/b/c/3.tif']);
    expect(await namesOf({ includeData: ['odd[1].tif'] })).toEqual(['odd[1].tif']);
    expect(await namesOf({ includeData: [join(folder, 'a/b')] })).toEqual(['a/b/c/3.tif']);
    const from = join(folder, 'a/b');
    expect(await namesOf({ includeFrom: from, includeData: ['../1.tif'] })).toEqual(['1.tif']);
    await expect(namesOf({ includeData: ['*.csv'] })).rejects.toThrow('there is no *.csv');
  });

  it('does not leave its folder by a link, and links within it are followed', async () => {
    write('tables/clay.csv', 'clay');
    symlinkSync('clay.csv', join(folder, 'tables/latest.csv'));
    const names = ['tables/clay.csv', 'tables/latest.csv'];
    expect(await namesOf({ includeData: ['tables'] })).toEqual(names);
    symlinkSync('/etc/hostname', join(folder, 'tables/host'));
    await expect(namesOf({ includeData: ['tables'] })).rejects.toThrow('leads out of');
    await expect(namesOf({ includeData: ['tables/h*'] })).rejects.toThrow('leads out of');
  });
});

describe('the archive', () => {
  it('is the very one that the Python SDK makes of the same files', async () => {
    write('a/x.txt', 'x'.repeat(1000));
    write('a/run.sh', '#!/bin/sh\n');
    chmodSync(join(folder, 'a/run.sh'), 0o755);
    write('a/Zürich.txt', 'z');
    write(`a/${'d'.repeat(120)}/deep.txt`, 'deep');
    const found = await collectIncludes({ includeFrom: folder, includeData: ['a'] });
    const files = found?.files ?? new Map();
    // The same text is in test/python/test_include.py.
    const hash = 'c324d4a534b4f25e4164034dd8ebcd30f64fcff722b3f3cd465b9b41a03067e9';
    expect(await hashArchive(files)).toBe(hash);
    write('a/x.txt', 'x'.repeat(999));
    await expect(buffer(readArchive(files))).rejects.toThrow('changed while');
  });
});
