import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceOffer, Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { loadProvider } from '../../coordinator/autoscaler/providers/load-provider.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';
import { testProvider } from '../contract/provider-suite.ts';
import type { Slurm } from '../setup/slurm.ts';
import { startSlurm } from '../setup/slurm.ts';

let slurm: Slurm;
let coordinators = 0;
const { signal } = new AbortController();

const offer = (id: string, zone: string | null): InstanceOffer => ({
  id,
  type: 'job',
  zone,
  spot: false,
  shape: { slots: 1, cpus: 1, memoryBytes: 256 * 2 ** 20, isolation: 'minimal', network: false },
  pricePerHour: 0,
});

beforeAll(async () => {
  slurm = await startSlurm();
});
afterAll(() => slurm?.stop());

async function open(
  coordinator: string,
  offers: readonly InstanceOffer[] = [offer('job', null)],
  env: NodeJS.ProcessEnv = slurm.env,
): Promise<Provider> {
  const create = await loadProvider('slurm', { folder: slurm.folder });
  return create({ pool: 'slurm', offers, coordinator, env });
}

function squeue(): string[] {
  const words = ['--noheader', '--format=%i', '--states=PENDING,RUNNING,CONFIGURING'];
  const said = execFileSync('squeue', words, { env: slurm.env, encoding: 'utf8' });
  return said.split('\n').filter((line) => line.trim() !== '');
}

testProvider({
  name: 'slurm',
  effectMsMax: 30_000,
  troubles: ['denied', 'unavailable'],
  hasInterruption: false,
  async open() {
    coordinators += 1;
    const coordinator = `coordinator-${coordinators}`;
    let down = false;
    const env: NodeJS.ProcessEnv = { ...slurm.env };
    const keep = (whose: string): Promise<Provider> => open(whose, undefined, env);
    return {
      provider: await keep(coordinator),
      userData: '#!/bin/sh\nexec sleep 600\n',
      reopen: () => keep(coordinator),
      openStranger: () => keep(`${coordinator}-stranger`),
      troubles: {
        async unavailable() {
          down = true;
          await slurm.stopController();
        },
        async denied() {
          // Without a munge that answers nobody is anybody.
          const own = join(slurm.folder, 'denied.conf');
          const conf = readFileSync(slurm.env['SLURM_CONF'] ?? '', 'utf8');
          execFileSync('tee', [own], {
            input: conf.replace(/AuthInfo=.*/, 'AuthInfo=socket=/nowhere'),
            stdio: 'pipe',
          });
          env['SLURM_CONF'] = own;
        },
      },
      async heal() {
        Object.assign(env, slurm.env);
        if (down) await slurm.startController();
        down = false;
      },
      interrupt: null,
      countMachines: async () => squeue().length,
      async close() {
        if (down) await slurm.startController();
        for (const id of squeue()) execFileSync('scancel', [id], { env: slurm.env });
        await expect.poll(squeue, { timeout: 30_000 }).toEqual([]);
      },
    };
  },
});

describe('provider slurm, beyond what all do', () => {
  it('finds a partition that does not exist before the first job', async () => {
    const provider = await open('checks', [offer('a', null), offer('b', 'nowhere')]);
    const faults = await provider.check(signal);
    expect(faults.map(({ code }) => code)).toEqual(['invalid']);
    expect(faults[0]?.message).toContain('offer "b"');
  });

  it('runs the script, and ends it with SIGTERM so that it can drain', async () => {
    const provider = await open('scripts');
    const mark = join(slurm.folder, 'mark');
    const instance = 'slurm-0000dddd' as InstanceId;
    const userData = `#!/bin/sh\ntrap 'echo drained >${mark}; exit' TERM\necho started >${mark}\nwhile :; do sleep 0.1; done\n`;
    const handle = await provider.create({ instance, offer: 'job', userData }, signal);
    const said = () => (existsSync(mark) ? readFileSync(mark, 'utf8').trim() : '');
    await expect.poll(said, { timeout: 30_000 }).toBe('started');
    await provider.terminate(instance, handle, signal);
    await expect.poll(said, { timeout: 30_000 }).toBe('drained');
  });

  it('says so when Slurm is not installed', async () => {
    const provider = await open('nowhere', undefined, { PATH: '/nowhere' });
    const [fault] = await provider.check(signal);
    expect(fault?.message).toContain('sbatch cannot be started');
  });
});
