/**
 * One session of one agent: greeting (the hello is awaited), admitting (its right to join is looked
 * up), open (messages become events), closed. Decides nothing: that is the core's business.
 */

import type { Stream } from '@libp2p/interface';
import { assertNever } from '../../protocol/base/assert.ts';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { checkAgentMessage, findHelloVersion } from '../../protocol/net/check-message.ts';
import type { FrameStream } from '../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../protocol/net/frame-stream.ts';
import type { AttemptRef, NamespaceName, NodeId, SessionNumber } from '../../protocol/wire/ids.ts';
import type {
  AgentMessage,
  Hello,
  LocatedNode,
  LogOutput,
  OriginDemand,
  OriginShares,
  Report,
} from '../../protocol/wire/messages.ts';
import { protocolVersion } from '../../protocol/wire/messages.ts';
import type { CoordinatorEvent } from '../core/events.ts';
import type { LocateQuery } from '../core/holdings.ts';
import type { LogChunk } from '../store/port.ts';
import type { Outbox } from './outbox.ts';

export interface SessionDeps {
  node: NodeId;
  admit(hello: Hello): Promise<readonly NamespaceName[] | null>;
  /** Called once the node is admitted: from now on it has a number and is told what is decided. */
  open(session: Session): SessionNumber;
  closed(session: Session): void;
  createOutbox(stream: FrameStream, onError: (error: unknown) => void): Outbox;
  dispatch(event: CoordinatorEvent): void;
  appendLogs(chunks: readonly LogChunk[]): void;
  holds(node: NodeId, attempt: AttemptRef): boolean;
  /** Other nodes that have what the node asks for. */
  locate(node: NodeId, query: LocateQuery): Promise<LocatedNode[]>;
  /** What the node wants to ask of origins of imagery. */
  demandOrigins(node: NodeId, demand: OriginDemand): void;
  /** Undefined when nothing has to be waited for. */
  checkReport(node: NodeId, report: Report): Promise<Report> | undefined;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface SessionSettings {
  /** For the hello to arrive. */
  greetingMsMax: number;
  /** Messages that wait while one before them is looked into; beyond it the session is closed. */
  waitingMax: number;
}

export interface Session {
  readonly node: NodeId;
  readonly outbox: Outbox;
  /** Tells the node at once what no decision of the core hangs on. */
  tell(message: OriginShares): void;
  /** Whether the peer is held back at the moment. */
  readonly isPaused: boolean;
  pause(): void;
  /** Reads on. What was not read meanwhile must not cost the lease, so the node counts as heard. */
  resume(): void;
  close(): Promise<void>;
  abort(error: Error): void;
}

type Phase =
  | { kind: 'greeting' }
  | { kind: 'admitting' }
  | { kind: 'open'; session: SessionNumber }
  | { kind: 'closed' };

/** Takes a stream that an agent opened. */
export function startSession(
  stream: Stream,
  deps: SessionDeps,
  settings: SessionSettings,
): Session {
  const { node, log } = deps;
  let phase: Phase = { kind: 'greeting' };
  let paused = false;
  /** Messages behind one that is looked into, in order. */
  let waiting: AgentMessage[] = [];
  let busy = false;

  const frames = createFrameStream(stream, {
    onMessage: (message) => take(message),
    onInvalid: (error) => refuse(error),
    onClose: (error) => {
      clearTimeout(greetingTimer);
      const ended = phase;
      phase = { kind: 'closed' };
      waiting = [];
      deps.closed(session);
      if (error !== undefined) log.info({ node, err: error }, 'a session ended');
      if (ended.kind === 'open') {
        deps.dispatch({ kind: 'nodeDisconnected', node, session: ended.session });
      }
    },
  });
  const greetingTimer = setTimeout(() => {
    frames.abort(new PerigeeError('timed_out', 'The peer opened a session and said nothing.'));
  }, settings.greetingMsMax);

  const refuse = (error: PerigeeError): void => {
    log.warn({ node, code: error.code }, `refused a session: ${error.message}`);
    const { code, message, fix } = error;
    frames.send({ kind: 'refused', code, message, fix });
    void frames.close();
  };
  const fail = (caught: unknown): void => {
    const error = toError(caught);
    log.warn({ node, err: error }, 'a session failed');
    frames.abort(error);
  };
  const take = (raw: unknown): void => {
    try {
      if (phase.kind === 'greeting') greet(raw);
      else handle(checkAgentMessage(raw));
    } catch (caught) {
      endFor(caught);
    }
  };
  /** Garbage is answered by name, so that its sender's log says what is wrong. */
  const endFor = (caught: unknown): void => {
    if (caught instanceof PerigeeError) refuse(caught);
    else fail(caught);
  };
  const greet = (raw: unknown): void => {
    const version = findHelloVersion(raw);
    if (version !== undefined && version !== protocolVersion) {
      throw new PerigeeError(
        'protocol_version',
        `The agent speaks version ${version} of the protocol, the coordinator version ${protocolVersion}.`,
        { details: { agent: version, coordinator: protocolVersion } },
      );
    }
    const hello = checkAgentMessage(raw);
    if (hello.kind !== 'hello') {
      throw new PerigeeError('frame_invalid', 'A session begins with a hello.');
    }
    clearTimeout(greetingTimer);
    phase = { kind: 'admitting' };
    wait(
      deps.admit(hello).then((namespaces) => {
        if (phase.kind !== 'admitting') return;
        const number = deps.open(session);
        phase = { kind: 'open', session: number };
        deps.dispatch({ kind: 'nodeJoined', node, session: number, hello, namespaces });
      }),
    );
  };
  /** Holds further messages until a look-up has settled. */
  const wait = (lookUp: Promise<void>): void => {
    busy = true;
    lookUp
      .then(() => {
        busy = false;
        const next = waiting;
        waiting = [];
        for (const message of next) handle(message);
      })
      .catch((caught: unknown) => {
        busy = false;
        waiting = [];
        endFor(caught);
      });
  };
  const handle = (message: AgentMessage): void => {
    if (busy) {
      if (waiting.length >= settings.waitingMax) {
        throw new PerigeeError('frame_invalid', 'The agent says more than it may before its turn.');
      }
      waiting.push(message);
      return;
    }
    if (phase.kind === 'open') perform(message, phase.session);
  };
  const perform = (message: AgentMessage, session: SessionNumber): void => {
    const from = { node, session };
    switch (message.kind) {
      case 'hello':
        throw new PerigeeError('frame_invalid', 'A session has one hello.');
      case 'heartbeat': {
        const { kind: _, imageryReads = null, ...health } = message;
        deps.dispatch({ kind: 'heartbeatHeard', ...from, ...health, imageryReads });
        return;
      }
      case 'pull':
        deps.dispatch({ kind: 'nodePulled', ...from, heldMax: message.heldMax });
        return;
      case 'started':
        deps.dispatch({ kind: 'attemptsStarted', ...from, attempts: message.attempts });
        return;
      case 'report':
        report(message, session);
        return;
      case 'log':
        keepLog(message);
        return;
      case 'returned':
        deps.dispatch({ kind: 'attemptsReturned', ...from, attempts: message.attempts });
        return;
      case 'imagesChanged':
        deps.dispatch({ kind: 'imagesChanged', ...from, images: message.images });
        return;
      case 'holdings': {
        const { epoch, sequence, full, add, drop } = message;
        deps.dispatch({ kind: 'holdingsTold', ...from, epoch, sequence, full, add, drop });
        return;
      }
      case 'locate':
        deps.locate(node, message).then(
          (nodes) => frames.send({ kind: 'located', request: message.request, nodes }),
          (caught: unknown) => frames.abort(toError(caught)),
        );
        return;
      case 'originDemand':
        deps.demandOrigins(node, message);
        return;
      case 'drainAsked':
        deps.dispatch({
          kind: 'nodeDrainAsked',
          ...{ request: null, node, by: 'node', reason: message.reason },
        });
        return;
      case 'goodbye':
        deps.dispatch({ kind: 'nodeLeft', ...from });
        return;
      default:
        assertNever(message);
    }
  };
  const report = (message: Report, session: SessionNumber): void => {
    const say = ({ report, outcomes }: Report): void => {
      deps.dispatch({ kind: 'reportReceived', node, session, report, outcomes });
    };
    const lookUp = deps.checkReport(node, message);
    if (lookUp === undefined) say(message);
    else wait(lookUp.then(say));
  };
  const keepLog = (message: LogOutput): void => {
    // Late output of an attempt that is no longer the node's is dropped, as its outcome would be.
    const chunks = message.chunks.filter((chunk) => deps.holds(node, chunk));
    if (chunks.length > 0) deps.appendLogs(chunks);
  };

  const session: Session = {
    node,
    outbox: deps.createOutbox(frames, fail),
    tell(message) {
      if (phase.kind === 'open' && frames.isOpen) frames.send(message);
    },
    get isPaused() {
      return paused;
    },
    pause() {
      if (paused || !frames.isOpen) return;
      paused = true;
      frames.pause();
    },
    resume() {
      if (!paused || !frames.isOpen) return;
      paused = false;
      if (phase.kind === 'open') {
        const { session } = phase;
        deps.dispatch({ kind: 'attemptsStarted', node, session, attempts: [] });
      }
      frames.resume();
    },
    close: () => frames.close(),
    abort: (error) => frames.abort(error),
  };
  return session;
}
