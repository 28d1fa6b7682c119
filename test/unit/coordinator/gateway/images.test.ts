import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CatalogueImage } from '../../../../coordinator/images/image.ts';
import type { ImageDigest, NamespaceName } from '../../../../protocol/wire/ids.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { digestPython2, startGatewayMesh } from './gateway-mesh.ts';

const alice = 'alice' as NamespaceName;
const bobs = { name: 'zonal', namespace: 'bob' as NamespaceName };
const digest = `sha256:${'ab'.repeat(32)}` as ImageDigest;

let mesh: GatewayMesh;
beforeEach(async () => {
  mesh = await startGatewayMesh();
});
afterEach(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

const built = (changes: Partial<CatalogueImage> = {}): CatalogueImage => ({
  digest,
  source: { kind: 'requirements', requirements: ['affine==2.3.0'] },
  state: 'ready',
  names: [{ name: 'zonal', namespace: alice }],
  requestKey: 'request',
  generation: 0,
  python: { implementation: 'CPython', version: '2.7.18' },
  arch: 'x64',
  sizeBytes: 1_234,
  base: digestPython2,
  packages: { affine: '2.3.0' },
  archive: null,
  failure: null,
  createdAtMs: 1,
  endedAtMs: 2,
  ...changes,
});

const group = (image: string): object => ({
  name: 'f',
  image,
  function: { kind: 'source', inline: Buffer.from('def f(): pass').toString('base64'), entry: 'f' },
});

async function read(answer: Response): Promise<Record<string, unknown>> {
  return (await answer.json()) as Record<string, unknown>;
}

describe('images of the catalogue', () => {
  it('are shown to the namespace that made them, and to no other', async () => {
    await mesh.catalogue.put(built());
    const token = await mesh.token('alice', 'user');
    const other = await mesh.token('bob', 'user');
    const shown = await read(await mesh.call('GET', '/v1/images/zonal', { token }));
    expect(shown).toMatchObject({
      name: 'zonal',
      digest,
      kind: 'requirements',
      state: 'ready',
      base: digestPython2,
      baseName: 'perigee/geospatial:py2.7',
      requirements: ['affine==2.3.0'],
      packages: { affine: '2.3.0' },
      sizeBytes: 1_234,
      nodes: 0,
    });
    const byDigits = await read(await mesh.call('GET', '/v1/images/abababab', { token }));
    expect(byDigits['name']).toBe('zonal');
    const hidden = await mesh.call('GET', '/v1/images/zonal', { token: other });
    expect([hidden.status, (await read(hidden))['code']]).toEqual([422, 'image_unknown']);
    const builtin = await mesh.call('GET', '/v1/images/perigee%2Fgeospatial%3Apy2.7', { token });
    expect(await read(builtin)).toMatchObject({ kind: 'builtin', state: 'ready', base: null });
  });

  it('give a new group their digest, also when the name moves on afterwards', async () => {
    await mesh.catalogue.put(built());
    const token = await mesh.token('alice', 'user');
    const make = async (): Promise<unknown> => {
      const answer = await mesh.call('POST', '/v1/groups', { token, json: group('zonal') });
      return (await read(answer))['group'];
    };
    expect(await make()).toMatchObject({ image: 'zonal', imageDigest: digest });
    const newer = `sha256:${'cd'.repeat(32)}` as ImageDigest;
    await mesh.catalogue.put(built({ digest: newer, requestKey: 'other' }));
    expect(await make()).toMatchObject({ image: 'zonal', imageDigest: newer });
    expect(mesh.catalogue.find(digest)?.names).toEqual([]);
  });

  it('are refused while they are built, after they failed, and when misspelt', async () => {
    const token = await mesh.token('alice', 'user');
    const refusal = async (image: string): Promise<Record<string, unknown>> =>
      read(await mesh.call('POST', '/v1/groups', { token, json: group(image) }));
    await mesh.catalogue.put(built({ state: 'building', endedAtMs: null }));
    expect(await refusal('zonal')).toMatchObject({ code: 'image_building' });
    await mesh.catalogue.put(
      built({ state: 'buildFailed', failure: { message: 'no such version', fix: 'take 2.3.1' } }),
    );
    expect(await refusal('zonal')).toMatchObject({ code: 'build_failed', fix: 'take 2.3.1' });
    const misspelt = await refusal('zonla');
    expect(misspelt['code']).toBe('image_unknown');
    expect(JSON.stringify(misspelt)).toContain('Did you mean zonal?');
  });

  it('are removed when nothing rests on them, files last', async () => {
    await mesh.catalogue.put(built({ names: [...built().names, bobs] }));
    const token = await mesh.token('alice', 'user');
    const made = await read(await mesh.call('POST', '/v1/groups', { token, json: group('zonal') }));
    const remove = (who: string): Promise<Response> =>
      mesh.call('DELETE', '/v1/images/zonal', { token: who });
    expect((await read(await remove(token)))['code']).toBe('image_in_use');
    const { id } = made['group'] as { id: string };
    await mesh.call('DELETE', `/v1/groups/${id}`, { token });
    expect((await remove(token)).status).toBe(200);
    expect(mesh.removedImages).toEqual([]);
    expect(mesh.catalogue.find(digest)?.names).toEqual([bobs]);
    expect((await remove(await mesh.token('bob', 'user'))).status).toBe(200);
    expect(mesh.removedImages).toEqual([digest]);
    expect(mesh.catalogue.find(digest)).toBeUndefined();
    const builtin = await mesh.call('DELETE', `/v1/images/${digestPython2}`, { token });
    expect((await read(builtin))['code']).toBe('invalid_request');
  });

  it('stream the log of their build until it is over', async () => {
    const token = await mesh.token('alice', 'user');
    await mesh.catalogue.put(built({ state: 'building', endedAtMs: null }));
    await mesh.buildLogs.begin(digest);
    await mesh.buildLogs.append(digest, Buffer.from('Collecting affine\n'));
    const answer = await mesh.call('GET', '/v1/images/zonal/log?follow=true', { token });
    const reader = answer.body?.getReader();
    const first = await reader?.read();
    expect(Buffer.from(first?.value ?? []).toString()).toBe('Collecting affine\n');
    const second = reader?.read();
    await mesh.buildLogs.append(digest, Buffer.from('Done\n'));
    expect(Buffer.from((await second)?.value ?? []).toString()).toBe('Done\n');
    await mesh.catalogue.update(digest, { state: 'ready', endedAtMs: 3 });
    mesh.buildLogs.end(digest);
    expect((await reader?.read())?.done).toBe(true);
    const rest = await mesh.call('GET', '/v1/images/zonal/log?offset=11', { token });
    expect(await rest.text()).toBe('affine\nDone\n');
  });
});
