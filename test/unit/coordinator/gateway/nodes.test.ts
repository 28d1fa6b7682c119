import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listNodeViews } from '../../../../coordinator/gateway/views/nodes.ts';
import { createMesh, hello } from '../core/mesh.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { createTestGroup, groupRequest, putBatch, startGatewayMesh } from './gateway-mesh.ts';

const json = async (response: Response) => (await response.json()) as Record<string, unknown>;

let mesh: GatewayMesh;
beforeAll(async () => {
  mesh = await startGatewayMesh();
});
afterAll(() => mesh?.stop());

describe('the view of a node', () => {
  it('names an image once, also when two builds answer to the name', () => {
    const core = createMesh();
    const [image] = hello().images;
    const other = { ...hello().images[0], digest: `sha256:${'b'.repeat(64)}` } as typeof image;
    const images = [image, other].filter((each) => each !== undefined);
    core.join('a', { hello: { images } });
    const [view] = listNodeViews(core.state, { namespace: null, nowMs: core.now });
    expect(view?.images).toEqual(['perigee/geospatial:py2.7']);
  });

  it('says whether tasks may have the network there', () => {
    const core = createMesh();
    core.join('closed');
    core.join('open', { hello: { network: true } });
    const views = listNodeViews(core.state, { namespace: null, nowMs: core.now });
    expect(views.map(({ network }) => network)).toEqual([false, true]);
  });
});

describe('network=True', () => {
  const create = () => mesh.call('POST', '/v1/groups', { json: groupRequest({ network: true }) });

  it('is refused where no machine could ever give it', async () => {
    mesh.fleet.shapes = [{ cpus: 8, memoryBytes: 2 ** 40, isolation: 'standard', network: false }];
    const refused = await create();
    expect(refused.status).toBe(422);
    expect(await json(refused)).toMatchObject({
      code: 'unsatisfiable',
      detail: 'No machine of this mesh gives tasks its network.',
      fix: 'Create the function without network=True, or have an agent (or `up`) started with --allow-network.',
    });
    mesh.fleet.shapes.push({ cpus: 8, memoryBytes: 2 ** 40, isolation: 'standard', network: true });
    expect((await create()).status).toBe(201);
    mesh.fleet.shapes = [];
  });

  it('waits for a node that gives it, and says so', async () => {
    const group = await createTestGroup(mesh, { changes: { network: true } });
    const node = mesh.join();
    const { batch } = await json(await putBatch(mesh, group, { count: 1 }));
    const explain = async () => json(await mesh.call('GET', `/v1/tasks/${batch}-0/explain`));
    await expect
      .poll(async () => (await explain())['reasons'])
      .toEqual([
        expect.stringContaining('gives tasks no network; its agent would need --allow-network.'),
      ]);
    expect((await explain())['sentence']).toContain('no node that is there now can run it');
    node.leave();
  });
});
