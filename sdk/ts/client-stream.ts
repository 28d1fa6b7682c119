/**
 * One stream of `/perigee/client/1`: sends the token first, then calls, and hands each reply to the
 * call that it belongs to. protocol/README.md, "Client protocol", says the order of things.
 */
import type { Stream } from '@libp2p/interface';
import { isErrorCode, PerigeeError, toError } from '../../protocol/base/errors.ts';
import {
  checkFields,
  checkInteger,
  checkText,
  type Fields,
  invalidField,
} from '../../protocol/net/check-field.ts';
import { createFrameStream } from '../../protocol/net/frame-stream.ts';
import type { ClientMessage } from '../../protocol/wire/client.ts';
import { protocolVersion } from '../../protocol/wire/messages.ts';
import type { CallSink, ClientStream } from './client-calls.ts';

/** How a client introduces itself. */
export interface ClientIdentity {
  token: string;
  software: string;
}

/** Speaks the client protocol over a fresh stream. */
export function createClientStream(stream: Stream, identity: ClientIdentity): ClientStream {
  const calls = new Map<number, CallSink>();
  let nextId = 1;
  let refusal: PerigeeError | undefined;

  const failAll = (error: PerigeeError): void => {
    const open = [...calls.values()];
    calls.clear();
    for (const sink of open) sink.onFail(error);
  };
  const frames = createFrameStream(stream, {
    onMessage: (message) => receive(checkFields(message, 'reply')),
    onClose: (error) => failAll(refusal ?? lost(error)),
  });
  const receive = (reply: Fields): void => {
    if (reply['kind'] === 'opened') return;
    if (reply['kind'] === 'refused') {
      refusal = decodeError(reply);
      frames.abort(refusal);
      return;
    }
    const id = checkInteger(1)(reply['id'], 'reply.id');
    const sink = calls.get(id);
    // Cancelled here while its answer was on the way.
    if (sink === undefined) return;
    if (reply['kind'] === 'item') {
      sink.onItem(reply['item']);
      return;
    }
    calls.delete(id);
    if (reply['kind'] === 'result') sink.onEnd(reply['output']);
    else if (reply['kind'] === 'ended') sink.onEnd(undefined);
    else if (reply['kind'] === 'failed') sink.onFail(decodeError(reply));
    else {
      sink.onFail(new PerigeeError('frame_invalid', 'The coordinator sent an unknown reply.'));
      throw invalidField('reply.kind', 'one that this version knows');
    }
  };
  const send = (message: ClientMessage): boolean => frames.send(message);

  send({ kind: 'open', protocol: protocolVersion, ...identity });
  return {
    get isOpen() {
      return frames.isOpen;
    },
    get callCount() {
      return calls.size;
    },
    start(name, input, sink) {
      const id = nextId;
      nextId += 1;
      if (!frames.isOpen) {
        queueMicrotask(() => sink.onFail(refusal ?? lost(undefined)));
        return { cancel: () => undefined, sendPart: () => true, endParts: () => undefined };
      }
      calls.set(id, sink);
      try {
        send({ kind: 'call', id, name, input: withoutUndefined(input) });
      } catch (caught) {
        calls.delete(id);
        throw caught;
      }
      return {
        cancel() {
          if (calls.delete(id)) send({ kind: 'cancel', id });
        },
        sendPart: (bytes) => send({ kind: 'part', id, bytes }),
        endParts: () => {
          send({ kind: 'partsEnd', id });
        },
      };
    },
    drained: () => frames.drained(),
    pause: () => frames.pause(),
    resume: () => frames.resume(),
    close: () => frames.close(),
    abort: (error) => frames.abort(error),
  };
}

/** The error of a `refused` or `failed` reply; a code of a newer coordinator keeps its text. */
function decodeError(reply: Fields): PerigeeError {
  const text = checkText(1_000_000);
  const code = reply['code'];
  const message = text(reply['message'], 'reply.message');
  const fix = text(reply['fix'], 'reply.fix');
  const details = reply['details'];
  return new PerigeeError(isErrorCode(code) ? code : 'internal', message, {
    ...(fix === '' ? {} : { fix }),
    ...(details === undefined || details === null
      ? {}
      : { details: { ...checkFields(details, 'reply.details') } }),
  });
}

function lost(cause: Error | undefined): PerigeeError {
  if (cause instanceof PerigeeError) return cause;
  return new PerigeeError('unreachable', 'The connection to the coordinator was lost.', {
    ...(cause === undefined ? {} : { cause: toError(cause) }),
  });
}

function withoutUndefined(input: object): Record<string, unknown> {
  const entries: [string, unknown][] = Object.entries(input);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}
