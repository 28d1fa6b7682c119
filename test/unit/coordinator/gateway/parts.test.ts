import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createClientUpload } from '../../../../coordinator/gateway/client-upload.ts';
import { createRecentOutcomes } from '../../../../coordinator/gateway/completions/recent-outcomes.ts';
import { isLoopback } from '../../../../coordinator/gateway/http/listen-rule.ts';
import { findRangeStart } from '../../../../coordinator/gateway/http/range.ts';
import { createLocalImages } from '../../../../coordinator/gateway/images/local-images.ts';
import {
  formatMemorySize,
  parseMemorySize,
} from '../../../../coordinator/gateway/input/memory-size.ts';
import { distance, findNear } from '../../../../coordinator/gateway/input/near-names.ts';
import { createSignalFlag } from '../../../../coordinator/gateway/signal-flag.ts';
import type { StoredOutcome } from '../../../../coordinator/store/port.ts';
import { findTokenPurpose, hashToken, makeToken } from '../../../../coordinator/tokens.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { BatchNumber, GroupId, NamespaceName } from '../../../../protocol/wire/ids.ts';
import { createOutcomeRecordReader } from '../../../../protocol/wire/outcome-record.ts';

describe('tokens', () => {
  it('say what they are for, carry 190 bits, and are never the same', () => {
    const made = Array.from({ length: 200 }, () => makeToken('access'));
    expect(new Set(made.map((token) => token.text)).size).toBe(200);
    for (const token of made) {
      expect(token.text).toMatch(/^pgt_[0-9A-Za-z]{10}_[0-9A-Za-z]{32}$/);
      expect(token.text.split('_')[1]).toBe(token.id);
      expect(token.secretHash).toBe(hashToken(token.text));
    }
    expect(findTokenPurpose(makeToken('access').text)).toBe('access');
    expect(findTokenPurpose(makeToken('join').text)).toBe('join');
    expect(findTokenPurpose('pgt_short')).toBeUndefined();
    // 32 characters of 62.
    expect(Math.log2(62) * 32).toBeGreaterThan(160);
  });
});

describe('near names', () => {
  it('counts insertions, deletions, substitutions and swaps', () => {
    expect(distance('', 'abc')).toBe(3);
    expect(distance('memory', 'memroy')).toBe(1);
    expect(distance('kitten', 'sitting')).toBe(3);
    expect(distance('same', 'same')).toBe(0);
  });

  it('suggests the nearest first, and nothing for what is far from everything', () => {
    const names = ['memory', 'memoryBytes', 'network', 'name'];
    expect(findNear('memry', names)[0]).toBe('memory');
    expect(findNear('nam', names)).toEqual(['name']);
    expect(findNear('zzzzzz', names)).toEqual([]);
  });
});

describe('sizes of memory', () => {
  it.each([
    ['2Gi', 2_147_483_648],
    ['2 gib', 2_147_483_648],
    ['2GB', 2_000_000_000],
    ['1.5G', 1_500_000_000],
    ['100', 100],
    [100.7, 100],
  ])('reads %s', (text, bytes) => {
    expect(parseMemorySize(text)).toBe(bytes);
  });

  it.each(['', 'Gi', '2 Gibi', '-1Gi', '1e9', Number.NaN, null])('refuses %s', (text) => {
    expect(() => parseMemorySize(text)).toThrow(PerigeeError);
  });

  it('writes what people read', () => {
    expect([formatMemorySize(512 * 1024 ** 2), formatMemorySize(1.5 * 1024 ** 3)]).toEqual([
      '512 Mi',
      '1.5 Gi',
    ]);
  });
});

describe('small rules', () => {
  it('tells loopback from everything else', () => {
    const hosts = ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '0.0.0.0', '::', '10.0.0.1'];
    expect(hosts.filter(isLoopback)).toEqual(['127.0.0.1', '127.9.9.9', '::1', 'localhost']);
    expect(isLoopback('127.0.0.1.example.org')).toBe(false);
  });

  it('honours an open range and ignores all others', () => {
    const headers = ['bytes=0-', 'bytes=12-', 'bytes=1-2', 'bytes=-5', 'bytes=0-,9-', undefined];
    expect(headers.map(findRangeStart)).toEqual([0, 12, null, null, null, null]);
  });
});

describe('a flag', () => {
  it('is seen by the next wait even when it was set before', async () => {
    const flag = createSignalFlag();
    const { signal } = new AbortController();
    flag.set();
    expect(await flag.wait({ timeoutMs: null, signal })).toBe(true);
    expect(await flag.wait({ timeoutMs: 1, signal })).toBe(false);
    const waiting = flag.wait({ timeoutMs: null, signal });
    flag.set();
    expect(await waiting).toBe(true);
  });

  it('does not outlast its signal', async () => {
    const flag = createSignalFlag();
    const controller = new AbortController();
    const waiting = flag.wait({ timeoutMs: null, signal: controller.signal });
    controller.abort();
    expect(await waiting).toBe(false);
  });
});

describe('an upload in messages', () => {
  const makeUpload = (options: { idleMs: number; isHeld?: () => boolean } = { idleMs: 60_000 }) => {
    const flow: string[] = [];
    const upload = createClientUpload(
      {
        onFull: () => flow.push('full'),
        onRoom: () => flow.push('room'),
        isHeld: options.isHeld ?? (() => false),
      },
      options,
    );
    return { upload, flow };
  };

  it('is given up when it stands still, but not while its sender is held back', async () => {
    let isHeld = true;
    const { upload } = makeUpload({ idleMs: 20, isHeld: () => isHeld });
    const reading = upload.bytes[Symbol.asyncIterator]().next();
    const first = await Promise.race([reading, new Promise((resolve) => setTimeout(resolve, 100))]);
    expect(first).toBeUndefined();
    isHeld = false;
    await expect(reading).rejects.toMatchObject({ code: 'timed_out' });
  });

  it('holds its sender back while it is behind, and gives the bytes in order', async () => {
    const { upload, flow } = makeUpload();
    const part = (byte: number): Uint8Array => new Uint8Array(1_500_000).fill(byte);
    for (const byte of [1, 2, 3]) upload.push(part(byte));
    upload.finish();
    expect(flow).toEqual(['full']);
    const seen: number[] = [];
    for await (const chunk of upload.bytes) seen.push(chunk[0] ?? 0);
    expect(seen).toEqual([1, 2, 3]);
    expect(flow).toEqual(['full', 'room']);
  });

  it('gives its room back when it is given up', () => {
    const { upload, flow } = makeUpload();
    upload.push(new Uint8Array(5_000_000));
    upload.discard();
    upload.push(new Uint8Array(5_000_000));
    expect(flow).toEqual(['full', 'room']);
  });
});

describe('recent outcomes', () => {
  const outcome = (outcomeNumber: number, bytes = 10): StoredOutcome => ({
    batch: 1 as BatchNumber,
    index: outcomeNumber,
    namespace: 'default' as NamespaceName,
    outcomeNumber,
    group: 'aaaaaaaaaaaa' as GroupId,
    attempt: 1,
    node: null,
    outcome: {
      status: 'success',
      result: new Uint8Array(bytes).fill(0x50),
      failure: null,
      runtimeMs: 1,
      peakMemoryBytes: 0,
      logBytes: 0,
    },
    submittedAtMs: 0,
    startedAtMs: 0,
    atMs: 0,
  });
  const store = { readLog: async () => ({ chunks: [], endOffset: 0 }) };

  it('keep the latest by count and by bytes', () => {
    const recent = createRecentOutcomes(store, { countMax: 3, bytesMax: 10_000 });
    for (const number of [7, 8, 9, 10]) recent.push(outcome(number));
    expect([6, 7, 8, 9, 10, 11].map((number) => recent.find(number)?.outcomeNumber)).toEqual([
      undefined,
      undefined,
      8,
      9,
      10,
      undefined,
    ]);
    recent.push(outcome(11, 9_000));
    expect(recent.find(10)?.outcomeNumber).toBe(10);
    recent.push(outcome(12, 9_000));
    expect([recent.find(11), recent.find(12)?.outcomeNumber]).toEqual([undefined, 12]);
  });

  it('begin anew behind a gap', () => {
    const recent = createRecentOutcomes(store, { countMax: 8, bytesMax: 10_000 });
    recent.push(outcome(1));
    recent.push(outcome(5));
    expect([recent.find(1), recent.find(5)?.outcomeNumber]).toEqual([undefined, 5]);
  });

  it('encode each outcome once for all readers that want the same', async () => {
    const recent = createRecentOutcomes(store, { countMax: 8, bytesMax: 10_000 });
    const stored = outcome(1);
    recent.push(stored);
    const first = recent.encode(stored, 100);
    expect(recent.encode(stored, 100)).toBe(first);
    const records = createOutcomeRecordReader().push(await first);
    expect(records).toMatchObject([{ kind: 'outcome', outcomeNumber: 1, index: 1 }]);
    const bare = createOutcomeRecordReader().push(await recent.encode(stored, 0));
    expect(bare).toMatchObject([{ result: null }]);
  });
});

describe('local images', () => {
  let folder = '';
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it('are read newest first, listed again after a while, and broken ones are told of', async () => {
    folder = await mkdtemp(join(tmpdir(), 'perigee-images-'));
    const add = async (digit: string, builtAt: number, text?: string): Promise<void> => {
      const digest = `sha256:${digit.repeat(64)}`;
      await mkdir(join(folder, digest));
      const path = join(folder, digest, 'image.json');
      const python = { implementation: 'CPython', version: '2.7.18', path: '/usr/bin/python2.7' };
      const image = {
        name: 'a:b',
        names: ['a:b', 'c:d'],
        digest,
        python,
        arch: 'x64',
        sizeBytes: 5,
      };
      await writeFile(path, text ?? JSON.stringify(image));
      await utimes(path, builtAt, builtAt);
    };
    await add('1', 1_000);
    await add('2', 2_000);
    await add('3', 3_000, '{"digest": "sha256:3"}');
    await mkdir(join(folder, 'being-built'));
    const broken: string[] = [];
    const now = { value: 10_000 };
    const images = createLocalImages(folder, {
      clock: { nowMs: () => now.value },
      onBroken: (path) => broken.push(path),
    });
    const listed = await images.list();
    expect(listed.map((image) => image.digest[7])).toEqual(['2', '1']);
    expect(listed[0]).toEqual({
      digest: `sha256:${'2'.repeat(64)}`,
      names: ['a:b', 'c:d'],
      python: { implementation: 'CPython', version: '2.7.18' },
      arch: 'x64',
      sizeBytes: 5,
    });
    expect(broken).toEqual([join(folder, `sha256:${'3'.repeat(64)}`, 'image.json')]);
    await add('4', 4_000);
    expect(await images.list()).toHaveLength(2);
    now.value += 2_000;
    expect(await images.list()).toHaveLength(3);
  });

  it('of a folder that is not there are none', async () => {
    folder = join(tmpdir(), 'perigee-no-such-folder');
    const images = createLocalImages(folder, {
      clock: { nowMs: () => 0 },
      onBroken: (path) => expect.fail(path),
    });
    expect(await images.list()).toEqual([]);
  });
});
