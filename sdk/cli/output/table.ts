/** Tables for people: no borders, columns cut to the terminal, never cut when piped. */
import { cut, oneLine, paint, type Style, widthOf } from './text.ts';

export interface Column<Row> {
  title: string;
  text(row: Row): string;
  align?: 'left' | 'right';
  /** A column that is never cut, for example an id that is to be copied. */
  whole?: boolean;
  style?(row: Row): Style | undefined;
}

export interface TableLayout {
  /** Null: as wide as it comes. */
  columns: number | null;
  colors: boolean;
}

const gap = '  ';
const cutColumnMin = 6;

/** The lines of a table, its header first, with a line end behind each. */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  layout: TableLayout,
): string {
  const cells = rows.map((row) => columns.map((column) => oneLine(column.text(row))));
  const widths = fitWidths(
    columns.map((column, place) =>
      Math.max(widthOf(column.title), ...cells.map((line) => widthOf(line[place] ?? ''))),
    ),
    columns.map((column) => column.whole === true),
    layout.columns,
  );
  const line = (texts: readonly string[], styleOf: (place: number) => Style | undefined): string =>
    texts
      .map((text, place) => {
        const width = widths[place] ?? 0;
        const fitted = cut(text, width);
        const padding = ' '.repeat(Math.max(0, width - widthOf(fitted)));
        const painted = paint(fitted, styleOf(place), layout.colors);
        return columns[place]?.align === 'right' ? padding + painted : painted + padding;
      })
      .join(gap)
      .trimEnd();
  const lines = [
    line(
      columns.map((column) => column.title.toUpperCase()),
      () => 'dim',
    ),
  ];
  rows.forEach((row, number) => {
    lines.push(line(cells[number] ?? [], (place) => columns[place]?.style?.(row)));
  });
  return `${lines.join('\n')}\n`;
}

/** Name and value pairs, one a line; a value of several lines is indented below its name. */
export function renderFields(
  fields: readonly (readonly [name: string, value: string | null])[],
  layout: TableLayout,
): string {
  const shown = fields.filter((field): field is readonly [string, string] => field[1] !== null);
  const width = Math.max(0, ...shown.map(([name]) => widthOf(name)));
  return shown
    .map(([name, value]) => {
      const label = paint(name.padEnd(width), 'dim', layout.colors);
      return `${label}${gap}${oneLine(value)}\n`;
    })
    .join('');
}

/** Takes what is missing from the widest column that may be cut, again and again. */
function fitWidths(
  wanted: readonly number[],
  whole: readonly boolean[],
  limit: number | null,
): number[] {
  const widths = [...wanted];
  if (limit === null) return widths;
  let excess = widths.reduce((sum, width) => sum + width, gap.length * (widths.length - 1)) - limit;
  while (excess > 0) {
    let widest = -1;
    widths.forEach((width, place) => {
      if (whole[place] === true || width <= cutColumnMin) return;
      if (widest < 0 || width > (widths[widest] ?? 0)) widest = place;
    });
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}
