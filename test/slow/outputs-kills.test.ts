/** Outputs through kill -9 of agents and coordinator in the middle of their transfer, and the memory that large ones cost. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { OutputView, Page, TaskView } from '../../protocol/wire/api.ts';
import type { Mesh } from '../chaos/mesh.ts';
import { pause, startMesh } from '../chaos/mesh.ts';
import { listProcesses, signal } from '../chaos/processes.ts';
import { createScripts } from '../chaos/scripts.ts';

const mib = 1024 * 1024;
const tasksCount = 8;

let mesh: Mesh | undefined;
afterEach(async () => {
  await mesh?.close();
  mesh = undefined;
});

const writing = `
import hashlib, sys
from perigee import AsyncTasks

def make(number):
    import hashlib, os, tempfile
    from perigee import save_output
    digest = hashlib.sha256()
    path = os.path.join(tempfile.gettempdir(), 'big-%d' % number)
    with open(path, 'wb') as opened:
        for at in range(48):
            piece = ('%d-%d' % (number, at)).encode('ascii').ljust(1 << 20, b'.')
            digest.update(piece)
            opened.write(piece)
    save_output('big', path)
    os.unlink(path)
    save_output('small', data=str(number).encode('ascii'))
    return digest.hexdigest()

function = AsyncTasks().create_function(make, name='make')
print(function.group_id)
sys.stdout.flush()
tasks = function.map(range(${tasksCount}))
for task in tasks:
    value = task.get_result(timeout=200)
    names = [output.name for output in task.outputs]
    assert names == ['big', 'small'], names
    digest = hashlib.sha256()
    with task.outputs[0].open() as opened:
        for piece in iter(lambda: opened.read(1 << 20), b''):
            digest.update(piece)
    assert digest.hexdigest() == value == task.outputs[0].sha256
print('whole')
`;

describe('outputs', () => {
  it('come whole, each once, though agents and coordinator are killed while they travel', {
    timeout: 300_000,
  }, async () => {
    mesh = await startMesh({ PERIGEE_BLOB_RETRY_MS: '200' }, { nodes: 2 });
    const here = mesh;
    using scripts = createScripts(here.environment);
    let isDone = false;
    const script = scripts.run(writing, { env: { PERIGEE_RETRY_SECONDS: '120' } }).finally(() => {
      isDone = true;
    });
    const killed: string[] = [];
    while (!isDone && killed.length < 6) {
      await pause(2);
      if (!isOnItsWay(here)) continue;
      const which = killed.length % 2 === 0 ? 'node-agent/main.ts' : 'coordinator/main.ts';
      const victim = listProcesses(here.data).find(({ command }) => command.includes(which));
      if (victim === undefined) continue;
      signal(victim.pid, 'SIGKILL');
      killed.push(which);
      await pause(1_500);
    }
    const ended = await script;
    expect(ended).toMatchObject({ status: 0 });
    expect(ended.stdout).toMatch(/\nwhole\n$/);
    expect(killed.length).toBeGreaterThan(2);
    const [guid = ''] = ended.stdout.split('\n');
    const outputs = await get<Page<OutputView>>(here, `/v1/groups/${guid}/outputs`);
    const tasks = await get<Page<TaskView>>(here, `/v1/tasks?group=${guid}`);
    expect(outputs.items).toHaveLength(2 * tasksCount);
    for (const { id } of tasks.items) {
      const { attempts } = await get<TaskView>(here, `/v1/tasks/${id}`);
      const settling = attempts.find(({ end }) => end === 'success')?.attempt;
      const own = outputs.items.filter(({ task }) => task === id);
      expect(own.map(({ attempt }) => attempt)).toEqual([settling, settling]);
    }
  });

  it('of hundreds of megabytes are never whole in the memory of an agent or the coordinator', {
    timeout: 200_000,
  }, async () => {
    mesh = await startMesh({}, { nodes: 1 });
    using scripts = createScripts(mesh.environment);
    const ended = await scripts.run(`
from perigee import AsyncTasks
def make():
    import os, tempfile
    from perigee import save_output
    path = os.path.join(tempfile.gettempdir(), 'sparse')
    with open(path, 'wb') as opened:
        opened.truncate(900 << 20)
    return save_output('sparse', path)
task = AsyncTasks().create_function(make)()
assert task.get_result(timeout=150)['bytes'] == 900 << 20
(output,) = task.outputs
with output.open() as opened:
    opened.seek(-10, 2)
    assert opened.read() == b'\\0' * 10
`);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const peaks = listProcesses(mesh.data).flatMap(({ pid, command }) => {
      const what = /(node-agent|coordinator)\/main\.ts/.exec(command)?.[1];
      return what === undefined ? [] : [{ what, peakBytes: readPeak(pid) }];
    });
    expect(new Set(peaks.map(({ what }) => what))).toEqual(new Set(['node-agent', 'coordinator']));
    for (const { peakBytes } of peaks) expect(peakBytes).toBeLessThan(500 * mib);
  });
});

/** Whether the coordinator is taking an output at this moment, more than its beginning. */
function isOnItsWay(here: Mesh): boolean {
  const folder = join(here.data, 'blobs/uploads');
  try {
    return readdirSync(folder).some((name) => statSync(join(folder, name)).size > 4 * mib);
  } catch {
    // It was renamed between the two looks.
    return false;
  }
}

function readPeak(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) * 1024;
}

async function get<Value>(here: Mesh, path: string): Promise<Value> {
  const answer = await fetch(here.url + path, {
    headers: { authorization: `Bearer ${here.token}` },
  });
  return (await answer.json()) as Value;
}
