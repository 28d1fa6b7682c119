/** A whole mesh of real processes for the SDK's contract suites: a coordinator that makes its nodes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { checkout } from '../setup/run-program.ts';

export interface Mesh {
  /** What a client's environment needs. */
  env: { PERIGEE_URL: string; PERIGEE_TOKEN: string };
  stop(): Promise<void>;
}

const startSecondsMax = 30;

/** Starts a coordinator with up to two local nodes; resolves once it takes tasks. */
export async function startMesh(
  dataFolder: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<Mesh> {
  const node = join(checkout, 'node_modules/.bin/node');
  const parameters = ['coordinator/main.ts', '--data', dataFolder, '--local-nodes', '2', '--json'];
  const child = spawn(node, parameters, {
    cwd: checkout,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-20_000);
  });
  const started = once(createInterface(child.stdout), 'line', {
    signal: AbortSignal.timeout(startSecondsMax * 1000),
  });
  const first = await Promise.race([started, exited]).catch((cause: unknown) => {
    child.kill('SIGKILL');
    throw new Error(`The mesh did not start in ${startSecondsMax} s.\n${log}`, { cause });
  });
  if (typeof first[0] !== 'string') throw new Error(`The mesh ended at once.\n${log}`);
  const said: unknown = JSON.parse(first[0]);
  return {
    env: { PERIGEE_URL: textOf(said, 'url'), PERIGEE_TOKEN: textOf(said, 'token') },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

function textOf(value: unknown, key: string): string {
  const found: unknown =
    typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
  if (typeof found !== 'string') throw new Error(`The mesh did not say its ${key}.`);
  return found;
}
