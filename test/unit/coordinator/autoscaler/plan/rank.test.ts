import { describe, expect, it } from 'vitest';
import { defaultFleetSettings } from '../../../../../coordinator/autoscaler/plan/inputs.ts';
import {
  fadeInterruptions,
  findLifeMs,
  neverInterrupted,
} from '../../../../../coordinator/autoscaler/plan/interruptions.ts';
import { finishedShare } from '../../../../../coordinator/autoscaler/plan/rank.ts';
import { decide, nowMs, offer, plan, pool, row } from './fleets.ts';

const minutes = 60_000;
const taken = (count: number, exposedMs: number) => ({ count, exposedMs, atMs: nowMs });
const spot = offer({ id: 'spot', spot: true, pricePerHour: 0.3, bootMs: 3 * minutes });
const other = offer({ id: 'other', spot: true, pricePerHour: 0.4, bootMs: 3 * minutes });
const onDemand = offer({ id: 'on-demand', pricePerHour: 1, bootMs: 3 * minutes });
const demand = [row({ runnable: 300, runtimeMs: 2 * minutes })];
const bought = (...offers: (typeof spot)[]) =>
  decide({ demand, pools: [pool({ instancesMax: 40, offers })] });

describe('after machines were taken back', () => {
  it('spot is made again while its work costs less (all on demand after one storm)', () => {
    const hit = { ...spot, interruptions: taken(1, 7 * minutes) };
    expect(bought(hit, onDemand)).toEqual(['create 40 local spot']);
  });

  it('another zone or type comes first, by what its work costs', () => {
    const hit = { ...spot, interruptions: taken(3, 20 * minutes) };
    expect(bought(hit, onDemand, other)).toEqual(['create 40 local other']);
    const both = { ...other, interruptions: taken(3, 20 * minutes) };
    expect(bought(hit, onDemand, both)).toEqual(['create 40 local spot']);
  });

  it('on demand comes first when spot lives too short for boots and tasks, and the reason says so', () => {
    const hit = { ...spot, interruptions: taken(30, 60 * minutes) };
    const pools = [pool({ instancesMax: 40, offers: [hit, onDemand] })];
    const [decision] = plan({ demand, pools }).decisions;
    expect(decision).toMatchObject({ kind: 'create', offer: 'on-demand', count: 40 });
    expect(decision?.reason).toMatch(
      /spot has lately been taken back every 140\.0 s\. An hour of finished work is expected to cost \$1\.72 of spot, \$1\.20 of on-demand\./,
    );
  });

  it('tasks that are longer than spot lives go on demand, short ones do not', () => {
    const hit = { ...spot, interruptions: taken(6, 50 * minutes) };
    const of = (runtimeMs: number) =>
      decide({
        demand: [row({ runnable: 300, runtimeMs })],
        pools: [pool({ instancesMax: 40, offers: [hit, onDemand] })],
      });
    expect(of(2 * minutes)).toEqual(['create 40 local spot']);
    expect(of(30 * minutes)).toEqual(['create 40 local on-demand']);
  });

  it('a wider machine is compared by the slot', () => {
    const hit = { ...spot, interruptions: taken(3, 20 * minutes) };
    const wide = { ...onDemand, pricePerHour: 1, shape: { ...onDemand.shape, slots: 8, cpus: 8 } };
    expect(bought(hit, wide)[0]).toContain('on-demand');
  });

  it('an offer without a price stays where it is listed', () => {
    const hit = { ...spot, interruptions: taken(3, 20 * minutes) };
    expect(bought(hit, { ...onDemand, pricePerHour: 0 })).toEqual(['create 40 local spot']);
  });

  it('nothing is made of what would finish next to nothing (a loop that buys)', () => {
    const hit = { ...spot, interruptions: taken(90, 90 * minutes) };
    const pools = [pool({ instancesMax: 40, offers: [hit] })];
    const { decisions, outlooks } = plan({ demand, pools });
    expect(decisions).toEqual([]);
    expect(outlooks[0]?.heldBack).toContain('Hardly anything would be finished on spot.');
  });

  it('offers come as they are listed when none was', () => {
    expect(bought(onDemand, spot)).toEqual(['create 40 local on-demand']);
    expect(bought(other, spot)).toEqual(['create 40 local other']);
  });
});

describe('the share of paid time that becomes finished work', () => {
  const options = { bootMs: 180, useMs: 600, taskMs: 60 };

  it('is use by boot and use, for what is never taken back', () => {
    expect(finishedShare({ ...options, lifeMs: Number.POSITIVE_INFINITY })).toBeCloseTo(600 / 780);
    expect(finishedShare({ ...options, lifeMs: 1e9 })).toBeCloseTo(600 / 780, 4);
  });

  it('is what a simulation of single machines finds', () => {
    let state = 42;
    const next = (): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return (state + 0.5) / 2_147_483_648;
    };
    const lifeMs = 400;
    let paid = 0;
    let finished = 0;
    for (let machine = 0; machine < 200_000; machine += 1) {
      const aliveMs = Math.min(780, -lifeMs * Math.log(next()));
      paid += aliveMs;
      finished += Math.max(0, Math.floor((aliveMs - 180) / 60)) * 60;
    }
    expect(finishedShare({ ...options, lifeMs })).toBeCloseTo(finished / paid, 1);
  });
});

describe('the history of an offer', () => {
  const { interruptionHalfLifeMs: halfLifeMs } = defaultFleetSettings;

  it('counts half after its half-life, and goes back to the guess', () => {
    const history = taken(4, 40 * minutes);
    const options = { nowMs: nowMs + halfLifeMs, presentSinceMs: null, halfLifeMs };
    expect(fadeInterruptions(history, options)).toMatchObject({
      count: 2,
      exposedMs: 20 * minutes,
    });
    const life = (history: Parameters<typeof findLifeMs>[0]) =>
      findLifeMs(history, defaultFleetSettings);
    expect(life(history)).toBeLessThan(13 * minutes);
    const later = { ...options, nowMs: nowMs + 20 * halfLifeMs };
    expect(life(fadeInterruptions(history, later))).toBeGreaterThan(23 * 60 * minutes);
  });

  it('grows by the time in which machines are there and nothing happens', () => {
    const since = (ms: number) =>
      fadeInterruptions(neverInterrupted, { nowMs, presentSinceMs: nowMs - ms, halfLifeMs });
    expect(since(minutes).exposedMs / minutes).toBeCloseTo(1, 1);
    expect(since(100 * halfLifeMs).exposedMs / halfLifeMs).toBeCloseTo(1 / Math.LN2, 3);
  });
});
