/** The coordinator finds out by itself that its local nodes died while it was away. */
import { expect, it } from 'vitest';
import { createChaosClient } from '../chaos/client.ts';
import { type Mesh, startMesh } from '../chaos/mesh.ts';

const source = `
import time

def work(value):
    print("begin")
    time.sleep(2)
    return value * value
`;

it('grants the tasks of local nodes that died with it again, long before their lease is over', async () => {
  // A lease that no test waits for.
  let mesh: Mesh = await startMesh({ PERIGEE_LEASE_MS: '3600000' }, { nodes: 1 });
  try {
    const client = createChaosClient(() => mesh);
    const group = await client.createGroup(source);
    const { batch } = await client.submit(group, [3]);
    const task = async () =>
      (await client.get(`/v1/tasks/${batch}-0`)) as {
        state: string;
        attempts: { end: string | null; message: string; charged: boolean }[];
        startedAt: string | null;
      };
    await expect.poll(async () => (await task()).startedAt, { timeout: 30_000 }).not.toBeNull();
    await mesh.killAll();
    mesh = await mesh.restart();
    await expect.poll(async () => (await task()).state, { timeout: 60_000 }).toBe('done');
    expect((await task()).attempts).toMatchObject([
      { end: 'lost', message: 'its machine ended', charged: false },
      { end: 'success' },
    ]);
  } finally {
    await mesh.close();
  }
}, 120_000);
