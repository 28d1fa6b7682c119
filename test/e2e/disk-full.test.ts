/** A coordinator whose disk fills up: it refuses before the disk is full, and loses nothing when it is. */
import { closeSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorTable } from '../../protocol/base/errors.ts';
import { type Mesh, startMesh, unshareMounts } from '../chaos/mesh.ts';
import { createScripts, type Scripts } from '../chaos/scripts.ts';
import { createTasks, describeGroup, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';

const mib = 1024 ** 2;
const highWaterBytes = 24 * mib;
const refused = {
  status: errorTable.disk_full.httpStatus,
  json: {
    code: 'disk_full',
    fix: errorTable.disk_full.fix,
    detail: expect.stringContaining('keeps 24 MiB'),
  },
};

/** Prints while it runs, and returns what must not be lost. */
const source = `
import sys, time
def work(value):
    for step in range(int(value * 10)):
        print("step %d" % step)
        sys.stdout.flush()
        time.sleep(0.1)
    return {"value": value, "filler": "x" * 20000}
`;

let mesh: Mesh;
let tasks: Tasks;
let scripts: Scripts;
/** The data directory as its processes see it. */
let data: string;

beforeAll(async () => {
  const script =
    'mkdir -p "$0" && mount -t tmpfs -o size=64m,mode=0700 perigee-test "$0" && exec "$@"';
  mesh = await startMesh(
    {
      PERIGEE_DISK_FREE_BYTES_MIN: String(highWaterBytes),
      PERIGEE_AGENT_DISK_FREE_BYTES_MIN: String(4 * mib),
      PERIGEE_DISK_RECHECK_MS: '100',
      PERIGEE_NODE_IDLE_MS: '120000',
    },
    { within: (folder) => [...unshareMounts(), 'sh', '-c', script, folder] },
  );
  tasks = createTasks(mesh);
  scripts = createScripts({
    ...mesh.environment,
    PERIGEE_URL: mesh.url,
    PERIGEE_TOKEN: mesh.token,
  });
  data = `/proc/${mesh.coordinator}/root${mesh.data}`;
});

afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
});

const freeBytes = (): number => {
  const disk = statfsSync(data);
  return disk.bavail * disk.bsize;
};
const fillUpTo = (leftBytes: number, name: string): void =>
  writeFileSync(join(data, name), Buffer.alloc(Math.max(0, freeBytes() - leftBytes)));
/** Takes every byte that is left, also those that are freed meanwhile. */
const fillToTheBrim = (name: string): void => {
  const file = openSync(join(data, name), 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(64 * 1024));
  } catch (caught) {
    expect(caught).toMatchObject({ code: 'ENOSPC' });
  } finally {
    closeSync(file);
  }
};
const free = (name: string): void => rmSync(join(data, name), { force: true });

it('refuses new work at its high-water mark, finishes what it has, and takes more when there is room', async () => {
  expect(statfsSync(data).blocks * statfsSync(data).bsize).toBe(64 * mib);
  const group = await tasks.create(source);
  const ids = await tasks.submit(group, [1.5, 1, 0.5, 0.2, 0.1, 0]);
  await tasks.running(ids[0] ?? '', 'step 0');

  fillUpTo(highWaterBytes - mib, 'filler');
  await waitFor('submissions are refused', async () => {
    const answer = await tasks.request('POST', '/v1/groups', { body: describeGroup(source) });
    return answer.status === errorTable.disk_full.httpStatus ? true : undefined;
  });
  // Long before the disk is full.
  expect(freeBytes()).toBeGreaterThan(highWaterBytes / 2);
  const group2 = await tasks.request('POST', '/v1/groups', { body: describeGroup(source) });
  expect(group2).toMatchObject(refused);
  await expect(tasks.submit(group, [1])).rejects.toThrow('disk_full');
  const blob = await tasks.request('PUT', `/v1/blobs/${'0'.repeat(64)}`, {
    body: 'x'.repeat(2_000_000),
  });
  expect(blob).toMatchObject(refused);
  const script = `
from perigee import AsyncTasks
AsyncTasks().create_function(lambda i: i, image='perigee/geospatial:py2.7')
`;
  const ended = await scripts.run(script, { env: { PERIGEE_RETRY_SECONDS: '1' } });
  expect(ended).toMatchObject({ status: 1, stdout: '' });
  expect(ended.stderr).toContain(`fix: ${errorTable.disk_full.fix}`);

  // What was accepted goes on: the running and the queued.
  const done = await Promise.all(ids.map((id) => tasks.settle(id)));
  expect(done.map((task) => task.status)).toEqual(ids.map(() => 'SUCCESS'));
  expect(await tasks.result(ids[0] ?? '')).toMatchObject({ value: 1.5 });
  const steps = Array.from({ length: 15 }, (_, step) => `step ${step}\n`);
  expect((await tasks.log(ids[0] ?? '')).toString()).toBe(steps.join(''));

  free('filler');
  const again = await waitFor('submissions are taken again', () =>
    tasks.submit(group, [0]).catch(() => undefined),
  );
  expect(await tasks.settle(again[0] ?? '')).toMatchObject({ status: 'SUCCESS' });
});

it('keeps what ends while the disk is full to the last byte, and stores it when there is room', async () => {
  const large = `
import time
def work(value):
    time.sleep(0.005)
    return {"value": value, "filler": "x" * 60000}
`;
  // More than the write-ahead log has room for without growing.
  const values = Array.from({ length: 200 }, (_, value) => value);
  const group = await tasks.create(large);
  const ids = await tasks.submit(group, values);
  fillToTheBrim('filler');
  // They end while nothing can be stored.
  await waitFor('the coordinator says that it cannot store', () =>
    mesh.log().includes('the disk is full: waiting with what was decided') ? true : undefined,
  );
  expect((await tasks.group(group)).tasks.succeeded).toBeLessThan(values.length);
  free('filler');
  const done = await Promise.all(ids.map((id) => tasks.settle(id)));
  expect(done.map((task) => task.status)).toEqual(ids.map(() => 'SUCCESS'));
  const results = await Promise.all(ids.map((id) => tasks.result(id)));
  expect(results).toMatchObject(values.map((value) => ({ value })));
});
