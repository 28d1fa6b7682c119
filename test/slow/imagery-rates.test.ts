/** Three real agents and an origin that counts what is asked of it at once, and answers 429. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Mesh } from '../chaos/mesh.ts';
import { startMesh } from '../chaos/mesh.ts';
import type { Scripts } from '../chaos/scripts.ts';
import { createScripts } from '../chaos/scripts.ts';

const requestsMax = 6;
const nodes = 3;
const answerMs = 150;
const sceneBytes = 50_000;

/** When each request came, and how many were open then. */
const asked: { atMs: number; open: number; from: number | undefined }[] = [];
let open = 0;
/** When it first said 429, with a pause of 2 s. */
let overrunAtMs: number | undefined;

const server = createServer((request, response) => {
  open += 1;
  asked.push({ atMs: performance.now(), open, from: request.socket.remotePort });
  const answer = (): void => {
    open -= 1;
    if (overrunAtMs === undefined && asked.length > 200) {
      overrunAtMs = performance.now();
      response.writeHead(429, { 'retry-after': '2' }).end('slow down');
      return;
    }
    const headers = { etag: '"1"', 'accept-ranges': 'bytes' };
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...headers, 'content-length': String(sceneBytes) }).end();
      return;
    }
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const length = Number(to) - Number(from) + 1;
    response
      .writeHead(206, { ...headers, 'content-range': `bytes ${from}-${to}/${sceneBytes}` })
      .end(Buffer.alloc(length, 7));
  };
  setTimeout(answer, answerMs);
});

let mesh: Mesh;
let scripts: Scripts;
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  mesh = await startMesh(
    {
      PERIGEE_IMAGERY_ORIGIN_REQUESTS_MAX: String(requestsMax),
      PERIGEE_NODE_IDLE_MS: '120000',
      SCENES: `http://${host}`,
    },
    { nodes, imageryAllow: [host] },
  );
  scripts = createScripts(mesh.environment);
});
afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  server.closeAllConnections();
  server.close();
});

it('is asked by all nodes together no more than the mesh may, and left alone by all when it says so', async () => {
  const ended = await scripts.run(`
import os
from perigee import AsyncTasks, as_completed
def look(first, server):
    import threading
    from perigee import imagery
    found = []
    def read(number):
        with open(imagery.open('%s/%d.tif' % (server, number)), 'rb') as opened:
            found.append(len(opened.read()))
    threads = [threading.Thread(target=read, args=(number,)) for number in range(first, first + 20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(found)
function = AsyncTasks().create_function(look, name='look', image='perigee/geospatial:py2.7')
tasks = function.map(list(range(0, 300, 20)), [os.environ['SCENES']] * 15)
nodes = set()
for task in as_completed(tasks):
    assert task.result == 20 * ${sceneBytes}, task.result
    nodes.add(task.node)
print('nodes %d' % len(nodes))
`);
  expect(ended).toMatchObject({ status: 0, stdout: `nodes ${nodes}\n`, stderr: '' });
  // One request at once is every node's, whatever the others have.
  expect(Math.max(...asked.map((one) => one.open))).toBeLessThanOrEqual(requestsMax + nodes);
  expect(asked.length).toBeGreaterThanOrEqual(600);
  expect(overrunAtMs).toBeDefined();
  // What was sent before the word had gone round comes in the first moment.
  const since = asked.map(({ atMs }) => atMs - (overrunAtMs ?? 0));
  expect(since.filter((ms) => ms > 600 && ms < 1_900)).toEqual([]);
  // Afterwards the mesh asks less than before.
  const after = asked.filter((_, at) => (since[at] ?? 0) > 3_000 && (since[at] ?? 0) < 5_000);
  expect(after.length).toBeGreaterThan(0);
  expect(Math.max(...after.map((one) => one.open))).toBeLessThanOrEqual(requestsMax / 2 + nodes);
});
