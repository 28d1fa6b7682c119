/** All origins of a node: finds the one for a URI and a namespace, and keeps one policy for each. */
import { setTimeout as pause } from 'node:timers/promises';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { AssetRequest } from '../port.ts';
import type { CredentialEntry } from './credentials.ts';
import { findEntry, openGs, openS3, publicScope } from './credentials.ts';
import type { FileRoot } from './file.ts';
import { createFileOrigin } from './file.ts';
import { createHttpOrigin } from './http.ts';
import { createHttpClient } from './http-request.ts';
import type { RateState } from './policy.ts';
import { decideRetry, takeToken } from './policy.ts';
import type { Origin, OriginFacts, OriginRead } from './port.ts';
import { OriginFailure } from './port.ts';

export interface OriginSettings {
  credentials: readonly CredentialEntry[];
  roots: readonly FileRoot[];
  allowed: readonly string[];
  stallMsMax: number;
  /** Requests at once to one origin. */
  requestsMax: number;
  /** Requests a second to one origin. */
  requestsPerSecondMax: number;
}

export interface Origins {
  /** Whose bytes these are; see `CredentialEntry`. */
  scopeOf(request: AssetRequest): string;
  /** @throws PerigeeError asset_not_found, asset_denied, asset_unreachable, asset_invalid */
  stat(request: AssetRequest, signal: AbortSignal): Promise<OriginFacts>;
  /** @throws PerigeeError as `stat`, and asset_changed */
  read(request: AssetRequest, read: OriginRead): Promise<Uint8Array>;
  close(): void;
}

/** What all requests to one host or bucket share. */
interface Gate {
  rate: RateState;
  pausedUntilMs: number;
  open: number;
  queue: (() => void)[];
}

const originsMax = 1_000;

export function createOrigins(
  deps: { now(): number; random(): number },
  settings: OriginSettings,
): Origins {
  const client = createHttpClient({
    allowed: settings.allowed,
    stallMsMax: settings.stallMsMax,
    socketsMax: settings.requestsMax,
  });
  const files = createFileOrigin(settings.roots);
  const origins = new Map<string, Promise<Origin>>();
  const gates = new Map<string, Gate>();

  const makeOrigin = async (uri: string, entry: CredentialEntry | undefined): Promise<Origin> => {
    const given = entry?.credentials ?? { kind: 'none' as const };
    if (uri.startsWith('file:')) return files;
    if (uri.startsWith('s3:')) {
      const { createS3Origin } = await import('./s3.ts');
      return createS3Origin(given.kind === 's3' ? given.s3 : openS3, settings.stallMsMax);
    }
    if (uri.startsWith('gs:')) {
      const { createGsOrigin } = await import('./gs.ts');
      const gs = given.kind === 'gs' ? given.gs : openGs;
      // Its endpoint is the operator's word, unlike a task's URI.
      const { host } = new URL(gs.endpoint);
      const trusted = createHttpClient({
        allowed: [host],
        stallMsMax: settings.stallMsMax,
        socketsMax: settings.requestsMax,
      });
      return { ...createGsOrigin(trusted, gs), close: () => trusted.close() };
    }
    return createHttpOrigin(client, given.kind === 'http' ? given.headers : {});
  };
  const originOf = (request: AssetRequest): Promise<Origin> => {
    const entry = findEntry(settings.credentials, request);
    const key = `${entry?.scope ?? publicScope} ${request.uri.split(':')[0]}`;
    let origin = origins.get(key);
    if (origin === undefined) {
      origin = makeOrigin(request.uri, entry);
      origins.set(key, origin);
    }
    return origin;
  };
  const gateOf = (uri: string): Gate => {
    const { protocol, host } = new URL(uri);
    const key = `${protocol}//${host}`;
    let gate = gates.get(key);
    if (gate === undefined) {
      gate = {
        rate: { tokens: settings.requestsPerSecondMax, atMs: deps.now() },
        pausedUntilMs: 0,
        open: 0,
        queue: [],
      };
      gates.set(key, gate);
      for (const [oldest, { open }] of gates) {
        if (gates.size <= originsMax) break;
        if (open === 0 && oldest !== key) gates.delete(oldest);
      }
    }
    return gate;
  };
  const enter = async (gate: Gate, signal: AbortSignal): Promise<void> => {
    if (gate.open >= settings.requestsMax) {
      const turn = Promise.withResolvers<void>();
      const leave = (): void => {
        gate.queue = gate.queue.filter((one) => one !== turn.resolve);
        turn.reject(signal.reason);
      };
      gate.queue.push(turn.resolve);
      signal.addEventListener('abort', leave, { once: true });
      await turn.promise.finally(() => signal.removeEventListener('abort', leave));
    } else gate.open += 1;
    try {
      const nowMs = deps.now();
      const token = takeToken(gate.rate, { nowMs, perSecond: settings.requestsPerSecondMax });
      const waitMs = Math.max(token, gate.pausedUntilMs - nowMs);
      if (waitMs > 0) await pause(waitMs, undefined, { signal });
    } catch (caught) {
      leaveGate(gate);
      throw caught;
    }
  };
  const run = async <Value>(
    request: AssetRequest,
    work: { signal: AbortSignal; what: string; act(origin: Origin): Promise<Value> },
  ): Promise<Value> => {
    const gate = gateOf(request.uri);
    for (let attempt = 1; ; attempt += 1) {
      const origin = await originOf(request);
      await enter(gate, work.signal);
      let caught: unknown;
      try {
        return await work.act(origin);
      } catch (error) {
        caught = error;
      } finally {
        leaveGate(gate);
      }
      if (!(caught instanceof OriginFailure)) throw caught;
      const decision = decideRetry(caught.failure, {
        attempt,
        retryAfterMs: caught.retryAfterMs,
        random: deps.random(),
      });
      if (decision.kind === 'giveUp') throw asError(request.uri, work.what, caught);
      if (decision.renew) origin.renew();
      if (decision.pauseOrigin) gate.pausedUntilMs = deps.now() + decision.afterMs;
      await pause(decision.afterMs, undefined, { signal: work.signal });
    }
  };

  return {
    scopeOf: (request) => findEntry(settings.credentials, request)?.scope ?? publicScope,
    stat: (request, signal) =>
      run(request, { signal, what: '', act: (origin) => origin.stat(request.uri, signal) }),
    read: (request, read) => {
      const { offset, length } = read.range;
      return run(request, {
        signal: read.signal,
        what: `, bytes ${offset}-${offset + length - 1}`,
        act: (origin) => origin.read(request.uri, read),
      });
    },
    close() {
      client.close();
      for (const origin of origins.values()) {
        origin.then(
          (made) => made.close(),
          () => undefined,
        );
      }
    },
  };
}

function leaveGate(gate: Gate): void {
  const next = gate.queue.shift();
  if (next === undefined) gate.open -= 1;
  else next();
}

const codes = {
  notFound: 'asset_not_found',
  denied: 'asset_denied',
  unsigned: 'asset_denied',
  changed: 'asset_changed',
  invalid: 'asset_invalid',
  busy: 'asset_unreachable',
  faulty: 'asset_unreachable',
} as const;

/** Names the scene, the range and the origin's answer. */
function asError(uri: string, what: string, failure: OriginFailure): PerigeeError {
  return new PerigeeError(codes[failure.failure], `${uri}${what}: ${failure.message}.`, {
    cause: failure,
    details: { uri, status: failure.status },
  });
}
