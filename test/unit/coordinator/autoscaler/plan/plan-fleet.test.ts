import { describe, expect, it } from 'vitest';
import type { FleetInstance } from '../../../../../coordinator/autoscaler/plan/inputs.ts';
import type { GroupId, ImageDigest, NamespaceName } from '../../../../../protocol/wire/ids.ts';
import {
  booting,
  busy,
  decide,
  draining,
  image,
  instance,
  nowMs,
  offer,
  plan,
  pool,
  row,
} from './fleets.ts';

const minutes = 60_000;
/** A cloud: dear, and slow to boot. */
const cloud = (changes: Parameters<typeof pool>[0] = {}) =>
  pool({
    instancesMax: 100,
    offers: [offer({ bootMs: 3 * minutes, pricePerHour: 1 })],
    ...changes,
  });

describe('work becomes machines', () => {
  it('none when nothing is queued', () => {
    expect(plan()).toEqual({
      decisions: [],
      outlooks: [
        {
          ...{ pool: 'local', inUse: 0, wanted: 0, live: 0, waiting: 0, draining: 0 },
          ...{ horizonSeconds: 1, pricePerHour: 0, heldBack: null },
        },
      ],
      work: [],
      lookAgainMs: null,
    });
  });

  it('by seconds of work, not by number of tasks', () => {
    expect(decide({ demand: [row({ runnable: 1_000, runtimeMs: 0.5 })] })).toEqual([
      'create 1 local small',
    ]);
    expect(decide({ demand: [row({ runnable: 10, runtimeMs: 10_000 })] })).toEqual([
      'create 4 local small',
    ]);
  });

  it('never more than there are tasks to run at once', () => {
    const demand = [row({ runnable: 3, runtimeMs: 3_600_000 })];
    expect(decide({ demand, pools: [cloud()] })).toEqual(['create 3 local small']);
  });

  it('of many small groups together, not one machine for each', () => {
    const demand = Array.from({ length: 50 }, (_, at) =>
      row({ group: `g${at}` as GroupId, runnable: 1, runtimeMs: 1_000 }),
    );
    expect(decide({ demand, pools: [cloud()] })).toEqual(['create 1 local small']);
  });

  it('is not more for one hour among seconds, nor less for a run of quick ones', () => {
    const demand = (runtimeMs: number) => [
      row({ runnable: 360, runtimeMs, runtimeP50Ms: 10_000, runtimeP90Ms: 20_000 }),
    ];
    const places = (runtimeMs: number) =>
      plan({ demand: demand(runtimeMs), pools: [cloud()] }).work[0]?.places;
    // A queue of two boots on ten machines takes twenty: each works for as long as it boots.
    expect(places(3_600_000)).toBe(40);
    expect(places(1)).toBe(20);
  });

  it('leaves to others what others can run', () => {
    const other = {
      slots: 8,
      cpus: 8,
      memoryBytes: 1_000,
      isolation: 'strong' as const,
      network: false,
      images: [image],
      namespaces: null,
    };
    expect(decide({ demand: [row({ runnable: 6 })], others: [other] })).toEqual([]);
    const closed = { ...other, namespaces: ['else' as NamespaceName] };
    expect(decide({ demand: [row({ runnable: 1 })], others: [closed] })).toEqual([
      'create 1 local small',
    ]);
  });

  it('makes machines that give network for tasks that ask for it', () => {
    const shape = { ...offer().shape, network: true };
    const pools = [pool(), pool({ pool: 'open', offers: [offer({ shape })] })];
    expect(decide({ demand: [row({ runnable: 1, network: true })], pools })).toEqual([
      'create 1 open small',
    ]);
  });

  it('packs tasks by what they need', () => {
    const shape = {
      slots: 4,
      cpus: 4,
      memoryBytes: 100,
      isolation: 'standard' as const,
      network: false,
    };
    const pools = [pool({ offers: [offer({ shape })] })];
    expect(decide({ demand: [row({ runnable: 8 })], pools })).toEqual(['create 2 local small']);
    const demand = [row({ runnable: 4, memoryBytes: 60 })];
    expect(decide({ demand, pools })).toEqual(['create 4 local small']);
  });

  it.each([
    ['the image', { imageDigest: 'sha256:b' as ImageDigest }],
    ['the cpus', { cpus: 2 }],
    ['the memory', { memoryBytes: 2_000 }],
    ['the isolation', { isolationMin: 'strong' as const }],
    ['the network', { network: true }],
  ])('makes nothing for a task whose needs exceed %s of the pool', (_, needs) => {
    expect(decide({ demand: [row({ runnable: 5, ...needs })] })).toEqual([]);
  });

  it('offers to the second pool only what the first cannot take', () => {
    const pools = [pool({ pool: 'first', instancesMax: 2 }), pool({ pool: 'second' })];
    expect(decide({ demand: [row({ runnable: 3 })], pools })).toEqual([
      'create 2 first small',
      'create 1 second small',
    ]);
  });

  it('looks ahead by the boots of each pool: quick processes buy no slow machines', () => {
    const pools = [pool({ pool: 'first', instancesMax: 2 }), cloud({ pool: 'second' })];
    const demand = (runnable: number) => [row({ runnable, runtimeMs: 1_000 })];
    expect(decide({ demand: demand(300), pools })).toEqual(['create 2 first small']);
    expect(decide({ demand: demand(900), pools })).toEqual([
      'create 2 first small',
      'create 3 second small',
    ]);
  });
});

describe('rule 1, booting capacity counts', () => {
  it('so that it never buys twice for the same queue', () => {
    const demand = [row({ runnable: 2 })];
    expect(decide({ demand, instances: [booting('x'), booting('y')] })).toEqual([]);
    expect(decide({ demand, instances: [booting('x')] })).toEqual(['create 1 local small']);
  });

  it('and nothing is bought for work that ends before a machine would have booted', () => {
    const pools = [cloud()];
    const instances = [busy('x'), busy('y')];
    const demand = [row({ runnable: 10, running: 2, runtimeMs: 30_000 })];
    expect(decide({ demand, instances, pools })).toEqual([]);
    const more = [row({ runnable: 100, running: 2, runtimeMs: 30_000 })];
    expect(decide({ demand: more, instances, pools })).toEqual(['create 15 local small']);
  });

  it('and the last machine that took minutes to boot is not given back after seconds (boot thrash)', () => {
    const pools = [cloud({ idleMs: 5_000 })];
    const idle = (forMs: number) => [instance('x', { idleSinceMs: nowMs - forMs })];
    expect(decide({ pools, instances: idle(3 * minutes - 1) })).toEqual([]);
    expect(decide({ pools, instances: idle(3 * minutes) })).toEqual(['drain x']);
  });

  it('nor are the others while work comes back sooner than they would boot (boot thrash)', () => {
    const idleSinceMs = nowMs - minutes;
    const instances = [instance('x', { idleSinceMs }), instance('y', { idleSinceMs })];
    const drained = (everyMs: number | null, sinceMs = nowMs - 2 * minutes) => {
      const level = { sinceMs, untilMs: idleSinceMs, everyMs };
      return decide({ pools: [cloud({ idleMs: 0, levels: [level, level] })], instances });
    };
    expect(drained(null)).toEqual(['drain x']);
    expect(drained(4 * minutes)).toEqual([]);
    // It comes back at last, but not for longer than two boots; or it should have been there.
    expect(drained(9 * minutes)).toEqual(['drain x']);
    expect(drained(4 * minutes, nowMs - 5 * minutes)).toEqual(['drain x']);
    expect(plan({ pools: [cloud()], instances }).outlooks).toMatchObject([{ waiting: 1 }]);
  });

  it('nor before the time that is billed anyway', () => {
    const pools = [pool({ billingFloorMs: 60 * minutes, idleMs: 1_000 })];
    const idle = (ageMs: number) => [
      instance('x', { requestedAtMs: nowMs - ageMs, idleSinceMs: nowMs - 5 * minutes }),
    ];
    expect(decide({ pools, instances: idle(59 * minutes) })).toEqual([]);
    expect(decide({ pools, instances: idle(60 * minutes) })).toEqual(['drain x']);
  });
});

describe('rule 2, work-seconds of what can run', () => {
  it('takes unknown tasks for short ones, many of them for work all the same (idle for a boot)', () => {
    const create = (runnable: number) => decide({ demand: [row({ runnable })], pools: [cloud()] });
    expect(create(18)).toEqual(['create 1 local small']);
    expect(create(180)).toEqual(['create 10 local small']);
    expect(create(1_000_000)).toEqual(['create 100 local small']);
  });

  it('and for at least as long as they have run', () => {
    const instances = Array.from({ length: 8 }, (_, at) => busy(`x${at}`));
    const demand = (runningForMs: number) => [row({ running: 8, runnable: 100, runningForMs })];
    expect(decide({ demand: demand(1_000), instances, pools: [cloud()] })).toEqual([]);
    expect(decide({ demand: demand(minutes), instances, pools: [cloud()] })).toEqual([
      'create 62 local small',
    ]);
  });

  it('buys nothing for tasks that wait for something else (workers for blocked tasks)', () => {
    expect(decide({ demand: [row({ queued: 500, ready: 0, runnable: 0 })] })).toEqual([]);
  });

  it('and no more than maximum_concurrency lets run, however long the queue', () => {
    const demand = [row({ runnable: 2, ready: 5_000, runtimeMs: minutes, maximumConcurrency: 2 })];
    expect(decide({ demand, pools: [cloud()] })).toEqual(['create 2 local small']);
  });
});

describe('rule 5, failures fall back and never loop', () => {
  const spot = offer({ id: 'spot', spot: true, pricePerHour: 0.3 });
  const onDemand = offer({ id: 'on-demand', pricePerHour: 1 });
  const demand = [row({ runnable: 3 })];

  it('takes the next offer while the first is paused, and says why', () => {
    const paused = {
      ...spot,
      pausedUntilMs: nowMs + 1_000,
      pauseReason: 'spot failed: none left.',
    };
    const { decisions } = plan({ demand, pools: [pool({ offers: [paused, onDemand] })] });
    expect(decisions).toMatchObject([{ kind: 'create', offer: 'on-demand', count: 3 }]);
    expect(decisions[0]?.reason).toContain('spot failed: none left.');
  });

  it('makes nothing while every offer is paused, and says until when', () => {
    const paused = offer({ pausedUntilMs: nowMs + 1_000, pauseReason: 'small failed: no boot.' });
    expect(plan({ demand, pools: [pool({ offers: [paused] })] })).toMatchObject({
      decisions: [],
      outlooks: [{ heldBack: 'small failed: no boot. Tried again in 1.0 s.' }],
      lookAgainMs: nowMs + 1_000,
    });
  });

  it('tries what has failed one at a time', () => {
    const pools = [pool({ offers: [offer({ failures: 2 })] })];
    expect(decide({ demand, pools })).toEqual(['create 1 local small']);
    expect(decide({ demand, pools, instances: [booting('x')] })).toEqual([]);
  });

  it('asks for one of what was refused, and takes the rest of the next until it is granted', () => {
    const pools = [cloud({ offers: [{ ...spot, bootMs: minutes, refusals: 1 }, onDemand] })];
    const many = [row({ runnable: 5, runtimeMs: minutes })];
    expect(decide({ demand: many, pools })).toEqual([
      'create 1 local spot',
      'create 4 local on-demand',
    ]);
    const asked = booting('x', { offer: 'spot', isGranted: false });
    expect(decide({ demand: many, pools, instances: [asked] })).toEqual([
      'create 4 local on-demand',
    ]);
  });

  it('does not boot a whole fleet of what has never booted (hundreds of machines of a broken image)', () => {
    const pools = [cloud({ offers: [offer({ bootMs: minutes, boots: 0 })] })];
    expect(decide({ demand: [row({ runnable: 90, runtimeMs: minutes })], pools })).toEqual([
      'create 50 local small',
    ]);
  });

  it('makes nothing while the pool is held', () => {
    const hold = { reason: 'The provider answers "denied".', untilMs: nowMs + 2_000 };
    expect(plan({ demand, pools: [pool({ hold })] })).toMatchObject({
      decisions: [],
      outlooks: [{ heldBack: 'The provider answers "denied". Tried again in 2.0 s.' }],
    });
  });

  it('never costs more an hour than the cap (no budget)', () => {
    const pools = [cloud({ spendPerHourMax: 2.5, offers: [onDemand] })];
    const instances = [busy('x', { pricePerHour: 1 })];
    const outcome = plan({ demand: [row({ runnable: 9, running: 1 })], pools, instances });
    expect(outcome.decisions).toMatchObject([{ kind: 'create', count: 1 }]);
    expect(outcome.outlooks[0]?.heldBack).toBe('The pool may cost $2.5 an hour; it costs $1.00.');
  });

  it('never goes over the limit of a pool, and says so', () => {
    const { decisions, outlooks } = plan({
      demand: [row({ runnable: 100 })],
      pools: [pool({ instancesMax: 2 })],
      instances: [busy('x', { state: 'leaving' })],
    });
    expect(decisions).toMatchObject([{ kind: 'create', count: 1 }]);
    expect(outlooks[0]?.heldBack).toBe("The pool's limit is 2 instances.");
  });
});

describe('rule 6, a drain can be called off and takes the idle', () => {
  it('drains what has been idle for long enough, and says when to look again', () => {
    expect(plan({ instances: [instance('x', { idleSinceMs: nowMs - 20_000 })] }).decisions).toEqual(
      [{ kind: 'drain', instance: 'x', node: 'node-x', reason: 'It has been idle for 20.0 s.' }],
    );
    expect(plan({ instances: [instance('x')] })).toMatchObject({
      decisions: [],
      lookAgainMs: nowMs + 19_000,
    });
  });

  it('never drains one that holds something (busy nodes killed)', () => {
    const idle = (id: string, ms: number) => instance(id, { idleSinceMs: nowMs - ms });
    const instances = [idle('x', 30_000), idle('y', 40_000), busy('z')];
    expect(decide({ instances })).toEqual(['drain y', 'drain x']);
  });

  it('calls a drain off when work comes back, latest first, before it makes anything', () => {
    const instances = [draining('x', { drainingSinceMs: nowMs - 500 }), draining('y')];
    expect(decide({ demand: [row({ runnable: 1 })], instances })).toEqual(['undrain y']);
    expect(decide({ demand: [row({ runnable: 3 })], instances })).toEqual([
      'undrain y',
      'undrain x',
      'create 1 local small',
    ]);
  });

  it('stops counting what leaves by itself: spot notices are replaced at once', () => {
    const instances = [busy('x', { state: 'leaving' })];
    const demand = [row({ runnable: 1, running: 1, runtimeMs: 5_000 })];
    expect(decide({ demand, instances })).toEqual(['create 2 local small']);
  });
});

describe('rule 7, caches', () => {
  it('gives back first whose imagery others have, the dearest machines before all', () => {
    const idleSinceMs = nowMs - 30_000;
    const instances = [
      instance('unique', { idleSinceMs, uniqueCacheBytes: 1_000 }),
      instance('shared', { idleSinceMs }),
      instance('dear', { idleSinceMs, pricePerHour: 2, uniqueCacheBytes: 5_000 }),
    ];
    expect(decide({ instances })).toEqual(['drain dear', 'drain shared', 'drain unique']);
    const pools = [pool({ instancesMin: 2 })];
    expect(decide({ instances, pools })).toEqual(['drain dear']);
  });
});

describe('a paused machine', () => {
  const paused = (changes: Partial<FleetInstance>) =>
    instance('x', { state: 'leaving', isPaused: true, ...changes });
  const idleSinceMs = nowMs - 30_000;

  it('is given back when it has idled for as long as a boot may take (paid for without end)', () => {
    expect(decide({ instances: [paused({ idleSinceMs })] })).toEqual(['drain x']);
    const early = plan({ instances: [paused({ idleSinceMs: idleSinceMs + 1 })] });
    expect(early).toMatchObject({ decisions: [], lookAgainMs: nowMs + 1 });
  });

  it('is given back whatever the minimum, and replaced', () => {
    const pools = [pool({ instancesMin: 1 })];
    expect(decide({ pools, instances: [paused({ idleSinceMs })] })).toEqual([
      ...['create 1 local small', 'drain x'],
    ]);
  });

  it('is left alone while it holds something or is ended already', () => {
    expect(decide({ instances: [paused({ held: 1, idleSinceMs: null })] })).toEqual([]);
    expect(decide({ instances: [paused({ isEnding: true, idleSinceMs })] })).toEqual([]);
    const capped = [pool({ spendTotalMax: 1, spent: 1 })];
    expect(decide({ pools: capped, instances: [paused({ idleSinceMs })] })).toEqual(['end x']);
  });
});

describe('minimum and spares', () => {
  it('are there without work, and stay', () => {
    expect(decide({ pools: [pool({ instancesMin: 2 })] })).toEqual(['create 2 local small']);
    expect(decide({ pools: [pool({ warm: 1 })] })).toEqual(['create 1 local small']);
    const idle = [instance('x', { idleSinceMs: nowMs - 90_000 })];
    expect(decide({ pools: [pool({ warm: 1 })], instances: idle })).toEqual([]);
  });

  it('come on top of the work, within the maximum', () => {
    const demand = [row({ running: 1, runtimeMs: 60_000 })];
    expect(decide({ demand, pools: [pool({ warm: 2 })], instances: [busy('x')] })).toEqual([
      'create 2 local small',
    ]);
    const full = [pool({ warm: 2, instancesMax: 2 })];
    expect(decide({ demand, pools: full, instances: [busy('x')] })).toEqual([
      'create 1 local small',
    ]);
  });

  it('are none where a pool is to come to an end, and what idles there is given back', () => {
    const pools = [pool({ instancesMax: 0 })];
    expect(decide({ demand: [row({ runnable: 9 })], pools })).toEqual([]);
    const instances = [instance('x', { idleSinceMs: nowMs - 90_000 }), busy('y')];
    expect(decide({ pools, instances })).toEqual(['drain x']);
  });
});
