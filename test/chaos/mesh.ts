/** A real mesh in processes of its own, as `scripts/perigee up` makes it, to be killed in parts or whole. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { listProcesses, signal } from './processes.ts';

const root = resolve(import.meta.dirname, '../..');

export interface Mesh {
  readonly url: string;
  readonly token: string;
  /** Where agents join, and their token. */
  readonly join: string;
  readonly joinToken: string;
  /** In the command line of all its processes. */
  readonly data: string;
  readonly database: string;
  /** Of the coordinator as it was when `up` began; `up` starts it again when it is killed. */
  readonly coordinator: number;
  /** Environment for clients. */
  readonly environment: NodeJS.ProcessEnv;
  /** What it said on stderr, the end of it. */
  log(): string;
  /** SIGKILL to every process of it at once. */
  killAll(): Promise<void>;
  /** Starts `up` again on the same data. */
  restart(): Promise<Mesh>;
  /** Drains and removes everything; throws when anything is left running. */
  close(): Promise<void>;
}

/** How a mesh is started, where it matters to a test. */
export interface MeshOptions {
  /** Local nodes at most; 2 by default. */
  nodes?: number;
  /** Folders as `--mount` takes them. */
  mounts?: readonly string[];
  /** Hosts as `--imagery-allow` takes them. */
  imageryAllow?: readonly string[];
  /** What `up` is started by, for example `unshare`, given its data directory. */
  within?(data: string): string[];
}

/** Starts a mesh with up to two local nodes; `settings` is its environment. */
export async function startMesh(
  settings: Record<string, string> = {},
  options: MeshOptions = {},
): Promise<Mesh> {
  return start(mkdtempSync(join(tmpdir(), 'perigee-chaos-')), settings, options);
}

async function start(
  folder: string,
  settings: Record<string, string>,
  options: MeshOptions,
): Promise<Mesh> {
  const data = join(folder, 'data');
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    ...settings,
    PERIGEE_CONFIG: join(folder, 'config.json'),
  };
  const [program = '', ...words] = [
    ...(options.within?.(data) ?? []),
    join(root, 'scripts/perigee'),
    ...['up', '--json', '--data', data, '--nodes', String(options.nodes ?? 2)],
    ...(options.mounts ?? []).flatMap((mount) => ['--mount', mount]),
    ...(options.imageryAllow ?? []).flatMap((host) => ['--imagery-allow', host]),
  ];
  const up = spawn(program, words, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  up.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-20_000);
  });
  const line = await firstLine(up);
  if (line === undefined) throw new Error(`The mesh did not start.\n${log}`);
  const said = JSON.parse(line) as {
    url: string;
    token: string;
    join: string;
    joinToken: string;
    pids: { coordinator: number };
  };
  const ended = (): Promise<unknown> =>
    up.exitCode === null && up.signalCode === null ? once(up, 'exit') : Promise.resolve();
  const killAll = async (): Promise<void> => {
    up.kill('SIGKILL');
    // Each look may find one that was being born at the look before.
    for (let look = 0; look < 50; look += 1) {
      const left = listProcesses(data).filter((found) => found.pid !== process.pid);
      if (left.length === 0) break;
      for (const found of left) signal(found.pid, 'SIGKILL');
      await pause(20);
    }
    await ended();
  };
  return {
    url: said.url,
    token: said.token,
    join: said.join,
    joinToken: said.joinToken,
    data,
    database: join(data, 'perigee.db'),
    coordinator: said.pids.coordinator,
    environment,
    log: () => log,
    killAll,
    restart: () => start(folder, settings, options),
    async close() {
      try {
        up.kill('SIGTERM');
        await ended();
        const left = await nothingLeft(data);
        if (left.length > 0) throw new Error(`left running: ${left.join('; ')}`);
      } finally {
        await killAll();
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}

/** What gives a command mounts of its own, so that it may make some; for those who are not root too. */
export function unshareMounts(): string[] {
  return process.getuid?.() === 0
    ? ['unshare', '--mount', '--']
    : ['unshare', '--mount', '--map-root-user', '--'];
}

async function nothingLeft(data: string): Promise<string[]> {
  for (let look = 0; look < 100; look += 1) {
    if (listProcesses(data).length === 0) return [];
    await pause(50);
  }
  return listProcesses(data).map((found) => `${found.pid} ${found.command}`);
}

async function firstLine(child: ChildProcess): Promise<string | undefined> {
  if (child.stdout === null) return undefined;
  for await (const line of createInterface({ input: child.stdout })) return line;
  return undefined;
}

/** Lets a moment pass; the moment of a kill is what these tests are about. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, milliseconds));
}
