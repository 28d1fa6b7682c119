import { describe, expect, it } from 'vitest';
import {
  createOriginState,
  demandMsMax,
  planShares,
  settleMs,
  takeDemand,
} from '../../../../coordinator/core/origin-shares.ts';
import { nextBelow, seedRandom } from '../../../../protocol/base/random.ts';
import type { NodeId } from '../../../../protocol/wire/ids.ts';

const [a, b, c] = ['a', 'b', 'c'] as NodeId[] as [NodeId, NodeId, NodeId];
const budget = { requestsMax: 12, perSecondMax: 120 };
const requestsOf = (shares: ReturnType<typeof planShares>): Record<string, number> =>
  Object.fromEntries([...shares].map(([node, { requests }]) => [node, requests]));

describe('shares of an origin', () => {
  it('give a node alone what it wants, within the budget, with its part of the rate', () => {
    const state = createOriginState();
    takeDemand(state, a, { wanted: 4, pauseMs: null, nowMs: 0 });
    expect(planShares(state, budget, 0).get(a)).toEqual({ requests: 4, perSecond: 40, pauseMs: 0 });
    takeDemand(state, a, { wanted: 99, pauseMs: null, nowMs: 1 });
    expect(planShares(state, budget, 1).get(a)).toEqual({
      requests: 12,
      perSecond: 120,
      pauseMs: 0,
    });
  });

  it('serve those that want little first, and part the rest evenly', () => {
    const state = createOriginState();
    for (const [node, wanted] of [
      [a, 2],
      [b, 50],
      [c, 50],
    ] as const) {
      takeDemand(state, node, { wanted, pauseMs: null, nowMs: 0 });
    }
    expect(requestsOf(planShares(state, budget, 0))).toEqual({ a: 2, b: 5, c: 5 });
  });

  it('are raised only once what they are taken from has settled', () => {
    const state = createOriginState();
    takeDemand(state, a, { wanted: 50, pauseMs: null, nowMs: 0 });
    planShares(state, budget, 0);
    takeDemand(state, b, { wanted: 50, pauseMs: null, nowMs: 10 });
    // One request at once is everybody’s.
    expect(requestsOf(planShares(state, budget, 10))).toEqual({ a: 6, b: 1 });
    expect(requestsOf(planShares(state, budget, 9 + settleMs))).toEqual({ a: 6, b: 1 });
    expect(requestsOf(planShares(state, budget, 10 + settleMs))).toEqual({ a: 6, b: 6 });
  });

  it('go down for all when one node is told that the origin is overrun, and up again in time', () => {
    const state = createOriginState();
    for (const node of [a, b]) takeDemand(state, node, { wanted: 50, pauseMs: null, nowMs: 0 });
    expect(requestsOf(planShares(state, budget, 0))).toEqual({ a: 6, b: 6 });
    takeDemand(state, b, { wanted: 50, pauseMs: 2_000, nowMs: 100 });
    const now = planShares(state, budget, 100);
    expect(requestsOf(now)).toEqual({ a: 3, b: 3 });
    expect(now.get(a)).toEqual({ requests: 3, perSecond: 30, pauseMs: 2_000 });
    // The other node hears the same a moment later: that is one overrun.
    takeDemand(state, a, { wanted: 50, pauseMs: 1_000, nowMs: 300 });
    expect(planShares(state, budget, 300).get(b)).toMatchObject({ requests: 3, pauseMs: 1_800 });
    const again = (nowMs: number): Record<string, number> => {
      for (const node of [a, b]) takeDemand(state, node, { wanted: 50, pauseMs: null, nowMs });
      return requestsOf(planShares(state, budget, nowMs));
    };
    expect(again(5_100)).toEqual({ a: 4, b: 5 });
    expect(again(10_100 + settleMs)).toEqual({ a: 6, b: 6 });
  });

  it('of a node that is silent for too long go to the others', () => {
    const state = createOriginState();
    takeDemand(state, a, { wanted: 50, pauseMs: null, nowMs: 0 });
    takeDemand(state, b, { wanted: 50, pauseMs: null, nowMs: 5_000 });
    planShares(state, budget, 5_000);
    expect(requestsOf(planShares(state, budget, demandMsMax))).toEqual({ b: 12 });
  });

  it('never exceed the budget but for one request of each, through any order of what nodes say', () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const random = seedRandom(seed);
      const state = createOriginState();
      const nodes = Array.from({ length: 5 }, (_, at) => `n${at}` as NodeId);
      /** What each node may still have under way, by what it was told. */
      const told = new Map<NodeId, { requests: number; untilMs: number }[]>();
      for (let nowMs = 0; nowMs < 60_000; nowMs += 1 + nextBelow(random, 400)) {
        const node = nodes[nextBelow(random, nodes.length)] ?? a;
        const pauseMs = nextBelow(random, 20) === 0 ? nextBelow(random, 3_000) : null;
        takeDemand(state, node, { wanted: 1 + nextBelow(random, 30), pauseMs, nowMs });
        const shares = planShares(state, budget, nowMs);
        let requests = 0;
        for (const [one, share] of shares) {
          const earlier = (told.get(one) ?? []).filter(({ untilMs }) => untilMs > nowMs);
          for (const known of earlier) known.untilMs = Math.min(known.untilMs, nowMs + settleMs);
          const now = { requests: share.requests, untilMs: Number.POSITIVE_INFINITY };
          told.set(one, [...earlier, now]);
          requests += Math.max(...[...earlier, now].map((known) => known.requests));
        }
        const bound = budget.requestsMax + shares.size;
        expect({ seed, nowMs, within: requests <= bound }).toMatchObject({ within: true });
      }
    }
  });
});
