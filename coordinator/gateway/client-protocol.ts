/**
 * Protocol `/perigee/client/1`, the coordinator's end: calls over a libp2p stream, run by the same
 * operations as HTTP's. protocol/README.md, "Client protocol", says the order of messages.
 */
import type { Stream } from '@libp2p/interface';
import { assertNever } from '../../protocol/base/assert.ts';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { FrameStream } from '../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../protocol/net/frame-stream.ts';
import type { ClientReply } from '../../protocol/wire/client.ts';
import { clientCallsMax } from '../../protocol/wire/client.ts';
import { protocolVersion } from '../../protocol/wire/messages.ts';
import { readClientMessage } from './client-messages.ts';
import type { ClientUpload } from './client-upload.ts';
import { createClientUpload } from './client-upload.ts';
import { coerceError } from './http/problems.ts';
import type { Input } from './input/fields.ts';
import { putBlob } from './operations/blobs.ts';
import { getWhoami } from './operations/status.ts';
import { isSubscriptionName, openSubscription } from './operations/subscriptions.ts';
import { isOperationName, operations } from './operations/table.ts';
import type { Context, Services } from './services.ts';
import type { StreamOwner } from './stream-gate.ts';

/** Bytes of answers that may wait on a stream before its subscriptions are held back. */
const queuedBytesMax = 1024 * 1024;

/** Serves streams that clients open. */
export interface ClientEdge {
  serve(stream: Stream): void;
  /** Ends every stream; idempotent. */
  stop(): Promise<void>;
}

/** One call that is not answered yet. */
interface OpenCall {
  cancel: AbortController;
  upload: ClientUpload | null;
}

/** One stream of one client. */
interface Session {
  frames: FrameStream;
  /** Resolved by the token of `open`; calls behind it wait for it. */
  owner: Promise<StreamOwner> | null;
  calls: Map<number, OpenCall>;
  /** Uploads that have taken more than they could write. */
  full: number;
  /** Ends a stream that does not say who it is. */
  greeting: NodeJS.Timeout;
}

/** The edge over the operations. */
export function createClientEdge(services: Services): ClientEdge {
  const sessions = new Set<Session>();
  const serve = (stream: Stream): void => {
    const session: Session = {
      frames: createFrameStream(stream, {
        onMessage: (message) => receive(services, session, message),
        onClose: () => {
          sessions.delete(session);
          clearTimeout(session.greeting);
          const gone = new PerigeeError('unreachable', 'The client is gone.');
          for (const call of session.calls.values()) endCall(call, gone);
        },
      }),
      owner: null,
      calls: new Map(),
      full: 0,
      greeting: setTimeout(() => {
        const late = new PerigeeError('token_missing', 'The stream was not opened in time.');
        refuse(services, session, late);
      }, services.settings.headersTimeoutMs),
    };
    sessions.add(session);
    if (services.streams.isClosed) refuse(services, session, new PerigeeError('draining'));
  };
  return {
    serve,
    async stop() {
      const open = [...sessions];
      for (const session of open) {
        for (const call of session.calls.values()) endCall(call, new PerigeeError('draining'));
      }
      // A turn of the loop, so that what the calls say last is on its way before the end.
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(open.map((session) => session.frames.close()));
    },
  };
}

function receive(services: Services, session: Session, raw: unknown): void {
  try {
    const message = readClientMessage(raw);
    switch (message.kind) {
      case 'open':
        open(services, session, message);
        return;
      case 'call':
        beginCall(services, session, message);
        return;
      case 'part':
        findCall(session, message.id)?.upload?.push(message.bytes);
        return;
      case 'partsEnd':
        findCall(session, message.id)?.upload?.finish();
        return;
      case 'cancel': {
        const call = findCall(session, message.id);
        if (call !== undefined) endCall(call, cancelled);
        return;
      }
      default:
        assertNever(message);
    }
  } catch (caught) {
    refuse(services, session, caught);
  }
}

/** An open call; parts of one that is over are late, and dropped. */
function findCall(session: Session, id: number): OpenCall | undefined {
  requireOpen(session);
  return session.calls.get(id);
}

function requireOpen(session: Session): void {
  if (session.owner !== null) return;
  throw new PerigeeError('token_missing', 'The stream begins with "open".');
}

/** Marks an end that the client asked for: it is answered by `ended`, not by an error. */
const cancelled = new PerigeeError('unreachable', 'The client cancelled the call.');

function open(
  services: Services,
  session: Session,
  message: { protocol: number; token: string },
): void {
  if (session.owner !== null)
    throw new PerigeeError('frame_invalid', 'The stream is open already.');
  clearTimeout(session.greeting);
  const oldest = protocolVersion - 1;
  if (message.protocol < oldest || message.protocol > protocolVersion + 1) {
    throw new PerigeeError(
      'protocol_version',
      `The client speaks version ${message.protocol}, the coordinator ${protocolVersion}.`,
    );
  }
  session.owner = services.authenticator
    .authenticate(message.token)
    .then((caller) => ({ caller, token: message.token }));
  session.owner.then(
    ({ caller }) =>
      send(session, {
        kind: 'opened',
        protocol: protocolVersion,
        software: services.deps.version,
        who: getWhoami({ ...services, caller }),
      }),
    (caught: unknown) => refuse(services, session, caught),
  );
}

function beginCall(
  services: Services,
  session: Session,
  message: { id: number; name: string; input: Input },
): void {
  requireOpen(session);
  const { id, name } = message;
  if (session.calls.has(id)) throw new PerigeeError('frame_invalid', `Call ${id} is open already.`);
  if (session.calls.size >= clientCallsMax) {
    const error = new PerigeeError(
      'queue_full',
      `${clientCallsMax} calls are open on this stream.`,
    );
    fail(services, session, id, error);
    return;
  }
  const call: OpenCall = {
    cancel: new AbortController(),
    upload: name === 'blobs.put' ? createUpload(services, session) : null,
  };
  session.calls.set(id, call);
  runCall(services, session, { ...message, call })
    .catch((caught: unknown) => {
      if (call.cancel.signal.reason === cancelled) send(session, { kind: 'ended', id });
      else fail(services, session, id, caught);
    })
    .finally(() => {
      session.calls.delete(id);
      call.upload?.discard();
    });
}

async function runCall(
  services: Services,
  session: Session,
  request: { id: number; name: string; input: Input; call: OpenCall },
): Promise<void> {
  const { id, name, input, call } = request;
  if (session.owner === null) throw new PerigeeError('token_missing');
  const { token } = await session.owner;
  if (services.streams.isClosed) throw new PerigeeError('draining');
  // Looked up again for each call: the token may have been revoked since the stream was opened.
  const owner = { token, caller: await services.authenticator.authenticate(token) };
  services.rateLimit.take(owner.caller.tokenId);
  const context: Context = { ...services, caller: owner.caller };
  if (call.upload !== null) {
    const upload = { bytes: call.upload.bytes, sizeBytes: null };
    send(session, { kind: 'result', id, output: await putBlob(context, input, upload) });
    return;
  }
  if (isSubscriptionName(name)) {
    await runSubscription(session, context, { id, name, input, call, owner });
    return;
  }
  if (!isOperationName(name)) {
    throw new PerigeeError('invalid_request', `There is no call "${name.slice(0, 80)}".`, {
      fix: 'protocol/wire/client.ts lists the calls.',
    });
  }
  const output = await operations[name](context, input);
  call.cancel.signal.throwIfAborted();
  send(session, { kind: 'result', id, output });
}

async function runSubscription(
  session: Session,
  context: Context,
  request: {
    id: number;
    name: Parameters<typeof openSubscription>[1];
    input: Input;
    call: OpenCall;
    owner: StreamOwner;
  },
): Promise<void> {
  const { id, name, input, call } = request;
  const items = await openSubscription(context, name, input);
  const admitted = context.streams.enter(request.owner);
  const signal = AbortSignal.any([admitted.signal, call.cancel.signal]);
  try {
    for await (const item of items(signal)) {
      signal.throwIfAborted();
      const isReady = send(session, { kind: 'item', id, item });
      if (!isReady || session.frames.queuedBytes > queuedBytesMax) await session.frames.drained();
      if (!session.frames.isOpen) return;
    }
    signal.throwIfAborted();
    send(session, { kind: 'ended', id });
  } finally {
    admitted.leave();
  }
}

function createUpload(services: Services, session: Session): ClientUpload {
  const flow = {
    // One stream has one flow: while one upload is behind the disk, nothing is read.
    onFull: () => {
      session.full += 1;
      if (session.full === 1) session.frames.pause();
    },
    onRoom: () => {
      session.full -= 1;
      if (session.full === 0) session.frames.resume();
    },
    isHeld: () => session.full > 0,
  };
  return createClientUpload(flow, { idleMs: services.settings.idleTimeoutMs });
}

function endCall(call: OpenCall, reason: PerigeeError): void {
  call.cancel.abort(reason);
  call.upload?.fail(reason);
}

function send(session: Session, reply: ClientReply): boolean {
  return session.frames.send(reply);
}

function fail(services: Services, session: Session, id: number, caught: unknown): void {
  const { code, message, fix, details } = coerceError(caught, services.deps.log);
  send(session, { kind: 'failed', id, code, message, fix, details });
}

function refuse(services: Services, session: Session, caught: unknown): void {
  const { code, message, fix } = coerceError(caught, services.deps.log);
  send(session, { kind: 'refused', code, message, fix });
  session.frames.close().catch((error: unknown) => session.frames.abort(toError(error)));
}
