/** Kills of real processes at random moments, and what must be true after each. */
import { nextBelow, type RandomState } from '../../protocol/base/random.ts';
import { type ChaosClient, createChaosClient } from './client.ts';
import { readLedger } from './ledger.ts';
import { type Mesh, pause, startMesh } from './mesh.ts';
import { listAgents, listProcesses, listWorkers, signal } from './processes.ts';

/** Sleeps a little and answers the square; what it printed is its log. */
const source = `
import time

def work(value):
    print("begin %d" % value)
    time.sleep(0.02 + (value % 7) * 0.03)
    print("end %d" % value)
    return value * value
`;

export interface Kill {
  name: string;
  /** Ends something; called at a random moment while the tasks run. */
  strike(mesh: Mesh, random: RandomState): Promise<Mesh>;
  /** Whether a task may have run again because of it. */
  mayRunAgain: boolean;
  /** Short by default, so that a loss is soon known. */
  leaseMs?: number;
}

const pick = (pids: readonly number[], random: RandomState): number | undefined =>
  pids[nextBelow(random, Math.max(1, pids.length))];

export const kills: readonly Kill[] = [
  {
    name: 'an agent in mid-task',
    mayRunAgain: true,
    async strike(mesh, random) {
      const pid = pick(listAgents(mesh.data), random);
      if (pid !== undefined) signal(pid, 'SIGKILL');
      return mesh;
    },
  },
  {
    name: 'the coordinator alone, in mid-map and mid-result',
    // Running tasks go on, and are not run again, if only it is back before they count as lost.
    mayRunAgain: false,
    leaseMs: 15_000,
    async strike(mesh) {
      const coordinator = listProcesses(mesh.data).find((found) =>
        found.command.includes('coordinator/main.ts'),
      );
      if (coordinator !== undefined) signal(coordinator.pid, 'SIGKILL');
      return mesh;
    },
  },
  {
    name: 'the whole mesh at once',
    mayRunAgain: true,
    async strike(mesh) {
      await mesh.killAll();
      return mesh.restart();
    },
  },
  {
    name: 'an agent that is stopped for longer than its lease (SIGSTOP), then goes on',
    mayRunAgain: true,
    async strike(mesh, random) {
      const pid = pick(listAgents(mesh.data), random);
      if (pid === undefined || !signal(pid, 'SIGSTOP')) return mesh;
      await pause(leaseMs + 1_500);
      signal(pid, 'SIGCONT');
      return mesh;
    },
  },
];

const leaseMs = 3_000;

export interface Verdict {
  faults: string[];
  ranAgain: string[];
  tasks: number;
}

/** Rounds of: a map, and a kill at a random moment of it; then everything is checked against the disk. */
export async function runKills(
  kill: Kill,
  options: { rounds: number; random: RandomState; tasksPerRound: number },
): Promise<Verdict> {
  const { rounds, random, tasksPerRound } = options;
  let mesh = await startMesh({
    PERIGEE_LEASE_MS: String(kill.leaseMs ?? leaseMs),
    PERIGEE_SUSPECT_MS: '1500',
    PERIGEE_HEARTBEAT_MS: '300',
  });
  try {
    const client: ChaosClient = createChaosClient(() => mesh);
    const group = await client.createGroup(source, { retryCount: 0 });
    await client.submit(group, [1, 2]);
    await client.waitUntilDone(30_000);
    let value = 0;
    for (let round = 0; round < rounds; round += 1) {
      const values = Array.from({ length: tasksPerRound }, () => {
        value += 1;
        return value;
      });
      const half = values.length >> 1;
      const submitted = [client.submit(group, values.slice(0, half))];
      const struck = pause(nextBelow(random, 900)).then(() => kill.strike(mesh, random));
      await pause(nextBelow(random, 500));
      submitted.push(client.submit(group, values.slice(half)));
      mesh = await struck;
      await Promise.all(submitted);
      await client.waitUntilDone(90_000);
    }
    const ledger = readLedger(mesh.database, client.acknowledged);
    const failed = Object.entries(ledger.statuses).filter(([status]) => status !== '0');
    const faults = [
      ...ledger.faults,
      ...failed.map(([status, count]) => `${count} tasks ended with status ${status}`),
    ];
    // Each prints as it begins: without its output nothing could be said of how often it ran.
    const silent = [...ledger.ran].filter(([, count]) => count === 0).map(([id]) => id);
    faults.push(...silent.map((id) => `${id} has lost its output`));
    const ranAgain = [...ledger.ran].filter(([, count]) => count > 1).map(([id]) => id);
    return { faults, ranAgain, tasks: ledger.ran.size };
  } finally {
    await mesh.close();
  }
}

/** Kills workers under their tasks; the task is blamed, those behind it are not. */
export async function runWorkerKills(options: {
  rounds: number;
  random: RandomState;
}): Promise<{ faults: string[]; crashes: number }> {
  const { rounds, random } = options;
  const mesh = await startMesh();
  try {
    const client = createChaosClient(() => mesh);
    const group = await client.createGroup(source, { retryCount: 5 });
    await client.submit(group, [1, 2]);
    await client.waitUntilDone(30_000);
    let killed = 0;
    for (let round = 0; round < rounds; round += 1) {
      const values = Array.from({ length: 20 }, (_, at) => 100 + round * 20 + at);
      const submitted = client.submit(group, values);
      await pause(nextBelow(random, 600));
      const pid = pick(listWorkers(mesh.data), random);
      if (pid !== undefined && signal(pid, 'SIGKILL')) killed += 1;
      await submitted;
      await client.waitUntilDone(60_000);
    }
    const ledger = readLedger(mesh.database, client.acknowledged);
    // Here, and only here, being charged is right: the task was running when its worker died.
    const faults = ledger.faults.filter((fault) => !fault.includes('was charged'));
    const charged = ledger.faults.length - faults.length;
    if (charged > killed) faults.push(`${charged} tasks were charged for ${killed} kills`);
    const failed = Object.entries(ledger.statuses).filter(([status]) => status !== '0');
    faults.push(...failed.map(([status, count]) => `${count} tasks ended with status ${status}`));
    return { faults, crashes: charged };
  } finally {
    await mesh.close();
  }
}
