/** Writes the table of attacks into docs/isolation.md, between its marks: `node test/isolation/write-doc.ts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderAttackTable } from './attack-table.ts';

const path = join(import.meta.dirname, '../../docs/isolation.md');
const marked = /(<!-- attacks -->\n)[\s\S]*?(\n<!-- \/attacks -->)/;
const doc = readFileSync(path, 'utf8');
writeFileSync(
  path,
  doc.replace(marked, (_, start, end) => `${start}${renderAttackTable()}${end}`),
);
