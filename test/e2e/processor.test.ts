/** A real agent that takes its machine for an arm64 one, on a mesh whose images are for x64. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { perigeeHome } from '../../node-agent/images/find-images.ts';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { createScripts, type Scripts } from '../chaos/scripts.ts';
import { checkout } from '../setup/run-program.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

let folder: string;
let mesh: Mesh;
let scripts: Scripts;
let agent: ChildProcess;
let said = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-processor-'));
  mesh = await startMesh({ NO_COLOR: '1' }, { nodes: 0 });
  scripts = createScripts(mesh.environment);
  // Its images are those of this machine, which are for another processor than it believes.
  symlinkSync(join(perigeeHome(process.env), 'images'), join(folder, 'images'));
  const pretending = "Object.defineProperty(process,'arch',{value:'arm64'})";
  agent = spawn(
    join(checkout, 'node_modules/.bin/node'),
    ['--import', `data:text/javascript,${encodeURIComponent(pretending)}`, 'node-agent/main.ts'],
    {
      cwd: checkout,
      env: {
        ...process.env,
        ...{ PERIGEE_JOIN: mesh.join, PERIGEE_JOIN_TOKEN: mesh.joinToken },
        ...{ PERIGEE_HOME: folder, PERIGEE_DATA: join(folder, 'data') },
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  for (const stream of [agent.stdout, agent.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-50_000);
    });
  }
  await until(async () => JSON.parse(await read('nodes')).length === 1);
});
afterAll(async () => {
  if (agent !== undefined && agent.exitCode === null) {
    agent.kill('SIGKILL');
    await once(agent, 'exit');
  }
  scripts?.[Symbol.dispose]();
  await mesh?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function read(...words: string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await runInProcess([...words, '--json'], mesh.environment);
  if (exitCode !== 0) throw new Error(stderr);
  const value: unknown = JSON.parse(stdout);
  const items =
    typeof value === 'object' && value !== null && 'items' in value ? value.items : value;
  return JSON.stringify(items);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 40_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it took too long; the agent said:\n${said}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe('an arm64 node of a mesh whose images are for x64', () => {
  it('passes the images over, is given none of their tasks, and the task says why', async () => {
    expect(said).toContain('it is for x64, this machine is arm64');
    const ended = await scripts.run(`
from perigee import AsyncTasks
at = AsyncTasks()
task = at.create_function(lambda: 1, name='f')()
print(task.explain())
print(task.state)
`);
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stdout).toContain(
      'its image perigee/geospatial:py2.7 is for x64, and all nodes are arm64 machines',
    );
    expect(ended.stdout).toContain('queued');
    const [task] = JSON.parse(await read('tasks')) as { id: string }[];
    const explained = await runInProcess(['task', task?.id ?? ''], mesh.environment);
    expect(explained.stdout).toContain('is an arm64 machine; the image');
  });
});
