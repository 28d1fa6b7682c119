/** STAC as it travels: items, collections and what surrounds them (stacspec.org, 1.0 and 1.1). */

/** A file that belongs to an item. */
export interface StacAsset {
  href: string;
  title?: string;
  description?: string;
  /** A media type. */
  type?: string;
  roles?: string[];
  [field: string]: unknown;
}

export interface StacLink {
  rel: string;
  href: string;
  type?: string;
  title?: string;
  [field: string]: unknown;
}

/** A geometry of GeoJSON; coordinates are longitude, latitude and what else there may be. */
export type StacGeometry =
  | { type: 'Point'; coordinates: number[] }
  | { type: 'MultiPoint' | 'LineString'; coordinates: number[][] }
  | { type: 'MultiLineString' | 'Polygon'; coordinates: number[][][] }
  | { type: 'MultiPolygon'; coordinates: number[][][][] }
  | { type: 'GeometryCollection'; geometries: StacGeometry[] };

/** One scene, or what else stands in a place at a time. */
export interface StacItem {
  type: 'Feature';
  stac_version: string;
  stac_extensions?: string[];
  id: string;
  collection?: string;
  geometry: StacGeometry | null;
  /** West, south, east, north; west is above east across the antimeridian. */
  bbox?: number[];
  properties: { datetime: string | null; [property: string]: unknown };
  links: StacLink[];
  assets: Record<string, StacAsset>;
  [field: string]: unknown;
}

/** Items of one kind. */
export interface StacCollection {
  type: 'Collection';
  stac_version: string;
  id: string;
  description: string;
  license: string;
  extent: {
    spatial: { bbox: number[][] };
    temporal: { interval: (string | null)[][] };
  };
  links: StacLink[];
  [field: string]: unknown;
}

/** What a search answers. */
export interface StacItemCollection {
  type: 'FeatureCollection';
  features: StacItem[];
  links?: StacLink[];
  /** All that the search fits; the page holds `numberReturned` of them. */
  numberMatched?: number;
  numberReturned?: number;
}

/** Links that say where a document stands among others; whoever serves it makes its own. */
export const structuralRelations: readonly string[] = [
  'self',
  'root',
  'parent',
  'collection',
  'child',
  'item',
  'items',
  'next',
  'prev',
  'first',
  'last',
];
