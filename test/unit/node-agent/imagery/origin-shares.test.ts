/** Three nodes' gates and the coordinator's budgets, joined by hand, over an origin that counts. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createOriginBudgets } from '../../../../coordinator/mesh/origin-budgets.ts';
import { createOriginGates } from '../../../../node-agent/imagery/origins/gates.ts';
import { createOriginShares } from '../../../../node-agent/imagery/origins/origin-shares.ts';
import type { NodeId } from '../../../../protocol/wire/ids.ts';

const uri = 'https://scenes.example.org/a.tif';
const budget = { requestsMax: 6, perSecondMax: 10_000 };
const never = new AbortController().signal;
const now = (): number => performance.now();

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
  });
});
afterEach(() => {
  vi.useRealTimers();
});

function joinNodes(count: number) {
  const shares = Array.from({ length: count }, () =>
    createOriginShares(now, { requestsMax: 32, perSecondMax: 500 }),
  );
  const names = shares.map((_, at) => `n${at}` as NodeId);
  const budgets = createOriginBudgets(
    {
      nowMs: now,
      nodesCount: () => count,
      send: (node, message) => shares[names.indexOf(node)]?.take(message),
    },
    budget,
  );
  for (const [at, one] of shares.entries()) {
    one.connect((demand) => budgets.take(names[at] as NodeId, demand));
    one.sessionOpened();
  }
  const gates = shares.map((one) => createOriginGates(now, one));
  return { shares, budgets, gates, names };
}

describe('nodes that read from one origin', () => {
  it('have no more requests under way than the mesh may, and use it all', async () => {
    const { gates, budgets } = joinNodes(3);
    let open = 0;
    let most = 0;
    let late = 0;
    const stop = new AbortController();
    const read = async (at: number): Promise<void> => {
      while (!stop.signal.aborted) {
        const leave = await gates[at]?.enter(uri, stop.signal).catch(() => undefined);
        if (leave === undefined) return;
        open += 1;
        if (now() > 5_000) {
          most = Math.max(most, open);
          late += 1;
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
        open -= 1;
        leave();
      }
    };
    const readers = Array.from({ length: 30 }, (_, at) => read(at % 3));
    for (let step = 0; step < 200; step += 1) await vi.advanceTimersByTimeAsync(50);
    stop.abort();
    await vi.advanceTimersByTimeAsync(500);
    await Promise.all(readers);
    expect(most).toBe(6);
    // Six at once of 100 ms each, for 5 s.
    expect(late).toBeGreaterThan(6 * 10 * 5 * 0.9);
    budgets.stop();
  });

  it('leave it alone together when it tells one of them to wait', async () => {
    const { gates, shares, budgets } = joinNodes(2);
    for (const gate of gates) (await gate.enter(uri, never))();
    const before = shares[1]?.limitsOf('https://scenes.example.org').requests ?? 0;
    gates[0]?.pauseOrigin(uri, 3_000);
    let entered = 0;
    const waiting = gates.map(async (gate) => {
      (await gate.enter(uri, never))();
      entered += 1;
    });
    await vi.advanceTimersByTimeAsync(2_900);
    expect(entered).toBe(0);
    await vi.advanceTimersByTimeAsync(200);
    await Promise.all(waiting);
    expect(entered).toBe(2);
    expect(before).toBeGreaterThan(1);
    budgets.stop();
  });

  it('go by an even part each while the coordinator is away', async () => {
    const { shares, gates, budgets } = joinNodes(3);
    for (const gate of gates) (await gate.enter(uri, never))();
    for (const one of shares) one.sessionLost();
    const limits = shares.map((one) => one.limitsOf('https://scenes.example.org'));
    expect(limits.map(({ requests }) => requests)).toEqual([2, 2, 2]);
    expect(limits[0]?.perSecond).toBe(500);
    budgets.stop();
  });

  it('take over what a node had that left', async () => {
    const { shares, gates, budgets, names } = joinNodes(2);
    const open = await Promise.all(
      gates.flatMap((gate) => [gate.enter(uri, never), gate.enter(uri, never)]),
    );
    for (const one of shares) one.want('https://scenes.example.org', 32);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(shares[0]?.limitsOf('https://scenes.example.org').requests).toBe(3);
    budgets.left(names[1] as NodeId);
    await vi.advanceTimersByTimeAsync(1_500);
    expect(shares[0]?.limitsOf('https://scenes.example.org').requests).toBe(6);
    for (const leave of open) leave();
    budgets.stop();
  });
});
