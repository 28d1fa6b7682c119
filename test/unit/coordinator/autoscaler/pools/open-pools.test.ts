import { expect, it } from 'vitest';
import { openPools } from '../../../../../coordinator/autoscaler/pools/open-pools.ts';
import { parsePools } from '../../../../../coordinator/autoscaler/pools/read-pools.ts';
import { loadProvider } from '../../../../../coordinator/autoscaler/providers/load-provider.ts';

it('a pool is checked for as long as its provider may take for an answer', async () => {
  const entries = parsePools(
    [
      {
        ...{ name: 'slow', provider: 'command', max: 1 },
        offers: [{ type: 'vm', cpus: 1, memoryGiB: 1 }],
        command: { create: ['true'], list: ['sleep', '60'], destroy: ['true'] },
      },
    ],
    'pools.json',
  );
  const load: typeof loadProvider = async (kind, fields) => {
    const open = await loadProvider(kind, fields);
    return async (deps) => ({ ...(await open(deps)), answerMsMax: 100 });
  };
  const options = { coordinator: 'mine', env: process.env, load, dryRun: false };
  const [slow] = await openPools(entries, options);
  expect(slow?.faults).toEqual([expect.stringContaining('sleep was ended by a signal')]);
}, 20_000);
