/** The whole life of a Slurm job as a node: a real cluster of one, the real boot script and agent in the job. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listProcesses, signal } from '../chaos/processes.ts';
import { waitFor } from '../chaos/wait-for.ts';
import type { FleetCoordinator } from '../setup/fleet-coordinator.ts';
import { startFleetCoordinator } from '../setup/fleet-coordinator.ts';
import type { Slurm } from '../setup/slurm.ts';
import { startSlurm } from '../setup/slurm.ts';

const work = `
import os
def work(seconds):
    return os.environ.get('SLURM_JOB_ID', 'no word of the job')
`;
const stepMsMax = 300_000;

let folder = '';
let slurm: Slurm;
let coordinator: FleetCoordinator | undefined;
const homes: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-fleet-slurm-'));
  chmodSync(folder, 0o755);
  slurm = await startSlurm();
});
afterEach(async () => {
  await coordinator?.stop();
  for (const id of jobs()) execFileSync('scancel', ['--signal=KILL', id], { env: slurm.env });
  await slurm.stop();
  for (const left of [folder, ...homes.splice(0)]) {
    for (const { pid } of listProcesses(left)) signal(pid, 'SIGKILL');
    rmSync(left, { recursive: true, force: true });
  }
});

function jobs(): string[] {
  const words = ['--noheader', '--format=%i', '--states=PENDING,RUNNING,CONFIGURING,COMPLETING'];
  const said = execFileSync('squeue', words, { env: slurm.env, encoding: 'utf8' });
  return said.split('\n').filter((line) => line.trim() !== '');
}

it('a job is submitted for a task, works, goes idle and ends; nothing of it is left', async () => {
  const offer = { type: 'job', slots: 2, cpus: 2, memoryGiB: 1 };
  coordinator = await startFleetCoordinator({
    folder,
    pools: [
      {
        ...{ name: 'cluster', provider: 'slurm', max: 2, leaveSecondsMax: 5, offers: [offer] },
        slurm: { partition: 'main', folder: slurm.folder },
      },
    ],
    env: slurm.env,
  });
  const { tasks, fleet, explain, said } = coordinator;
  expect((await fleet()).pools.find(({ pool }) => pool === 'cluster')?.faults).toEqual([]);

  const group = await tasks.create(work);
  const [task = ''] = await tasks.submit(group, [1]);
  const done = await tasks.settle(task, stepMsMax);
  expect(done.status, `${JSON.stringify(done)}\n${said()}`).toBe('SUCCESS');
  // The sandbox knows nothing of the job that it runs in.
  expect(await tasks.result(task)).toBe('no word of the job');
  const [made, ...more] = (await fleet()).instances;
  expect(more).toEqual([]);
  expect(made).toMatchObject({ pool: 'cluster', offer: 'job' });
  expect(jobs()).toHaveLength(1);
  // Slurm gives its jobs the machine's own folder for such things.
  const name = readdirSync('/tmp').find((each) => each.startsWith(`perigee-${made?.instance}.`));
  const home = join('/tmp', name ?? 'no home');
  homes.push(home);
  expect(existsSync(join(home, 'perigee-agent/bin/node'))).toBe(true);

  await waitFor(
    'the job is no more',
    async () => ((await fleet()).instances.length === 0 ? true : undefined),
    stepMsMax,
  );
  expect(jobs()).toEqual([]);
  expect(existsSync(home)).toBe(false);
  const story = (await explain()).events.filter(({ instance }) => instance === made?.instance);
  const told = story.map(({ event }) => event).reverse();
  expect(told.slice(0, 3)).toEqual(['made', 'joined', 'drain']);
  expect(told.at(-1)).toBe('gone');
}, 1_500_000);
