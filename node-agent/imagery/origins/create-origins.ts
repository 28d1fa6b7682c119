/** All origins of a node: finds the one for a URI and a namespace, and keeps one policy for each. */
import { setTimeout as pause } from 'node:timers/promises';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { AssetRequest } from '../port.ts';
import type { CredentialEntry } from './credentials.ts';
import { findEntry, openGs, openS3, publicScope } from './credentials.ts';
import type { FileRoot } from './file.ts';
import { createFileOrigin } from './file.ts';
import { createOriginGates } from './gates.ts';
import { createHttpOrigin } from './http.ts';
import { createHttpClient } from './http-request.ts';
import type { OriginShares } from './origin-shares.ts';
import { createOriginShares } from './origin-shares.ts';
import { decideRetry } from './policy.ts';
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
  /** What a peer must have to be given the scope's bytes; see `CredentialEntry`. */
  peerKeyOf(scope: string): Buffer | null;
  /** @throws PerigeeError asset_not_found, asset_denied, asset_unreachable, asset_invalid */
  stat(request: AssetRequest, signal: AbortSignal): Promise<OriginFacts>;
  /** @throws PerigeeError as `stat`, and asset_changed */
  read(request: AssetRequest, read: OriginRead): Promise<Uint8Array>;
  close(): void;
}

export function createOrigins(
  deps: {
    now(): number;
    random(): number;
    /** What this node may ask of an origin; its own maxima by default. */
    shares?: OriginShares;
  },
  settings: OriginSettings,
): Origins {
  const client = createHttpClient({
    allowed: settings.allowed,
    stallMsMax: settings.stallMsMax,
    socketsMax: settings.requestsMax,
  });
  const files = createFileOrigin(settings.roots);
  const origins = new Map<string, Promise<Origin>>();
  const shares =
    deps.shares ??
    createOriginShares(deps.now, {
      requestsMax: settings.requestsMax,
      perSecondMax: settings.requestsPerSecondMax,
    });
  const gates = createOriginGates(deps.now, shares);
  /** How often the credentials of an origin were renewed. */
  const renewals = new Map<Origin, number>();

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
  const run = async <Value>(
    request: AssetRequest,
    work: { signal: AbortSignal; what: string; act(origin: Origin): Promise<Value> },
  ): Promise<Value> => {
    for (let attempt = 1; ; attempt += 1) {
      const origin = await originOf(request);
      const leave = await gates.enter(request.uri, work.signal);
      const renewalsCount = renewals.get(origin) ?? 0;
      let caught: unknown;
      try {
        return await work.act(origin);
      } catch (error) {
        caught = error;
      } finally {
        leave();
      }
      if (!(caught instanceof OriginFailure)) throw caught;
      const decision = decideRetry(caught.failure, {
        attempt,
        retryAfterMs: caught.retryAfterMs,
        random: deps.random(),
      });
      if (decision.kind === 'giveUp') throw asError(request.uri, work.what, caught);
      // Of requests that are refused together the first renews for all.
      if (decision.renew && (renewals.get(origin) ?? 0) === renewalsCount) {
        renewals.set(origin, renewalsCount + 1);
        origin.renew();
      }
      if (decision.pauseOrigin) gates.pauseOrigin(request.uri, decision.afterMs);
      await pause(decision.afterMs, undefined, { signal: work.signal });
    }
  };

  return {
    scopeOf: (request) => findEntry(settings.credentials, request)?.scope ?? publicScope,
    peerKeyOf: (scope) =>
      scope === publicScope
        ? Buffer.alloc(32)
        : (settings.credentials.find((entry) => entry.scope === scope)?.peerKey ?? null),
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
