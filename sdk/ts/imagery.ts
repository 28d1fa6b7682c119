/** Scenes by what they show, where and when: the mesh's catalogue of STAC items. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type {
  StacCollection,
  StacGeometry,
  StacItem,
  StacItemCollection,
} from '../../protocol/stac/item.ts';
import { createDeadline, type WaitOptions } from './deadline.ts';
import type { MeshLink } from './mesh-link.ts';

/** A time, a text such as `2001-07`, or two of these; null is an open end. */
export type SearchTime = string | Date | readonly [string | Date | null, string | Date | null];

/** The parameters of STAC's item search, by its own names. */
export interface SearchOptions {
  collections?: readonly string[];
  ids?: readonly string[];
  /** West, south, east, north in degrees; west above east crosses the antimeridian. */
  bbox?: readonly number[];
  /** A geometry of GeoJSON, or what has one. */
  intersects?: StacGeometry | { geometry: StacGeometry | null };
  datetime?: SearchTime;
  /** For example `{ 'eo:cloud_cover': { lt: 20 } }`. */
  query?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** CQL2 as JSON. */
  filter?: object;
  /** For example `-datetime,eo:cloud_cover`; latest first by default. */
  sortby?: string | readonly (string | { field: string; direction: 'asc' | 'desc' })[];
  /** Items in all; by default whatever fits. */
  maxItems?: number;
  /** Items fetched at once; 1-1,000, default 100. */
  limit?: number;
}

const pageItems = 100;

/** The catalogue of a mesh; `mesh.imagery`. */
export class Imagery {
  readonly #link: MeshLink;

  /** It comes from a mesh. */
  constructor(link: MeshLink) {
    this.#link = link;
  }

  /**
   * Items that fit, latest first, fetched as they are read.
   * @example
   * for await (const item of mesh.imagery.search({ collections: ['landsat7'], datetime: '2001-07' })) {
   *   console.log(item.id, item.assets['B4']?.href);
   * }
   */
  search(options: SearchOptions, wait: WaitOptions = {}): ItemSearch {
    return new ItemSearch(this.#link, options, wait);
  }

  /** All collections that the token's namespace sees. */
  async collections(wait: WaitOptions = {}): Promise<StacCollection[]> {
    return (await this.#link.call('imagery.collections', {}, wait)).collections;
  }
}

/** A search that has not been run until its items are asked for. */
export class ItemSearch implements AsyncIterable<StacItem> {
  readonly #link: MeshLink;
  readonly #wanted: Record<string, unknown>;
  readonly #options: SearchOptions;
  readonly #wait: WaitOptions;

  /** It comes from `Imagery.search`. */
  constructor(link: MeshLink, options: SearchOptions, wait: WaitOptions) {
    this.#link = link;
    this.#options = options;
    this.#wait = wait;
    this.#wanted = parametersOf(options);
  }

  /** @throws PerigeeError invalid_request; not_found for a collection that is not there. */
  async *[Symbol.asyncIterator](): AsyncGenerator<StacItem, void, undefined> {
    const { maxItems = Number.POSITIVE_INFINITY, limit = pageItems } = this.#options;
    using deadline = createDeadline(this.#wait, 'imagery.search');
    const { signal } = deadline;
    let token: string | null = null;
    let given = 0;
    do {
      const input = {
        ...this.#wanted,
        limit: Math.min(limit, maxItems - given),
        ...(token === null ? {} : { token }),
      };
      const page: StacItemCollection & { next: string | null } = await this.#link.call(
        'imagery.search',
        input,
        { signal },
      );
      if (given === 0 && page.features.length === 0) await this.#requireCollections(signal);
      given += page.features.length;
      yield* page.features;
      token = page.next;
    } while (token !== null && given < maxItems);
  }

  /** How many items fit, whatever `maxItems` says. */
  async matched(): Promise<number> {
    const input = { ...this.#wanted, limit: 1 };
    return (await this.#link.call('imagery.search', input, this.#wait)).numberMatched ?? 0;
  }

  /** All items at once. */
  async itemCollection(): Promise<StacItemCollection> {
    const features: StacItem[] = [];
    for await (const item of this) features.push(item);
    return { type: 'FeatureCollection', features };
  }

  async #requireCollections(signal: AbortSignal): Promise<void> {
    const wanted = this.#options.collections ?? [];
    if (wanted.length === 0) return;
    const { collections } = await this.#link.call('imagery.collections', {}, { signal });
    const known = collections.map(({ id }) => id);
    const missing = wanted.find((id) => !known.includes(id));
    if (missing === undefined) return;
    throw new PerigeeError('not_found', `There is no collection "${missing}".`, {
      fix: `There are ${known.slice(0, 10).join(', ') || 'none yet'}.`,
    });
  }
}

function parametersOf(options: SearchOptions): Record<string, unknown> {
  const { maxItems: _maxItems, limit: _limit, datetime, intersects, ...rest } = options;
  return {
    ...rest,
    ...(datetime === undefined ? {} : { datetime: writeTime(datetime) }),
    ...(intersects === undefined
      ? {}
      : { intersects: 'geometry' in intersects ? intersects.geometry : intersects }),
  };
}

function writeTime(time: SearchTime): string {
  if (typeof time === 'string') return time;
  if (time instanceof Date) return time.toISOString();
  return time.map((end) => (end === null ? '..' : writeTime(end))).join('/');
}
