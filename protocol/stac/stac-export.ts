/**
 * A group's outputs as STAC 1.1: an item for each task, in a collection. Everything comes from what
 * the coordinator says of the outputs; what their writers told is checked before it is taken over.
 */
import type { GroupView, OutputView, TaskView } from '../wire/api.ts';
import { isGeoTiff } from '../wire/output-names.ts';

export const stacVersion = '1.1.0';

const extensionUrls = {
  'proj:': 'https://stac-extensions.github.io/projection/v2.0.0/schema.json',
  'raster:': 'https://stac-extensions.github.io/raster/v1.1.0/schema.json',
  'file:': 'https://stac-extensions.github.io/file/v2.1.0/schema.json',
} as const;

/** West, south, east, north; west is greater where it crosses the antimeridian. */
export type Box = readonly [number, number, number, number];

export interface StacLink {
  rel: string;
  href: string;
  type: string;
  title?: string;
}

export interface StacAsset {
  href: string;
  type: string;
  roles: string[];
  [field: string]: unknown;
}

export interface StacItem {
  type: 'Feature';
  stac_version: string;
  stac_extensions: string[];
  id: string;
  collection: string;
  geometry: object | null;
  bbox?: Box;
  properties: Record<string, unknown>;
  links: StacLink[];
  assets: Record<string, StacAsset>;
}

/** What of an item the collection has to know. */
export interface ItemSummary {
  id: string;
  href: string;
  bbox: Box | null;
  /** Beginning and end; RFC 3339. */
  interval: readonly [string, string];
  assets: Readonly<Record<string, Pick<StacAsset, 'type' | 'roles'>>>;
}

/** The id of a task's item; that of the collection is the group's own. */
export function itemId(output: Pick<OutputView, 'group' | 'task'>): string {
  return `${output.group}-${output.task}`;
}

/** The name of an output's file: GDAL and people look at the ending. */
export function outputFileName(output: Pick<OutputView, 'name' | 'mediaType'>): string {
  return isGeoTiff(output.mediaType) && !/\.tiff?$/i.test(output.name)
    ? `${output.name}.tif`
    : output.name;
}

/** The item of one task's outputs, at least one; `hrefOf` says where each one's bytes are. */
export function makeItem(
  outputs: readonly [OutputView, ...OutputView[]],
  hrefOf: (output: OutputView) => string,
): StacItem {
  const [first] = outputs;
  const assets: Record<string, StacAsset> = {};
  for (const output of outputs) assets[output.name] = makeAsset(output, hrefOf(output));
  const boxes = outputs.flatMap(({ metadata }) => findBox(metadata) ?? []);
  const geometries = outputs.flatMap(({ metadata }) => findGeometry(metadata) ?? []);
  const bbox = joinBoxes(boxes);
  const isOnePlace = new Set(geometries.map((geometry) => JSON.stringify(geometry))).size <= 1;
  const geometry = isOnePlace ? (geometries[0] ?? null) : boxGeometry(bbox);
  const withArguments = outputs.find(({ metadata }) => metadata['arguments'] !== undefined);
  return {
    type: 'Feature',
    stac_version: stacVersion,
    stac_extensions: findExtensions(assets),
    id: itemId(first),
    collection: first.group,
    geometry,
    // Not without a geometry, by the specification.
    ...(geometry === null || bbox === null ? {} : { bbox }),
    properties: {
      ...Object.assign({}, ...outputs.map(({ metadata }) => findObject(metadata, 'properties'))),
      ...findTime(outputs),
      created: first.createdAt,
      'perigee:guid': first.group,
      'perigee:tuid': first.task,
      'perigee:attempt': first.attempt,
      ...(withArguments === undefined
        ? {}
        : { 'perigee:arguments': withArguments.metadata['arguments'] }),
    },
    links: [
      { rel: 'root', href: '../collection.json', type: 'application/json' },
      { rel: 'parent', href: '../collection.json', type: 'application/json' },
      { rel: 'collection', href: '../collection.json', type: 'application/json' },
    ],
    assets,
  };
}

/** What the collection keeps of an item whose file is at `href`. */
export function summarize(item: StacItem, href: string): ItemSummary {
  const { datetime, start_datetime: start, end_datetime: end } = item.properties;
  const moment = typeof datetime === 'string' ? datetime : null;
  return {
    id: item.id,
    href,
    bbox: item.bbox ?? null,
    interval: [moment ?? String(start), moment ?? String(end)],
    assets: Object.fromEntries(
      Object.entries(item.assets).map(([name, { type, roles }]) => [name, { type, roles }]),
    ),
  };
}

/** The collection of a group. */
export function makeCollection(
  group: GroupView,
  contents: { items: readonly ItemSummary[]; failedFile: string | null },
): object {
  const { items, failedFile } = contents;
  const boxes = items.flatMap(({ bbox }) => (bbox === null ? [] : [bbox]));
  const starts = items.map(({ interval }) => interval[0]).sort();
  const ends = items.map(({ interval }) => interval[1]).sort();
  const { queued, running, succeeded, failed } = group.tasks;
  const itemAssets = Object.assign({}, ...items.map(({ assets }) => assets));
  const failedLink: StacLink[] =
    failedFile === null
      ? []
      : [
          {
            rel: 'related',
            href: `./${failedFile}`,
            type: 'application/json',
            title: 'Tasks that failed',
          },
        ];
  return {
    type: 'Collection',
    stac_version: stacVersion,
    stac_extensions: [],
    id: group.id,
    title: group.name,
    description: `What the function ${group.name} (group ${group.id}) gave out on Perigee.`,
    license: 'other',
    extent: {
      spatial: { bbox: [joinBoxes(boxes) ?? [-180, -90, 180, 90]] },
      temporal: { interval: [[starts[0] ?? null, ends.at(-1) ?? null]] },
    },
    ...(items.length === 0 ? {} : { item_assets: itemAssets }),
    'perigee:guid': group.id,
    'perigee:tasks': { succeeded, failed, unfinished: queued + running },
    links: [
      { rel: 'root', href: './collection.json', type: 'application/json', title: group.name },
      ...failedLink,
      ...items.map(({ href }) => ({ rel: 'item', href, type: 'application/geo+json' })),
    ],
  };
}

/** A failed task as the list beside the collection has it. */
export function describeFailed(task: TaskView): object {
  const { id, code, exception, message, node, finishedAt } = task;
  return { 'perigee:tuid': id, code, exception, message, node, finishedAt };
}

function makeAsset(output: OutputView, href: string): StacAsset {
  const told = findObject(output.metadata, 'asset');
  return {
    roles: ['data'],
    ...told,
    href,
    type: output.mediaType,
    'file:size': output.sizeBytes,
    // A multihash: SHA-256 of 32 bytes.
    'file:checksum': `1220${output.sha256}`,
  } as StacAsset;
}

function findExtensions(assets: Readonly<Record<string, StacAsset>>): string[] {
  const fields = Object.values(assets).flatMap((asset) => Object.keys(asset));
  return Object.entries(extensionUrls)
    .filter(([prefix]) => fields.some((field) => field.startsWith(prefix)))
    .map(([, url]) => url);
}

/** The moment that a writer told, else that of the task's end. */
function findTime(outputs: readonly [OutputView, ...OutputView[]]): Record<string, string | null> {
  for (const { metadata } of outputs) {
    const {
      datetime,
      start_datetime: start,
      end_datetime: end,
    } = findObject(metadata, 'properties');
    if (isTime(datetime)) return { datetime };
    if (isTime(start) && isTime(end)) {
      return { datetime: null, start_datetime: start, end_datetime: end };
    }
  }
  return { datetime: outputs[0].createdAt };
}

function isTime(value: unknown): value is string {
  return typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value);
}

function findObject(metadata: OutputView['metadata'], name: string): Record<string, unknown> {
  const value = metadata[name];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function findGeometry(metadata: OutputView['metadata']): object | undefined {
  const { type, coordinates } = findObject(metadata, 'geometry');
  const isKnown = typeof type === 'string' && /^(Multi)?(Point|LineString|Polygon)$/.test(type);
  return isKnown && Array.isArray(coordinates) ? { type, coordinates } : undefined;
}

function findBox(metadata: OutputView['metadata']): Box[] | undefined {
  const { bbox } = metadata;
  if (!Array.isArray(bbox) || bbox.length !== 4) return undefined;
  const [west, south, east, north] = bbox;
  const isBox = bbox.every((value) => typeof value === 'number' && Number.isFinite(value));
  return isBox ? [[west, south, east, north]] : undefined;
}

/** The box around boxes; all longitudes when one of several crosses the antimeridian. */
function joinBoxes(boxes: readonly Box[]): Box | null {
  const [first, ...others] = boxes;
  if (first === undefined) return null;
  if (others.every((box) => box.every((value, at) => value === first[at]))) return first;
  const crosses = boxes.some(([west, , east]) => west > east);
  return [
    crosses ? -180 : Math.min(...boxes.map((box) => box[0])),
    Math.min(...boxes.map((box) => box[1])),
    crosses ? 180 : Math.max(...boxes.map((box) => box[2])),
    Math.max(...boxes.map((box) => box[3])),
  ];
}

function boxGeometry(box: Box | null): object | null {
  if (box === null) return null;
  const [west, south, east, north] = box;
  const ring = (from: number, to: number): number[][] => [
    [from, south],
    [to, south],
    [to, north],
    [from, north],
    [from, south],
  ];
  return west <= east
    ? { type: 'Polygon', coordinates: [ring(west, east)] }
    : { type: 'MultiPolygon', coordinates: [[ring(west, 180)], [ring(-180, east)]] };
}
