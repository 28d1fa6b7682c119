/** The peers, each by its best documented settings, with two worker processes, on this machine. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Figure } from '../figures.ts';
import { checkout } from '../product/mesh.ts';
import { runLines } from '../run-lines.ts';

const folder = join(checkout, '.perigee/bench-peers');
const python = join(folder, 'venv/bin/python');
const bullmqPackages = ['bullmq@6.7.0', 'ioredis@5.9.2'];

/** What each does not do, beside its numbers. */
export const peerNotes: Readonly<Record<string, string>> = {
  dask: 'nothing on disk: a restart of the scheduler loses all; no sandbox',
  ray: 'nothing on disk; no sandbox',
  celery: 'Redis in memory, as it comes (snapshots); no sandbox',
  hyperqueue: 'a process a task; no results from functions; no sandbox',
  bullmq: 'no Python at all: the work is a JavaScript callback; Redis in memory',
};

/** Measures the peers named, all by default; installs them first into an environment of their own. */
export async function measurePeers(options: {
  runs: number;
  names: readonly string[];
}): Promise<Figure[]> {
  await install();
  const figures: Figure[] = [];
  const wanted = (name: string): boolean =>
    options.names.length === 0 || options.names.includes(name);
  const script = (name: string): string => join(checkout, 'bench/peers', name);
  const runs = String(options.runs);
  const env = {
    PYTHONWARNINGS: 'ignore',
    RAY_USAGE_STATS_ENABLED: '0',
    // HyperQueue starts the first python3 of PATH for each task.
    PATH: `${join(folder, 'venv/bin')}:${process.env['PATH'] ?? ''}`,
  };
  for (const name of ['dask', 'ray', 'hyperqueue']) {
    if (!wanted(name)) continue;
    figures.push(
      ...(await runLines(name, [python, script(`${name}_peer.py`), runs], { env, cwd: folder })),
    );
  }
  if (!wanted('celery') && !wanted('bullmq')) return figures;
  await using redis = await startRedis();
  const redisEnv = { ...env, BENCH_REDIS: redis.url };
  if (wanted('celery')) {
    const cwd = join(checkout, 'bench/peers');
    const command = [python, script('celery_peer.py'), runs] as const;
    figures.push(...(await runLines('celery', command, { env: redisEnv, cwd })));
  }
  if (wanted('bullmq')) {
    // A module finds its packages beside itself: run the copy that lies there.
    const copy = join(folder, 'bullmq_peer.mjs');
    writeFileSync(copy, readFileSync(script('bullmq_peer.mjs')));
    figures.push(...(await runLines('bullmq', [process.execPath, copy, runs], { env: redisEnv })));
  }
  return figures;
}

/** Into `.perigee/bench-peers`, once for each state of the requirements. */
async function install(): Promise<void> {
  const requirements = join(checkout, 'bench/peers/requirements.txt');
  const wanted = `${readFileSync(requirements, 'utf8')}${bullmqPackages.join('\n')}\n`;
  const stamp = join(folder, 'installed.txt');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
    process.stderr.write(`Installing Dask, Ray, Celery, HyperQueue and BullMQ in ${folder}\n`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const run = (program: string, ...parameters: string[]): void => {
      execFileSync(program, parameters, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
    };
    run('python3', '-m', 'venv', join(folder, 'venv'));
    run(
      python,
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '-r',
      requirements,
    );
    writeFileSync(join(folder, 'package.json'), '{"private":true}\n');
    run('npm', 'install', '--silent', '--no-audit', '--no-fund', ...bullmqPackages);
    writeFileSync(stamp, wanted);
  }
  if (findRedis() !== undefined) return;
  if (process.getuid?.() !== 0) {
    throw new Error('Celery and BullMQ need Redis. Run: sudo apt-get install redis-server');
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const parameters of [
    ['update'],
    ['install', '-y', '--no-install-recommends', 'redis-server'],
  ]) {
    execFileSync('apt-get', ['-q', ...parameters], { env, stdio: 'ignore' });
  }
}

function findRedis(): string | undefined {
  return ['/usr/bin/redis-server', '/usr/local/bin/redis-server'].find(existsSync);
}

/** A Redis server of its own, as it comes, on a free port of loopback. */
async function startRedis(): Promise<AsyncDisposable & { url: string }> {
  const program = findRedis();
  if (program === undefined) throw new Error('redis-server is not there, though it was installed');
  const data = mkdtempSync(join(tmpdir(), 'perigee-bench-redis-'));
  const port = await freePort();
  const parameters = ['--port', String(port), '--bind', '127.0.0.1', '--dir', data];
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const bytes of child.stdout) {
    if (String(bytes).includes('Ready to accept connections')) break;
  }
  child.stdout.resume();
  return {
    url: `redis://127.0.0.1:${port}/0`,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      rmSync(data, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
