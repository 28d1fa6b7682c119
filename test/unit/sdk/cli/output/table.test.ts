import { describe, expect, it } from 'vitest';
import { type Column, renderFields, renderTable } from '../../../../../sdk/cli/output/table.ts';

interface Row {
  id: string;
  count: number;
  text: string;
}

const columns: Column<Row>[] = [
  { title: 'id', text: (row) => row.id, whole: true },
  { title: 'count', text: (row) => String(row.count), align: 'right' },
  { title: 'text', text: (row) => row.text, style: () => 'red' },
];
const rows: Row[] = [
  { id: 'a', count: 7, text: 'a long text that goes on and on' },
  { id: 'bcdefghijk', count: 12_345, text: 'x' },
];

describe('renderTable', () => {
  it('is as wide as it comes when piped, without spaces at the ends of lines', () => {
    expect(renderTable(rows, columns, { columns: null, colors: false })).toBe(
      [
        'ID          COUNT  TEXT',
        'a               7  a long text that goes on and on',
        'bcdefghijk  12345  x',
        '',
      ].join('\n'),
    );
  });

  it('cuts the widest column to the terminal, never an id', () => {
    const text = renderTable(rows, columns, { columns: 30, colors: false });
    expect(text).toContain('a               7  a long tex…\n');
    expect(text).toContain('bcdefghijk  12345  x\n');
  });

  it('gives up rather than cut an id', () => {
    const text = renderTable(rows, columns, { columns: 5, colors: false });
    expect(text).toContain('bcdefghijk');
  });

  it('paints only when colours are wanted', () => {
    expect(renderTable(rows, columns, { columns: null, colors: true })).toContain('\u001b[31mx');
    expect(renderTable(rows, columns, { columns: null, colors: false })).not.toContain('\u001b');
  });

  it('shows control characters of users instead of obeying them', () => {
    const evil = [{ id: 'a', count: 1, text: '\u001b[2Jgone\nsecond\u202e' }];
    const text = renderTable(evil, columns, { columns: null, colors: false });
    expect(text.split('\n')).toHaveLength(3);
    expect(text).toContain('␛[2Jgone ↵ second�');
  });

  it('counts wide characters as two columns', () => {
    const wide = [
      { id: '雪', count: 1, text: 'x' },
      { id: 'abc', count: 1, text: 'y' },
    ];
    const [, first = '', second = ''] = renderTable(wide, columns, {
      columns: null,
      colors: false,
    }).split('\n');
    expect(first.indexOf('x') + 1).toBe(second.indexOf('y'));
  });
});

describe('renderFields', () => {
  it('leaves out what there is not', () => {
    const text = renderFields(
      [
        ['name', 'x'],
        ['none', null],
        ['longer', 'y'],
      ],
      { columns: null, colors: false },
    );
    expect(text).toBe('name    x\nlonger  y\n');
  });
});
