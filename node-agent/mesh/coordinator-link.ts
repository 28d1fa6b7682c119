/**
 * The agent's one conversation with its coordinator: dials the join address, says hello, comes back
 * after every loss. What is sent goes out in order, output before the report that ends it; a
 * heartbeat overtakes everything.
 */

import { isErrorCode, PerigeeError, toError } from '../../protocol/base/errors.ts';
import { checkCoordinatorMessage } from '../../protocol/net/check-message.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import type { FrameStream } from '../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../protocol/net/frame-stream.ts';
import type { AttemptRef } from '../../protocol/wire/ids.ts';
import type { AgentMessage, CoordinatorMessage, Hello } from '../../protocol/wire/messages.ts';
import { agentProtocol } from '../../protocol/wire/messages.ts';
import type { LogForwarder } from './log-forwarder.ts';

export interface LinkSettings {
  /** Multiaddr with the coordinator's peer id. */
  address: string;
  reconnectMsMin: number;
  reconnectMsMax: number;
  /** From dialling to the welcome. */
  welcomeMsMax: number;
  /** Silence of the coordinator after which the line is tried: a dead one may look open for minutes. */
  silentMsMax: number;
}

export interface LinkEvents {
  /** What the node has at this moment, for the hello. */
  makeHello(): Hello;
  onOpened(welcome: Extract<CoordinatorMessage, { kind: 'welcome' }>): void;
  onMessage(message: Exclude<CoordinatorMessage, { kind: 'welcome' | 'refused' }>): void;
  onLost(error: Error | undefined): void;
  /** Trying again would not help. */
  onRefused(error: PerigeeError): void;
  /** An attempt to connect failed; another follows. */
  onFailed(error: Error, attempt: number): void;
}

export interface CoordinatorLink {
  readonly isOpen: boolean;
  /** Queues a message; dropped without a session, for the next one starts from the core's state. */
  send(message: AgentMessage): void;
  /** Sends at once, past everything that waits. */
  sendHeartbeat(message: Extract<AgentMessage, { kind: 'heartbeat' }>): void;
  /** Sends all kept output of these attempts, then the message. */
  sendAfterLogs(refs: readonly AttemptRef[], message: AgentMessage): void;
  /** Live output has come: sent when nothing else waits. */
  offerLogs(): void;
  /** Closes the session and dials again. */
  reset(): void;
  /** Writes what is queued and ends; idempotent. */
  close(): Promise<void>;
}

type Item = { message: AgentMessage } | { logsOf: readonly AttemptRef[] };

/**
 * Failures in a row that look final, but may come from a coordinator that is just starting (the
 * protocol's name is not served yet) or dying (the handshake breaks off).
 */
const doubtsMax = 5;
/** A connection that does not close by then is left to the kernel. */
const hangUpMsMax = 1_000;

/** Starts to dial; everything that happens is told through `events`. */
export function createCoordinatorLink(
  deps: { host: MeshHost; logs: LogForwarder; now: () => number; random: () => number },
  settings: LinkSettings,
  events: LinkEvents,
): CoordinatorLink {
  const stopping = new AbortController();
  let session: FrameStream | undefined;
  let isOpen = false;
  let queue: Item[] = [];
  let pumping = false;

  const pump = async (stream: FrameStream): Promise<void> => {
    if (pumping) return;
    pumping = true;
    try {
      while (session === stream && stream.isOpen) {
        const message = nextMessage();
        if (message === undefined) return;
        if (!stream.send(message)) await stream.drained();
      }
    } finally {
      pumping = false;
    }
  };
  const nextMessage = (): AgentMessage | undefined => {
    for (let item = queue[0]; item !== undefined; item = queue[0]) {
      if ('message' in item) {
        queue.shift();
        return item.message;
      }
      const rest = deps.logs.takeRest(item.logsOf);
      if (rest !== undefined) return rest;
      queue.shift();
    }
    return deps.logs.takeLive(deps.now());
  };
  const startPump = (): void => {
    const stream = session;
    if (stream === undefined || !isOpen || pumping) return;
    pump(stream).catch((caught: unknown) => stream.abort(toError(caught)));
  };

  /** One session, from dialling to its end. */
  const connect = async (): Promise<'welcomed' | 'failed'> => {
    const timer = AbortSignal.timeout(settings.welcomeMsMax);
    const signal = AbortSignal.any([stopping.signal, timer]);
    const raw = await deps.host.open(settings.address, agentProtocol, { signal });
    const ended = Promise.withResolvers<Error | undefined>();
    let welcomed = false;
    let refusal: PerigeeError | undefined;
    let heardAtMs = deps.now();
    const stream = createFrameStream(raw, {
      onMessage(received) {
        heardAtMs = deps.now();
        const message = checkCoordinatorMessage(received);
        if (message.kind === 'refused') {
          const code = isErrorCode(message.code) ? message.code : 'internal';
          refusal = new PerigeeError(code, message.message, { fix: message.fix });
          void stream.close();
          return;
        }
        if (message.kind !== 'welcome') {
          if (welcomed) events.onMessage(message);
          return;
        }
        if (welcomed) return;
        welcomed = true;
        isOpen = true;
        deps.logs.resume(message.logOffsets);
        events.onOpened(message);
        startPump();
      },
      onClose: (error) => ended.resolve(error),
    });
    session = stream;
    const giveUp = () => {
      if (!welcomed) stream.abort(toError(signal.reason));
    };
    signal.addEventListener('abort', giveUp, { once: true });
    stream.send(events.makeHello());
    const watch = setInterval(() => {
      if (!welcomed || deps.now() - heardAtMs < settings.silentMsMax) return;
      heardAtMs = deps.now();
      probe().catch((caught: unknown) => stream.abort(toError(caught)));
    }, settings.silentMsMax / 4);
    const error = await ended.promise;
    clearInterval(watch);
    signal.removeEventListener('abort', giveUp);
    session = undefined;
    isOpen = false;
    queue = [];
    if (welcomed) events.onLost(refusal ?? error);
    if (refusal !== undefined) throw refusal;
    if (!welcomed) throw error ?? new PerigeeError('unreachable', 'The coordinator hung up.');
    return 'welcomed';
  };

  /** Opening a stream takes an answer of the other end: an empty one tells whether it is there. */
  const probe = async (): Promise<void> => {
    const timer = AbortSignal.timeout(settings.welcomeMsMax);
    const signal = AbortSignal.any([stopping.signal, timer]);
    const line = await deps.host.open(settings.address, agentProtocol, { signal });
    await line.close({ signal });
  };
  /** A connection that no answer came through must not be used for the next dial. */
  const hangUp = async (): Promise<void> => {
    const [, peer] = settings.address.split('/p2p/');
    if (peer === undefined) return;
    const closing = deps.host.hangUp(peer).catch(() => undefined);
    await Promise.race([closing, pause(hangUpMsMax, stopping.signal)]);
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    let doubts = 0;
    while (!stopping.signal.aborted) {
      try {
        await connect();
        failures = 0;
        doubts = 0;
      } catch (caught) {
        if (stopping.signal.aborted) return;
        const error = toError(caught);
        failures += 1;
        doubts = isDoubtful(error) ? doubts + 1 : 0;
        const refusal = findRefusal(error, { address: settings.address, doubts });
        if (refusal !== undefined) {
          events.onRefused(refusal);
          return;
        }
        events.onFailed(error, failures);
        await hangUp();
      }
      await pause(backoffMs(settings, { failures, random: deps.random() }), stopping.signal);
    }
  };
  const running = run();

  return {
    get isOpen() {
      return isOpen;
    },
    send(message) {
      if (!isOpen) return;
      queue.push({ message });
      startPump();
    },
    sendHeartbeat(message) {
      if (isOpen) session?.send(message);
    },
    sendAfterLogs(refs, message) {
      if (!isOpen) return;
      if (deps.logs.hasUnsent) queue.push({ logsOf: refs });
      queue.push({ message });
      startPump();
    },
    offerLogs: startPump,
    reset() {
      session?.abort(new PerigeeError('conflict', 'The session starts anew.'));
    },
    async close() {
      const stream = session;
      if (stream !== undefined && isOpen) {
        // What is queued is little by now: a goodbye, perhaps the last report.
        for (let message = nextMessage(); message !== undefined; message = nextMessage()) {
          stream.send(message);
        }
      }
      await stream?.close();
      stopping.abort();
      await running;
    },
  };
}

function isDoubtful(error: Error): boolean {
  return isStranger(error) || (error instanceof PerigeeError && error.code === 'protocol_version');
}

/** Noise found another key than the address names, or broke off: libp2p has one name for both. */
function isStranger(error: Error): boolean {
  for (let inner: unknown = error; inner instanceof Error; inner = inner.cause) {
    if (inner.name === 'EncryptionFailedError') return true;
  }
  return false;
}

/** The error to leave with, when dialling again cannot help. */
function findRefusal(
  error: Error,
  tried: { address: string; doubts: number },
): PerigeeError | undefined {
  if (!(error instanceof PerigeeError)) return undefined;
  if (refusals.has(error.code)) return error;
  if (tried.doubts < doubtsMax) return undefined;
  if (!isStranger(error)) return error;
  return new PerigeeError(
    'unreachable',
    `Another process answers at ${tried.address}: its peer id is not the one in the join address.`,
    {
      cause: error,
      fix: 'Copy the join address again from the coordinator (`scripts/perigee up --json` prints it).',
    },
  );
}

const refusals: ReadonlySet<string> = new Set([
  'join_token_wrong',
  'token_missing',
  'token_wrong',
  'token_expired',
  'token_revoked',
  'forbidden',
  'invalid_request',
]);

/** Doubles up to the bound; half of it is chance, so that a fleet does not come back in one instant. */
function backoffMs(settings: LinkSettings, state: { failures: number; random: number }): number {
  const doubled = settings.reconnectMsMin * 2 ** Math.min(Math.max(state.failures - 1, 0), 16);
  const bounded = Math.min(doubled, settings.reconnectMsMax);
  return bounded / 2 + (bounded / 2) * state.random;
}

function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal.addEventListener('abort', done, { once: true });
  });
}
