/** The query extension: `{"eo:cloud_cover": {"lt": 20}}`. */
import type { Condition } from './condition.ts';
import { allOf, anyOf, compare, literal } from './condition.ts';
import type { Operator, Property } from './property.ts';
import { compareProperty, escapeGlob, readProperty, refuse } from './property.ts';

const termsMax = 64;
const valuesMax = 1_000;

const isNumber = /^-?\d+(\.\d+)?$/;

const comparisons: Readonly<Record<string, Operator>> = {
  eq: '=',
  neq: '<>',
  lt: '<',
  lte: '<=',
  gt: '>',
  gte: '>=',
};
const patterns: Readonly<Record<string, (text: string) => string>> = {
  startsWith: (text) => `${text}*`,
  endsWith: (text) => `*${text}`,
  contains: (text) => `*${text}*`,
};
const operatorNames = [...Object.keys(comparisons), 'in', ...Object.keys(patterns)];

/** @throws PerigeeError invalid_request */
export function readQuery(value: unknown): Condition[] {
  if (value === undefined || value === null) return [];
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw refuse('query', 'must be an object such as {"eo:cloud_cover": {"lt": 20}}');
  }
  const terms = Object.entries(value).flatMap(([name, tests]: [string, unknown]) => {
    if (typeof tests !== 'object' || tests === null || Array.isArray(tests)) {
      throw refuse(`query.${name}`, 'must be an object such as {"lt": 20}');
    }
    const property = readProperty(name, 'query');
    return Object.entries(tests).map(([operator, wanted]: [string, unknown]) =>
      readTest(property, operator, wanted),
    );
  });
  if (terms.length > termsMax) throw refuse('query', `must hold at most ${termsMax} tests`);
  return terms;
}

function readTest(property: Property, name: string, wanted: unknown): Condition {
  const field = `query.${property.name}.${name}`;
  const operator = comparisons[name];
  if (operator !== undefined) return test(property, operator, { wanted, field });
  if (name === 'in') {
    if (!Array.isArray(wanted) || wanted.length > valuesMax) {
      throw refuse(field, `must be a list of at most ${valuesMax} values`);
    }
    return anyOf(wanted.map((each) => test(property, '=', { wanted: each, field })));
  }
  const pattern = patterns[name];
  if (pattern === undefined) {
    throw refuse(field, `is no test; there are ${operatorNames.join(', ')}`);
  }
  if (typeof wanted !== 'string') throw refuse(field, 'must be a text');
  const glob = compare(property.value, 'glob', literal(pattern(escapeGlob(wanted))));
  return property.type === null
    ? glob
    : allOf([glob, compare(property.type, '=', literal('text'))]);
}

function test(
  property: Property,
  operator: Operator,
  options: { wanted: unknown; field: string },
): Condition {
  const { wanted } = options;
  const condition = compareProperty(property, operator, wanted);
  if (condition !== undefined && typeof wanted === 'string' && isNumber.test(wanted)) {
    // pystac-client sends the 20 of "eo:cloud_cover<20" as a text.
    return anyOf([condition, compareProperty(property, operator, Number(wanted)) ?? condition]);
  }
  if (condition !== undefined) return condition;
  throw refuse(
    options.field,
    `cannot compare with ${JSON.stringify(options.wanted)?.slice(0, 80)}`,
  );
}
