/**
 * moto, which speaks the APIs of AWS, as a process on loopback. It is a Python package of its own
 * world: installed once into an environment below `.perigee`, pinned, and started by the tests.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const requirement = 'moto[server]==5.2.5';
const folder = resolve(import.meta.dirname, '../../.perigee/moto-5.2.5');
const startMsMax = 60_000;

export interface Moto {
  /** `http://127.0.0.1:PORT` */
  url: string;
  stop(): Promise<void>;
}

/** Installs what is missing, then starts a server of its own for the caller. */
export async function startMoto(): Promise<Moto> {
  installMoto();
  const child = spawn(
    join(folder, 'bin/python'),
    ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, PYTHONUNBUFFERED: '1', MOTO_EC2_LOAD_DEFAULT_AMIS: 'true' },
    },
  );
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  const url = await new Promise<string>((found, fail) => {
    let said = '';
    const timer = setTimeout(() => fail(new Error(`moto did not start: ${said}`)), startMsMax);
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-10_000);
      const match = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said);
      if (match?.[1] === undefined) return;
      clearTimeout(timer);
      found(match[1]);
    });
    child.once('error', fail);
    void ended.then(() => fail(new Error(`moto ended: ${said}`)));
  });
  return {
    url,
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function installMoto(): void {
  if (existsSync(join(folder, 'bin/python'))) return;
  // Made beside and renamed, so that an interrupted installation is never taken for a whole one.
  const made = `${folder}.${process.pid}`;
  mkdirSync(join(folder, '..'), { recursive: true });
  rmSync(made, { recursive: true, force: true });
  run('python3', ['-m', 'venv', made]);
  run(join(made, 'bin/python'), ['-m', 'pip', 'install', '--quiet', requirement]);
  try {
    renameSync(made, folder);
  } catch (caught) {
    // Another test file was first.
    if (!existsSync(join(folder, 'bin/python'))) throw caught;
    rmSync(made, { recursive: true, force: true });
  }
}

function run(program: string, parameters: string[]): void {
  const { status, stderr, error } = spawnSync(program, parameters, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`${program} ${parameters.join(' ')}: ${error?.message ?? stderr}`);
}
