/** The fields extension: which parts of an item an answer holds. */
import { refuse } from './property.ts';

/** Paths with dots; an empty `include` with `exclude` set means all others. */
export interface Selection {
  include: readonly string[];
  exclude: readonly string[];
}

type Fields = Record<string, unknown>;

const pathsMax = 100;
/** What an item always has, so that it stays an item. */
const always = ['type', 'stac_version', 'id', 'geometry', 'bbox', 'links', 'assets'];
const alwaysOfProperties = ['properties.datetime', 'collection'];

/**
 * `fields` as a text (`id,-geometry`) or as an object; null for whole items.
 * @throws PerigeeError invalid_request
 */
export function readSelection(value: unknown): Selection | null {
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'string') {
    const paths = value.split(',').map((path) => path.trim());
    return checked(
      paths.filter((path) => !path.startsWith('-')).map((path) => path.replace(/^\+/, '')),
      paths.filter((path) => path.startsWith('-')).map((path) => path.slice(1)),
    );
  }
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw refuse('fields', 'must be an object with "include" or "exclude"');
  }
  const { include, exclude } = value as Fields;
  return checked(include ?? [], exclude ?? []);
}

/** The parts of an item that were asked for. */
export function select(item: Fields, selection: Selection): Fields {
  const { include, exclude } = selection;
  let selected: Fields = item;
  if (include.length > 0) {
    selected = {};
    // What is excluded by name goes even where it is included by habit.
    for (const path of [...always, ...alwaysOfProperties, ...include]) {
      copyPath(item, selected, path.split('.'));
    }
  }
  const kept = structuredClone(selected);
  for (const path of exclude) if (!include.includes(path)) removePath(kept, path.split('.'));
  return kept;
}

function checked(include: unknown, exclude: unknown): Selection {
  const isPaths = (value: unknown): value is string[] =>
    Array.isArray(value) &&
    value.length <= pathsMax &&
    value.every((path) => typeof path === 'string' && path !== '');
  if (!isPaths(include) || !isPaths(exclude)) {
    throw refuse('fields', `must have lists of at most ${pathsMax} names`);
  }
  return { include, exclude };
}

function copyPath(from: Fields, to: Fields, path: readonly string[]): void {
  const [name = '', ...rest] = path;
  if (!Object.hasOwn(from, name)) return;
  const value = from[name];
  if (rest.length === 0 || !isFields(value)) {
    define(to, name, value);
    return;
  }
  // A name with dots in it is meant as it stands.
  const whole = rest.join('.');
  const below = isFields(to[name]) ? to[name] : {};
  copyPath(value, below, Object.hasOwn(value, whole) ? [whole] : rest);
  define(to, name, below);
}

function removePath(from: Fields, path: readonly string[]): void {
  const [name = '', ...rest] = path;
  if (rest.length === 0) {
    delete from[name];
    return;
  }
  const below = from[name];
  if (!isFields(below)) return;
  const whole = rest.join('.');
  removePath(below, Object.hasOwn(below, whole) ? [whole] : rest);
}

/** A property called `__proto__` is a property like any other. */
function define(to: Fields, name: string, value: unknown): void {
  Object.defineProperty(to, name, { value, enumerable: true, configurable: true, writable: true });
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
