/** Answers collections, items and searches. */
import type Database from 'better-sqlite3';
import type { CollectionFields } from './documents.ts';
import { collectionDocument, itemDocument, mediaTypes } from './documents.ts';
import { everybodysName, unknownCollection, unknownItem } from './names.ts';
import type { SearchedPage, StacCalls, Viewer } from './port.ts';
import { readSearch } from './search/request.ts';
import type { SearchPage, SearchState } from './search/run-search.ts';
import { runSearch } from './search/run-search.ts';

export type FindCollection = (namespace: string, id: string) => { key: number };
export type StacReads = Pick<StacCalls, 'listCollections' | 'getCollection' | 'getItem' | 'search'>;

interface CollectionRow extends CollectionFields {
  key: number;
  namespace: string;
  itemCount: number;
}

export interface SearchSettings {
  /** After which a search is given up. */
  searchMsMax: number;
  nowMs(): number;
}

const columns = `key, namespace, id, body, item_count as itemCount, west, south, east, north,
  start_ms as startMs, end_ms as endMs`;

/** A namespace's own collection. */
export function createFindOwn(database: Database.Database): FindCollection {
  const find = database.prepare<[string, string], { key: number }>(
    'select key from collection where namespace = ? and id = ?',
  );
  const list = database
    .prepare<[string], string>('select id from collection where namespace = ? order by id')
    .pluck();
  return (namespace, id) => {
    const found = find.get(namespace, id);
    if (found !== undefined) return found;
    throw unknownCollection(id, list.all(namespace));
  };
}

export function createStacReads(
  database: Database.Database,
  context: { state: SearchState; settings: SearchSettings },
): StacReads {
  // A namespace's own hides one of the same id that everybody reads.
  const visible = database.prepare<{ namespace: string }, CollectionRow>(`
    select ${columns} from collection as one
    where namespace = @namespace or (namespace = '' and not exists (
      select 1 from collection as other where other.namespace = @namespace and other.id = one.id))
    order by id`);
  const findItem = database
    .prepare<[number, string], string>(`
      select body from item join document using (key) where collection = ? and id = ?`)
    .pluck();
  const get = (viewer: Viewer, id: string): CollectionRow => {
    const all = visible.all({ namespace: viewer.namespace });
    const found = all.find((row) => row.id === id);
    if (found !== undefined) return found;
    throw unknownCollection(
      id,
      all.map((row) => row.id),
    );
  };
  return {
    listCollections(viewer) {
      const { root } = viewer;
      const rows = visible.all({ namespace: viewer.namespace });
      return encode({
        collections: rows.map((row) => ({
          ...collectionDocument(row, root),
          'perigee:items': row.itemCount,
          'perigee:shared': row.namespace === everybodysName,
        })),
        numberMatched: rows.length,
        numberReturned: rows.length,
        ...(root === null ? {} : { links: aboutCollections(root) }),
      });
    },
    getCollection: (viewer) => encode(collectionDocument(get(viewer, viewer.id), viewer.root)),
    getItem(viewer) {
      const { collection, id, root } = viewer;
      const body = findItem.get(get(viewer, collection).key, id);
      if (body === undefined) throw unknownItem(collection, id);
      return encode(itemDocument(body, { collection, root, selection: null }));
    },
    search(viewer) {
      const { collections: within } = viewer.page;
      const request = readSearch({
        ...viewer.parameters,
        ...(within === undefined ? {} : { collections: within }),
      });
      const collections = visible
        .all({ namespace: viewer.namespace })
        .filter(({ id }) => request.collections?.includes(id) !== false);
      const { state, settings } = context;
      state.geometry = request.place?.geometry ?? null;
      state.endsAtMs = settings.nowMs() + settings.searchMsMax;
      const page = runSearch(database, { request, collections });
      const { root } = viewer;
      return encode({
        type: 'FeatureCollection',
        features: page.items.map(({ body, collection }) =>
          itemDocument(body, { collection, root, selection: request.selection }),
        ),
        numberMatched: page.matched,
        numberReturned: page.items.length,
        ...(root === null
          ? { next: page.next }
          : { links: linksOfPage(page, { ...viewer, root }) }),
      });
    },
  };
}

function linksOfPage(
  { next }: SearchPage,
  viewer: { root: string; page: SearchedPage; parameters: object },
): object[] {
  const { page, root, parameters } = viewer;
  const type = mediaTypes.geojson;
  const links: object[] = [
    { rel: 'root', type: mediaTypes.json, href: root },
    { rel: 'self', type, href: page.method === 'GET' ? urlOf(page.url, parameters) : page.url },
  ];
  if (next === null) return links;
  const ahead =
    page.method === 'GET'
      ? { rel: 'next', type, method: 'GET', href: urlOf(page.url, { ...parameters, token: next }) }
      : { rel: 'next', type, method: 'POST', href: page.url, body: { token: next }, merge: true };
  return [...links, ahead];
}

function urlOf(url: string, parameters: object): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) query.set(name, String(value));
  return query.size === 0 ? url : `${url}?${query}`;
}

function aboutCollections(root: string): object[] {
  return [
    { rel: 'root', type: mediaTypes.json, href: root },
    { rel: 'self', type: mediaTypes.json, href: `${root}/collections` },
  ];
}

function encode(document: object): Uint8Array {
  return Buffer.from(JSON.stringify(document));
}
