/** The FUSE mount against the real kernel: other processes read, this one serves. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LazyFiles } from '../../node-agent/imagery/fuse/lazy-files.ts';
import { openLazyFiles } from '../../node-agent/imagery/fuse/lazy-files.ts';
import type { AssetVersion } from '../../node-agent/imagery/port.ts';
import { readAgentMark } from '../../node-agent/runner/agent-mark.ts';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { AssetId, NamespaceName } from '../../protocol/wire/ids.ts';

const run = promisify(execFile);
const mine = 'mine' as NamespaceName;
const mib = 1024 * 1024;

/** Byte n of every asset is n modulo 251. */
function bytesAt(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 1) bytes[at] = (offset + at) % 251;
  return bytes;
}

function versionOf(sizeBytes: number): AssetVersion {
  return { asset: '0123456789abcdef' as AssetId, uri: 'mem://mine/a', version: '1', sizeBytes };
}

describe('files that are filled as they are read', () => {
  let folder: string;
  let files: LazyFiles;
  let reads: { offset: number; length: number }[];
  let failure: Error | null;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-lazy-'));
    chmodSync(folder, 0o755);
    reads = [];
    failure = null;
    files = await openLazyFiles(
      {
        read: async (_, range) => {
          reads.push(range);
          if (failure !== null) throw failure;
          return bytesAt(range.offset, range.length);
        },
      },
      { folder: join(folder, 'mount'), agent: readAgentMark(), warn: () => {} },
    );
  });

  afterEach(async () => {
    await files.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const sum = async (path: string): Promise<string> =>
    (await run('sha256sum', [path])).stdout.slice(0, 64);

  it('leaves the mode of the folder above as it was', () => {
    expect(statSync(folder).mode & 0o777).toBe(0o755);
  });

  it('read as the asset does, in large pieces, and once for all readers', async () => {
    const { path } = files.grant(versionOf(5 * mib + 17), { namespace: mine, name: 'a.tif' });
    const full = join(files.folderOf(mine), path);
    const { createHash } = await import('node:crypto');
    const wanted = createHash('sha256')
      .update(bytesAt(0, 5 * mib + 17))
      .digest('hex');
    expect(await sum(full)).toBe(wanted);
    const readsCount = reads.length;
    expect(await sum(full)).toBe(wanted);
    expect(reads.length).toBe(readsCount);
    expect(Math.max(...reads.map((range) => range.length))).toBeGreaterThanOrEqual(128 * 1024);
  });

  it('fetch the part that is read of a terabyte', async () => {
    const size = 1024 ** 4;
    const { path } = files.grant(versionOf(size), { namespace: mine, name: 'a.tif' });
    const full = join(files.folderOf(mine), path);
    expect((await run('stat', ['-c', '%s %A', full])).stdout.trim()).toBe(`${size} -r--r--r--`);
    await run('dd', [`if=${full}`, 'of=/dev/null', 'bs=4096', 'skip=100000000', 'count=1']);
    expect(reads.length).toBeGreaterThan(0);
    expect(reads.reduce((sofar, range) => sofar + range.length, 0)).toBeLessThan(2 * mib);
  });

  it('are gone when they are released, and nobody can list or write them', async () => {
    const grant = files.grant(versionOf(10), { namespace: mine, name: 'a.tif' });
    const full = join(files.folderOf(mine), grant.path);
    expect((await run('ls', ['-A', files.folderOf(mine)])).stdout).toBe('');
    await expect(run('sh', ['-c', `echo x >${full}`])).rejects.toThrow(/Read-only/);
    grant.release();
    await expect(run('cat', [full])).rejects.toThrow(/No such file/);
  });

  it('fail with an error of input when the asset changed, and keep the reason', async () => {
    failure = new PerigeeError('asset_changed', 'a changed');
    const grant = files.grant(versionOf(10), { namespace: mine, name: 'a.tif' });
    await expect(run('cat', [join(files.folderOf(mine), grant.path)])).rejects.toThrow(
      /Input\/output error/,
    );
    expect(grant.failure).toBe(failure);
  });

  it('are unmounted at the end, and by the next agent when theirs was killed', async () => {
    const place = join(folder, 'other');
    const module = join(import.meta.dirname, '../../node-agent/imagery/fuse/lazy-files.ts');
    const mark = join(import.meta.dirname, '../../node-agent/runner/agent-mark.ts');
    const script = `
      const { openLazyFiles } = await import(${JSON.stringify(module)});
      const { readAgentMark } = await import(${JSON.stringify(mark)});
      await openLazyFiles({ read: async () => new Uint8Array() }, { folder: ${JSON.stringify(place)}, agent: readAgentMark(), warn() {} });
      console.log('mounted');
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');
    expect(mounts()).toContain(place);
    await files.close();
    expect(mounts()).not.toContain(join(folder, 'mount'));
    files = await openLazyFiles(
      { read: async () => new Uint8Array() },
      { folder: join(folder, 'mount'), agent: readAgentMark(), warn: () => {} },
    );
    expect(mounts()).not.toContain(place);
  });
});
