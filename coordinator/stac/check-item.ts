/** Checks items and collections on their way in; every refusal names the document and the field. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { StacCollection, StacItem } from '../../protocol/stac/item.ts';
import { structuralRelations } from '../../protocol/stac/item.ts';
import { isAbsoluteHref, withResolvedHrefs } from '../../protocol/stac/resolve-hrefs.ts';
import { findBoxFault, findGeometryFault } from './geometry.ts';
import { findInstant } from './instants.ts';

/** Of one document as JSON. */
export const documentBytesMax = 1024 * 1024;
export const idCharsMax = 256;

type Fields = Readonly<Record<string, unknown>>;

/** When an item was, in milliseconds since 1970. */
export interface ItemTimes {
  /** What it is sorted by. */
  atMs: number;
  startMs: number;
  endMs: number;
}

/** An item as it is kept: for its collection, with whole addresses, without links of its old place. */
export interface CheckedItem {
  item: StacItem & { collection: string };
  times: ItemTimes;
}

/**
 * An item that may be kept. `number` is its place among those that came with it, from 1.
 * @throws PerigeeError stac_invalid
 */
export function checkItem(
  value: unknown,
  place: { collection: string; number: number },
): CheckedItem {
  const fail = refusalOf(isFields(value) ? value['id'] : undefined, `item ${place.number}`);
  if (!isFields(value) || value['type'] !== 'Feature') {
    throw fail('type', 'must be "Feature"', isFields(value) ? value['type'] : value);
  }
  checkHead(value, fail);
  checkPlace(value, fail);
  const { properties, collection } = value;
  if (!isFields(properties)) throw fail('properties', 'must be an object', properties);
  if (collection !== undefined && collection !== null && collection !== place.collection) {
    throw fail('collection', `must be "${place.collection}", where it is put`, collection);
  }
  const times = readTimes(properties, fail);
  checkAssets(value['assets'], fail);
  const resolved = withoutOldPlace(value, fail);
  for (const [key, asset] of Object.entries(resolved['assets'] as Record<string, Fields>)) {
    if (isAbsoluteHref(String(asset['href']))) continue;
    throw fail(`assets.${key}.href`, 'must be a whole URI, or the item have a self link', asset);
  }
  const item = { ...resolved, collection: place.collection } as unknown as CheckedItem['item'];
  return { item, times };
}

/**
 * A collection that may be kept.
 * @throws PerigeeError stac_invalid
 */
export function checkCollection(value: unknown): StacCollection {
  const fail = refusalOf(isFields(value) ? value['id'] : undefined, 'the collection');
  if (!isFields(value) || value['type'] !== 'Collection') {
    throw fail('type', 'must be "Collection"', isFields(value) ? value['type'] : value);
  }
  checkHead(value, fail);
  for (const field of ['description', 'license']) {
    if (typeof value[field] !== 'string' || value[field] === '') {
      throw fail(field, 'must be a text', value[field]);
    }
  }
  const { extent } = value;
  const spatial = isFields(extent) ? extent['spatial'] : undefined;
  const boxes = isFields(spatial) ? spatial['bbox'] : undefined;
  if (!Array.isArray(boxes) || boxes.length === 0) {
    throw fail('extent.spatial.bbox', 'must be a list of boxes', boxes);
  }
  const fault = boxes.map(findBoxFault).find((each) => each !== undefined);
  if (fault !== undefined) throw fail('extent.spatial.bbox', fault, boxes);
  const temporal = isFields(extent) ? extent['temporal'] : undefined;
  const intervals = isFields(temporal) ? temporal['interval'] : undefined;
  if (!Array.isArray(intervals) || intervals.length === 0 || !intervals.every(isInterval)) {
    throw fail('extent.temporal.interval', 'must be a list of pairs of times or nulls', intervals);
  }
  return withoutOldPlace(value, fail) as unknown as StacCollection;
}

type Refusal = (field: string, expectation: string, value: unknown) => PerigeeError;

function refusalOf(id: unknown, unnamed: string): Refusal {
  const name = typeof id === 'string' && id !== '' ? `"${id.slice(0, 80)}"` : unnamed;
  return (field, expectation, value) =>
    new PerigeeError('stac_invalid', `${name}: "${field}" ${expectation}, not ${show(value)}.`, {
      details: { field, ...(typeof id === 'string' ? { id: id.slice(0, idCharsMax) } : {}) },
    });
}

function checkHead(document: Fields, fail: Refusal): void {
  const { id, stac_version: version, links } = document;
  if (typeof id !== 'string' || id === '' || id.length > idCharsMax) {
    throw fail('id', `must be a text of 1-${idCharsMax} characters`, id);
  }
  if (typeof version !== 'string' || !/^1\.[01]\.\d+/.test(version)) {
    throw fail('stac_version', 'must be 1.0 or 1.1', version);
  }
  if (links === undefined || links === null) return;
  const isGood = (link: unknown): boolean =>
    isFields(link) && typeof link['rel'] === 'string' && typeof link['href'] === 'string';
  if (!Array.isArray(links) || !links.every(isGood)) {
    throw fail('links', 'must be a list of objects with "rel" and "href"', links);
  }
}

function checkPlace(item: Fields, fail: Refusal): void {
  const { geometry, bbox } = item;
  if (geometry === undefined) throw fail('geometry', 'must be a geometry or null', geometry);
  if (geometry === null) {
    if (bbox !== undefined) throw fail('bbox', 'must be left out where "geometry" is null', bbox);
    return;
  }
  const fault = findGeometryFault(geometry);
  if (fault !== undefined) throw fail('geometry', fault, geometry);
  const boxFault = findBoxFault(bbox);
  if (boxFault !== undefined) throw fail('bbox', boxFault, bbox);
}

function readTimes(properties: Fields, fail: Refusal): ItemTimes {
  const read = (field: string): number | undefined => {
    const value = properties[field];
    if (value === undefined || value === null) return undefined;
    const instant = typeof value === 'string' ? findInstant(value) : undefined;
    if (instant !== undefined) return instant;
    throw fail(`properties.${field}`, 'must be a time such as 2001-07-10T12:00:00Z', value);
  };
  const [at, start, end] = [read('datetime'), read('start_datetime'), read('end_datetime')];
  if (at === undefined && (start === undefined || end === undefined)) {
    throw fail(
      'properties.datetime',
      'must be a time, or null beside "start_datetime" and "end_datetime"',
      properties['datetime'],
    );
  }
  const startMs = start ?? at ?? 0;
  const endMs = end ?? at ?? 0;
  if (startMs > endMs) {
    throw fail(
      'properties.end_datetime',
      'must not be before its start',
      properties['end_datetime'],
    );
  }
  return { atMs: at ?? startMs, startMs, endMs };
}

function checkAssets(assets: unknown, fail: Refusal): void {
  if (!isFields(assets)) throw fail('assets', 'must be an object', assets);
  for (const [key, asset] of Object.entries(assets)) {
    if (!isFields(asset) || typeof asset['href'] !== 'string' || asset['href'] === '') {
      throw fail(`assets.${key}.href`, 'must be a text', isFields(asset) ? asset['href'] : asset);
    }
    const { roles } = asset;
    if (roles !== undefined && !(Array.isArray(roles) && roles.every(isText))) {
      throw fail(`assets.${key}.roles`, 'must be a list of texts', roles);
    }
  }
}

/** Addresses are told from the document's own before that is forgotten. */
function withoutOldPlace(document: Fields, fail: Refusal): Fields {
  const links = (document['links'] ?? []) as readonly Fields[];
  const self = links.find(({ rel }) => rel === 'self')?.['href'];
  const base = typeof self === 'string' && isAbsoluteHref(self) ? self : undefined;
  const resolved = base === undefined ? document : withResolvedHrefs(document, base);
  const kept = ((resolved['links'] ?? []) as readonly Fields[]).filter(
    ({ rel, href }) => !structuralRelations.includes(String(rel)) && isAbsoluteHref(String(href)),
  );
  // Where it was read stays known: `canonical` is STAC's word for it.
  const hasOrigin = kept.some(({ rel }) => rel === 'canonical');
  const origin = base === undefined || hasOrigin ? [] : [{ rel: 'canonical', href: base }];
  const whole = { ...resolved, links: [...kept, ...origin] };
  if (JSON.stringify(whole).length > documentBytesMax) {
    throw fail('assets', `and the rest must take at most ${documentBytesMax} bytes`, undefined);
  }
  return whole;
}

function isInterval(value: unknown): boolean {
  const isEnd = (end: unknown): boolean =>
    end === null || (typeof end === 'string' && findInstant(end) !== undefined);
  return Array.isArray(value) && value.length === 2 && value.every(isEnd);
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
