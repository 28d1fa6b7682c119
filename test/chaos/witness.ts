/** Another client whose map goes on while a test gives the mesh something bad; it must lose nothing. */
import { type ChaosClient, createChaosClient } from './client.ts';
import { readLedger } from './ledger.ts';
import type { Mesh } from './mesh.ts';

export interface Witness {
  /** Submits some more and waits until all of it is done: the mesh still works for others. */
  goesOn(): Promise<void>;
  /** Ends the map, waits for the rest and answers what was lost or wrong. */
  end(): Promise<{ faults: string[]; tasks: number }>;
}

const batchTasks = 5;
const doneMsMax = 30_000;
const source = `
import time
def work(value):
    time.sleep(0.02)
    return value * value
`;

/** Starts a map that submits batch after batch, each when the one before is done. */
export async function startWitness(mesh: Mesh): Promise<Witness> {
  const client: ChaosClient = createChaosClient(() => mesh);
  const group = await client.createGroup(source);
  let value = 0;
  let isOver = false;
  const submitSome = async (): Promise<void> => {
    const values = Array.from({ length: batchTasks }, () => {
      value += 1;
      return value;
    });
    await client.submit(group, values);
    await client.waitUntilDone(doneMsMax);
  };
  const run = async (): Promise<void> => {
    while (!isOver) await submitSome();
  };
  await submitSome();
  const running = run();
  // Its failure is told by `end`, which awaits it.
  running.catch(() => undefined);
  return {
    goesOn: submitSome,
    async end() {
      isOver = true;
      await running;
      const { faults, statuses } = readLedger(mesh.database, client.acknowledged);
      const failed = Object.entries(statuses).filter(([status]) => status !== '0');
      return {
        faults: [...faults, ...failed.map(([status, count]) => `${count} ended as ${status}`)],
        tasks: value,
      };
    },
  };
}
