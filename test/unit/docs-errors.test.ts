import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorTable, exitCodes } from '../../protocol/base/errors.ts';
import { renderErrorsPage } from '../../scripts/docs/errors.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/errors.md'), 'utf8');
const codeRows = [...page.matchAll(/^\| `([a-z_]+)` \| ([0-9]+) \| ([0-9]+) \|/gm)];

describe('docs/errors.md', () => {
  it('lists every code of the table, and none that is not in it', () => {
    expect(codeRows.map((row) => row[1])).toEqual(Object.keys(errorTable));
  });

  it('gives each code the status and exit code that the program uses', () => {
    for (const [, code = '', status, exit] of codeRows) {
      const entry = Object.entries(errorTable).find(([known]) => known === code)?.[1];
      expect([Number(status), Number(exit)], code).toEqual([entry?.httpStatus, entry?.exitCode]);
      expect(page).toContain(entry?.fix);
    }
  });

  it('lists every exit code', () => {
    for (const code of Object.values(exitCodes))
      expect(page).toMatch(new RegExp(`^\\| ${code} \\|`, 'm'));
  });

  it('is what `node scripts/docs/errors.ts` writes', () => {
    expect(page).toBe(renderErrorsPage());
  });
});
