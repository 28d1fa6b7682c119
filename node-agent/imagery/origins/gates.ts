/** Holds requests to an origin within what this node may ask of it at this moment. */
import { setTimeout as pause } from 'node:timers/promises';
import type { OriginShares } from './origin-shares.ts';
import type { RateState } from './policy.ts';
import { takeToken } from './policy.ts';

export interface OriginGates {
  /** Waits for a turn; the caller gives it back with what this answers. */
  enter(uri: string, signal: AbortSignal): Promise<() => void>;
  /** The origin asked for a pause. */
  pauseOrigin(uri: string, pauseMs: number): void;
}

/** What all requests to one host or bucket share. */
interface Gate {
  origin: string;
  rate: RateState;
  open: number;
  queue: (() => void)[];
}

/** Origins that are not in use are kept in mind up to this. */
const gatesMax = 1_000;

export function createOriginGates(now: () => number, shares: OriginShares): OriginGates {
  const gates = new Map<string, Gate>();
  const gateOf = (uri: string): Gate => {
    const { protocol, host } = new URL(uri);
    const origin = `${protocol}//${host}`;
    let gate = gates.get(origin);
    if (gate === undefined) {
      const rate = { tokens: shares.limitsOf(origin).perSecond, atMs: now() };
      gate = { origin, rate, open: 0, queue: [] };
      gates.set(origin, gate);
      for (const [oldest, { open }] of gates) {
        if (gates.size <= gatesMax) break;
        if (open === 0 && oldest !== origin) gates.delete(oldest);
      }
    }
    return gate;
  };
  const letIn = (gate: Gate): void => {
    const { requests } = shares.limitsOf(gate.origin);
    while (gate.open < requests) {
      const next = gate.queue.shift();
      if (next === undefined) return;
      gate.open += 1;
      next();
    }
  };
  const leave = (gate: Gate): void => {
    gate.open -= 1;
    letIn(gate);
  };
  const takeTurn = async (gate: Gate, signal: AbortSignal): Promise<void> => {
    const turn = Promise.withResolvers<void>();
    const giveUp = (): void => {
      gate.queue = gate.queue.filter((one) => one !== turn.resolve);
      turn.reject(signal.reason);
    };
    gate.queue.push(turn.resolve);
    shares.want(gate.origin, gate.open + gate.queue.length);
    letIn(gate);
    signal.addEventListener('abort', giveUp, { once: true });
    await turn.promise.finally(() => signal.removeEventListener('abort', giveUp));
  };
  shares.onRaised = () => {
    for (const gate of gates.values()) letIn(gate);
  };
  return {
    async enter(uri, signal) {
      signal.throwIfAborted();
      const gate = gateOf(uri);
      await takeTurn(gate, signal);
      let left = false;
      const giveBack = (): void => {
        if (!left) leave(gate);
        left = true;
      };
      try {
        const { perSecond } = shares.limitsOf(gate.origin);
        const tokenMs = takeToken(gate.rate, { nowMs: now(), perSecond });
        if (tokenMs > 0) await pause(tokenMs, undefined, { signal });
        // The pause may become longer while it is waited for.
        for (;;) {
          const pausedMs = shares.limitsOf(gate.origin).pausedUntilMs - now();
          if (pausedMs <= 0) return giveBack;
          await pause(pausedMs, undefined, { signal });
        }
      } catch (caught) {
        giveBack();
        throw caught;
      }
    },
    pauseOrigin: (uri, pauseMs) => shares.throttled(gateOf(uri).origin, pauseMs),
  };
}
