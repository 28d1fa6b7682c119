/** Reads STAC documents from files and the web, and follows catalogues to what they hold. */
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import { withResolvedHrefs } from '../../../protocol/stac/resolve-hrefs.ts';

/** An item or a collection with whole addresses. */
export interface StacDocument {
  kind: 'item' | 'collection';
  document: Readonly<Record<string, unknown>>;
  /** Where it was read. */
  from: string;
}

export interface ReadOptions {
  /** Documents that are opened beside the ones that were named. */
  followMax: number;
  signal: AbortSignal;
  /** Told of what is left out, and why. */
  onSkipped(text: string): void;
}

/** Of one document. */
const bytesMax = 256 * 1024 * 1024;
const fetchMs = 60_000;
/** Links of these kinds lead down. */
const downwards = ['child', 'item', 'items', 'next'];
/** Documents fetched at once. */
const atOnce = 8;

type Fields = Readonly<Record<string, unknown>>;

interface Place {
  url: string;
  /** The collection that led here. */
  collection: string | null;
}

/**
 * Every item and collection of the sources: items, FeatureCollections, collections, catalogues, or
 * one of these a line.
 * @throws PerigeeError invalid_request naming the source that cannot be read, unreachable, not_found
 */
export async function* readStac(
  sources: readonly string[],
  options: ReadOptions,
): AsyncGenerator<StacDocument, void, undefined> {
  const seen = new Set<string>();
  let waiting: Place[] = sources.map((source) => ({ url: urlOf(source), collection: null }));
  let left = sources.length + options.followMax;
  while (waiting.length > 0) {
    const round = waiting.filter(({ url }) => !seen.has(url)).slice(0, Math.min(atOnce, left));
    waiting = waiting.filter((place) => !seen.has(place.url) && !round.includes(place));
    for (const { url } of round) seen.add(url);
    left -= round.length;
    const texts = await Promise.all(round.map(({ url }) => readText(url, options.signal)));
    const deeper: Place[] = [];
    for (const [index, place] of round.entries()) {
      for (const document of parseDocuments(texts[index] ?? '', place.url)) {
        yield* unfold(document, place);
        deeper.push(...linksDown(document, place));
      }
    }
    waiting = [...deeper, ...waiting];
    if (left <= 0 && waiting.some(({ url }) => !seen.has(url))) {
      options.onSkipped(
        `Stopped after ${options.followMax} followed links; --follow N allows more.`,
      );
      return;
    }
  }
}

function* unfold(document: Fields, place: Place): Generator<StacDocument> {
  const from = place.url;
  switch (document['type']) {
    case 'Feature': {
      const collection = document['collection'] ?? place.collection;
      const item = collection === null ? document : { ...document, collection };
      yield { kind: 'item', document: withOrigin(item, from), from };
      return;
    }
    case 'FeatureCollection':
      for (const feature of listOf(document['features'])) {
        yield* unfold(feature as Fields, place);
      }
      return;
    case 'Collection':
      yield { kind: 'collection', document: withOrigin(document, from), from };
      return;
    case 'Catalog':
      return;
    default:
      throw new PerigeeError(
        'stac_invalid',
        `${from} is no item, collection or catalogue of STAC.`,
        {
          fix: 'Give a file or URL whose "type" is Feature, FeatureCollection, Collection or Catalog.',
        },
      );
  }
}

/** Whole addresses; an item of a search has the address that it gives itself. */
function withOrigin(document: Fields, from: string): Fields {
  const links = listOf(document['links']) as readonly Fields[];
  const self = links.find(({ rel }) => rel === 'self')?.['href'];
  const base = typeof self === 'string' && URL.canParse(self) ? self : from;
  const resolved = withResolvedHrefs(document, base);
  const others = (listOf(resolved['links']) as readonly Fields[]).filter(
    ({ rel }) => rel !== 'self',
  );
  return { ...resolved, links: [...others, { rel: 'self', href: base }] };
}

function linksDown(document: Fields, place: Place): Place[] {
  if (document['type'] === 'Feature') return [];
  const collection = document['type'] === 'Collection' ? textOf(document['id']) : place.collection;
  return (listOf(document['links']) as readonly Fields[])
    .filter(({ rel, method }) => downwards.includes(String(rel)) && (method ?? 'GET') === 'GET')
    .flatMap(({ href }) => {
      if (typeof href !== 'string' || !URL.canParse(href, place.url)) return [];
      const { href: url, protocol } = new URL(href, place.url);
      // A document of the web does not get to name files of this machine.
      const isAllowed = /^https?:$/.test(protocol) || place.url.startsWith('file:');
      return isAllowed ? [{ url, collection }] : [];
    });
}

function parseDocuments(text: string, from: string): Fields[] {
  const whole = parseJson(text);
  if (whole !== undefined) return [checkObject(whole, from)];
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line, index) => {
    const value = lines.length > 1 ? parseJson(line) : undefined;
    if (value === undefined) {
      const where = lines.length > 1 ? `line ${index + 1} of ${from}` : from;
      throw new PerigeeError('invalid_request', `${where} is not JSON.`, {
        fix: 'Give STAC documents as JSON, one a file or one a line.',
      });
    }
    return checkObject(value, from);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    return undefined;
  }
}

async function readText(url: string, signal: AbortSignal): Promise<string> {
  if (url.startsWith('file:')) return readLocal(fileURLToPath(url));
  try {
    const answer = await fetch(url, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(fetchMs)]),
      headers: { accept: 'application/geo+json, application/json' },
    });
    if (!answer.ok) {
      const code = answer.status === 404 ? 'not_found' : 'unreachable';
      throw new PerigeeError(code, `${url} was answered with status ${answer.status}.`, {
        fix: 'Check the URL; documents behind a login are downloaded first and given as files.',
      });
    }
    const text = await answer.text();
    if (text.length > bytesMax) throw tooLong(url);
    return text;
  } catch (caught) {
    signal.throwIfAborted();
    if (caught instanceof PerigeeError) throw caught;
    const cause = toError(caught);
    const why = cause.cause instanceof Error ? cause.cause.message : cause.message;
    throw new PerigeeError('unreachable', `${url} cannot be read: ${why}`, {
      cause,
      fix: 'Check the URL and the network.',
    });
  }
}

async function readLocal(path: string): Promise<string> {
  try {
    if ((await stat(path)).size > bytesMax) throw tooLong(path);
    return await readFile(path, 'utf8');
  } catch (caught) {
    if (caught instanceof PerigeeError) throw caught;
    const cause = toError(caught);
    throw new PerigeeError('not_found', `${path} cannot be read: ${cause.message}`, {
      cause,
      fix: 'Give the path or the URL of a STAC document.',
    });
  }
}

function tooLong(name: string): PerigeeError {
  return new PerigeeError('too_large', `${name} is over ${bytesMax} bytes.`, {
    fix: 'Split it: one item a line, in several files.',
  });
}

function urlOf(source: string): string {
  return /^(https?|file):/i.test(source) ? source : pathToFileURL(resolve(source)).href;
}

function checkObject(value: unknown, from: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw new PerigeeError('stac_invalid', `${from} holds no object.`);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
