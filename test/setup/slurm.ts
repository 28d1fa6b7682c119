/**
 * A real Slurm cluster of one node: munged, slurmctld and slurmd with a configuration, ports and
 * folders of their own, so that it meets no cluster of the machine's. Ended by process id.
 */
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Slurm {
  /** With which the client programs find it. */
  env: NodeJS.ProcessEnv;
  /** Where jobs may write. */
  folder: string;
  stopController(): Promise<void>;
  startController(): Promise<void>;
  stop(): Promise<void>;
}

const readyMsMax = 60_000;

export async function startSlurm(): Promise<Slurm> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-slurm-'));
  // munged trusts no folder that others can write.
  chmodSync(folder, 0o755);
  for (const part of ['state', 'spool', 'munge', 'jobs']) mkdirSync(join(folder, part));
  const [controlPort, nodePort] = [await freePort(), await freePort()];
  const socket = join(folder, 'munge/socket');
  writeFileSync(join(folder, 'munge/key'), randomBytes(128), { mode: 0o400 });
  writeFileSync(join(folder, 'cgroup.conf'), 'CgroupAutomount=no\n');
  const conf = join(folder, 'slurm.conf');
  writeFileSync(conf, configuration({ folder, socket, controlPort, nodePort }));
  const env = { ...process.env, SLURM_CONF: conf };
  const running = new Map<string, ChildProcess>();
  const start = (name: string, program: string, words: string[]): void => {
    const child = spawn(`/usr/sbin/${program}`, words, { env, stdio: 'ignore' });
    running.set(name, child);
  };
  const stop = async (name: string): Promise<void> => {
    const child = running.get(name);
    running.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  };
  const startController = async (): Promise<void> => {
    start('slurmctld', 'slurmctld', ['-D', '-f', conf]);
    await until(() => {
      const said = execFileSync('sinfo', ['--noheader', '--format=%T'], {
        env,
        encoding: 'utf8',
        stdio: 'pipe',
        timeout: 5_000,
      });
      return /idle|mixed|allocated/.test(said);
    }, folder);
  };
  start('munged', 'munged', [
    ...['--foreground', '--force', `--socket=${socket}`, `--key-file=${folder}/munge/key`],
    ...[`--pid-file=${folder}/munge/pid`, `--log-file=${folder}/munge/log`],
    `--seed-file=${folder}/munge/seed`,
  ]);
  await until(() => execFileSync('munge', ['-n', '-S', socket], { stdio: 'pipe' }), folder);
  start('slurmd', 'slurmd', ['-D', '-f', conf, '-N', 'one']);
  await startController();
  return {
    env,
    folder: join(folder, 'jobs'),
    startController,
    stopController: () => stop('slurmctld'),
    async stop() {
      for (const name of ['slurmd', 'slurmctld', 'munged']) await stop(name);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function configuration(of: {
  folder: string;
  socket: string;
  controlPort: number;
  nodePort: number;
}): string {
  const { folder } = of;
  return `ClusterName=perigee
SlurmctldHost=${hostname()}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=${of.controlPort}
AuthType=auth/munge
AuthInfo=socket=${of.socket}
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool
SlurmctldLogFile=${folder}/slurmctld.log
SlurmdLogFile=${folder}/slurmd.log
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.pid
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
KillWait=20
MinJobAge=2
MessageTimeout=10
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
NodeName=one NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${of.nodePort} CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=one Default=YES MaxTime=INFINITE State=UP
PartitionName=small Nodes=one MaxTime=INFINITE State=UP MaxCPUsPerNode=8
`;
}

/** Repeats until the work neither throws nor says no. */
async function until(work: () => unknown, folder: string): Promise<void> {
  const deadlineMs = Date.now() + readyMsMax;
  let last: unknown;
  while (Date.now() < deadlineMs) {
    try {
      if (work() !== false) return;
    } catch (caught) {
      last = caught;
    }
    await new Promise((done) => setTimeout(done, 200));
  }
  const logs = ['slurmctld.log', 'slurmd.log', 'munge/log'].map((name) => {
    try {
      return readFileSync(join(folder, name), 'utf8').slice(-2_000);
    } catch {
      return `${name} is not there`;
    }
  });
  throw new Error(`Slurm is not ready: ${String(last)}\n${logs.join('\n')}`);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}
