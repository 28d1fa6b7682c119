/** Places: geometries of GeoJSON and boxes, the antimeridian included. */
import { booleanIntersects } from '@turf/boolean-intersects';
import type { StacGeometry } from '../../protocol/stac/item.ts';

/** West is above east for a box across the antimeridian; longitudes are within 180 degrees. */
export interface Box {
  west: number;
  south: number;
  east: number;
  north: number;
}

/** Of one geometry: more would hold every search that meets it. */
export const positionsMax = 100_000;
const depthMax = 8;
/** Real catalogues write a few past 180 for what lies across the antimeridian. */
const longitudeMax = 360;

const nesting: Readonly<Record<string, number>> = {
  Point: 0,
  MultiPoint: 1,
  LineString: 1,
  MultiLineString: 2,
  Polygon: 2,
  MultiPolygon: 3,
};

/** What is wrong with a geometry, in words that go behind its name; undefined when nothing is. */
export function findGeometryFault(value: unknown, depth = 0): string | undefined {
  if (!isFields(value)) return 'must be a geometry of GeoJSON';
  const { type, coordinates, geometries } = value;
  if (type === 'GeometryCollection') {
    if (depth >= depthMax || !Array.isArray(geometries)) return 'must have a list of "geometries"';
    return geometries.map((each) => findGeometryFault(each, depth + 1)).find((fault) => fault);
  }
  const levels = typeof type === 'string' ? nesting[type] : undefined;
  if (levels === undefined) {
    return `must be of type ${Object.keys(nesting).join(', ')} or GeometryCollection`;
  }
  const positions = flattenPositions(coordinates, levels);
  if (positions === undefined) return `must have the "coordinates" of a ${type}`;
  if (positions.length === 0) return 'must have coordinates';
  if (positions.length > positionsMax) return `must have at most ${positionsMax} positions`;
  if (!positions.every(isPosition)) {
    return 'must have positions of longitude and latitude, in degrees';
  }
  const rings = type === 'Polygon' ? [coordinates] : type === 'MultiPolygon' ? coordinates : [];
  for (const ring of (rings as number[][][][]).flat()) {
    const [first, last] = [ring[0], ring.at(-1)];
    const isClosed = first?.[0] === last?.[0] && first?.[1] === last?.[1];
    if (ring.length < 4 || !isClosed) return 'must have closed rings of at least four positions';
  }
  return undefined;
}

/** What is wrong with a `bbox`; undefined when nothing is. */
export function findBoxFault(value: unknown): string | undefined {
  const isList = Array.isArray(value) && (value.length === 4 || value.length === 6);
  if (!isList || !value.every((each) => Number.isFinite(each))) {
    return 'must be four or six numbers: west, south, east, north';
  }
  const { west, south, east, north } = cornersOf(value);
  if (Math.max(Math.abs(west), Math.abs(east)) > longitudeMax) {
    return 'must have longitudes in degrees';
  }
  if (Math.max(Math.abs(south), Math.abs(north)) > 90) return 'must have latitudes in degrees';
  return south > north ? 'must not have its south above its north' : undefined;
}

/** The box of a `bbox` without fault; longitudes are brought within 180 degrees. */
export function boxOf(bbox: readonly number[]): Box {
  const { west, south, east, north } = cornersOf(bbox);
  if (east - west >= 360) return { west: -180, south, east: 180, north };
  return { west: wrap(west), south, east: wrap(east), north };
}

/** Boxes that do not cross the antimeridian and cover the same. */
export function splitBox(box: Box): Box[] {
  if (box.west <= box.east) return [box];
  return [
    { ...box, east: 180 },
    { ...box, west: -180 },
  ];
}

/** Boxes around a geometry: one for each part, so that parts on both sides of the world stay small. */
export function boxesAround(geometry: StacGeometry): Box[] {
  const parts = partsOf(geometry);
  return parts.length > partsMax ? [boxAround(geometry)] : parts.map(boxAround);
}

/** A box as a geometry, in two parts when it crosses the antimeridian. */
export function geometryOfBox(box: Box): StacGeometry {
  const polygons = splitBox(box).map(({ west, south, east, north }) => [
    [
      [west, south],
      [east, south],
      [east, north],
      [west, north],
      [west, south],
    ],
  ]);
  return { type: 'MultiPolygon', coordinates: polygons };
}

/**
 * Whether an item's geometry meets another one, exactly, in the plane of longitude and latitude.
 * `box` is the item's own: it says whether a geometry that reaches from 179 to -179 means the short way.
 */
export function meets(item: { geometry: StacGeometry; box: Box }, other: StacGeometry): boolean {
  const crosses = item.box.west > item.box.east;
  const own = crosses ? shift(item.geometry, (x) => (x < 0 ? x + 360 : x)) : item.geometry;
  const longitudes = positionsOf(own).map(([x = 0]) => x);
  const [low, high] = minMax(longitudes);
  const otherBox = minMax(positionsOf(other).map(([x = 0]) => x));
  return [0, 360, -360].some((turn) => {
    if (otherBox[0] + turn > high || otherBox[1] + turn < low) return false;
    return booleanIntersects(turn === 0 ? other : shift(other, (x) => x + turn), own);
  });
}

const partsMax = 32;

function partsOf(geometry: StacGeometry): StacGeometry[] {
  switch (geometry.type) {
    case 'GeometryCollection':
      return geometry.geometries.flatMap(partsOf);
    case 'MultiPolygon':
      return geometry.coordinates.map((coordinates) => ({ type: 'Polygon', coordinates }));
    case 'MultiPoint':
      return geometry.coordinates.map((coordinates) => ({ type: 'Point', coordinates }));
    case 'MultiLineString':
      return geometry.coordinates.map((coordinates) => ({ type: 'LineString', coordinates }));
    default:
      return [geometry];
  }
}

function boxAround(geometry: StacGeometry): Box {
  const positions = positionsOf(geometry);
  const [west, east] = minMax(positions.map(([x = 0]) => x));
  const [south, north] = minMax(positions.map(([, y = 0]) => y));
  return boxOf([west, south, east, north]);
}

function minMax(values: readonly number[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function positionsOf(geometry: StacGeometry): number[][] {
  if (geometry.type === 'GeometryCollection') return geometry.geometries.flatMap(positionsOf);
  return flattenPositions(geometry.coordinates, nesting[geometry.type] ?? 0) ?? [];
}

function shift(geometry: StacGeometry, move: (longitude: number) => number): StacGeometry {
  if (geometry.type === 'GeometryCollection') {
    return { ...geometry, geometries: geometry.geometries.map((each) => shift(each, move)) };
  }
  const moveAll = (value: unknown, levels: number): unknown => {
    const list = value as unknown[];
    if (levels > 0) return list.map((each) => moveAll(each, levels - 1));
    const [longitude, ...rest] = list as number[];
    return [move(longitude ?? 0), ...rest];
  };
  const coordinates = moveAll(geometry.coordinates, nesting[geometry.type] ?? 0);
  return { type: geometry.type, coordinates } as StacGeometry;
}

/** The positions of coordinates that are nested so deep; undefined when they are not. */
function flattenPositions(value: unknown, levels: number): number[][] | undefined {
  if (!Array.isArray(value)) return undefined;
  if (levels === 0) return [value as number[]];
  const parts = value.map((each) => flattenPositions(each, levels - 1));
  return parts.includes(undefined) ? undefined : (parts.flat() as number[][]);
}

function isPosition(value: readonly unknown[]): boolean {
  const [longitude, latitude] = value;
  return (
    value.every((each) => Number.isFinite(each)) &&
    typeof longitude === 'number' &&
    typeof latitude === 'number' &&
    Math.abs(longitude) <= longitudeMax &&
    Math.abs(latitude) <= 90
  );
}

function cornersOf(bbox: readonly number[]): Box {
  const [west = 0, south = 0, third = 0, fourth = 0, fifth = 0] = bbox;
  return bbox.length === 6
    ? { west, south, east: fourth, north: fifth }
    : { west, south, east: third, north: fourth };
}

function wrap(longitude: number): number {
  if (longitude > 180) return longitude - 360;
  return longitude < -180 ? longitude + 360 : longitude;
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
