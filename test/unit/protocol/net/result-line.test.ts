import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Stream } from '@libp2p/interface';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { type BlobSource, verifyBlob } from '../../../../protocol/net/blob-transfer.ts';
import {
  resultsInFlightMax,
  type TransferWaits,
  transferWaits,
} from '../../../../protocol/net/limits.ts';
import {
  createResultLine,
  type ResultBytes,
  serveResults,
} from '../../../../protocol/net/result-line.ts';
import { writeMessage } from '../../../../protocol/net/stream-bytes.ts';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import type { HostPair } from './hosts.ts';
import { createHostPair } from './hosts.ts';

function resultOf(bytes: Buffer): ResultBytes {
  const hash = createHash('sha256').update(bytes).digest('hex') as BlobHash;
  const half = bytes.length >> 1;
  return {
    hash,
    sizeBytes: bytes.length,
    pieces: [bytes.subarray(0, half), bytes.subarray(half)],
  };
}

describe('stream of results', () => {
  let pair: HostPair;
  let kept: Map<BlobHash, Buffer>;
  let opened: Stream[];
  /** What stands between a result's last byte and its answer. */
  let sync: (hash: BlobHash) => Promise<void>;
  let writing: number;
  /** Of the serving end. */
  let waits: TransferWaits;
  /** How long the serving end takes over every 256 KiB. */
  let readMs: number;
  const open = async (): Promise<Stream> => {
    const { near, far } = await pair.openStream();
    opened.push(near);
    const write: BlobSource['write'] = async (hash, bytes, { sizeBytes }) => {
      const parts: Uint8Array[] = [];
      let readBytes = 0;
      for await (const part of verifyBlob(bytes, { hash, sizeBytes })) {
        parts.push(part);
        const isStep = readBytes >> 18 < (readBytes + part.length) >> 18;
        readBytes += part.length;
        if (isStep && readMs > 0) await pause(readMs);
      }
      writing += 1;
      await sync(hash);
      writing -= 1;
      kept.set(hash, Buffer.concat(parts));
    };
    void serveResults(far, { write }, waits);
    return near;
  };
  beforeEach(async () => {
    pair = await createHostPair();
    kept = new Map();
    opened = [];
    writing = 0;
    waits = transferWaits;
    readMs = 0;
    sync = async () => undefined;
  });
  afterEach(() => pair[Symbol.asyncDispose]());

  it('carries many results on one stream, each whole', async () => {
    const line = createResultLine(open);
    const sizes = [0, 1, 70_000, 1_000_000, 4_000_000, 999_999, 300_000, 2_000_000];
    const all = sizes.map((size) => resultOf(randomBytes(size)));
    await Promise.all(all.map((result) => line.put(result)));
    await line.put(resultOf(randomBytes(100_000)));
    expect(opened).toHaveLength(1);
    for (const { hash, pieces } of all) {
      expect(kept.get(hash)?.equals(Buffer.concat(pieces))).toBe(true);
    }
  });

  it('answers each when it is stored, and reads no more than may wait for the disk', async () => {
    const slow = Promise.withResolvers<void>();
    const first = resultOf(randomBytes(100_000));
    sync = (hash) => (hash === first.hash ? slow.promise : Promise.resolve());
    const line = createResultLine(open);
    let firstIsStored = false;
    const putFirst = line.put(first).then(() => {
      firstIsStored = true;
    });
    // It overtakes the slow one.
    await line.put(resultOf(randomBytes(100_000)));
    expect(firstIsStored).toBe(false);
    sync = () => slow.promise;
    const puts = Array.from({ length: 2 * resultsInFlightMax }, () =>
      line.put(resultOf(randomBytes(100_000))),
    );
    await expect.poll(() => writing).toBe(resultsInFlightMax);
    expect(kept.size).toBe(1);
    slow.resolve();
    await Promise.all([putFirst, ...puts]);
    expect(kept.size).toBe(2 + puts.length);
  });

  it('refuses one and takes those behind it', async () => {
    const line = createResultLine(open);
    const good = resultOf(randomBytes(1_000_000));
    const other = resultOf(randomBytes(10));
    const wrong = line.put({ ...resultOf(randomBytes(2_000_000)), hash: other.hash });
    const right = line.put(good);
    await expect(wrong).rejects.toMatchObject({ code: 'invalid_request' });
    await right;
    sync = async () => {
      throw new PerigeeError('disk_full', 'No room.', { fix: 'Make some.' });
    };
    await expect(line.put(resultOf(randomBytes(50_000)))).rejects.toMatchObject({
      code: 'disk_full',
      fix: 'Make some.',
    });
    expect([...kept.keys()]).toEqual([good.hash]);
    expect(opened).toHaveLength(1);
  });

  it('fails what was on a stream that broke, and opens another for the next', async () => {
    const never = Promise.withResolvers<void>();
    sync = () => never.promise;
    const line = createResultLine(open);
    const lost = [resultOf(randomBytes(200_000)), resultOf(randomBytes(200_000))].map((result) =>
      line.put(result),
    );
    const failed = Promise.allSettled(lost);
    await expect.poll(() => writing).toBe(2);
    opened[0]?.abort(new Error('the line died'));
    for (const end of await failed) {
      expect(end).toMatchObject({ status: 'rejected', reason: { code: 'unreachable' } });
    }
    sync = async () => undefined;
    await line.put(resultOf(randomBytes(200_000)));
    expect(opened).toHaveLength(2);
    never.resolve();
  });

  it('takes its time over results that move', async () => {
    readMs = 100;
    const line = createResultLine(open, { idleMsMax: 1_500, answerMsMax: 1_500 });
    const beganMs = Date.now();
    await Promise.all(Array.from({ length: 3 }, () => line.put(resultOf(randomBytes(4_000_000)))));
    // Else it has shown nothing.
    expect(Date.now() - beganMs).toBeGreaterThan(2_000);
    expect([kept.size, opened.length]).toEqual([3, 1]);
  });

  it('lets the peer be silent while the disk is behind, and no longer', async () => {
    waits = { idleMsMax: 300, answerMsMax: 60_000 };
    sync = () => pause(1_000);
    await createResultLine(open).put(resultOf(randomBytes(100_000)));
    expect(kept.size).toBe(1);
    const [stream] = opened;
    // It lingers for longer than this server waits for the next one.
    await expect.poll(() => stream?.status, { timeout: 9_000 }).not.toBe('open');
  });

  it('does not wait for a peer that falls silent within a result', async () => {
    waits = { idleMsMax: 300, answerMsMax: 60_000 };
    const { hash } = resultOf(randomBytes(10));
    const stream = await open();
    await writeMessage(stream, { kind: 'put', number: 1, hash, sizeBytes: 10 });
    await expect.poll(() => stream.status, { timeout: 20_000 }).not.toBe('open');
  });

  it('closes a stream whose peer says what is no put', async () => {
    const stream = await open();
    const ended = new Promise<void>((resolve) => stream.addEventListener('close', () => resolve()));
    stream.send(Buffer.from([0, 0, 0, 1, 0x07]));
    await ended;
    expect(stream.status).not.toBe('open');
  });
});
