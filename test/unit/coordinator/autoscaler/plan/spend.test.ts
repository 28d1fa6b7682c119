import { describe, expect, it } from 'vitest';
import {
  booting,
  busy,
  decide,
  draining,
  instance,
  nowMs,
  offer,
  plan,
  pool,
  row,
} from './fleets.ts';

const minutes = 60_000;
const offers = [offer({ pricePerHour: 1, bootMs: 6 * minutes })];
const priced = { pricePerHour: 1, requestedAtMs: nowMs - 60 * minutes };
const capped = (spent: number, changes: Parameters<typeof pool>[0] = {}) => [
  pool({ instancesMax: 100, spendTotalMax: 10, spent, offers, ...changes }),
];
const work = (changes: Parameters<typeof row>[0] = {}) => [
  row({ runnable: 900, runtimeMs: 1 * minutes, ...changes }),
];
/** A machine that works has two minutes to finish and a minute to end: a twentieth of a dollar. */
const toEnd = 3 / 60;
const aMinute = 1 / 60;

describe('a cap in all', () => {
  it('is compared with what boots, use and the end of a machine will cost (no budget)', () => {
    // Two boots, two minutes to finish and one to end: a quarter of a dollar each.
    expect(decide({ demand: work(), pools: capped(9.5) })).toEqual(['create 2 local small']);
    expect(decide({ demand: work(), pools: capped(9.51) })).toEqual(['create 1 local small']);
    const { outlooks } = plan({ demand: work(), pools: capped(9.8) });
    expect(outlooks[0]?.heldBack).toBe(
      'The pool may cost $10 in all; $9.80 are spent, what is there needs up to $0.00 more until it has ended, and one of small costs at least $0.25.',
    );
  });

  it('counts what the machines that are there still cost (a cap overshot by all that runs)', () => {
    const instances = Array.from({ length: 20 }, (_, at) => busy(`x${at}`, priced));
    // Each goes on for a boot before another is bought, and then ends: 20 × 9 minutes are $3.
    const bought = (spent: number) => decide({ demand: work(), pools: capped(spent), instances });
    expect(bought(6.76)).toEqual([]);
    expect(bought(6.74)).toEqual(['create 1 local small']);
  });

  it('stops a machine while there is still money for its end (spent $4.41 of $4)', () => {
    const stopped = (spent: number) =>
      decide({ demand: work(), pools: capped(spent), instances: [busy('x', priced)] });
    expect(stopped(10 - toEnd - aMinute - 1e-6)).toEqual([]);
    expect(stopped(10 - toEnd - aMinute + 1e-6)).toEqual(['drain x']);
  });

  it('stops no more than it must: the others use what is left', () => {
    const instances = [busy('x', priced), busy('y', priced), booting('z', { pricePerHour: 1 })];
    const stopped = (minutesLeft: number) =>
      decide({ demand: work(), pools: capped(10 - minutesLeft * aMinute), instances });
    // 3 to end each that works, 7.5 for the boot that is under way, and one each to go on.
    expect(stopped(16.51)).toEqual([]);
    expect(stopped(15.51)).toEqual(['end z']);
    expect(stopped(14.51)).toEqual(['drain y', 'end z']);
    expect(stopped(13.51)).toEqual(['drain x', 'drain y', 'end z']);
  });

  it('lets tasks finish that are as long as they use to be', () => {
    const stopped = (spent: number, runtimeMs: number) =>
      decide({ demand: work({ runtimeMs }), pools: capped(spent), instances: [busy('x', priced)] });
    expect(stopped(9.6, 22 * minutes)).toEqual([]);
    expect(stopped(9.6, 23 * minutes)).toEqual(['drain x']);
  });

  it('ends what has not finished in time, and says that it returns to the queue', () => {
    const since = (ms: number) =>
      plan({
        demand: work(),
        pools: capped(9.97),
        instances: [draining('x', { ...priced, held: 1, drainingSinceMs: nowMs - ms })],
      }).decisions;
    expect(since(2 * minutes - 12_000)).toEqual([]);
    expect(since(2 * minutes)).toMatchObject([
      { kind: 'end', instance: 'x', reason: expect.stringContaining('returns to the queue') },
    ]);
  });

  it('ends at once what there is no time left for (a coordinator that was away)', () => {
    expect(decide({ pools: capped(9.97), instances: [busy('x', priced)] })).toEqual(['end x']);
    const late = [draining('x', { ...priced, held: 1 })];
    expect(decide({ pools: capped(9.97), instances: late })).toEqual(['end x']);
  });

  it('ends first what was to end anyway (nothing at all is finished)', () => {
    const instances = [
      busy('x', priced),
      draining('y', { ...priced, held: 1, drainingSinceMs: nowMs - 1 }),
      booting('z', { pricePerHour: 1 }),
    ];
    const [first] = decide({ pools: capped(10 - 13.49 * aMinute), instances });
    expect(first).toBe('end y');
  });

  it('lets go of all when it is reached, of spares and the minimum, too', () => {
    const pools = capped(10, { instancesMin: 2, warm: 1 });
    const instances = [busy('x', priced), instance('y', priced)];
    const outcome = plan({ demand: work(), pools, instances });
    expect(outcome.decisions.map(({ kind }) => kind)).toEqual(['end', 'end']);
    expect(outcome.outlooks[0]?.heldBack).toContain(
      'The pool may cost $10 in all: $10.00 are spent',
    );
  });

  it('calls a drain off only where it leaves enough to go on (stopped and started in turn)', () => {
    const instances = [draining('x', { ...priced, drainingSinceMs: nowMs - minutes })];
    const called = (minutesLeft: number) =>
      decide({ demand: work(), pools: capped(10 - minutesLeft * aMinute), instances });
    expect(called(4.9)).toEqual([]);
    expect(called(5.1)).toEqual(['undrain x']);
  });

  it('keeps half of it until a task was measured (all spent on boots for long tasks)', () => {
    const [offerOf] = offers;
    if (offerOf === undefined) throw new Error('there is no offer');
    const demand = [row({ runnable: 10_000 })];
    expect(decide({ demand, pools: capped(0) })).toEqual(['create 20 local small']);
    // A boot that was never measured may take twice as long as the guess.
    const pools = capped(0, { offers: [{ ...offerOf, boots: 0 }] });
    expect(decide({ demand, pools })).toEqual(['create 11 local small']);
  });

  it('counts what the cloud bills at least', () => {
    const pools = capped(9.5, { billingFloorMs: 60 * minutes });
    expect(decide({ demand: work(), pools })).toEqual([]);
  });
});

describe('a cap an hour', () => {
  it('counts what nobody asked for (orphans beside a full pool)', () => {
    const pools = [pool({ instancesMax: 9, spendPerHourMax: 3, offers, orphansPerHour: 2 })];
    expect(decide({ demand: work(), pools })).toEqual(['create 1 local small']);
  });

  it('gives back what is over it, once it is less than what runs (a cap lowered by a restart)', () => {
    const pools = [pool({ spendPerHourMax: 2, offers })];
    const instances = [busy('x', priced), booting('y', { pricePerHour: 1 }), busy('z', priced)];
    const { decisions } = plan({ demand: work(), pools, instances });
    expect(decisions).toEqual([
      { kind: 'end', instance: 'y', reason: 'The pool may cost $2 an hour; it costs $3.00.' },
    ]);
  });
});
