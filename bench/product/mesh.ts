/** A mesh of its own for measurements: real processes, sandbox and durability on. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

export const checkout = resolve(import.meta.dirname, '../..');
export const perigee = join(checkout, 'scripts/perigee');

export interface BenchMesh extends AsyncDisposable {
  /** The process of `up`; everything else is below it. */
  pid: number;
  url: string;
  token: string;
  join: string;
  joinToken: string;
  /** With which clients and commands find it. */
  env: NodeJS.ProcessEnv;
}

/** Starts a mesh and waits until it takes tasks. */
export async function startBenchMesh(
  options: {
    nodes?: number;
    /** PERIGEE_HOME of the coordinator; that of the environment by default. */
    home?: string;
  } = {},
): Promise<BenchMesh> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-bench-'));
  const env = {
    ...process.env,
    PERIGEE_CONFIG: join(folder, 'config.json'),
    ...(options.home === undefined ? {} : { PERIGEE_HOME: options.home }),
  };
  const nodes = options.nodes === undefined ? [] : ['--nodes', String(options.nodes)];
  const up = spawn(
    perigee,
    ['up', '--json', '--log-level', 'warn', '--data', join(folder, 'data'), ...nodes],
    {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const stop = async (): Promise<void> => {
    if (up.exitCode === null && up.signalCode === null) {
      up.kill('SIGTERM');
      await once(up, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  };
  const [line] = (await Promise.race([
    once(createInterface({ input: up.stdout }), 'line'),
    once(up, 'exit').then(() => ['']),
  ])) as [string];
  if (line === '') {
    await stop();
    throw new Error('The mesh did not start.');
  }
  const ready = JSON.parse(line) as Omit<BenchMesh, 'env' | 'pid'>;
  return { ...ready, pid: up.pid ?? 0, env, [Symbol.asyncDispose]: stop };
}
