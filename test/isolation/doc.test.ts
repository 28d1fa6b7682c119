import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deniedCallNames } from '../../node-agent/runner/seccomp.ts';
import { renderAttackTable } from './attack-table.ts';

const doc = readFileSync(join(import.meta.dirname, '../../docs/isolation.md'), 'utf8');

describe('docs/isolation.md', () => {
  it('has the table of the attacks that are tested (write-doc.ts renews it)', () => {
    expect(doc).toContain(renderAttackTable());
  });

  it('names every system call that is refused', () => {
    for (const name of deniedCallNames) expect(doc).toContain(`\`${name}\``);
  });
});
