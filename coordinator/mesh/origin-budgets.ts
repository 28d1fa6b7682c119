/** Divides what the mesh may ask of each origin of imagery among its nodes, and tells them what changes. */
import type { NodeId, OriginId } from '../../protocol/wire/ids.ts';
import { originsMax } from '../../protocol/wire/limits.ts';
import type { OriginDemand, OriginShares } from '../../protocol/wire/messages.ts';
import type { OriginBudget, OriginShare, OriginState } from '../core/origin-shares.ts';
import { createOriginState, planShares, takeDemand } from '../core/origin-shares.ts';

export interface OriginBudgets {
  take(node: NodeId, demand: OriginDemand): void;
  /** The node's session has ended: what it had goes to the others. */
  left(node: NodeId): void;
  /** Idempotent. */
  stop(): void;
}

/** How often shares are looked at while some origin is in use: nodes that fall silent, and recovery. */
const lookMs = 500;
/** A share that differs by less from what was told is not told. */
const tellShare = 0.1;

export function createOriginBudgets(
  deps: {
    nowMs(): number;
    nodesCount(): number;
    /** To the node's session; of no effect when there is none. */
    send(node: NodeId, message: OriginShares): void;
  },
  budget: OriginBudget,
): OriginBudgets {
  /** All and only origins that some node wants. */
  const origins = new Map<OriginId, OriginState>();
  const told = new Map<NodeId, Map<OriginId, Told>>();
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  const tell = (ids: Iterable<OriginId>, asked?: NodeId): void => {
    const nowMs = deps.nowMs();
    const news = new Map<NodeId, OriginShares['origins']>();
    for (const origin of ids) {
      const state = origins.get(origin);
      if (state === undefined) continue;
      for (const [node, share] of planShares(state, budget, nowMs)) {
        const known = told.get(node) ?? new Map<OriginId, Told>();
        told.set(node, known);
        // Who asks is always answered: its own word may have been that it knows nothing.
        const { pausedUntilMs } = state;
        if (node !== asked && !isNews(known.get(origin), { share, pausedUntilMs })) continue;
        known.set(origin, { share, pausedUntilMs });
        const list = news.get(node) ?? [];
        list.push({ origin, ...share });
        news.set(node, list);
      }
      if (state.users.size === 0) origins.delete(origin);
    }
    const general = { nodes: deps.nodesCount(), ...budget };
    for (const [node, list] of news) {
      deps.send(node, { kind: 'originShares', ...general, origins: list.slice(0, originsMax) });
    }
    setTimer();
  };
  const setTimer = (): void => {
    if (origins.size === 0 || isStopped) {
      clearInterval(timer);
      timer = undefined;
    } else timer ??= setInterval(() => tell([...origins.keys()]), lookMs).unref();
  };

  return {
    take(node, demand) {
      if (isStopped) return;
      for (const { origin, wanted, pauseMs } of demand.origins) {
        const state = origins.get(origin) ?? createOriginState();
        origins.set(origin, state);
        takeDemand(state, node, { wanted, pauseMs, nowMs: deps.nowMs() });
        if (wanted === 0) told.get(node)?.delete(origin);
      }
      tell(
        demand.origins.map(({ origin }) => origin),
        node,
      );
    },
    left(node) {
      told.delete(node);
      const used = [...origins].filter(([, state]) => state.users.delete(node));
      tell(used.map(([origin]) => origin));
    },
    stop() {
      isStopped = true;
      setTimer();
    },
  };
}

interface Told {
  share: OriginShare;
  pausedUntilMs: number;
}

function isNews(before: Told | undefined, now: Told): boolean {
  if (before === undefined || before.share.requests !== now.share.requests) return true;
  if (now.pausedUntilMs > before.pausedUntilMs) return true;
  const { perSecond } = before.share;
  return Math.abs(now.share.perSecond - perSecond) > tellShare * perSecond;
}
