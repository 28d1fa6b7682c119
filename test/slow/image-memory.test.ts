/** A large image passes between two real processes that stay small. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, it } from 'vitest';

const mib = 1024 ** 2;
const grownBytesMax = 64 * mib;
const short = '5c'.repeat(16);
const digest = `sha256:${'5c'.repeat(32)}`;
const folder = mkdtempSync(join(tmpdir(), 'perigee-large-'));
const program = resolve(import.meta.dirname, 'holding-process.ts');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function start(...words: string[]) {
  const child = spawn(process.execPath, [program, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = once(createInterface(child.stdout), 'line').then(
    ([text]) => JSON.parse(String(text)) as Record<string, string & number>,
  );
  return { child, line };
}

it('brings an image of 500 MB to another node while neither process grows by 64 MB', async () => {
  const image = join(folder, 'origin', short);
  mkdirSync(join(image, 'rootfs'), { recursive: true });
  writeFileSync(join(image, 'image.json'), '{}');
  // Random bytes do not get smaller on the way.
  for (let part = 0; part < 500; part += 1) {
    appendFileSync(join(image, 'rootfs', `library-${part % 5}`), randomBytes(mib));
  }
  const server = start('serve', join(folder, 'origin'));
  const { address = '', residentBytes = 0 } = await server.line;
  const pid = server.child.pid ?? 0;
  let most = 0;
  const watch = setInterval(() => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    most = Math.max(most, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024);
  }, 20);
  try {
    const client = start('fetch', join(folder, 'there'), address, digest);
    const { grownBytes } = await client.line;
    const copy = join(folder, 'there', short, 'rootfs', 'library-4');
    expect(statSync(copy).size).toBe(100 * mib);
    expect(readFileSync(copy).equals(readFileSync(join(image, 'rootfs/library-4')))).toBe(true);
    console.log(
      `server +${(most - residentBytes) / mib} MiB, client +${(grownBytes ?? 0) / mib} MiB`,
    );
    expect(grownBytes).toBeLessThan(grownBytesMax);
    expect(most - residentBytes).toBeLessThan(grownBytesMax);
  } finally {
    clearInterval(watch);
    server.child.kill('SIGKILL');
    await once(server.child, 'exit');
  }
});
