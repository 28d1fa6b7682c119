import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  createFileCommitter,
  type WrittenFile,
} from '../../../../coordinator/store/commit-files.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'perigee-commit-'));
  for (const folder of ['a', 'b', 'new']) mkdirSync(join(home, folder));
});
afterEach(() => rmSync(home, { recursive: true }));

async function write(name: string, folder: string): Promise<WrittenFile> {
  const from = join(home, 'new', name);
  const file = await open(from, 'wx', 0o600);
  await file.writeFile(name);
  return { file, from, to: join(home, folder, name), folder: join(home, folder) };
}

it('names many files at once, and a failure is of its own file', async () => {
  const committer = createFileCommitter();
  const names = Array.from({ length: 70 }, (_, at) => `f${at}`);
  const files = await Promise.all(names.map((name, at) => write(name, at % 2 === 0 ? 'a' : 'b')));
  const astray = await write('astray', 'missing');
  const commits = files.map((file) => committer.commit(file));
  await expect(committer.commit(astray)).rejects.toThrow('ENOENT');
  await Promise.all(commits);
  expect([...readdirSync(join(home, 'a')), ...readdirSync(join(home, 'b'))].sort()).toEqual(
    [...names].sort(),
  );
  for (const { to, from } of files) expect(readFileSync(to, 'utf8')).toBe(from.split('/').at(-1));
  // Every handle was closed: a second close would resolve, a use of it would not.
  await expect(files[0]?.file.stat()).rejects.toThrow();
  await expect(astray.file.stat()).rejects.toThrow();
});
