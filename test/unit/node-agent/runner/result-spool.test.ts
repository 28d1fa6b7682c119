import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createHeldResults, type HeldResults } from '../../../../node-agent/runner/held-results.ts';
import { ResultSpool } from '../../../../node-agent/runner/result-spool.ts';
import { lineResultBytesMax } from '../../../../protocol/wire/limits.ts';

const part = 256 * 1024;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-spool-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function spool(held: HeldResults | null, name: string, bytes: Buffer, bytesMax = 1e9): ResultSpool {
  const made = new ResultSpool({ path: join(folder, name), bytesMax, held });
  for (let at = 0; at < bytes.length; at += part) made.write(bytes.subarray(at, at + part));
  return made;
}

const hashOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

it('holds results in memory up to a bound for all, hashed, and the others in files', () => {
  const held = createHeldResults(5 * part);
  const [first, second, third] = [randomBytes(4 * part), randomBytes(2 * part), randomBytes(part)];
  for (const [name, bytes] of [
    ['1', first],
    ['2', second],
  ] as const)
    spool(held, name, bytes).finish();
  const inMemory = held.find(join(folder, '1'));
  expect(inMemory).toMatchObject({ kind: 'memory', hash: hashOf(first), sizeBytes: first.length });
  if (inMemory?.kind === 'memory') expect(Buffer.concat(inMemory.pieces).equals(first)).toBe(true);
  expect(existsSync(join(folder, '1'))).toBe(false);
  // Its first part fitted; all of it is in the file.
  expect(held.find(join(folder, '2'))).toEqual({
    ...{ kind: 'file', hash: hashOf(second), sizeBytes: second.length },
  });
  expect(readFileSync(join(folder, '2')).equals(second)).toBe(true);
  held.drop(join(folder, '1'));
  spool(held, '3', third).finish();
  expect(held.find(join(folder, '3'))?.kind).toBe('memory');
});

it('gives the room back of what is discarded, and of what outgrew memory', () => {
  const held = createHeldResults(lineResultBytesMax);
  const large = spool(held, 'large', randomBytes(lineResultBytesMax + part));
  expect(existsSync(join(folder, 'large'))).toBe(true);
  spool(held, 'gone', randomBytes(3 * part)).discard();
  large.discard();
  expect(existsSync(join(folder, 'large'))).toBe(false);
  expect(held.reserve(lineResultBytesMax, 0)).toBe(true);
  expect(held.reserve(1, 0)).toBe(false);
});

it('writes files alone where nothing is held', () => {
  const bytes = randomBytes(3 * part);
  spool(null, 'file', bytes).finish();
  expect(readFileSync(join(folder, 'file')).equals(bytes)).toBe(true);
});

it('refuses a result beyond its bound', () => {
  const held = createHeldResults();
  expect(() => spool(held, 'long', randomBytes(3 * part), 2 * part)).toThrow('beyond its bound');
});

it('says that it is the disk of the node that is full, and what to do', () => {
  const module = resolve(import.meta.dirname, '../../../../node-agent/runner/result-spool.ts');
  const script = `
    import { ResultSpool } from ${JSON.stringify(module)};
    const path = ${JSON.stringify(join(folder, 'result'))};
    const spool = new ResultSpool({ path, bytesMax: 1e9, held: null });
    for (let at = 0; at < 8; at += 1) spool.write(Buffer.alloc(${part}));
    spool.finish();
    process.stdout.write(spool.failure ?? 'none');`;
  // A disk of a megabyte, in a namespace that ends with the process.
  const words = ['--user', '--map-root-user', '--mount', 'sh', '-ec'];
  const command = 'mount -t tmpfs -o size=1m tmpfs "$1"; exec "$2" --input-type=module -e "$3"';
  const said = execFileSync(
    'unshare',
    [...words, command, 'sh', folder, process.execPath, script],
    { encoding: 'utf8' },
  );
  expect(said).toMatch(
    /disk of this node is full.*ENOSPC.*Free disk below its agent's data folder/,
  );
});
