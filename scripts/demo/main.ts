/**
 * `npm run demo [FOLDER]`: a mesh of its own on this machine, without a single node; DLRun's guide and the
 * main job on it, as a user would run them; then the nodes go and the mesh ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { serveScenes } from './serve-scenes.ts';

const root = resolve(import.meta.dirname, '../..');
const perigee = join(root, 'scripts/perigee');
const output = resolve(process.argv[2] ?? join(root, 'perigee-demo'));
/** Idle nodes leave after this here, so that they can be watched leaving; a mesh's default is 20 s. */
const idleSeconds = 2;

const scratch = mkdtempSync(join(tmpdir(), 'perigee-demo-'));
const environment = {
  ...process.env,
  PERIGEE_CONFIG: join(scratch, 'config.json'),
  PERIGEE_PROGRESS: '1',
  PERIGEE_NODE_IDLE_MS: String(idleSeconds * 1000),
};
delete (environment as NodeJS.ProcessEnv)['PERIGEE_URL'];
delete (environment as NodeJS.ProcessEnv)['PERIGEE_TOKEN'];

process.exitCode = await run();

async function run(): Promise<number> {
  const began = Date.now();
  await using origin = await serveScenes(join(root, 'scripts/demo/scenes'));
  const up = spawn(
    perigee,
    [
      'up',
      '--json',
      '--data',
      join(scratch, 'mesh'),
      '--port',
      '0',
      '--mesh-port',
      '0',
      '--imagery-allow',
      origin.host,
    ],
    { env: environment, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let errors = '';
  up.stderr.on('data', (bytes: Buffer) => {
    errors = (errors + bytes.toString()).slice(-4_000);
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => up.kill(signal));
  try {
    const address = await firstLine(up);
    if (address === undefined) {
      process.stderr.write(`The mesh did not start:\n${errors}\n`);
      return 1;
    }
    say(`A mesh is up with no nodes (${JSON.parse(address).url}).`);
    for (const [title, script, ...rest] of [
      ['The basic example of DLRun’s guide', 'test/python/guide/hello.py'],
      ['Its multiple task example', 'test/python/guide/map.py'],
      ['The main job', 'scripts/demo/ndvi.py', output, `http://${origin.host}`],
    ] as const) {
      say(`${title}: scripts/perigee python ${script}`);
      const status = await runPython([join(root, script), ...rest]);
      if (status !== 0) return status;
    }
    if (!(await nodesLeave())) {
      process.stderr.write('The nodes did not leave when there was nothing left to do.\n');
      return 1;
    }
    say(`The nodes have left. All of it took ${((Date.now() - began) / 1000).toFixed(1)} s.`);
    const read = JSON.parse(readFileSync(join(output, 'summary.json'), 'utf8')).bytesRead as number;
    const hitRate = Math.max(0, 1 - origin.bytesSent / read);
    process.stdout.write(
      `cache     ${(100 * hitRate).toFixed(1)} % of what the windows opened came from the nodes’ caches; ` +
        `the server gave ${(origin.bytesSent / 1e6).toFixed(1)} MB\n`,
    );
    process.stdout.write(`picture   ${join(output, 'ndvi.png')}\n`);
    return 0;
  } finally {
    up.kill('SIGTERM');
    if (up.exitCode === null && up.signalCode === null) await once(up, 'exit');
    rmSync(scratch, { recursive: true, force: true });
  }
}

function say(text: string): void {
  process.stdout.write(`\n— ${text}\n`);
}

/** The first line of a process's output; undefined when it ends before. */
async function firstLine(child: ChildProcess): Promise<string | undefined> {
  if (child.stdout === null) return undefined;
  for await (const line of createInterface({ input: child.stdout })) return line;
  return undefined;
}

async function runPython(parameters: string[]): Promise<number> {
  const child = spawn(perigee, ['python', ...parameters], { env: environment, stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

/** Waits until the mesh is empty again, as `scripts/perigee nodes` sees it. */
async function nodesLeave(): Promise<boolean> {
  const deadline = Date.now() + (idleSeconds + 10) * 1000;
  while (Date.now() < deadline) {
    const child = spawn(perigee, ['nodes', '--json'], {
      env: environment,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString();
    });
    await once(child, 'close');
    const nodes = JSON.parse(text) as { state: string }[];
    if (nodes.every((node) => node.state === 'gone' || node.state === 'lost')) return true;
    await new Promise((wake) => setTimeout(wake, 200));
  }
  return false;
}
