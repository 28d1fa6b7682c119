import { describe, expect, it } from 'vitest';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';
import {
  createBench,
  functionBlob,
  grant,
  groupSpec,
  kinds,
  otherGroup,
  reported,
} from './core-bench.ts';

const digest = `sha256:${'9'.repeat(64)}` as ImageDigest;
const here = groupSpec().imageDigest;
const lacking = otherGroup('b', { imageDigest: digest });
const failed = {
  kind: 'imageFailed',
  digest,
  message: 'the line broke',
  retryable: true,
  isFull: false,
} as const;

const fetches = (effects: ReturnType<ReturnType<typeof createBench>['turn']>): unknown[] =>
  effects.filter((effect) => effect.kind === 'fetchImage');

describe('an image that the node lacks', () => {
  it('is asked for once, and its tasks start when it is there', () => {
    const bench = createBench({ images: [here] });
    expect(fetches(bench.turn(grant(lacking, [0, 1])))).toEqual([{ kind: 'fetchImage', digest }]);
    expect(bench.turn({ kind: 'blobReady', hash: functionBlob })).toEqual([]);
    expect(fetches(bench.turn(grant(lacking, [2])))).toEqual([]);
    expect(kinds(bench.turn({ kind: 'imageReady', digest }))).toContain('startWorker');
  });

  it('does not keep other groups from running, nor from being pulled', () => {
    const bench = createBench({ images: [here] });
    const effects = bench.turn(grant(lacking, [0]));
    expect(effects).toContainEqual({ kind: 'sendPull', heldMax: 2 });
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    const spec = groupSpec();
    expect(kinds(bench.turn(grant(spec, [0], { batch: 2 })))).toContain('startWorker');
  });

  it('is asked for again with growing pauses, and then fails its tasks by name', () => {
    const bench = createBench({ images: [here], settings: { retryMs: 1_000, imageTriesMax: 3 } });
    bench.turn(grant(lacking, [0]));
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    bench.turn(failed);
    expect(fetches(bench.pass(999))).toEqual([]);
    expect(fetches(bench.pass(1))).toHaveLength(1);
    bench.turn(failed);
    expect(fetches(bench.pass(1_999))).toEqual([]);
    expect(fetches(bench.pass(1))).toHaveLength(1);
    const effects = bench.turn(failed);
    expect(reported(effects)).toHaveLength(1);
    expect(JSON.stringify(effects)).toMatch(/ImageUnavailable.*the line broke/);
    // What comes later is another chance, once the first shock is over.
    bench.pass(bench.state.settings.unloadableMs);
    expect(fetches(bench.turn(grant(lacking, [1])))).toHaveLength(1);
    expect(fetches(bench.turn(grant(lacking, [2])))).toHaveLength(0);
    expect(bench.state.images.get(digest)).toEqual({ kind: 'asked', failures: 0 });
  });

  it('gives its tasks back while the disk has no room for it, and tries again later', () => {
    const bench = createBench({ images: [here], settings: { imageTriesMax: 1, imageFullMs: 500 } });
    bench.turn(grant(lacking, [0, 1]));
    const effects = bench.turn({ ...failed, isFull: true });
    expect(kinds(effects)).toEqual(['warn', 'sendReturned', 'sendPull']);
    expect(reported(effects)).toEqual([]);
    expect(bench.state.attempts.size).toBe(0);
    const again = bench.turn(grant(lacking, [2]));
    expect(kinds(again)).toContain('sendReturned');
    expect(fetches(again)).toEqual([]);
    bench.pass(500);
    expect(fetches(bench.turn(grant(lacking, [3])))).toEqual([{ kind: 'fetchImage', digest }]);
  });

  it('is asked for again when it was removed meanwhile, and nobody is blamed', () => {
    const bench = createBench({ images: [here] });
    bench.turn(grant(lacking, [0]));
    bench.turn({ kind: 'blobReady', hash: functionBlob });
    const [start] = bench
      .turn({ kind: 'imageReady', digest })
      .filter((effect) => effect.kind === 'startWorker');
    expect(start).toBeDefined();
    const worker = start?.worker ?? 0;
    const effects = bench.turn(
      { kind: 'imageLost', digest },
      { kind: 'workerEnded', worker, end: { kind: 'asked' }, running: null },
    );
    expect(fetches(effects)).toEqual([{ kind: 'fetchImage', digest }]);
    expect(kinds(effects)).not.toContain('startWorker');
    expect(kinds(bench.turn({ kind: 'imageReady', digest }))).toContain('startWorker');
  });

  it('fails its tasks at once when nobody can have it', () => {
    const bench = createBench({ images: [here] });
    bench.turn(grant(lacking, [0, 1]));
    const effects = bench.turn({ ...failed, retryable: false });
    expect(reported(effects)).toHaveLength(2);
    expect(bench.state.images.has(digest)).toBe(false);
  });
});
