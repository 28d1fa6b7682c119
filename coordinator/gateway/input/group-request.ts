/** Checks what `POST /v1/groups` and `PATCH /v1/groups/{id}` take, and fills in the defaults. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { BlobHash } from '../../../protocol/wire/ids.ts';
import { isBlobHash } from '../../../protocol/wire/ids.ts';
import {
  environmentBytesMax,
  environmentEntriesMax,
  includeModuleCharsMax,
  includeModulesMax,
  nameCharsMax,
} from '../../../protocol/wire/limits.ts';
import type {
  FunctionKind,
  GroupInclude,
  IsolationLevel,
  PythonVersion,
  TaskIsolation,
} from '../../../protocol/wire/task.ts';
import { isolationLevels } from '../../../protocol/wire/task.ts';
import type { GroupLimits } from '../../core/events.ts';
import type { Input } from './fields.ts';
import {
  readBooleanOr,
  readChoiceOr,
  readIntegerOr,
  readNumberOr,
  readObject,
  readText,
  readTextOr,
  readTextsOrNull,
  refused,
  refuseUnknownFields,
} from './fields.ts';
import { formatMemorySize, parseMemorySize } from './memory-size.ts';

const mib = 1024 ** 2;
const tib = 1024 ** 4;
const daySeconds = 86_400;

/** Bounds and defaults of a group's numbers; docs/api.md lists the same. */
export const groupBounds = {
  cpus: { min: 0.01, max: 1_024, fallback: 1 },
  memoryBytes: { min: 16 * mib, max: 64 * tib, fallback: 2 * 1024 * mib },
  /** Below a tenth of a second the start of a worker alone would be over the limit. */
  taskTimeoutSeconds: { min: 0.1, max: daySeconds, fallback: 1_800 },
  retryCount: { min: 0, max: 100, fallback: 0 },
  maximumConcurrency: { min: 1, max: 1_000_000, fallback: null },
  queueTimeoutSeconds: { min: 0.1, max: 30 * daySeconds, fallback: null },
  priority: { min: -1_000, max: 1_000, fallback: 0 },
} as const;

/** A function inline in the request may be this large; a larger one is put as a blob first. */
export const inlineFunctionBytesMax = mib;

/** A group as it was asked for, checked by itself; images and nodes are checked later. */
export interface CheckedGroupRequest {
  name: string;
  image: string | null;
  functionKind: FunctionKind;
  /** The function's bytes, or the blob that holds them. */
  functionBytes: Uint8Array | null;
  functionBlob: BlobHash | null;
  functionEntry: string;
  cloudpickle: { version: string; blob: BlobHash } | null;
  /** Null only for source. */
  python: PythonVersion | null;
  cpus: number;
  memoryBytes: number;
  taskTimeoutMs: number;
  retryCount: number;
  maximumConcurrency: number | null;
  queueTimeoutMs: number | null;
  priority: number;
  taskIsolation: TaskIsolation;
  isolationMin: IsolationLevel;
  network: boolean;
  environment: Record<string, string>;
  resultFormat: 'pickle' | 'json' | 'msgpack';
  include: CheckedInclude | null;
}

/** What a group carries, before anybody looked for its blob. */
export interface CheckedInclude extends GroupInclude {
  /** Of its extension modules, as Node's `process.arch`; null when it has none. */
  arch: string | null;
}

const groupFields = [
  'name',
  'image',
  'function',
  'cloudpickle',
  'python',
  'cpus',
  'memoryBytes',
  'memory',
  'taskTimeoutSeconds',
  'retryCount',
  'maximumConcurrency',
  'queueTimeoutSeconds',
  'priority',
  'isolation',
  'isolationMin',
  'network',
  'environment',
  'resultFormat',
  'include',
] as const;

/**
 * Reads a request for a group.
 * @throws PerigeeError invalid_request, too_large
 */
export function readGroupRequest(input: Input): CheckedGroupRequest {
  refuseUnknownFields(input, [...groupFields, 'namespace'], 'A group');
  const { kind, bytes, blob, entry } = readFunction(input);
  const python = readPython(input);
  if (python === null && kind === 'pickle') throw refused('python', 'must be given', undefined);
  const queueTimeoutSeconds = readNumberOr(
    input,
    'queueTimeoutSeconds',
    groupBounds.queueTimeoutSeconds,
  );
  return {
    name: readText(input, 'name', nameCharsMax),
    image: readTextOr(input, 'image', { charsMax: 512, fallback: null }),
    functionKind: kind,
    functionBytes: bytes,
    functionBlob: blob,
    functionEntry: entry,
    cloudpickle: readCloudpickle(input),
    python,
    cpus: readNumberOr(input, 'cpus', groupBounds.cpus),
    memoryBytes: readMemory(input),
    taskTimeoutMs: toMs(readNumberOr(input, 'taskTimeoutSeconds', groupBounds.taskTimeoutSeconds)),
    retryCount: readIntegerOr(input, 'retryCount', groupBounds.retryCount),
    maximumConcurrency: readIntegerOr(input, 'maximumConcurrency', groupBounds.maximumConcurrency),
    queueTimeoutMs: queueTimeoutSeconds === null ? null : toMs(queueTimeoutSeconds),
    priority: readIntegerOr(input, 'priority', groupBounds.priority),
    taskIsolation: readChoiceOr(input, 'isolation', {
      choices: ['worker', 'task'],
      fallback: 'worker',
    }),
    // Nodes run below "minimal" only when their owner said so, and then for everyone.
    isolationMin: readChoiceOr(input, 'isolationMin', {
      choices: isolationLevels,
      fallback: 'none',
    }),
    network: readBooleanOr(input, 'network', false),
    environment: readEnvironment(input),
    resultFormat: readChoiceOr(input, 'resultFormat', {
      choices: ['pickle', 'json', 'msgpack'],
      fallback: 'pickle',
    }),
    include: readInclude(input),
  };
}

/**
 * The limits of a group after a change.
 * @throws PerigeeError invalid_request
 */
export function readGroupLimits(input: Input, now: GroupLimits): GroupLimits {
  const fields = ['maximumConcurrency', 'taskTimeoutSeconds', 'retryCount', 'priority'];
  refuseUnknownFields(input, [...fields, 'id', 'namespace'], 'A change of a group');
  if (!fields.some((field) => input[field] !== undefined)) {
    throw new PerigeeError('invalid_request', 'The change names nothing to change.', {
      fix: `Give one of ${fields.join(', ')}.`,
    });
  }
  const timeout = readNumberOr(input, 'taskTimeoutSeconds', {
    ...groupBounds.taskTimeoutSeconds,
    fallback: null,
  });
  const concurrency = input['maximumConcurrency'];
  return {
    maximumConcurrency:
      concurrency === undefined
        ? now.maximumConcurrency
        : readIntegerOr(input, 'maximumConcurrency', groupBounds.maximumConcurrency),
    taskTimeoutMs: timeout === null ? now.taskTimeoutMs : toMs(timeout),
    retryCount: readIntegerOr(input, 'retryCount', {
      ...groupBounds.retryCount,
      fallback: now.retryCount,
    }),
    priority: readIntegerOr(input, 'priority', { ...groupBounds.priority, fallback: now.priority }),
  };
}

function toMs(seconds: number): number {
  return Math.max(1, Math.round(seconds * 1000));
}

function readFunction(input: Input): {
  kind: FunctionKind;
  bytes: Uint8Array | null;
  blob: BlobHash | null;
  entry: string;
} {
  const given = readObject(input['function'], '"function"');
  refuseUnknownFields(given, ['kind', 'blob', 'inline', 'entry'], '"function"');
  const kind = readChoiceOr(given, 'kind', { choices: ['pickle', 'source'], fallback: null });
  if (kind === null) throw refused('function.kind', 'must be "pickle" or "source"', undefined);
  const entry = readTextOr(given, 'entry', { charsMax: 200, fallback: '' });
  if (kind === 'source' && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(entry)) {
    throw refused('function.entry', 'must be the name of the function in the source', entry);
  }
  const blob = readBlobOrNull(given, 'blob');
  const bytes = readInline(given);
  if ((blob === null) === (bytes === null)) {
    throw new PerigeeError('invalid_request', '"function" needs either "blob" or "inline".', {
      fix: 'Give the hash of a blob that you put, or the bytes as base64.',
      details: { field: 'function' },
    });
  }
  return { kind, bytes, blob, entry: kind === 'source' ? entry : '' };
}

function readInline(given: Input): Uint8Array | null {
  const inline = given['inline'];
  if (inline === undefined || inline === null) return null;
  const bytes = inline instanceof Uint8Array ? inline : decodeBase64(inline);
  if (bytes === undefined || bytes.length === 0) {
    throw refused('function.inline', 'must be the function as base64', inline);
  }
  if (bytes.length > inlineFunctionBytesMax) {
    throw new PerigeeError(
      'too_large',
      `"function.inline" has ${bytes.length} bytes; the limit is ${inlineFunctionBytesMax}.`,
      { fix: 'Put the function as a blob and name its hash in "function.blob".' },
    );
  }
  return bytes;
}

function decodeBase64(value: unknown): Uint8Array | undefined {
  // Buffer.from skips what is not base64: a truncated function would be stored without a word.
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
  if (value.length % 4 !== 0) return undefined;
  return Buffer.from(value, 'base64');
}

function readBlobOrNull(given: Input, field: string): BlobHash | null {
  const hash = readTextOr(given, field, { charsMax: 64, fallback: null });
  if (hash === null) return null;
  if (isBlobHash(hash)) return hash;
  throw refused(field, 'must be the SHA-256 of a blob, 64 lower-case hexadecimal digits', hash);
}

function readCloudpickle(input: Input): { version: string; blob: BlobHash } | null {
  const given = input['cloudpickle'];
  if (given === undefined || given === null) return null;
  const fields = readObject(given, '"cloudpickle"');
  refuseUnknownFields(fields, ['version', 'blob'], '"cloudpickle"');
  const blob = readBlobOrNull(fields, 'blob');
  if (blob === null) throw refused('cloudpickle.blob', 'must be given', undefined);
  return { version: readText(fields, 'version', 40), blob };
}

function readInclude(input: Input): CheckedInclude | null {
  const given = input['include'];
  if (given === undefined || given === null) return null;
  const fields = readObject(given, '"include"');
  refuseUnknownFields(fields, ['blob', 'modules', 'arch'], '"include"');
  const blob = readBlobOrNull(fields, 'blob');
  if (blob === null) throw refused('include.blob', 'must be given', undefined);
  const modules = readTextsOrNull(fields, 'modules', includeModulesMax) ?? [];
  const odd = modules.find(
    (name) => name.length > includeModuleCharsMax || !/^[^\s./\\\0]+(\.[^\s./\\\0]+)*$/.test(name),
  );
  if (odd !== undefined) throw refused('include.modules', 'must be dotted names of modules', odd);
  return { blob, modules, arch: readTextOr(fields, 'arch', { charsMax: 20, fallback: null }) };
}

function readPython(input: Input): PythonVersion | null {
  const given = input['python'];
  if (given === undefined || given === null) return null;
  const fields = readObject(given, '"python"');
  refuseUnknownFields(fields, ['implementation', 'version'], '"python"');
  const version = readText(fields, 'version', 40);
  if (!/^[0-9]+\.[0-9]+/.test(version)) {
    throw refused('python.version', 'must begin like "3.11"', version);
  }
  return { implementation: readText(fields, 'implementation', 40), version };
}

function readMemory(input: Input): number {
  const { min, max, fallback } = groupBounds.memoryBytes;
  const written = input['memory'];
  const isWritten = written !== undefined && written !== null;
  const bytes = readIntegerOr(input, 'memoryBytes', { min, max, fallback: null });
  if (isWritten && bytes !== null) {
    throw new PerigeeError('invalid_request', 'Give "memory" or "memoryBytes", not both.');
  }
  if (!isWritten) return bytes ?? fallback;
  const parsed = parseMemorySize(written);
  if (parsed >= min && parsed <= max) return parsed;
  throw refused(
    'memory',
    `must be from ${formatMemorySize(min)} to ${formatMemorySize(max)}`,
    written,
  );
}

function readEnvironment(input: Input): Record<string, string> {
  const given = input['environment'];
  if (given === undefined || given === null) return {};
  const entries = Object.entries(readObject(given, '"environment"'));
  if (entries.length > environmentEntriesMax) {
    throw refused(
      'environment',
      `must have at most ${environmentEntriesMax} entries`,
      entries.length,
    );
  }
  let bytes = 0;
  const environment: Record<string, string> = {};
  for (const [name, value] of entries) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      throw refused('environment', 'must have names of letters, digits and underscores', name);
    }
    if (typeof value !== 'string' || value.includes('\0')) {
      throw refused(`environment.${name}`, 'must be a text without NUL', value);
    }
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    environment[name] = value;
  }
  if (bytes > environmentBytesMax) {
    throw refused('environment', `must be at most ${environmentBytesMax} bytes in all`, bytes);
  }
  return environment;
}
