/** Marks of use that the disk does not take. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createImageUses } from '../../../../node-agent/images/image-uses.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-uses-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a use whose mark cannot be written counts here, and elsewhere once it can be', async () => {
  // A file where the folder of marks belongs fails every write, root's too.
  const marks = join(folder, '.uses');
  writeFileSync(marks, '');
  const unmarked: string[] = [];
  const uses = createImageUses(folder, (image) => unmarked.push(image));
  const other = createImageUses(folder);
  uses.begin(['one', 'two']);
  expect(unmarked).toEqual(['one', 'two']);
  expect(await uses.isUsed('one')).toBe(true);
  uses.end(['two']);
  expect(await uses.isUsed('two')).toBe(false);
  await uses.refresh();
  expect(await other.isUsed('one')).toBe(false);

  rmSync(marks);
  await uses.refresh();
  expect(readdirSync(marks)).toHaveLength(1);
  expect(await other.isUsed('one')).toBe(true);
  uses.end(['one']);
  expect(await other.isUsed('one')).toBe(false);
  uses.close();
});
