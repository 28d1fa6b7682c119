import { describe, expect, it } from 'vitest';
import type { BlobHash } from '../../../../protocol/wire/ids.ts';
import {
  benchWithWorker,
  createBench,
  ended,
  fed,
  functionBlob,
  grant,
  groupSpec,
  kinds,
  payload,
  ref,
  reported,
  started,
  succeeded,
} from './core-bench.ts';

const spec = groupSpec();

describe('an attempt', () => {
  it('is fetched for, served by a new worker, run, reported and forgotten', () => {
    const bench = createBench({ offline: true });
    expect(bench.turn({ kind: 'sessionOpened', drop: [] })).toEqual([
      { kind: 'sendPull', heldMax: 1 },
    ]);
    expect(bench.turn(grant(spec, [0]))).toEqual([{ kind: 'fetchBlob', hash: functionBlob }]);
    expect(bench.turn({ kind: 'blobReady', hash: functionBlob })).toEqual([
      { kind: 'startWorker', worker: 1, slot: 0, spec },
    ]);
    expect(bench.turn({ kind: 'workerReady', worker: 1 })).toEqual([
      { kind: 'feedWorker', worker: 1, tasks: [fed(0)] },
    ]);
    expect(bench.turn(started(1, ref(0)))).toEqual([{ kind: 'sendStarted', attempts: [ref(0)] }]);
    expect(bench.turn(ended(1, ref(0)))).toEqual([
      { kind: 'sendReport', report: 1, outcomes: [succeeded(ref(0))] },
    ]);
    expect(bench.turn({ kind: 'reportAcknowledged', report: 1 })).toEqual([
      { kind: 'forgetLogs', attempts: [ref(0)] },
    ]);
    expect(bench.state.heldBytes).toBe(0);
  });

  it('that begins and ends in one turn is reported without being announced', () => {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0]));
    expect(kinds(bench.turn(started(1, ref(0)), ended(1, ref(0))))).toEqual(['sendReport']);
  });

  it('is served by the warm worker of its group', () => {
    const bench = benchWithWorker(spec);
    expect(bench.turn(grant(spec, [0]))).toEqual([
      { kind: 'feedWorker', worker: 1, tasks: [fed(0)] },
    ]);
  });

  it('granted twice is taken once', () => {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0]));
    expect(bench.turn(grant(spec, [0]))).toEqual([]);
  });

  it('is superseded by a newer attempt of its task', () => {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0]), started(1, ref(0)));
    bench.turn(started(1, ref(0)));
    const effects = bench.turn(grant(spec, [0], { attempt: 2 }));
    expect(effects).toEqual([
      { kind: 'killWorker', worker: 1 },
      { kind: 'forgetLogs', attempts: [ref(0)] },
    ]);
    const after = bench.turn({
      kind: 'workerEnded',
      worker: 1,
      end: { kind: 'asked' },
      running: null,
    });
    expect(after).toEqual([{ kind: 'startWorker', worker: 2, slot: 0, spec }]);
  });

  it('that this node can never carry fails at once, with both sizes', () => {
    const bench = createBench({ capacity: { memoryBytes: 1024 ** 3 } });
    const [report] = bench.turn(grant(spec, [0]));
    expect(report).toMatchObject({
      kind: 'sendReport',
      outcomes: [
        {
          status: 'crash',
          failure: { name: 'NodeTooSmall', message: expect.stringMatching(/2 GiB.*1 GiB/) },
        },
      ],
    });
  });

  it('of a group that this session was not told goes back, and the session starts anew', () => {
    const bench = createBench();
    const unknown = grant(spec, [0]);
    const effects = bench.turn({ ...unknown, groups: [] } as typeof unknown);
    expect(kinds(effects)).toEqual(['resetSession', 'sendReturned']);
  });
});

describe('a blob argument', () => {
  const hash = 'b'.repeat(64) as BlobHash;
  const blob = { hash, tag: 0x50 };

  it('is fetched once for all attempts that use it, and let go after the last', () => {
    const bench = benchWithWorker(spec);
    expect(bench.turn(grant(spec, [0, 1], { blob }))).toEqual([{ kind: 'fetchBlob', hash }]);
    expect(bench.turn({ kind: 'blobReady', hash })).toEqual([
      { kind: 'feedWorker', worker: 1, tasks: [{ ...ref(0), payload, blob }] },
    ]);
    bench.turn(started(1, ref(0)));
    expect(kinds(bench.turn(ended(1, ref(0))))).toEqual(['feedWorker', 'sendReport']);
    bench.turn(started(1, ref(1)));
    expect(bench.turn(ended(1, ref(1)))).toEqual([
      { kind: 'releaseBlob', hash },
      { kind: 'sendReport', report: 3, outcomes: [succeeded(ref(1))] },
    ]);
  });

  it('that the line could not bring is asked for again', () => {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0], { blob }));
    const failed = { kind: 'blobFailed', hash, message: 'line cut', retryable: true } as const;
    expect(bench.turn(failed)).toEqual([]);
    expect(bench.pass(500)).toEqual([]);
    expect(bench.pass(600)).toEqual([{ kind: 'fetchBlob', hash }]);
  });

  it('that does not exist fails the attempts that need it and no other', () => {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0], { blob }), grant(spec, [1]));
    const failed = { kind: 'blobFailed', hash, message: 'no such blob', retryable: false } as const;
    expect(reported(bench.turn(failed))).toEqual(['1-0#1 crash']);
    expect(bench.state.attempts.size).toBe(1);
  });

  it('is fetched ahead for the next attempts only', () => {
    const bench = createBench({ settings: { blobAttemptsMax: 2 } });
    const hashes = ['1', '2', '3'].map((digit) => digit.repeat(64) as BlobHash);
    const fetched = hashes.flatMap((each, index) =>
      bench
        .turn(grant(spec, [index], { blob: { hash: each, tag: 0x50 } }))
        .flatMap((effect) => (effect.kind === 'fetchBlob' ? [effect.hash] : [])),
    );
    expect(fetched).toEqual([functionBlob, hashes[0], hashes[1]]);
    const effects = bench.turn({ kind: 'attemptsCancelled', attempts: [ref(0)] });
    expect(effects).toContainEqual({ kind: 'fetchBlob', hash: hashes[2] });
  });
});

describe('a result in a file', () => {
  const inFile = { result: new Uint8Array(0), resultPath: '/spool/1', resultTag: 0x50 };
  const upload = { kind: 'uploadResult', attempt: ref(0), path: '/spool/1', tag: 0x50 };

  function storing() {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0]));
    bench.turn(started(1, ref(0)));
    return bench;
  }

  it('is reported once it is stored', () => {
    const bench = storing();
    expect(bench.turn(ended(1, ref(0), inFile))).toEqual([upload]);
    const reference = new Uint8Array([0x42, 1]);
    const effects = bench.turn({ kind: 'resultUploaded', attempt: ref(0), payload: reference });
    expect(effects).toContainEqual({
      kind: 'sendReport',
      report: 2,
      outcomes: [succeeded(ref(0), { result: reference })],
    });
  });

  it('is stored again when the line failed, and at once in a new session', () => {
    const bench = storing();
    bench.turn(ended(1, ref(0), inFile));
    const failed = {
      kind: 'resultUploadFailed',
      attempt: ref(0),
      message: 'cut',
      retryable: true,
    } as const;
    expect(bench.turn(failed)).toEqual([]);
    expect(bench.pass(1_100)).toEqual([upload]);
    bench.turn(failed);
    bench.turn({ kind: 'sessionLost' });
    expect(bench.turn({ kind: 'sessionOpened', drop: [] })).toContainEqual(upload);
  });

  it('that is refused fails the task and removes the file', () => {
    const bench = storing();
    bench.turn(ended(1, ref(0), inFile));
    const effects = bench.turn({
      kind: 'resultUploadFailed',
      attempt: ref(0),
      message: 'too large',
      retryable: false,
    });
    expect(reported(effects)).toEqual(['1-0#1 exception']);
    expect(effects).toContainEqual({ kind: 'removeResult', path: '/spool/1' });
  });
});

describe('outputs of a task', () => {
  const output = (name: string) => ({
    name,
    hash: name.repeat(64) as BlobHash,
    sizeBytes: 3,
    mediaType: 'text/plain',
    metadata: '{}',
    path: `/spool/${name}`,
  });
  const told = ['a', 'b'].map((name) => {
    const { path: _path, ...rest } = output(name);
    return rest;
  });
  const upload = (name: string) => ({
    kind: 'uploadOutput',
    attempt: ref(0),
    output: output(name),
  });
  const uploaded = (name: string) => ({ kind: 'outputUploaded', attempt: ref(0), name }) as const;
  const failure = (name: string, retryable: boolean) =>
    ({ kind: 'outputUploadFailed', attempt: ref(0), name, message: 'cut', retryable }) as const;
  const withOutputs = { outputs: [output('a'), output('b')] };

  function running() {
    const bench = benchWithWorker(spec);
    bench.turn(grant(spec, [0]));
    bench.turn(started(1, ref(0)));
    return bench;
  }

  it('are handed in one by one, behind the result, before the one report that names them', () => {
    const bench = running();
    const inFile = { result: new Uint8Array(0), resultPath: '/spool/1', resultTag: 0x50 };
    expect(bench.turn(ended(1, ref(0), { ...inFile, ...withOutputs }))).toEqual([
      { kind: 'uploadResult', attempt: ref(0), path: '/spool/1', tag: 0x50 },
    ]);
    const result = new Uint8Array([0x42, 1]);
    expect(bench.turn({ kind: 'resultUploaded', attempt: ref(0), payload: result })).toEqual([
      upload('a'),
    ]);
    expect(bench.turn(uploaded('a'))).toEqual([upload('b')]);
    // An acknowledgement that comes twice is of no output that is still to be stored.
    expect(bench.turn(uploaded('a'))).toEqual([]);
    expect(bench.turn(uploaded('b'))).toContainEqual({
      kind: 'sendReport',
      report: 2,
      outcomes: [succeeded(ref(0), { result, outputs: told })],
    });
    bench.turn({ kind: 'reportAcknowledged', report: 2 });
    expect(bench.state.heldBytes).toBe(0);
  });

  it('are not handed in twice when the line failed between them', () => {
    const bench = running();
    expect(bench.turn(ended(1, ref(0), withOutputs))).toEqual([upload('a')]);
    bench.turn(uploaded('a'));
    expect(bench.turn(failure('b', true))).toEqual([]);
    expect(bench.pass(1_100)).toEqual([upload('b')]);
    bench.turn(failure('b', true));
    bench.turn({ kind: 'sessionLost' });
    expect(bench.turn({ kind: 'sessionOpened', drop: [] })).toContainEqual(upload('b'));
  });

  it('that are refused fail the task, and none of them is left', () => {
    const bench = running();
    bench.turn(ended(1, ref(0), withOutputs));
    const effects = bench.turn(failure('a', false));
    expect(reported(effects)).toEqual(['1-0#1 exception']);
    for (const name of ['a', 'b']) {
      expect(effects).toContainEqual({ kind: 'removeResult', path: `/spool/${name}` });
    }
  });

  it('go when the attempt is not the node’s any more', () => {
    const bench = running();
    bench.turn(ended(1, ref(0), withOutputs));
    bench.turn({ kind: 'sessionLost' });
    const effects = bench.turn({ kind: 'sessionOpened', drop: [ref(0)] });
    for (const name of ['a', 'b']) {
      expect(effects).toContainEqual({ kind: 'removeResult', path: `/spool/${name}` });
    }
    expect(bench.turn(uploaded('a'))).toEqual([]);
  });
});
