import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { keepAliveFile } from '../../../node-agent/alive-file.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-alive-'));
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

const log = { warn: () => undefined };
const read = () => readFileSync(join(folder, 'alive'), 'utf8');

it('the file’s number grows while the coordinator is there, and stands still while it is not', () => {
  let isJoined = true;
  const stop = keepAliveFile(join(folder, 'alive'), { isJoined: () => isJoined, log });
  vi.advanceTimersByTime(1_000);
  expect(read()).toBe(`${process.pid} 1\n`);
  vi.advanceTimersByTime(2_000);
  expect(read()).toBe(`${process.pid} 3\n`);
  isJoined = false;
  vi.advanceTimersByTime(60_000);
  expect(read()).toBe(`${process.pid} 3\n`);
  isJoined = true;
  vi.advanceTimersByTime(1_000);
  expect(read()).toBe(`${process.pid} 4\n`);
  stop();
  vi.advanceTimersByTime(5_000);
  expect(read()).toBe(`${process.pid} 4\n`);
});

it('a file that cannot be written is told of once, and does not end the agent', () => {
  const warned: string[] = [];
  const stop = keepAliveFile(join(folder, 'no/such/folder'), {
    isJoined: () => true,
    log: { warn: (_, message) => warned.push(message) },
  });
  vi.advanceTimersByTime(5_000);
  stop();
  expect(warned).toEqual(['The alive file is not written.']);
});
