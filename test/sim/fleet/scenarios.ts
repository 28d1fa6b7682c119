/** The days that the fleet is put through. */
import { nextFloat } from '../../../protocol/base/random.ts';
import { calm } from './cloud-twin.ts';
import type { FleetScenario } from './run-fleet.ts';
import { burst } from './run-fleet.ts';

const base = { instancesMax: 40, spot: false, faults: calm, crashes: [] };

export const scenarios: readonly FleetScenario[] = [
  { ...base, name: 'burst', tasks: burst(600, 20_000, 100_000) },
  {
    ...base,
    name: 'trickle',
    tasks: (random) =>
      Array.from({ length: 120 }, (_, at) => ({
        atMs: at * 40_000,
        runMs: 5_000 + 20_000 * nextFloat(random),
      })),
  },
  {
    ...base,
    name: 'bursts 8 min apart',
    tasks: (random) =>
      Array.from({ length: 5 }, (_, wave) => wave).flatMap((wave) =>
        burst(60, 10_000, 40_000)(random).map((task) => ({ ...task, atMs: wave * 480_000 })),
      ),
  },
  {
    ...base,
    name: 'long tail',
    tasks: (random) => [
      ...burst(400, 5_000, 20_000)(random),
      ...burst(6, 1_200_000, 2_400_000)(random),
    ],
  },
  {
    ...base,
    name: 'stockouts',
    faults: { ...calm, stockout: 0.3 },
    spot: true,
    tasks: burst(300, 60_000, 120_000),
  },
  {
    ...base,
    name: 'preemption storms',
    spot: true,
    faults: { ...calm, storms: [400_000, 900_000, 1_500_000] },
    tasks: burst(500, 60_000, 180_000),
  },
  {
    ...base,
    name: 'an API that lies',
    faults: {
      ...calm,
      lostAnswer: 0.3,
      listFails: 0.2,
      listEmpty: 0.2,
      listLagMs: 60_000,
      neverJoins: 0.05,
    },
    tasks: burst(400, 30_000, 120_000),
  },
  {
    ...base,
    name: 'an API that goes away',
    faults: { ...calm, away: [200_000, 1_100_000] },
    tasks: burst(400, 60_000, 120_000),
  },
  {
    ...base,
    name: 'crashes',
    faults: { ...calm, lostAnswer: 0.1, listLagMs: 30_000 },
    crashes: [0, 1_000, 180_000, 190_000, 400_000, 401_000, 700_000],
    tasks: burst(400, 30_000, 120_000),
  },
  {
    ...base,
    name: 'crashes while boots fail',
    faults: { ...calm, lostAnswer: 0.1, neverJoins: 0.2 },
    crashes: [600_000, 601_000, 602_000, 603_000, 1_205_000],
    tasks: burst(400, 30_000, 120_000),
  },
  {
    ...base,
    name: 'at most $10 an hour',
    pool: { spendPerHourMax: 10 },
    tasks: burst(200, 20_000, 100_000),
  },
  {
    ...base,
    name: 'at most $4 in all',
    pool: { spendTotalMax: 4 },
    tasks: burst(600, 20_000, 100_000),
  },
  {
    ...base,
    name: 'at most $3 in all, long tasks',
    pool: { spendTotalMax: 3 },
    tasks: burst(40, 600_000, 1_800_000),
  },
  {
    ...base,
    name: 'at most $2 in all, storms',
    spot: true,
    pool: { spendTotalMax: 2 },
    faults: { ...calm, stockout: 0.2, storms: [400_000, 900_000, 1_500_000] },
    tasks: burst(500, 60_000, 180_000),
  },
  {
    ...base,
    name: 'at most $4 in all, lies and crashes',
    pool: { spendTotalMax: 4 },
    faults: {
      ...calm,
      lostAnswer: 0.3,
      listFails: 0.2,
      listEmpty: 0.2,
      listLagMs: 60_000,
      away: [500_000, 900_000],
    },
    crashes: [0, 1_000, 180_000, 190_000, 400_000, 401_000, 700_000],
    tasks: burst(600, 20_000, 100_000),
  },
  {
    ...base,
    name: 'at most $6 an hour, storms',
    spot: true,
    pool: { spendPerHourMax: 6 },
    faults: { ...calm, stockout: 0.3, storms: [400_000, 900_000, 1_500_000] },
    tasks: burst(200, 60_000, 180_000),
  },
  {
    ...base,
    name: 'five spares',
    pool: { warm: 5 },
    tasks: (random) =>
      Array.from({ length: 6 }, (_, wave) => wave).flatMap((wave) =>
        burst(
          5,
          10_000,
          40_000,
        )(random).map((task) => ({
          ...task,
          atMs: 600_000 + wave * 1_500_000,
        })),
      ),
  },
];
