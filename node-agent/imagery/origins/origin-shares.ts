/**
 * What this node may ask of each origin: its share of the mesh's, as the coordinator divides it by what
 * the nodes want. While the coordinator is away each of N nodes goes by one N-th.
 */
import { createHash } from 'node:crypto';
import type { OriginId } from '../../../protocol/wire/ids.ts';
import { originPauseMsMax, originsMax } from '../../../protocol/wire/limits.ts';
import type {
  OriginDemand,
  OriginShares as SharesMessage,
} from '../../../protocol/wire/messages.ts';

export interface OriginLimits {
  /** Requests at once, at least 1. */
  requests: number;
  perSecond: number;
  pausedUntilMs: number;
}

export interface OriginShares {
  /** As they stand now, for a `scheme://host`. */
  limitsOf(origin: string): OriginLimits;
  /** So many requests are under way or wait. */
  want(origin: string, requests: number): void;
  /** The origin asked to be left alone for so long: this node obeys at once, the others hear of it. */
  throttled(origin: string, pauseMs: number): void;
  /** Called when limits may have become larger. */
  onRaised: () => void;
  connect(send: (message: OriginDemand) => void): void;
  /** A session stands: all is told again. */
  sessionOpened(): void;
  sessionLost(): void;
  take(message: SharesMessage): void;
}

interface Used {
  id: OriginId;
  origin: string;
  /** Most requests since the last look. */
  peak: number;
  usedAtMs: number;
  /** What the coordinator was told, and when; 0 and never before. */
  said: number;
  saidAtMs: number;
  share: { requests: number; perSecond: number } | undefined;
  pausedUntilMs: number;
}

/** How often demand that fell, or is to be said again, is looked at. */
const lookMs = 1_000;
/** Said again after so long, a third of what the coordinator waits. */
const sayAgainMs = 5_000;
/** An origin that was not asked for so long is given back. */
const idleMs = 5_000;
/** Requests at once until the coordinator has answered for the first time: a round trip. */
const requestsFirst = 4;

export function createOriginShares(
  now: () => number,
  own: { requestsMax: number; perSecondMax: number },
): OriginShares {
  const used = new Map<string, Used>();
  const byId = new Map<OriginId, Used>();
  let send: ((message: OriginDemand) => void) | undefined;
  let isOpen = false;
  /** What the mesh may in all, by the coordinator's last word. */
  let mesh: { nodes: number; requestsMax: number; perSecondMax: number } | undefined;
  let timer: NodeJS.Timeout | undefined;

  const find = (origin: string): Used => {
    let one = used.get(origin);
    if (one === undefined) {
      const id = createHash('sha256').update(origin).digest('hex').slice(0, 16) as OriginId;
      const fresh = { peak: 0, said: 0, saidAtMs: 0, share: undefined, pausedUntilMs: 0 };
      one = { id, origin, usedAtMs: now(), ...fresh };
      used.set(origin, one);
      byId.set(id, one);
    }
    return one;
  };
  const forget = (one: Used): void => {
    used.delete(one.origin);
    byId.delete(one.id);
  };
  /** With room to grow: who is told what it has now would have to ask for every request more. */
  const wish = (peak: number): number => Math.min(own.requestsMax, Math.ceil(peak * 1.5) + 1);
  const say = (origins: OriginDemand['origins']): void => {
    if (isOpen && origins.length > 0) {
      send?.({ kind: 'originDemand', origins: origins.slice(0, originsMax) });
    }
  };
  const wanted = (one: Used, figure: number): OriginDemand['origins'][number] => {
    one.said = figure;
    one.saidAtMs = now();
    return { origin: one.id, wanted: figure, pauseMs: null };
  };
  const look = (): void => {
    const nowMs = now();
    const news: OriginDemand['origins'] = [];
    for (const one of used.values()) {
      if (one.peak === 0 && nowMs - one.usedAtMs > idleMs && nowMs > one.pausedUntilMs) {
        news.push(wanted(one, 0));
        forget(one);
        continue;
      }
      const figure = wish(one.peak);
      // Falls are said late and rises at once: a pause between two bursts is no lack of interest.
      const isDue = nowMs - one.saidAtMs > sayAgainMs;
      if (figure > one.said || isDue) news.push(wanted(one, figure));
      one.peak = 0;
    }
    say(news);
    if (used.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };

  return {
    onRaised: () => undefined,
    limitsOf(origin) {
      const one = used.get(origin);
      const pausedUntilMs = one?.pausedUntilMs ?? 0;
      const share = isOpen ? one?.share : undefined;
      if (send === undefined) {
        return { requests: own.requestsMax, perSecond: own.perSecondMax, pausedUntilMs };
      }
      const part = mesh === undefined ? undefined : nth(mesh);
      const first = Math.min(requestsFirst, part?.requests ?? requestsFirst);
      const requests = share?.requests ?? (isOpen ? first : (part?.requests ?? requestsFirst));
      const perSecond = share?.perSecond ?? part?.perSecond ?? own.perSecondMax;
      return {
        requests: Math.min(own.requestsMax, requests),
        perSecond: Math.min(own.perSecondMax, perSecond),
        pausedUntilMs,
      };
    },
    want(origin, requests) {
      const one = find(origin);
      one.usedAtMs = now();
      one.peak = Math.max(one.peak, requests);
      if (send === undefined) return;
      if (requests > one.said && one.said < own.requestsMax) say([wanted(one, wish(one.peak))]);
      timer ??= setInterval(look, lookMs).unref();
    },
    throttled(origin, pauseMs) {
      const one = find(origin);
      const bounded = Math.min(originPauseMsMax, pauseMs);
      one.pausedUntilMs = Math.max(one.pausedUntilMs, now() + bounded);
      say([{ ...wanted(one, Math.max(1, one.said)), pauseMs: bounded }]);
    },
    connect(given) {
      send = given;
    },
    sessionOpened() {
      isOpen = true;
      for (const one of used.values()) one.share = undefined;
      say([...used.values()].map((one) => wanted(one, Math.max(1, one.said))));
    },
    sessionLost() {
      isOpen = false;
      this.onRaised();
    },
    take(message) {
      const { nodes, requestsMax, perSecondMax } = message;
      mesh = { nodes: Math.max(1, nodes), requestsMax, perSecondMax };
      for (const { origin, requests, perSecond, pauseMs } of message.origins) {
        const one = byId.get(origin);
        if (one === undefined) continue;
        one.share = { requests, perSecond };
        one.pausedUntilMs = Math.max(one.pausedUntilMs, now() + pauseMs);
      }
      this.onRaised();
    },
  };
}

function nth(mesh: { nodes: number; requestsMax: number; perSecondMax: number }): {
  requests: number;
  perSecond: number;
} {
  return {
    requests: Math.max(1, Math.floor(mesh.requestsMax / mesh.nodes)),
    perSecond: mesh.perSecondMax / mesh.nodes,
  };
}
