/** Whose the config file is: a mesh takes it when it is free, and gives it back at its end. */
import { rm } from 'node:fs/promises';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { MeshView } from '../../../protocol/wire/api.ts';
import { findConfig, type MeshConfig, writeConfig } from '../../ts/config.ts';
import { createHttpClient } from '../../ts/http.ts';

/** What came of a claim. */
export type ConfigClaim = { kind: 'written' } | { kind: 'held'; url: string };

const lookTimeoutMs = 1_000;

/** The peer id of the mesh behind a URL; undefined when none answers in a second. */
export async function findPeerId(url: string): Promise<string | undefined> {
  try {
    const client = createHttpClient({ url, token: null });
    const mesh = await client.json<MeshView>('GET', '/v1/mesh', { timeoutMs: lookTimeoutMs });
    return mesh.peerId;
  } catch (caught) {
    // Nothing there, or something that is no mesh: both mean that no mesh lives there.
    if (caught instanceof PerigeeError) return undefined;
    throw caught;
  }
}

/** Writes the config file, unless the one there belongs to another mesh that is alive. */
export async function claimConfig(path: string, config: MeshConfig): Promise<ConfigClaim> {
  const there = await findConfig(path).catch((caught: unknown) => {
    // A damaged file belongs to nobody.
    if (caught instanceof PerigeeError) return undefined;
    throw caught;
  });
  if (there !== undefined && there.peerId !== config.peerId) {
    const living = await findPeerId(there.url);
    if (living === there.peerId) return { kind: 'held', url: there.url };
  }
  await writeConfig(path, config);
  return { kind: 'written' };
}

/** Removes the config file if it is still this mesh's. */
export async function releaseConfig(path: string, config: MeshConfig): Promise<void> {
  const there = await findConfig(path).catch(() => undefined);
  if (there?.peerId === config.peerId && there.url === config.url) await rm(path, { force: true });
}
