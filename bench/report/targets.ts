/** What the product wants to reach, held against results. */
import { findRow, type Row, show } from '../figures.ts';

export interface Target {
  what: string;
  target: string;
  measured: string;
  isMet: boolean;
}

interface Aim {
  scenario: string;
  unit: string;
  atLeast?: number;
  atMost?: number;
}

const aims: readonly Aim[] = [
  { scenario: 'no-op map of 1000', unit: 'tasks/s', atLeast: 10_000 },
  { scenario: 'no-op map of 20000', unit: 'tasks/s', atLeast: 15_000 },
  { scenario: 'no-op map of 100000', unit: 'tasks/s', atLeast: 15_000 },
  { scenario: 'round trip p50', unit: 'ms', atMost: 2 },
  { scenario: 'round trip p50, TypeScript', unit: 'ms', atMost: 1.5 },
  { scenario: 'round trip beside a bulk map p50', unit: 'ms', atMost: 10 },
  { scenario: '10 ms tasks, share of ideal', unit: '%', atLeast: 95 },
  { scenario: '100 ms tasks, share of ideal', unit: '%', atLeast: 99 },
  { scenario: '1M tasks: coordinator memory each, peak', unit: 'MB', atMost: 400 },
  { scenario: 'log of 7 MiB, printed to read back', unit: 'MB/s', atLeast: 10 },
  { scenario: 'idle: coordinator processor in all', unit: '% of a core', atMost: 1 },
  { scenario: 'idle: coordinator memory each, peak', unit: 'MB', atMost: 160 },
  { scenario: 'idle: agent processor in all', unit: '% of a core', atMost: 1 },
  { scenario: 'idle: agent memory each, peak', unit: 'MB', atMost: 130 },
];

/** Every target of which there is a figure. */
export function findTargets(rows: readonly Row[]): Target[] {
  const targets = aims.flatMap(({ scenario, unit, atLeast, atMost }): Target[] => {
    const row = findRow(rows, 'product', scenario);
    if (row === undefined) return [];
    const isMet = row.median >= (atLeast ?? -Infinity) && row.median <= (atMost ?? Infinity);
    const target = atLeast === undefined ? `≤ ${show(atMost ?? 0)}` : `≥ ${show(atLeast)}`;
    const what = scenario.startsWith('idle: agent processor')
      ? `${scenario} (two agents)`
      : scenario;
    return [{ what, target: `${target} ${unit}`, measured: `${show(row.median)} ${unit}`, isMet }];
  });
  return [...targets, ...ratios(rows)];
}

function ratios(rows: readonly Row[]): Target[] {
  const found: Target[] = [];
  const add = (
    what: string,
    pair: { of: Row | undefined; to: Row | undefined; atLeast: number },
  ) => {
    const { of, to, atLeast } = pair;
    if (of === undefined || to === undefined) return;
    const ratio = of.median / to.median;
    const isMet = ratio >= atLeast;
    found.push({ what, target: `≥ ${show(atLeast)} ×`, measured: `${show(ratio)} ×`, isMet });
  };
  const ours = (scenario: string): Row | undefined => findRow(rows, 'product', scenario);
  for (const peer of ['dask', 'ray', 'celery']) {
    const scenario = 'no-op map of 10000';
    add(`tasks/s of 10,000, Perigee to ${peer}`, {
      of: ours(scenario),
      to: findRow(rows, peer, scenario),
      atLeast: 30,
    });
    add(`round trip, ${peer} to Perigee`, {
      of: findRow(rows, peer, 'round trip p50'),
      to: ours('round trip p50'),
      atLeast: 4,
    });
  }
  add('1M tasks to 20,000, tasks/s', {
    of: ours('no-op map of 1000000'),
    to: ours('no-op map of 20000'),
    atLeast: 0.8,
  });
  add('results of 1 MB to one bare libp2p stream', {
    of: ours('results of 1 MB, a map of 400'),
    to: findRow(rows, 'limit', 'bare libp2p stream'),
    atLeast: 0.5,
  });
  return found;
}
