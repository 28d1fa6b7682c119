/** The filter extension in CQL2's JSON: and, or, not, comparisons, isNull, like, between and in. */
import { findInstant, readInterval } from '../instants.ts';
import type { Condition } from './condition.ts';
import { allOf, anyOf, compare, literal, negate } from './condition.ts';
import type { Operator, Property } from './property.ts';
import { compareInstant, compareProperty, escapeGlob, readProperty, refuse } from './property.ts';

const depthMax = 16;
const nodesMax = 500;

const flipped: Readonly<Record<Operator, Operator>> = {
  '=': '=',
  '<>': '<>',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
};

type Fields = Readonly<Record<string, unknown>>;

/** @throws PerigeeError invalid_request */
export function readFilter(value: unknown): Condition[] {
  if (value === undefined || value === null) return [];
  const budget = { nodes: nodesMax };
  return [readNode(value, { depth: 0, budget })];
}

interface Walk {
  depth: number;
  budget: { nodes: number };
}

function readNode(value: unknown, walk: Walk): Condition {
  walk.budget.nodes -= 1;
  if (walk.depth > depthMax || walk.budget.nodes < 0) throw wrong('is nested too deep or too long');
  if (typeof value === 'boolean') return { sql: value ? 'true' : 'false', values: [] };
  if (!isFields(value) || typeof value['op'] !== 'string') {
    throw wrong(`must be an object with "op" and "args", not ${show(value)}`);
  }
  const { op } = value;
  const args: unknown = value['args'];
  if (!Array.isArray(args)) throw wrong(`needs a list of "args" for "${op}"`);
  const below = { depth: walk.depth + 1, budget: walk.budget };
  switch (op) {
    case 'and':
    case 'or': {
      if (args.length < 2) throw wrong(`needs two or more "args" for "${op}"`);
      const parts = args.map((each) => readNode(each, below));
      return op === 'and' ? allOf(parts) : anyOf(parts);
    }
    case 'not':
      return negate(readNode(args[0], below));
    case 'isNull':
      return {
        sql: `${property(args[0]).value.sql} is null`,
        values: property(args[0]).value.values,
      };
    case 'like':
      return readLike(property(args[0]), args[1]);
    case 'between':
      return allOf([
        readComparison('>=', [args[0], args[1]]),
        readComparison('<=', [args[0], args[2]]),
      ]);
    case 'in': {
      const [, list] = args;
      if (!Array.isArray(list) || list.length > nodesMax) throw wrong('needs a list for "in"');
      return anyOf(list.map((each) => readComparison('=', [args[0], each])));
    }
    default:
      if (Object.hasOwn(flipped, op)) return readComparison(op as Operator, args);
      throw wrong(
        `has no operator "${op.slice(0, 40)}"; there are and, or, not, =, <>, <, <=, >, >=, isNull, like, between, in`,
      );
  }
}

function readComparison(operator: Operator, args: readonly unknown[]): Condition {
  const [left, right] = args;
  if (args.length !== 2) throw wrong(`needs two "args" for "${operator}"`);
  if (!isProperty(left)) {
    if (!isProperty(right)) throw wrong(`compares no property: ${show(args)}`);
    return readComparison(flipped[operator], [right, left]);
  }
  const own = property(left);
  if (isProperty(right)) return compare(own.value, operator, property(right).value);
  const period = findPeriod(right);
  if (period === undefined) {
    const condition = compareProperty(own, operator, right);
    if (condition !== undefined) return condition;
    throw wrong(`cannot compare "${own.name}" with ${show(right)}`);
  }
  const instant = own.instant ?? {
    sql: `instant(${own.value.sql})`,
    values: own.value.values,
  };
  return comparePeriod(instant, operator, period);
}

/** A day is equal to every instant within it. */
function comparePeriod(
  left: Condition,
  operator: Operator,
  period: { startMs: number; endMs: number },
): Condition {
  const { startMs, endMs } = period;
  const within = allOf([compareInstant(left, '>=', startMs), compareInstant(left, '<=', endMs)]);
  switch (operator) {
    case '=':
      return within;
    case '<>':
      return negate(within);
    case '<':
    case '>=':
      return compareInstant(left, operator, startMs);
    default:
      return compareInstant(left, operator, endMs);
  }
}

function findPeriod(value: unknown): { startMs: number; endMs: number } | undefined {
  if (!isFields(value)) return undefined;
  const { timestamp, date } = value;
  if (typeof timestamp === 'string') {
    const atMs = findInstant(timestamp);
    if (atMs !== undefined) return { startMs: atMs, endMs: atMs };
  }
  if (typeof date === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(date)) {
    const { startMs, endMs } = readInterval(date);
    if (startMs !== null && endMs !== null) return { startMs, endMs };
  }
  throw wrong(`holds no time: ${show(value)}`);
}

function readLike(own: Property, pattern: unknown): Condition {
  if (typeof pattern !== 'string') throw wrong('needs a text as pattern of "like"');
  // `%` and `_` are the wildcards of CQL2, each itself behind a backslash.
  const glob = pattern.replace(/\\(.)|[%_]|[^\\%_]+/gs, (part, escaped: string | undefined) => {
    if (escaped !== undefined) return escapeGlob(escaped);
    if (part === '%') return '*';
    return part === '_' ? '?' : escapeGlob(part);
  });
  return compare(own.value, 'glob', literal(glob));
}

function isProperty(value: unknown): value is { property: unknown } {
  return isFields(value) && 'property' in value;
}

function property(value: unknown): Property {
  if (!isProperty(value))
    throw wrong(`needs a property, such as {"property": "id"}, not ${show(value)}`);
  return readProperty(value.property, 'filter');
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? 'nothing';
}

function wrong(why: string): Error {
  return refuse('filter', why);
}
