import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadMeshKey, peerIdOfKey } from '../../../../protocol/net/mesh-key.ts';

describe('mesh key', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-key-'));
    path = join(folder, 'mesh.key');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is made once, for its owner alone, and found again', async () => {
    const made = await loadMeshKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(peerIdOfKey(await loadMeshKey(path))).toBe(peerIdOfKey(made));
    expect(Buffer.from(made)).toEqual(readFileSync(path));
  });

  it('is closed again to others when its file was opened up', async () => {
    await loadMeshKey(path);
    chmodSync(path, 0o644);
    await loadMeshKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('is not made over a file that holds something else', async () => {
    writeFileSync(path, 'not a key');
    await expect(loadMeshKey(path)).rejects.toMatchObject({ code: 'invalid_request' });
    expect(readFileSync(path, 'utf8')).toBe('not a key');
  });
});
