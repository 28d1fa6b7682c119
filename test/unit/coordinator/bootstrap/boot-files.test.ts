import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packFolder, removePartials } from '../../../../coordinator/bootstrap/boot-files.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'perigee-boot-files-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** The same files, made in another order, at another time, under another umask. */
function makeTree(parent: string, options: { names: string[]; mode: number; atMs: number }): void {
  const folder = join(root, parent, 'agent');
  mkdirSync(folder, { recursive: true });
  for (const name of options.names) {
    const path = join(folder, name);
    writeFileSync(path, `it is ${name}`);
    chmodSync(path, options.mode);
    utimesSync(path, options.atMs, options.atMs);
  }
}
const pack = (parent: string, changes: { key?: string } = {}) =>
  packFolder({
    ...{ kept: join(root, 'kept', parent), key: changes.key ?? 'agent' },
    ...{ parent: join(root, parent), name: 'agent', mode: 'u+rwX,go+rX,go-w' },
  });

describe('an archive', () => {
  it('is the same bytes for the same folder, whenever and however it was made', async () => {
    makeTree('one', { names: ['a', 'b', 'c'], mode: 0o600, atMs: 1_000 });
    makeTree('other', { names: ['c', 'a', 'b'], mode: 0o644, atMs: 2_000 });
    const [one, other] = [await pack('one'), await pack('other')];
    expect(other.digest).toBe(one.digest);
    expect(readFileSync(other.path).equals(readFileSync(one.path))).toBe(true);
    expect(one.sizeBytes).toBe(readFileSync(one.path).length);
    makeTree('third', { names: ['a', 'b', 'd'], mode: 0o644, atMs: 1_000 });
    expect((await pack('third')).digest).not.toBe(one.digest);
  });

  it('holds the folder, and is named by its own digest', async () => {
    makeTree('one', { names: ['a', 'b'], mode: 0o600, atMs: 1_000 });
    const { path, digest } = await pack('one');
    const summed = spawnSync('sha256sum', [path], { encoding: 'utf8' });
    expect(summed.stdout.slice(0, 64)).toBe(digest);
    const listed = spawnSync('tar', ['-tzf', path], { encoding: 'utf8' });
    expect(listed.stdout).toBe('agent/\nagent/a\nagent/b\n');
  });

  it('is made once for a key, and again when it was lost', async () => {
    makeTree('one', { names: ['a'], mode: 0o644, atMs: 1_000 });
    const first = await pack('one');
    writeFileSync(join(root, 'one/agent/a'), 'changed behind its key');
    expect(await pack('one')).toEqual(first);
    rmSync(first.path);
    expect((await pack('one')).digest).not.toBe(first.digest);
  });

  it('that was not finished is no archive, and is cleared away', async () => {
    const kept = join(root, 'kept/one');
    await expect(pack('one')).rejects.toThrow('tar could not pack agent');
    expect(readdirSync(kept)).toEqual([]);
    writeFileSync(join(kept, 'agent.tar.gz.1.partial'), 'half');
    await removePartials(kept);
    expect(readdirSync(kept)).toEqual([]);
  });
});
