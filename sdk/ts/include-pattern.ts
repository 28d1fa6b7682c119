/** Patterns of paths: `*`, `?` and `[…]` within a name, `**` for folders of any depth. */
import { lstat, readdir, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * The paths that fit, sorted; `root` is the folder that none of them may leave, null for a path that
 * is no pattern.
 */
export async function matchPattern(
  base: string,
  pattern: string,
): Promise<{ paths: string[]; root: string | null }> {
  const whole = resolve(base, pattern.replace(/^~(?=\/|$)/, homedir()));
  if (await isThere(whole)) return { paths: [whole], root: null };
  const parts = whole.split('/');
  const first = parts.findIndex(hasMagic);
  if (first < 0) return { paths: [], root: null };
  const folder = parts.slice(0, first).join('/') || '/';
  const found = new Set<string>();
  await walk(folder, parts.slice(first), found);
  const root = await realpath(folder).catch(() => folder);
  return { paths: [...found].sort(), root };
}

async function walk(base: string, parts: readonly string[], found: Set<string>): Promise<void> {
  const [head, ...rest] = parts;
  if (head === undefined) {
    if (await isThere(base)) found.add(base);
    return;
  }
  if (!hasMagic(head)) {
    await walk(join(base, head), rest, found);
    return;
  }
  const entries = await readdir(base, { withFileTypes: true }).catch(() => []);
  if (head === '**') await walk(base, rest.length === 0 ? ['*'] : rest, found);
  const fits = toExpression(head);
  for (const entry of entries) {
    if (entry.name.startsWith('.') && !head.startsWith('.')) continue;
    const path = join(base, entry.name);
    if (head !== '**') {
      if (fits.test(entry.name)) await walk(path, rest, found);
    } else if (entry.isDirectory()) await walk(path, parts, found);
  }
}

function hasMagic(part: string): boolean {
  return /[*?[]/.test(part);
}

function toExpression(part: string): RegExp {
  const text = part.replace(/\[(!?)([^\]]+)\]|[*?]|[\\^$.|+(){}[\]]/g, (mark, not, set) => {
    if (mark === '*') return '.*';
    if (mark === '?') return '.';
    if (set !== undefined) return `[${not === '!' ? '^' : ''}${set.replace(/[\\^]/g, '\\$&')}]`;
    return `\\${mark}`;
  });
  return new RegExp(`^${text}$`, 's');
}

function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
