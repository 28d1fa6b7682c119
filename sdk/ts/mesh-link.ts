/**
 * Calls to a coordinator that may go away and come back. Operations share one stream; every
 * subscription and upload has its own, because one that is not read would hold up the others.
 *
 * An operation whose connection is lost is sent again: all that the SDK uses are reads, or say the
 * same when said twice (a batch carries its UUID; a cancel, a termination and a blob are
 * idempotent; a group made twice leaves one that nobody uses).
 */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import {
  type ClientOperationName,
  type ClientOperations,
  type ClientSubscriptionName,
  type ClientSubscriptions,
  clientPartBytesMax,
} from '../../protocol/wire/client.ts';
import type { ClientStream } from './client-calls.ts';
import { createDeadline, pause, untilAborted, type WaitOptions } from './deadline.ts';

export interface MeshLink {
  /**
   * Runs an operation, through losses of the connection.
   * @throws PerigeeError with the coordinator's code; unreachable when it stays away; timed_out.
   */
  call<Name extends ClientOperationName>(
    name: Name,
    input: ClientOperations[Name]['input'],
    options?: WaitOptions,
  ): Promise<ClientOperations[Name]['output']>;
  /**
   * The items of one subscription over one stream; ends with the stream.
   * @throws PerigeeError unreachable when the stream is lost, or silent for too long.
   */
  subscribe<Name extends ClientSubscriptionName>(
    name: Name,
    input: ClientSubscriptions[Name]['input'],
    options: SubscribeOptions,
  ): AsyncGenerator<ClientSubscriptions[Name]['item'], void, undefined>;
  /** Stores bytes under their hash; nothing is sent twice that is there already. */
  upload(blob: UploadedBlob, options?: WaitOptions): Promise<void>;
  /** Runs `attempt` until it succeeds, fails for good, or the coordinator stays away too long. */
  persist<Value>(attempt: () => Promise<Value>, signal: AbortSignal): Promise<Value>;
  close(): Promise<void>;
}

/** Bytes, or what reads them anew for every try. */
export interface UploadedBlob {
  hash: string;
  bytes: Uint8Array | (() => AsyncIterable<Uint8Array>);
}

/** How a subscription ends early. */
export interface SubscribeOptions {
  signal: AbortSignal;
  /** Silence after which the stream counts as lost; without it, it may be silent for ever. */
  silenceMsMax?: number;
}

export interface MeshLinkSettings {
  /** How long the coordinator may stay away before a call gives up. */
  awayMsMax: number;
  /** The same before it was there for the first time: a wrong address should be said soon. */
  firstAwayMsMax: number;
}

/** What a link needs of the transport. */
export interface MeshLinkDependencies {
  /** Opens a fresh stream to the coordinator. */
  open(signal: AbortSignal): Promise<ClientStream>;
  /** Drops the connection, so that the next `open` dials anew. */
  hangUp(): Promise<void>;
}

const pauseFirstMs = 50;
const pauseMaxMs = 2_000;
/** Longest pause that the coordinator may ask for. */
const toldMsMax = 60_000;
/** Items read ahead of the consumer of a subscription before the sender is held back. */
const itemsAheadMax = 64;
const openMsMax = 15_000;
/** An answer that takes longer never comes: the line broke without a word. */
const answerMsMax = 60_000;

/** A link over streams that `open` gives. */
export function createMeshLink(
  dependencies: MeshLinkDependencies,
  settings: MeshLinkSettings,
): MeshLink {
  const ending = new AbortController();
  const streams = new Set<ClientStream>();
  let shared: Promise<ClientStream> | undefined;
  let wasThere = false;

  const openStream = async (signal: AbortSignal): Promise<ClientStream> => {
    const either = AbortSignal.any([signal, ending.signal]);
    either.throwIfAborted();
    const stream = await openOrHangUp(dependencies, either);
    // Opened in the same moment as it was given up.
    if (either.aborted) await stream.close();
    either.throwIfAborted();
    wasThere = true;
    for (const one of streams) if (!one.isOpen) streams.delete(one);
    streams.add(stream);
    return stream;
  };
  const sharedStream = async (signal: AbortSignal): Promise<ClientStream> => {
    const before = shared;
    const open =
      before === undefined
        ? undefined
        : await untilAborted(
            before.catch(() => undefined),
            signal,
          );
    if (open?.isOpen === true) return open;
    // Of all that find the stream closed, the first opens the next one.
    if (shared === before) shared = openStream(ending.signal);
    return untilAborted(shared ?? openStream(ending.signal), signal);
  };
  const persist = <Value>(attempt: () => Promise<Value>, signal: AbortSignal): Promise<Value> =>
    persistUntil(attempt, {
      signal,
      awayMsMax: () => (wasThere ? settings.awayMsMax : settings.firstAwayMsMax),
    });

  return {
    async call(name, input, options = {}) {
      using deadline = createDeadline(options, name);
      const { signal } = deadline;
      ending.signal.throwIfAborted();
      const output = await persist(async () => {
        const stream = await sharedStream(signal);
        return runOperation(stream, { name, input }, signal);
      }, signal);
      // The gateway's answers are of our own protocol and version; client.ts names their types.
      return output as ClientOperations[typeof name]['output'];
    },
    async *subscribe(name, input, options) {
      const stream = await openStream(options.signal);
      try {
        yield* readItems(stream, { name, input }, options) as AsyncGenerator<
          ClientSubscriptions[typeof name]['item'],
          void,
          undefined
        >;
      } finally {
        await stream.close();
        streams.delete(stream);
      }
    },
    async upload(blob, options = {}) {
      using deadline = createDeadline(options, 'Uploading a blob');
      const { signal } = deadline;
      await persist(async () => {
        const stream = await openStream(signal);
        try {
          await sendBlob(stream, blob, signal);
        } finally {
          await stream.close();
          streams.delete(stream);
        }
      }, signal);
    },
    persist,
    async close() {
      if (ending.signal.aborted) return;
      ending.abort(new PerigeeError('invalid_request', 'The mesh was closed by this program.'));
      await shared?.catch(() => undefined);
      await Promise.all([...streams].map((stream) => stream.close()));
      streams.clear();
    },
  };
}

/** Codes after which the same call may succeed by itself. A full disk needs a person. */
export function isPassing(error: unknown): error is PerigeeError {
  if (!(error instanceof PerigeeError)) return false;
  return ['unreachable', 'draining', 'queue_full', 'rate_limited'].includes(error.code);
}

async function persistUntil<Value>(
  attempt: () => Promise<Value>,
  options: { signal: AbortSignal; awayMsMax: () => number },
): Promise<Value> {
  let awaySinceMs: number | undefined;
  for (let failures = 0; ; failures += 1) {
    options.signal.throwIfAborted();
    let toldMs = 0;
    try {
      return await attempt();
    } catch (caught) {
      options.signal.throwIfAborted();
      if (!isPassing(caught)) throw caught;
      // A full queue empties as tasks are done, however long they take.
      if (caught.code === 'queue_full' || caught.code === 'rate_limited') awaySinceMs = undefined;
      else {
        awaySinceMs ??= performance.now();
        if (performance.now() - awaySinceMs > options.awayMsMax()) throw caught;
      }
      toldMs = toldPauseMs(caught);
    }
    const ownMs = Math.min(pauseMaxMs, pauseFirstMs * 2 ** Math.min(failures, 10));
    await pause(Math.max(ownMs, toldMs), options.signal);
  }
}

/** How long the coordinator asks to wait; 0 when it does not say. */
function toldPauseMs(error: PerigeeError): number {
  const { retryAfterSeconds } = error.details;
  return typeof retryAfterSeconds === 'number' ? Math.min(retryAfterSeconds * 1000, toldMsMax) : 0;
}

interface CallStart {
  name: Parameters<ClientStream['start']>[0];
  input: object;
}

async function runOperation(
  stream: ClientStream,
  call: CallStart,
  signal: AbortSignal,
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const open = stream.start(call.name, call.input, {
    onItem: () => undefined,
    onEnd: resolve,
    onFail: reject,
  });
  return unlessSilent(
    stream,
    call.name,
    untilAborted(promise, signal, () => open.cancel()),
  );
}

/** A wait for the coordinator; one that lasts too long ends the stream, and with it the wait. */
async function unlessSilent<Value>(
  stream: ClientStream,
  name: string,
  wait: Promise<Value>,
): Promise<Value> {
  const timer = setTimeout(() => stream.abort(silent(name)), answerMsMax);
  try {
    return await wait;
  } finally {
    clearTimeout(timer);
  }
}

function silent(name: string): PerigeeError {
  return new PerigeeError('unreachable', `${name}: the coordinator fell silent.`);
}

async function openOrHangUp(
  dependencies: MeshLinkDependencies,
  signal: AbortSignal,
): Promise<ClientStream> {
  using deadline = createDeadline(
    { signal, timeoutMs: openMsMax },
    'Connecting to the coordinator',
  );
  try {
    return await untilAborted(dependencies.open(deadline.signal), deadline.signal);
  } catch (caught) {
    if (signal.aborted || !deadline.signal.aborted) throw caught;
    // A connection on which no stream opens is dead, though nobody has said so yet.
    await dependencies.hangUp();
    throw new PerigeeError('unreachable', toError(caught).message, { cause: caught });
  }
}

async function* readItems(
  stream: ClientStream,
  call: CallStart,
  options: SubscribeOptions,
): AsyncGenerator<unknown, void, undefined> {
  const queue: unknown[] = [];
  let isPaused = false;
  let end: { error: PerigeeError | undefined } | undefined;
  let wake: () => void = () => undefined;
  const open = stream.start(call.name, call.input, {
    onItem(item) {
      queue.push(item);
      if (queue.length >= itemsAheadMax && !isPaused) {
        isPaused = true;
        stream.pause();
      }
      wake();
    },
    onEnd() {
      end = { error: undefined };
      wake();
    },
    onFail(error) {
      end = { error };
      wake();
    },
  });
  try {
    for (;;) {
      while (queue.length > 0) yield queue.shift();
      if (isPaused) {
        isPaused = false;
        stream.resume();
      }
      if (queue.length > 0) continue;
      if (end !== undefined) {
        if (end.error !== undefined) throw end.error;
        return;
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      wake = resolve;
      const { silenceMsMax } = options;
      const timer =
        silenceMsMax === undefined
          ? undefined
          : setTimeout(() => reject(silent(call.name)), silenceMsMax);
      try {
        await untilAborted(promise, options.signal);
      } finally {
        clearTimeout(timer);
      }
    }
  } finally {
    open.cancel();
  }
}

async function sendBlob(
  stream: ClientStream,
  blob: UploadedBlob,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  let isAnswered = false;
  const answered = promise.finally(() => {
    isAnswered = true;
  });
  // Awaited below; a refusal while parts still leave must not count as unhandled.
  answered.catch(() => undefined);
  const open = stream.start(
    'blobs.put',
    { hash: blob.hash },
    { onItem: () => undefined, onEnd: resolve, onFail: reject },
  );
  for await (const part of partsOf(blob.bytes)) {
    if (isAnswered) break;
    signal.throwIfAborted();
    if (open.sendPart(part)) continue;
    await unlessSilent(stream, 'blobs.put', untilAborted(stream.drained(), signal));
  }
  if (!isAnswered) open.endParts();
  const abort = (): void => stream.abort(toError(signal.reason));
  await unlessSilent(stream, 'blobs.put', untilAborted(answered, signal, abort));
}

async function* partsOf(bytes: UploadedBlob['bytes']): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = bytes instanceof Uint8Array ? [bytes] : bytes();
  for await (const piece of pieces) {
    for (let offset = 0; offset < piece.length; offset += clientPartBytesMax) {
      yield piece.subarray(offset, offset + clientPartBytesMax);
    }
  }
}
