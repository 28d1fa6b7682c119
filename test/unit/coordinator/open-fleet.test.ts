import { expect, it } from 'vitest';
import { openPools } from '../../../coordinator/autoscaler/pools/open-pools.ts';
import { parsePools } from '../../../coordinator/autoscaler/pools/read-pools.ts';
import { loadProvider } from '../../../coordinator/autoscaler/providers/load-provider.ts';
import { tokenLifeMs } from '../../../coordinator/open-fleet.ts';

it('the join token of a machine outlives the time that its pool waits for it', async () => {
  const day = 86_400;
  const programs = { create: ['true'], list: ['echo', '[]'], destroy: ['true'] };
  const entry = (name: string, bootSecondsMax: number) => ({
    ...{ name, provider: 'command', max: 1, bootSecondsMax, command: programs },
    offers: [{ type: 'vm', cpus: 1, memoryGiB: 1 }],
  });
  const entries = parsePools([entry('queued', 7 * day), entry('quick', 60)], 'pools.json');
  const options = { coordinator: 'mine', env: process.env, load: loadProvider, dryRun: false };
  const [queued, quick] = await openPools(entries, options);
  const leastMs = 30 * 60_000;
  expect(tokenLifeMs(queued, leastMs)).toBeGreaterThan(7 * day * 1_000);
  expect(tokenLifeMs(quick, leastMs)).toBe(leastMs);
});
