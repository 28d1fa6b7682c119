import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { PerigeeError, toError } from '../../../../protocol/base/errors.ts';
import type { StacItem, StacItemCollection } from '../../../../protocol/stac/item.ts';
import { type CommandContext, type ShowOptions, say, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { requireCollections } from '../../imagery/stac-url.ts';
import { collect, wholeNumber } from '../../options.ts';
import { renderTable } from '../../output/table.ts';
import { countOf } from '../../output/units.ts';

interface SearchOptions extends ShowOptions {
  bbox?: number[];
  datetime?: string;
  intersects?: string;
  collections?: string[];
  ids?: string[];
  query?: string[];
  sortby?: string;
  maxItems: number;
}

type Page = Omit<StacItemCollection, 'links'> & {
  links: { rel: string; body?: Record<string, unknown> }[];
};

/** Items, and how many fit in all. */
export interface Found {
  items: StacItem[];
  matched: number;
}

const pageItemsMax = 500;

/** `imagery search`. */
export function imagerySearch(context: CommandContext): Command {
  const command = describeCommand('search', {
    summary: 'Find items by place, time and properties, latest first.',
    examples: [
      "imagery search --collections landsat7 --datetime 2001-07 --query 'eo:cloud_cover<20'",
      'imagery search --bbox -35,-8.1,-34.8,-7.9 --json',
    ],
  })
    .option('--bbox <west,south,east,north>', 'degrees; west above east crosses 180', readBox)
    .option('--datetime <interval>', '2001-07, 2001-07-10, 2001-07/2001-09, or 2001-07/..')
    .option('--intersects <file>', 'a GeoJSON geometry or feature; - for standard input')
    .option('--collections <ids>', 'comma-separated', readIds)
    .option('--ids <ids>', 'comma-separated', readIds)
    .option(
      '--query <test>',
      'a property, one of < <= > >= = !=, a value; may be repeated',
      collect,
    )
    .option('--sortby <fields>', 'for example -datetime,eo:cloud_cover')
    .option('--max-items <n>', 'at most this many', wholeNumber(1, 1_000_000), 50);
  return withJson(command).action(async (options: SearchOptions) => {
    const { bbox, datetime, collections, ids, sortby } = options;
    const wanted = {
      ...(bbox === undefined ? {} : { bbox }),
      ...(datetime === undefined ? {} : { datetime }),
      ...(collections === undefined ? {} : { collections }),
      ...(ids === undefined ? {} : { ids }),
      ...(sortby === undefined ? {} : { sortby }),
      ...(options.query === undefined ? {} : { query: readTests(options.query) }),
      ...(options.intersects === undefined
        ? {}
        : { intersects: await readGeometry(context, options.intersects) }),
    };
    const found = await readSearch(context, wanted, options.maxItems);
    if (found.items.length === 0) await requireCollections(context, collections ?? []);
    showItems(context, options, {
      found,
      next: found.items.length === 0 ? 'imagery ls' : 'python mine.py',
    });
  });
}

/** The first items of a search, over as many pages as it takes. */
export async function readSearch(
  context: CommandContext,
  wanted: Readonly<Record<string, unknown>>,
  itemsMax: number,
): Promise<Found> {
  const client = await context.client();
  const found: Found = { items: [], matched: 0 };
  let body: Record<string, unknown> | undefined = { ...wanted };
  while (body !== undefined && found.items.length < itemsMax) {
    const limit = Math.min(pageItemsMax, itemsMax - found.items.length);
    const page: Page = await client.json('POST', '/v1/stac/search', {
      body: { ...body, limit },
      signal: context.signal,
    });
    found.items.push(...page.features);
    found.matched = page.numberMatched ?? found.items.length;
    const next = page.links.find(({ rel }) => rel === 'next');
    body = next === undefined ? undefined : { ...wanted, ...next.body };
  }
  return found;
}

/** Items as a table, or as a FeatureCollection. */
export function showItems(
  context: CommandContext,
  options: ShowOptions,
  shown: { found: Found; next: string },
): void {
  const { items, matched } = shown.found;
  const { columns, outColors } = context.terminal;
  show(context, options, {
    value: {
      type: 'FeatureCollection',
      features: items,
      numberMatched: matched,
      numberReturned: items.length,
    } satisfies StacItemCollection,
    text:
      items.length === 0
        ? 'No such items.\n'
        : renderTable(
            items,
            [
              { title: 'id', text: ({ id }) => id, whole: true },
              { title: 'collection', text: ({ collection }) => collection ?? '' },
              { title: 'datetime', text: timeOf },
              { title: 'cloud', text: cloudOf, align: 'right' },
              { title: 'assets', text: ({ assets }) => Object.keys(assets).join(' ') },
            ],
            { columns, colors: outColors },
          ),
    next: shown.next,
  });
  if (options.json !== true && matched > items.length) {
    say(context, `${countOf(matched, 'item')} fit; ${items.length} are shown.`);
  }
}

function timeOf({ properties }: StacItem): string {
  const { datetime, start_datetime: start, end_datetime: end } = properties;
  return datetime ?? `${String(start).slice(0, 10)}/${String(end).slice(0, 10)}`;
}

function cloudOf({ properties }: StacItem): string {
  const cover = properties['eo:cloud_cover'];
  return typeof cover === 'number' ? `${Math.round(cover * 10) / 10} %` : '';
}

function readBox(text: string): number[] {
  const corners = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if ([4, 6].includes(corners.length) && corners.every(Number.isFinite)) return corners;
  throw new InvalidArgumentError(`"${text}" is not west,south,east,north in degrees.`);
}

function readIds(text: string): string[] {
  return text.split(',').filter((id) => id !== '');
}

const operators: Readonly<Record<string, string>> = {
  '<=': 'lte',
  '>=': 'gte',
  '!=': 'neq',
  '<>': 'neq',
  '==': 'eq',
  '<': 'lt',
  '>': 'gt',
  '=': 'eq',
};

/** `eo:cloud_cover<20` and its like as the query extension has it. */
function readTests(texts: readonly string[]): Record<string, Record<string, unknown>> {
  const query: Record<string, Record<string, unknown>> = {};
  for (const text of texts) {
    const match = /^\s*([^<>=!]+?)\s*(<=|>=|!=|<>|==|<|>|=)\s*(.*?)\s*$/.exec(text);
    const [, name = '', sign = '', written = ''] = match ?? [];
    if (match === null || written === '') {
      throw new PerigeeError('invalid_request', `"${text}" is no test of a property.`, {
        fix: "Write it like 'eo:cloud_cover<20' or 'platform=landsat-7'.",
      });
    }
    query[name] = { ...query[name], [operators[sign] ?? 'eq']: readValue(written) };
  }
  return query;
}

function readValue(text: string): unknown {
  if (/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text)) return Number(text);
  if (text === 'true' || text === 'false') return text === 'true';
  return text.replace(/^(["'])(.*)\1$/, '$2');
}

async function readGeometry(context: CommandContext, file: string): Promise<unknown> {
  const value: unknown = await readJson(context, file);
  const geometries = geometriesOf(value);
  const [only, second] = geometries;
  if (only === undefined) {
    throw new PerigeeError('invalid_request', `${file} holds no geometry.`, {
      fix: 'Give a GeoJSON geometry, feature or collection of features.',
    });
  }
  return second === undefined ? only : { type: 'GeometryCollection', geometries };
}

function geometriesOf(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null || !('type' in value)) return [];
  if (value.type === 'FeatureCollection' && 'features' in value && Array.isArray(value.features)) {
    return value.features.flatMap(geometriesOf);
  }
  if (value.type !== 'Feature') return [value];
  return 'geometry' in value && value.geometry !== null ? [value.geometry] : [];
}

async function readJson(context: CommandContext, file: string): Promise<unknown> {
  try {
    return JSON.parse(file === '-' ? await readInput(context) : await readFile(file, 'utf8'));
  } catch (caught) {
    const cause = toError(caught);
    throw new PerigeeError('invalid_request', `${file} cannot be read: ${cause.message}`, {
      cause,
      fix: 'Give the path of a GeoJSON file.',
    });
  }
}

async function readInput(context: CommandContext): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of context.terminal.stdin) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString('utf8');
}
