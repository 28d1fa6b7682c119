import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { scene } from '../stac/scenes.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { problem, startGatewayMesh } from './gateway-mesh.ts';

let mesh: GatewayMesh;
beforeEach(async () => {
  mesh = await startGatewayMesh();
});
afterEach(async () => {
  await mesh.stop();
  expect(mesh.errors).toEqual([]);
});

interface Link {
  rel: string;
  href: string;
  method?: string;
  body?: Record<string, unknown>;
  merge?: boolean;
}
interface Document extends Record<string, unknown> {
  links: Link[];
  features: { id: string; links: Link[] }[];
}

const read = async (response: Response): Promise<Document> => {
  expect(response.status).toBeLessThan(300);
  return (await response.json()) as Document;
};
const get = async (path: string, token?: string): Promise<Document> =>
  read(await mesh.call('GET', path, token === undefined ? {} : { token }));
const pathOf = (href: string): string => href.replace(mesh.url, '');
const linkOf = (document: { links: Link[] }, rel: string): Link =>
  document.links.find((link) => link.rel === rel) ?? { rel, href: 'missing' };

const put = async (
  collection: string,
  ids: readonly string[],
  options: { query?: string; token?: string } = {},
): Promise<Response> =>
  mesh.call('POST', `/v1/stac/collections/${collection}/items${options.query ?? ''}`, {
    json: { type: 'FeatureCollection', features: ids.map((id) => scene(id)) },
    ...(options.token === undefined ? {} : { token: options.token }),
  });

describe('the landing page', () => {
  it('leads to all that it declares', async () => {
    await put('scenes', ['a']);
    const root = await get('/v1/stac');
    expect(root).toMatchObject({ type: 'Catalog', stac_version: '1.1.0', id: 'perigee' });
    expect(linkOf(root, 'self').href).toBe(`${mesh.url}/v1/stac`);
    expect(await get(pathOf(linkOf(root, 'conformance').href))).toEqual({
      conformsTo: root['conformsTo'],
    });
    expect(await get(pathOf(linkOf(root, 'service-desc').href))).toMatchObject({
      openapi: '3.0.3',
    });
    const child = await get(pathOf(linkOf(root, 'child').href));
    expect(child).toMatchObject({ type: 'Collection', id: 'scenes' });
    expect((await get(pathOf(linkOf(child, 'items').href))).features).toHaveLength(1);
    const searches = root.links.filter(({ rel }) => rel === 'search');
    expect(searches.map(({ method }) => method)).toEqual(['GET', 'POST']);
    const described = await get('/v1/stac/collections/scenes/queryables');
    expect(described['$id']).toBe(`${mesh.url}/v1/stac/collections/scenes/queryables`);
    const types = await mesh.call('GET', '/v1/stac/search');
    expect(types.headers.get('content-type')).toBe('application/geo+json');
  });

  it('needs a token', async () => {
    const answer = await mesh.call('GET', '/v1/stac', { token: null });
    expect(await problem(answer)).toMatchObject({ status: 401, code: 'token_missing' });
  });
});

describe('items', () => {
  it('are put, got whole, replaced and removed', async () => {
    expect((await put('scenes', ['a/b', 'c'])).status).toBe(201);
    expect((await put('scenes', ['c'])).status).toBe(200);
    const item = await get('/v1/stac/collections/scenes/items/a%2Fb');
    expect(item).toMatchObject({ ...scene('a/b'), collection: 'scenes', links: expect.any(Array) });
    for (const rel of ['self', 'parent', 'collection', 'root']) {
      expect(linkOf(item, rel).href).toContain(`${mesh.url}/v1/stac`);
    }
    expect(await get(pathOf(linkOf(item, 'self').href))).toEqual(item);
    const removed = await mesh.call('DELETE', '/v1/stac/collections/scenes/items/c');
    expect(await removed.json()).toEqual({ id: 'c' });
    const gone = await mesh.call('GET', '/v1/stac/collections/scenes/items/c');
    expect(await problem(gone)).toMatchObject({ status: 404, code: 'not_found' });
  });

  it('that are not valid are refused by name and field', async () => {
    const answer = await mesh.call('POST', '/v1/stac/collections/scenes/items', {
      json: { ...scene('bad'), properties: {} },
    });
    expect(await problem(answer)).toMatchObject({
      status: 400,
      code: 'stac_invalid',
      detail: expect.stringContaining('"bad": "properties.datetime" must be a time'),
    });
    const text = await mesh.call('POST', '/v1/stac/collections/scenes/items', { body: 'no JSON' });
    expect(await problem(text)).toMatchObject({ status: 400, code: 'invalid_request' });
  });

  it('are refused when the disk is full', async () => {
    mesh.disk.isFull = true;
    expect(await problem(await put('scenes', ['a']))).toMatchObject({ code: 'disk_full' });
  });
});

describe('collections', () => {
  it('are described, and keep their items', async () => {
    await put('scenes', ['a']);
    const { links: _links, ...made } = await get('/v1/stac/collections/scenes');
    const described = { ...made, title: 'Our scenes', links: [] };
    const answer = await mesh.call('POST', '/v1/stac/collections', { json: described });
    expect(answer.status).toBe(200);
    expect(await get('/v1/stac/collections/scenes')).toMatchObject({ title: 'Our scenes' });
    const { collections } = await get('/v1/stac/collections');
    expect(collections).toMatchObject([{ id: 'scenes', 'perigee:items': 1 }]);
    const near = await mesh.call('GET', '/v1/stac/collections/scene/items');
    expect(await problem(near)).toMatchObject({
      status: 404,
      detail: 'There is no collection "scene"; did you mean scenes?',
    });
    await mesh.call('DELETE', '/v1/stac/collections/scenes');
    expect((await get('/v1/stac/search')).features).toEqual([]);
  });

  it('of a namespace are its own; what everybody reads is an operator’s to write', async () => {
    const alice = await mesh.token('alice', 'user');
    const bob = await mesh.token('bob', 'read');
    await put('own', ['a'], { token: alice });
    await put('landsat', ['l'], { query: '?shared=true' });
    await put('given', ['g'], { query: '?namespace=alice' });
    const ids = async (token: string): Promise<string[]> =>
      (await get('/v1/stac/search?limit=100', token)).features.map(({ id }) => id).sort();
    expect(await ids(alice)).toEqual(['a', 'g', 'l']);
    expect(await ids(bob)).toEqual(['l']);
    const refusals = [
      await put('landsat', ['x'], { query: '?shared=true', token: alice }),
      await put('own', ['x'], { query: '?namespace=alice', token: bob }),
      await put('own', ['x'], { query: '?namespace=bob', token: alice }),
      await mesh.call('DELETE', '/v1/stac/collections/landsat?shared=true', { token: alice }),
    ];
    for (const refusal of refusals) {
      expect(await problem(refusal)).toMatchObject({ status: 403, code: 'forbidden' });
    }
    const hidden = await mesh.call('GET', '/v1/stac/collections/own/items/a', { token: bob });
    expect(hidden.status).toBe(404);
  });
});

describe('a search', () => {
  it('goes on by its next link, as GET and as POST', async () => {
    await put('scenes', ['a', 'b', 'c', 'd', 'e']);
    const first = await get('/v1/stac/search?limit=2&bbox=9,49,11,51&collections=scenes');
    expect(first).toMatchObject({ numberMatched: 5, numberReturned: 2 });
    const second = await get(pathOf(linkOf(first, 'next').href));
    const third = await get(pathOf(linkOf(second, 'next').href));
    expect(linkOf(third, 'next').href).toBe('missing');
    const found = [first, second, third].flatMap(({ features }) => features.map(({ id }) => id));
    expect(found.sort()).toEqual(['a', 'b', 'c', 'd', 'e']);

    const body = { limit: 3, intersects: scene('a').geometry };
    const page = await read(await mesh.call('POST', '/v1/stac/search', { json: body }));
    const next = linkOf(page, 'next');
    expect(next).toMatchObject({ method: 'POST', merge: true, href: `${mesh.url}/v1/stac/search` });
    const rest = await read(
      await mesh.call('POST', '/v1/stac/search', { json: { ...body, ...next.body } }),
    );
    expect(rest.features).toHaveLength(2);

    const items = await get('/v1/stac/collections/scenes/items?limit=4');
    expect((await get(pathOf(linkOf(items, 'next').href))).features).toHaveLength(1);
  });

  it('takes objects in a query as JSON', async () => {
    await put('scenes', ['a', 'b']);
    const query = encodeURIComponent(JSON.stringify({ id: { eq: 'b' } }));
    expect((await get(`/v1/stac/search?query=${query}`)).features).toHaveLength(1);
    const place = encodeURIComponent(JSON.stringify({ type: 'Point', coordinates: [0, 0] }));
    expect((await get(`/v1/stac/search?intersects=${place}`)).features).toEqual([]);
    const wrong = await mesh.call('GET', '/v1/stac/search?intersects=here');
    expect(await problem(wrong)).toMatchObject({ code: 'invalid_request' });
  });

  it('of a namespace that is removed finds nothing more', async () => {
    const alice = await mesh.token('alice', 'user');
    await put('own', ['a'], { token: alice });
    expect((await mesh.call('DELETE', '/v1/namespaces/alice')).status).toBe(200);
    const again = await mesh.token('alice', 'user');
    expect((await get('/v1/stac/search', again)).features).toEqual([]);
  });
});
