/** Items as tests need them: a square of a size around a place, at a time. */
import type { StacGeometry, StacItem } from '../../../../protocol/stac/item.ts';

export interface SceneOptions {
  longitude?: number;
  latitude?: number;
  /** Degrees from the middle to an edge. */
  half?: number;
  datetime?: string | null;
  properties?: Record<string, unknown>;
  bbox?: number[];
  geometry?: StacGeometry | null;
}

/** One item with a data asset and a thumbnail. */
export function scene(id: string, options: SceneOptions = {}): StacItem {
  const { longitude = 10, latitude = 50, half = 0.5 } = options;
  const [west, south] = [longitude - half, latitude - half];
  const [east, north] = [longitude + half, latitude + half];
  return {
    type: 'Feature',
    stac_version: '1.1.0',
    id,
    geometry: options.geometry === undefined ? box(west, south, east, north) : options.geometry,
    ...(options.geometry === null ? {} : { bbox: options.bbox ?? [west, south, east, north] }),
    properties: {
      datetime: options.datetime === undefined ? '2001-07-10T12:00:00Z' : options.datetime,
      ...options.properties,
    },
    links: [],
    assets: {
      B4: { href: `s3://scenes/${id}/B4.tif`, roles: ['data'] },
      thumbnail: { href: `s3://scenes/${id}/small.png`, roles: ['thumbnail'] },
    },
  };
}

/** A rectangle. */
export function box(west: number, south: number, east: number, north: number): StacGeometry {
  return {
    type: 'Polygon',
    coordinates: [
      [
        [west, south],
        [east, south],
        [east, north],
        [west, north],
        [west, south],
      ],
    ],
  };
}
