/**
 * What a peer says is checked field by field, with bounds, before it becomes an event. Unknown
 * fields are passed over: a newer peer may say more.
 */

import type { AttemptRef, BatchNumber, InstanceId, NodeId } from '../wire/ids.ts';
import { taskIndexMax } from '../wire/ids.ts';
import {
  batchBytesMax,
  blobBytesMax,
  exceptionMessageCharsMax,
  exceptionNameCharsMax,
  heldAttemptsMax,
  inlineBytesMax,
  logChunkBytesMax,
  nameCharsMax,
  reportOutcomesMax,
  tracebackCharsMax,
} from '../wire/limits.ts';
import type {
  AgentMessage,
  BlobAnswer,
  BlobRequest,
  CoordinatorMessage,
  Grant,
  Hello,
  LogOutput,
  MeshSettings,
  Welcome,
} from '../wire/messages.ts';
import { imageryModes } from '../wire/messages.ts';
import { isPayload } from '../wire/payload.ts';
import type { AttemptOutcome, Capacity, Failure, NodeImage } from '../wire/task.ts';
import { failureCodes, isolationLevels } from '../wire/task.ts';
import {
  attemptMax,
  checkDigest,
  checkGroup,
  checkHash,
  checkPython,
  checkSize,
  durationMsMax,
} from './check-common.ts';
import type { Check } from './check-field.ts';
import {
  checkBoolean,
  checkBytes,
  checkFields,
  checkInteger,
  checkList,
  checkNullable,
  checkNumber,
  checkOneOf,
  checkPattern,
  checkText,
  invalidField,
} from './check-field.ts';
import { checkGroupSpec } from './check-group-spec.ts';
import { checkOutputs } from './check-outputs.ts';
import {
  checkHoldings,
  checkImageryReads,
  checkLocate,
  checkLocated,
  checkOriginDemand,
  checkOriginShares,
  checkPeerAddresses,
} from './check-peers.ts';

/** Batch numbers are kept below, so that `taskKey` stays an exact integer. */
const batchMax = 2 ** 32 - 1;
const imagesMax = 200;
const mountsMax = 100;
/** Runs of logs and grants in one frame: one per held attempt at most. */
const runsMax = heldAttemptsMax;

const checkBatch = checkInteger(1, batchMax) as Check<BatchNumber>;
const checkIndex = checkInteger(0, taskIndexMax);
const checkAttemptNumber = checkInteger(1, attemptMax);
const checkNode = checkPattern(/^[1-9A-HJ-NP-Za-km-z]{20,120}$/, 'a peer id') as Check<NodeId>;
/** For people; versions before the reason was told leave it out. */
const checkReason = checkText(1_000);
const checkInstance = checkText(200, 1) as Check<InstanceId>;
const checkOutcomeStatus = checkOneOf(['success', ...failureCodes]);

const checkAttempt: Check<AttemptRef> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    batch: checkBatch(fields['batch'], `${path}.batch`),
    index: checkIndex(fields['index'], `${path}.index`),
    attempt: checkAttemptNumber(fields['attempt'], `${path}.attempt`),
  };
};
const checkAttempts = checkList(checkAttempt, heldAttemptsMax);

/**
 * A message of an agent, in a session.
 * @throws PerigeeError frame_invalid
 */
export function checkAgentMessage(message: unknown): AgentMessage {
  const fields = checkFields(message, 'message');
  const kind = fields['kind'];
  switch (kind) {
    case 'hello':
      return checkHello(fields);
    case 'heartbeat':
      return {
        kind,
        load: checkNumber(0, 1e6)(fields['load'], 'heartbeat.load'),
        memoryFreeBytes: checkSize(fields['memoryFreeBytes'], 'heartbeat.memoryFreeBytes'),
        diskFreeBytes: checkSize(fields['diskFreeBytes'], 'heartbeat.diskFreeBytes'),
        ...checkImageryReads(fields['imageryReads']),
      };
    case 'pull':
      return { kind, heldMax: checkInteger(0, heldAttemptsMax)(fields['heldMax'], 'pull.heldMax') };
    case 'started':
      return { kind, attempts: checkAttempts(fields['attempts'], 'started.attempts') };
    case 'report':
      return {
        kind,
        report: checkSize(fields['report'], 'report.report'),
        outcomes: checkOutcomes(fields['outcomes'], 'report.outcomes'),
      };
    case 'log':
      return { kind, chunks: checkLogChunks(fields['chunks'], 'log.chunks') };
    case 'returned':
      return { kind, attempts: checkAttempts(fields['attempts'], 'returned.attempts') };
    case 'drainAsked':
      return { kind, reason: checkReason(fields['reason'] ?? '', 'drainAsked.reason') };
    case 'goodbye':
      return { kind };
    case 'imagesChanged': {
      const images = checkList(checkImage, imagesMax)(fields['images'], 'imagesChanged.images');
      return { kind, images };
    }
    case 'holdings':
      return checkHoldings(fields);
    case 'locate':
      return checkLocate(fields);
    case 'originDemand':
      return checkOriginDemand(fields);
    default:
      throw invalidField('message.kind', 'a kind of agent message');
  }
}

/**
 * A message of the coordinator, in an agent's session.
 * @throws PerigeeError frame_invalid
 */
export function checkCoordinatorMessage(message: unknown): CoordinatorMessage {
  const fields = checkFields(message, 'message');
  const kind = fields['kind'];
  switch (kind) {
    case 'welcome':
      return checkWelcome(fields);
    case 'refused':
      return { kind, ...checkRefusal(fields) };
    case 'grants':
      return {
        kind,
        groups: checkList(checkGroupSpec, runsMax)(fields['groups'], 'grants.groups'),
        grants: checkList(checkGrant, runsMax)(fields['grants'], 'grants.grants'),
      };
    case 'ack':
      return { kind, report: checkSize(fields['report'], 'ack.report') };
    case 'cancel':
      return { kind, attempts: checkAttempts(fields['attempts'], 'cancel.attempts') };
    case 'drain':
      return { kind, reason: checkReason(fields['reason'] ?? '', 'drain.reason') };
    case 'undrain':
    case 'holdingsAsked':
      return { kind };
    case 'located':
      return checkLocated(fields);
    case 'originShares':
      return checkOriginShares(fields);
    default:
      throw invalidField('message.kind', 'a kind of coordinator message');
  }
}

/**
 * The one request of a blob stream.
 * @throws PerigeeError frame_invalid
 */
export function checkBlobRequest(message: unknown): BlobRequest {
  const fields = checkFields(message, 'request');
  const kind = fields['kind'];
  const hash = checkHash(fields['hash'], 'request.hash');
  switch (kind) {
    case 'get':
      return { kind, hash, offset: checkSize(fields['offset'], 'request.offset') };
    case 'put': {
      const sizeBytes = checkInteger(0, blobBytesMax)(fields['sizeBytes'], 'request.sizeBytes');
      return { kind, hash, sizeBytes, ...(fields['output'] === true ? { output: true } : {}) };
    }
    default:
      throw invalidField('request.kind', 'get or put');
  }
}

/**
 * The answer of a blob stream.
 * @throws PerigeeError frame_invalid
 */
export function checkBlobAnswer(message: unknown): BlobAnswer {
  const fields = checkFields(message, 'answer');
  const kind = fields['kind'];
  switch (kind) {
    case 'ok':
      return {
        kind,
        sizeBytes: checkInteger(0, blobBytesMax)(fields['sizeBytes'], 'answer.sizeBytes'),
      };
    case 'refused':
      return { kind, ...checkRefusal(fields) };
    default:
      throw invalidField('answer.kind', 'ok or refused');
  }
}

function checkHello(fields: Readonly<Record<string, unknown>>): Hello {
  return {
    kind: 'hello',
    protocol: checkInteger(0, 65_535)(fields['protocol'], 'hello.protocol'),
    software: checkText(100)(fields['software'], 'hello.software'),
    joinToken: checkNullable(checkText(200))(fields['joinToken'], 'hello.joinToken'),
    nodeName: checkText(nameCharsMax, 1)(fields['nodeName'], 'hello.nodeName'),
    instance: checkNullable(checkInstance)(fields['instance'], 'hello.instance'),
    capacity: checkCapacity(fields['capacity'], 'hello.capacity'),
    images: checkList(checkImage, imagesMax)(fields['images'], 'hello.images'),
    isolation: checkOneOf(isolationLevels)(fields['isolation'], 'hello.isolation'),
    mounts: checkList(checkText(nameCharsMax, 1), mountsMax)(fields['mounts'], 'hello.mounts'),
    // An agent from before nodes spoke to each other says nothing of it.
    peerAddresses: checkPeerAddresses(fields['peerAddresses'] ?? [], 'hello.peerAddresses'),
    imagery: checkOneOf(imageryModes)(fields['imagery'] ?? 'none', 'hello.imagery'),
    network: checkBoolean(fields['network'] ?? false, 'hello.network'),
    ...(fields['arch'] === undefined
      ? {}
      : { arch: checkText(20, 1)(fields['arch'], 'hello.arch') }),
    pid: checkInteger(0, 2 ** 31)(fields['pid'], 'hello.pid'),
    held: checkAttempts(fields['held'], 'hello.held'),
    draining: checkBoolean(fields['draining'], 'hello.draining'),
  };
}

/** Reads only the version, so that a message of another version can be refused by name. */
export function findHelloVersion(message: unknown): number | undefined {
  if (typeof message !== 'object' || message === null || !('kind' in message)) return undefined;
  if (message.kind !== 'hello' || !('protocol' in message)) return undefined;
  const { protocol } = message;
  return typeof protocol === 'number' && Number.isSafeInteger(protocol) ? protocol : undefined;
}

const checkCapacity: Check<Capacity> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    slots: checkInteger(0, heldAttemptsMax)(fields['slots'], `${path}.slots`),
    cpus: checkNumber(0, 65_536)(fields['cpus'], `${path}.cpus`),
    memoryBytes: checkSize(fields['memoryBytes'], `${path}.memoryBytes`),
    diskBytes: checkSize(fields['diskBytes'], `${path}.diskBytes`),
  };
};

const checkImage: Check<NodeImage> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    digest: checkDigest(fields['digest'], `${path}.digest`),
    names: checkList(checkText(300, 1), 100)(fields['names'], `${path}.names`),
    python: checkPython(fields['python'], `${path}.python`),
    arch: checkText(40)(fields['arch'], `${path}.arch`),
    sizeBytes: checkSize(fields['sizeBytes'], `${path}.sizeBytes`),
  };
};

const checkFailure: Check<Failure> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    name: checkText(exceptionNameCharsMax)(fields['name'], `${path}.name`),
    message: checkText(exceptionMessageCharsMax)(fields['message'], `${path}.message`),
    traceback: checkText(tracebackCharsMax)(fields['traceback'], `${path}.traceback`),
  };
};

/** An inline payload, or a reference, with its tag; the tag's byte comes on top of the bound. */
const checkPayloadBytes = checkBytes(inlineBytesMax + 1);

const checkOutcome: Check<AttemptRef & AttemptOutcome> = (value, path) => {
  const fields = checkFields(value, path);
  const status = checkOutcomeStatus(fields['status'], `${path}.status`);
  const result = checkPayloadBytes(fields['result'], `${path}.result`);
  const failure = checkNullable(checkFailure)(fields['failure'], `${path}.failure`);
  const outputs = checkOutputs(fields['outputs'], `${path}.outputs`);
  if (outputs.length > 0 && status !== 'success') {
    throw invalidField(`${path}.outputs`, 'empty for a failure');
  }
  if (status === 'success') {
    if (failure !== null || !isPayload(result)) throw invalidField(`${path}.result`, 'a payload');
  } else if (failure === null || result.length > 0) {
    throw invalidField(`${path}.failure`, 'a failure without a result');
  }
  return {
    ...checkAttempt(value, path),
    status,
    result,
    failure,
    runtimeMs: checkNumber(0, durationMsMax)(fields['runtimeMs'], `${path}.runtimeMs`),
    peakMemoryBytes: checkSize(fields['peakMemoryBytes'], `${path}.peakMemoryBytes`),
    logBytes: checkSize(fields['logBytes'], `${path}.logBytes`),
    ...(outputs.length === 0 ? {} : { outputs }),
  };
};
const checkOutcomes = checkList(checkOutcome, reportOutcomesMax);

const checkLogChunk: Check<LogOutput['chunks'][number]> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    ...checkAttempt(value, path),
    offset: checkSize(fields['offset'], `${path}.offset`),
    bytes: checkBytes(logChunkBytesMax)(fields['bytes'], `${path}.bytes`),
  };
};
const checkLogChunks = checkList(checkLogChunk, runsMax);

function checkWelcome(fields: Readonly<Record<string, unknown>>): Welcome {
  return {
    kind: 'welcome',
    protocol: checkInteger(0, 65_535)(fields['protocol'], 'welcome.protocol'),
    software: checkText(100)(fields['software'], 'welcome.software'),
    node: checkNode(fields['node'], 'welcome.node'),
    settings: checkMeshSettings(fields['settings'], 'welcome.settings'),
    drop: checkAttempts(fields['drop'], 'welcome.drop'),
    logOffsets: checkList(checkLogOffset, heldAttemptsMax)(
      fields['logOffsets'],
      'welcome.logOffsets',
    ),
  };
}

const checkMeshSettings: Check<MeshSettings> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    heartbeatMs: checkInteger(1, durationMsMax)(fields['heartbeatMs'], `${path}.heartbeatMs`),
    leaseMs: checkInteger(1, durationMsMax)(fields['leaseMs'], `${path}.leaseMs`),
  };
};

const checkLogOffset: Check<AttemptRef & { offset: number }> = (value, path) => ({
  ...checkAttempt(value, path),
  offset: checkSize(checkFields(value, path)['offset'], `${path}.offset`),
});

/** Why a peer refused. */
export function checkRefusal(fields: Readonly<Record<string, unknown>>): {
  code: string;
  message: string;
  fix: string;
} {
  return {
    code: checkText(100)(fields['code'], 'refused.code'),
    message: checkText(4_000)(fields['message'], 'refused.message'),
    fix: checkText(4_000)(fields['fix'], 'refused.fix'),
  };
}

const checkGrant: Check<Grant> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    group: checkGroup(fields['group'], `${path}.group`),
    batch: checkBatch(fields['batch'], `${path}.batch`),
    lo: checkIndex(fields['lo'], `${path}.lo`),
    count: checkInteger(1, taskIndexMax + 1)(fields['count'], `${path}.count`),
    attempt: checkAttemptNumber(fields['attempt'], `${path}.attempt`),
    block: checkBytes(batchBytesMax)(fields['block'], `${path}.block`),
  };
};
