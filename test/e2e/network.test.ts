/** Tasks have the machine's network when their group asks for it and the node gives it. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { startMesh } from '../chaos/mesh.ts';
import { createTasks } from '../chaos/tasks.ts';

const source = (port: number): string => `
import socket
def work(value):
    line = socket.create_connection(('127.0.0.1', ${port}), 5)
    try:
        return line.recv(5).decode('ascii')
    finally:
        line.close()
`;

it('a task reaches a port of the machine only with network=True, on nodes that allow it', async () => {
  const server = createServer((socket) => void socket.end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const work = source(typeof address === 'object' ? (address?.port ?? 0) : 0);
  const mesh = await startMesh({ PERIGEE_ALLOW_NETWORK: 'true' }, { nodes: 1 });
  try {
    const tasks = createTasks(mesh);
    const open = await tasks.run(work, { network: true });
    expect(open).toMatchObject({ status: 'SUCCESS' });
    expect(await tasks.result(open.id)).toBe('hello');
    expect(await tasks.nodes()).toMatchObject([{ network: true }]);
    const closed = await tasks.run(work);
    expect(closed).toMatchObject({ status: 'FAILURE', code: 'exception' });
  } finally {
    await mesh.close();
    server.close();
  }
}, 90_000);

it('create_function is refused where no node could ever give it', async () => {
  const mesh = await startMesh({}, { nodes: 1 });
  try {
    const tasks = createTasks(mesh);
    await expect(tasks.create(source(1), { network: true })).rejects.toThrow(
      /422 .*"unsatisfiable".*--allow-network/,
    );
  } finally {
    await mesh.close();
  }
}, 60_000);
