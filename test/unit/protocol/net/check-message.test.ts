import { describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import {
  checkAgentMessage,
  checkBlobAnswer,
  checkBlobRequest,
  checkCoordinatorMessage,
  findHelloVersion,
} from '../../../../protocol/net/check-message.ts';
import { decode, encode } from '../../../../protocol/wire/codec.ts';
import {
  heldAttemptsMax,
  inlineBytesMax,
  logChunkBytesMax,
  reportOutcomesMax,
} from '../../../../protocol/wire/limits.ts';

const hash = 'ab'.repeat(32);
const digest = `sha256:${hash}`;
const python = { implementation: 'CPython', version: '2.7.18' };
const ref = { batch: 1, index: 65_535, attempt: 2 };
const hello = {
  kind: 'hello',
  protocol: 1,
  software: 'perigee 0.1.0',
  joinToken: 'pgj_x',
  nodeName: 'n1',
  instance: null,
  capacity: { slots: 2, cpus: 1.5, memoryBytes: 2 ** 34, diskBytes: 2 ** 40 },
  images: [{ digest, names: ['perigee/python:py3.11'], python, arch: 'x64', sizeBytes: 9 }],
  isolation: 'standard',
  mounts: ['scenes'],
  peerAddresses: ['/ip4/192.0.2.7/tcp/7482'],
  imagery: 'lazy',
  network: true,
  pid: 77,
  held: [ref],
  draining: false,
};
const outcome = {
  ...ref,
  status: 'success',
  result: Buffer.from('Pickle'),
  failure: null,
  runtimeMs: 0.5,
  peakMemoryBytes: 0,
  logBytes: 0,
};
const output = {
  name: 'ndvi.tif',
  hash,
  sizeBytes: 12,
  mediaType: 'image/tiff; application=geotiff',
  metadata: '{"a":1}',
};
const badOutputs: Record<string, string | number>[] = [
  { name: '../x' },
  { name: '.x' },
  { name: 'x'.repeat(101) },
  { hash: 'x' },
  { sizeBytes: -1 },
  { mediaType: 'text' },
  { mediaType: 'text/html\r\nx: y' },
  { metadata: '[]' },
  { metadata: '{' },
  { metadata: JSON.stringify({ long: 'x'.repeat(33_000) }) },
];
const failure = { name: 'KeyError', message: 'x', traceback: '' };
const spec = {
  group: '0123456789ab',
  namespace: 'alice',
  name: 'f',
  imageName: 'x',
  imageDigest: digest,
  functionKind: 'source',
  functionBlob: hash,
  functionEntry: 'f',
  cloudpickleBlob: null,
  cloudpickleVersion: null,
  python,
  cpus: 0.5,
  memoryBytes: 2 ** 31,
  taskTimeoutMs: 1_000,
  retryCount: 0,
  maximumConcurrency: null,
  queueTimeoutMs: null,
  priority: -1,
  taskIsolation: 'task',
  isolationMin: 'none',
  network: false,
  environment: { A: 'ü' },
  resultFormat: 'json',
};
const grant = {
  group: spec.group,
  batch: 1,
  lo: 0,
  count: 1,
  attempt: 1,
  block: Buffer.from([0, 0, 0, 0]),
};

const agentMessages = [
  hello,
  { kind: 'heartbeat', load: 0.5, memoryFreeBytes: 1, diskFreeBytes: 2 },
  {
    kind: 'heartbeat',
    load: 0.5,
    memoryFreeBytes: 1,
    diskFreeBytes: 2,
    imageryReads: { hits: 3, misses: 1, cacheBytes: 30, peerBytes: 10, originBytes: 0 },
  },
  { kind: 'originDemand', origins: [{ origin: '0123456789abcdef', wanted: 3, pauseMs: null }] },
  { kind: 'pull', heldMax: 4 },
  { kind: 'started', attempts: [ref] },
  { kind: 'report', report: 1, outcomes: [outcome] },
  { kind: 'report', report: 2, outcomes: [{ ...outcome, outputs: [output] }] },
  { kind: 'log', chunks: [{ ...ref, offset: 0, bytes: Buffer.from('out') }] },
  { kind: 'returned', attempts: [] },
  { kind: 'drainAsked', reason: 'why' },
  { kind: 'goodbye' },
];
const coordinatorMessages = [
  {
    kind: 'welcome',
    protocol: 1,
    software: 's',
    node: '12D3KooWRnTNGcMkDuNdSfVgSNCNTqLnMsLs989aSEhEbVwuswTG',
    settings: { heartbeatMs: 1_000, leaseMs: 15_000 },
    drop: [ref],
    logOffsets: [{ ...ref, offset: 5 }],
  },
  { kind: 'refused', code: 'join_token_wrong', message: 'm', fix: 'f' },
  { kind: 'grants', groups: [spec], grants: [grant] },
  { kind: 'ack', report: 3 },
  { kind: 'cancel', attempts: [ref] },
  { kind: 'drain', reason: 'why' },
  {
    kind: 'originShares',
    nodes: 2,
    requestsMax: 6,
    perSecondMax: 9.5,
    origins: [{ origin: '0123456789abcdef', requests: 1, perSecond: 0.5, pauseMs: 20 }],
  },
  { kind: 'undrain' },
];

describe('messages that are what they should be', () => {
  for (const message of agentMessages) {
    it(`takes ${message.kind} of an agent as it was sent, by way of the wire`, () => {
      expect(checkAgentMessage(decode(encode(message)))).toEqual(message);
    });
  }
  for (const message of coordinatorMessages) {
    it(`takes ${message.kind} of a coordinator as it was sent, by way of the wire`, () => {
      expect(checkCoordinatorMessage(decode(encode(message)))).toEqual(message);
    });
  }
  it('takes blob requests and answers', () => {
    for (const request of [
      { kind: 'get', hash, offset: 7 },
      { kind: 'put', hash, sizeBytes: 0 },
    ]) {
      expect(checkBlobRequest(decode(encode(request)))).toEqual(request);
    }
    for (const answer of [
      { kind: 'ok', sizeBytes: 2 ** 36 },
      { kind: 'refused', code: 'not_found', message: 'm', fix: 'f' },
    ]) {
      expect(checkBlobAnswer(decode(encode(answer)))).toEqual(answer);
    }
  });
  it('passes over fields that it does not know', () => {
    expect(checkAgentMessage({ kind: 'pull', heldMax: 1, colour: 'red' })).toEqual({
      kind: 'pull',
      heldMax: 1,
    });
  });
  it('reads the version of a hello that it could not read otherwise', () => {
    expect(findHelloVersion({ kind: 'hello', protocol: 9 })).toBe(9);
    expect(findHelloVersion({ kind: 'pull', protocol: 9 })).toBeUndefined();
    expect(findHelloVersion('hello')).toBeUndefined();
    expect(findHelloVersion({ kind: 'hello', protocol: 'nine' })).toBeUndefined();
  });
});

describe('messages that are not', () => {
  const refused: [string, unknown][] = [
    ['message', null],
    ['message', 'hello'],
    ['message', [1]],
    ['message', Buffer.from('x')],
    ['message.kind', {}],
    ['message.kind', { kind: 'welcome' }],
    ['pull.heldMax', { kind: 'pull', heldMax: heldAttemptsMax + 1 }],
    ['pull.heldMax', { kind: 'pull', heldMax: 1.5 }],
    ['pull.heldMax', { kind: 'pull', heldMax: Number.NaN }],
    ['pull.heldMax', { kind: 'pull', heldMax: 1n }],
    ['heartbeat.load', { kind: 'heartbeat', load: 'high' }],
    ['hello.nodeName', { ...hello, nodeName: 'x'.repeat(64) }],
    ['hello.capacity.cpus', { ...hello, capacity: { ...hello.capacity, cpus: -1 } }],
    ['hello.images[0].digest', { ...hello, images: [{ ...hello.images[0], digest: 'x' }] }],
    ['hello.isolation', { ...hello, isolation: 'total' }],
    ['hello.held[0].batch', { ...hello, held: [{ ...ref, batch: 0 }] }],
    ['started.attempts[0].index', { kind: 'started', attempts: [{ ...ref, index: 65_536 }] }],
    ['started.attempts', { kind: 'started', attempts: {} }],
    ['returned.attempts[0].attempt', { kind: 'returned', attempts: [{ ...ref, attempt: 0 }] }],
    ['report.outcomes[0].status', report({ status: 'fine' })],
    ['report.outcomes[0].result', report({ result: Buffer.from('?') })],
    ['report.outcomes[0].result', report({ result: Buffer.alloc(0) })],
    ['report.outcomes[0].result', report({ failure })],
    ['report.outcomes[0].result', report({ result: Buffer.alloc(inlineBytesMax + 2, 'P') })],
    ...badOutputs.map((change): [string, unknown] => [
      `report.outcomes[0].outputs[0].${Object.keys(change)[0]}`,
      report({ outputs: [{ ...output, ...change }] }),
    ]),
    ['report.outcomes[0].outputs', report({ outputs: [output, output] })],
    ['report.outcomes[0].outputs', report({ outputs: Array(257).fill(output) })],
    [
      'report.outcomes[0].outputs',
      report({ status: 'oom', failure, result: Buffer.alloc(0), outputs: [output] }),
    ],
    ['report.outcomes[0].failure', report({ status: 'oom' })],
    ['report.outcomes[0].failure', report({ status: 'oom', failure })],
    ['report.outcomes[0].runtimeMs', report({ runtimeMs: -1 })],
    [
      'report.outcomes',
      { kind: 'report', report: 1, outcomes: Array.from({ length: reportOutcomesMax + 1 }) },
    ],
    ['log.chunks[0].bytes', log({ bytes: Buffer.alloc(logChunkBytesMax + 1) })],
    ['log.chunks[0].bytes', log({ bytes: 'text' })],
    ['log.chunks[0].offset', log({ offset: -1 })],
  ];
  function report(changes: object): unknown {
    return { kind: 'report', report: 1, outcomes: [{ ...outcome, ...changes }] };
  }
  function log(changes: object): unknown {
    return { kind: 'log', chunks: [{ ...ref, offset: 0, bytes: Buffer.alloc(1), ...changes }] };
  }
  for (const [path, message] of refused) {
    it(`refuses an agent’s message with a wrong ${path} by name`, () => {
      let thrown: unknown;
      try {
        checkAgentMessage(message);
      } catch (caught) {
        thrown = caught;
      }
      expect(thrown).toBeInstanceOf(PerigeeError);
      expect(thrown).toMatchObject({ code: 'frame_invalid' });
      expect(String(thrown)).toContain(`${path} is not`);
    });
  }
  it('refuses what a coordinator may not say', () => {
    for (const message of [
      hello,
      { kind: 'ack', report: -1 },
      { kind: 'grants', groups: [{ ...spec, namespace: '../x' }], grants: [] },
      { kind: 'grants', groups: [{ ...spec, environment: { A: 1 } }], grants: [] },
      { kind: 'grants', groups: [], grants: [{ ...grant, block: 'x' }] },
    ]) {
      expect(() => checkCoordinatorMessage(message)).toThrow(PerigeeError);
    }
  });
  it('refuses blob requests for what is not a hash', () => {
    expect(() => checkBlobRequest({ kind: 'get', hash: '../../x', offset: 0 })).toThrow(/hash/);
    expect(() => checkBlobRequest({ kind: 'get', hash, offset: -1 })).toThrow(/offset/);
    expect(() => checkBlobRequest({ kind: 'list', hash })).toThrow(/kind/);
  });
});
