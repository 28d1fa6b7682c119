/** Documents as they are answered: with the links that only the server knows. */
import type { StacCollection, StacItem, StacLink } from '../../protocol/stac/item.ts';
import type { Selection } from './search/fields.ts';
import { select } from './search/fields.ts';

/** Media types of links and answers. */
export const mediaTypes = { json: 'application/json', geojson: 'application/geo+json' } as const;

/** A collection's row, as far as its document is made of it. */
export interface CollectionFields {
  id: string;
  body: string | null;
  west: number | null;
  south: number | null;
  east: number | null;
  north: number | null;
  startMs: number | null;
  endMs: number | null;
}

/** An item's document; `root` is the address of the API, null to leave out what needs it. */
export function itemDocument(
  body: string,
  options: { collection: string; root: string | null; selection: Selection | null },
): object {
  const { collection, root, selection } = options;
  const item = JSON.parse(body) as StacItem;
  const linked =
    root === null
      ? item
      : { ...item, links: [...itemLinks(item.id, collection, root), ...item.links] };
  return selection === null ? linked : select({ ...linked }, selection);
}

/** A collection's document. */
export function collectionDocument(row: CollectionFields, root: string | null): StacCollection {
  const kept = row.body === null ? madeCollection(row) : (JSON.parse(row.body) as StacCollection);
  if (root === null) return kept;
  const self = collectionUrl(root, row.id);
  const links: StacLink[] = [
    { rel: 'self', type: mediaTypes.json, href: self },
    { rel: 'root', type: mediaTypes.json, href: root },
    { rel: 'parent', type: mediaTypes.json, href: root },
    { rel: 'items', type: mediaTypes.geojson, href: `${self}/items` },
    {
      rel: 'http://www.opengis.net/def/rel/ogc/1.0/queryables',
      type: 'application/schema+json',
      href: `${self}/queryables`,
    },
  ];
  return { ...kept, links: [...links, ...kept.links] };
}

/** The address of a collection. */
export function collectionUrl(root: string, id: string): string {
  return `${root}/collections/${encodeURIComponent(id)}`;
}

function itemLinks(id: string, collection: string, root: string): StacLink[] {
  const above = collectionUrl(root, collection);
  return [
    { rel: 'self', type: mediaTypes.geojson, href: `${above}/items/${encodeURIComponent(id)}` },
    { rel: 'parent', type: mediaTypes.json, href: above },
    { rel: 'collection', type: mediaTypes.json, href: above },
    { rel: 'root', type: mediaTypes.json, href: root },
  ];
}

/** What is known of a collection that nobody described. */
function madeCollection(row: CollectionFields): StacCollection {
  const { id, west, south, east, north, startMs, endMs } = row;
  const time = (atMs: number | null): string | null =>
    atMs === null ? null : new Date(atMs).toISOString();
  return {
    type: 'Collection',
    stac_version: '1.1.0',
    id,
    description: `Items of ${id}.`,
    license: 'other',
    extent: {
      spatial: { bbox: [[west ?? -180, south ?? -90, east ?? 180, north ?? 90]] },
      temporal: { interval: [[time(startMs), time(endMs)]] },
    },
    links: [],
  };
}
