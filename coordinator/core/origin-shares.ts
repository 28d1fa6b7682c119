/**
 * Who may ask how much of one origin of imagery: what the whole mesh may is divided among the nodes that
 * want it, those that want little first. An origin that says it is overrun, to one node, is asked less by
 * all of them at once, and more again bit by bit. Decisions alone; `mesh/origin-budgets.ts` has the clock.
 */
import { assert } from '../../protocol/base/assert.ts';
import type { NodeId } from '../../protocol/wire/ids.ts';

export interface OriginBudget {
  /** Requests at once of the whole mesh to one origin. */
  readonly requestsMax: number;
  /** Requests a second of the whole mesh to one origin. */
  readonly perSecondMax: number;
}

/** One origin, as the nodes that use it see it. */
export interface OriginState {
  readonly users: Map<NodeId, OriginUser>;
  /** Share of the budget that it bore when it last said that it was overrun; 1 when it never did. */
  bore: number;
  overrunAtMs: number;
  pausedUntilMs: number;
}

interface OriginUser {
  wanted: number;
  heardAtMs: number;
  /** Requests at once that it was told last; 0 before. */
  told: number;
  /** Until then it may still have as many under way as it was told before a share was lowered. */
  before: number;
  beforeUntilMs: number;
}

/** What one node may. */
export interface OriginShare {
  readonly requests: number;
  readonly perSecond: number;
  readonly pauseMs: number;
}

/** A node that says nothing for so long has no use for the origin any more. */
export const demandMsMax = 15_000;
/** A lowered share is given to others after this: requests that are under way come to their end. */
export const settleMs = 1_000;
/** One overrun is told by several nodes: within this time it counts once. */
const overrunMs = 1_000;
const boreMin = 1 / 16;
/** Of the budget, what is tried again for each second without complaint: all of it 20 s after the worst. */
const recoveryPerSecond = 0.05;

export function createOriginState(): OriginState {
  return { users: new Map(), bore: 1, overrunAtMs: 0, pausedUntilMs: 0 };
}

/** A node says what it wants, and perhaps that the origin asked for a pause. */
export function takeDemand(
  state: OriginState,
  node: NodeId,
  said: { wanted: number; pauseMs: number | null; nowMs: number },
): void {
  const { nowMs } = said;
  if (said.wanted === 0) state.users.delete(node);
  else {
    const known = state.users.get(node);
    if (known === undefined) {
      const fresh = { told: 0, before: 0, beforeUntilMs: 0 };
      state.users.set(node, { wanted: said.wanted, heardAtMs: nowMs, ...fresh });
    } else {
      known.wanted = said.wanted;
      known.heardAtMs = nowMs;
    }
  }
  if (said.pauseMs === null) return;
  state.pausedUntilMs = Math.max(state.pausedUntilMs, nowMs + said.pauseMs);
  if (state.bore < 1 && nowMs - state.overrunAtMs < overrunMs) return;
  state.bore = Math.max(boreMin, boreAt(state, nowMs) / 2);
  state.overrunAtMs = nowMs;
}

/**
 * What each user may from now on. A raised share waits until what it is taken from has settled, so that
 * together they ask no more than the budget, but for one request at once that every user always has.
 */
export function planShares(
  state: OriginState,
  budget: OriginBudget,
  nowMs: number,
): Map<NodeId, OriginShare> {
  for (const [node, user] of state.users) {
    if (nowMs - user.heardAtMs >= demandMsMax) state.users.delete(node);
  }
  const bore = boreAt(state, nowMs);
  const requestsMax = Math.max(1, Math.floor(budget.requestsMax * bore));
  const fair = divide(state.users, requestsMax);
  for (const [node, user] of state.users) {
    const share = fair.get(node) ?? 1;
    if (share >= user.told) continue;
    user.before = Math.max(user.told, nowMs < user.beforeUntilMs ? user.before : 0);
    user.beforeUntilMs = nowMs + settleMs;
    user.told = share;
  }
  let busy = 0;
  for (const user of state.users.values()) busy += busyOf(user, nowMs);
  const shares = new Map<NodeId, OriginShare>();
  for (const [node, user] of state.users) {
    const own = busyOf(user, nowMs);
    const free = Math.max(0, requestsMax - (busy - own));
    const raised = Math.max(user.told, 1, Math.min(fair.get(node) ?? 1, free));
    user.told = raised;
    busy += busyOf(user, nowMs) - own;
    shares.set(node, {
      requests: raised,
      perSecond: (budget.perSecondMax * bore * raised) / Math.max(requestsMax, raised),
      pauseMs: Math.max(0, state.pausedUntilMs - nowMs),
    });
  }
  return shares;
}

function busyOf(user: OriginUser, nowMs: number): number {
  return nowMs < user.beforeUntilMs ? Math.max(user.told, user.before) : user.told;
}

function boreAt(state: OriginState, nowMs: number): number {
  const recovered = ((nowMs - state.overrunAtMs) / 1_000) * recoveryPerSecond;
  return Math.min(1, state.bore + recovered);
}

/** Max-min fair: who wants less than an equal part gets what it wants, the others part the rest. */
function divide(
  users: ReadonlyMap<NodeId, OriginUser>,
  requestsMax: number,
): ReadonlyMap<NodeId, number> {
  const byNeed = [...users].sort(
    ([oneNode, one], [otherNode, other]) =>
      one.wanted - other.wanted || (oneNode < otherNode ? -1 : 1),
  );
  const shares = new Map<NodeId, number>();
  let left = requestsMax;
  for (const [at, [node, { wanted }]] of byNeed.entries()) {
    assert(wanted > 0, 'a user of an origin wants something of it');
    const share = Math.max(1, Math.min(wanted, Math.floor(left / (byNeed.length - at))));
    shares.set(node, share);
    left = Math.max(0, left - share);
  }
  return shares;
}
