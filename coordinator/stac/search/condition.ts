/** Pieces of SQL with the values that belong into them. */

export interface Condition {
  sql: string;
  values: readonly SqlValue[];
}

export type SqlValue = string | number | bigint | null;

/** Joins conditions by `and`; true where there are none. */
export function allOf(conditions: readonly Condition[]): Condition {
  return join(conditions, ' and ', 'true');
}

/** Joins conditions by `or`; false where there are none. */
export function anyOf(conditions: readonly Condition[]): Condition {
  return join(conditions, ' or ', 'false');
}

/** `not`, which keeps what is unknown unknown. */
export function negate(condition: Condition): Condition {
  return { sql: `not (${condition.sql})`, values: condition.values };
}

/** `left operator right` of two pieces. */
export function compare(left: Condition, operator: string, right: Condition): Condition {
  return { sql: `${left.sql} ${operator} ${right.sql}`, values: [...left.values, ...right.values] };
}

/** One value. */
export function literal(value: SqlValue): Condition {
  return { sql: '?', values: [value] };
}

function join(conditions: readonly Condition[], word: string, empty: string): Condition {
  if (conditions.length === 0) return { sql: empty, values: [] };
  return {
    sql: conditions.map(({ sql }) => `(${sql})`).join(word),
    values: conditions.flatMap(({ values }) => values),
  };
}
