/**
 * A cloud's API on loopback: moto from PyPI, installed once into a folder of its own with set-up's
 * Python, and started on a free port for a test. Serves S3, EC2 and the rest of what moto knows.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const checkout = resolve(import.meta.dirname, '../..');
const version = '5.2.5';
const python = join(checkout, '.perigee/client/py3.11/bin/python');
const folder = join(checkout, '.perigee/test', `moto-${version}`);

export interface MotoServer extends AsyncDisposable {
  /** For example `http://127.0.0.1:41234`. */
  url: string;
  stop(): Promise<void>;
}

const script = `
import logging, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = make_server('127.0.0.1', 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
`;

/** Starts moto, installing it first where it is not; ends with the disposal. */
export async function startMoto(): Promise<MotoServer> {
  await installMoto();
  const child = spawn(python, ['-c', script], {
    env: {
      PATH: process.env['PATH'],
      PYTHONPATH: folder,
      PYTHONDONTWRITEBYTECODE: '1',
      MOTO_EC2_LOAD_DEFAULT_AMIS: 'true',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = `${stderr}${text}`.slice(-10_000);
  });
  const ended = once(child, 'close');
  const first = once(createInterface({ input: child.stdout }), 'line') as Promise<[string]>;
  const line = await Promise.race([first, ended.then(() => undefined)]);
  if (line === undefined) throw new Error(`moto did not start: ${stderr}`);
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  return { url: `http://127.0.0.1:${Number(line[0])}`, stop, [Symbol.asyncDispose]: stop };
}

/** Two test files may ask at once: each installs aside, and the first to be done is kept. */
async function installMoto(): Promise<void> {
  if (existsSync(join(folder, 'moto'))) return;
  const aside = `${folder}.${process.pid}`;
  mkdirSync(aside, { recursive: true });
  try {
    const parameters = ['install', '--quiet', '--disable-pip-version-check', '--no-compile'];
    const child = spawn(
      python,
      ['-m', 'pip', ...parameters, '--target', aside, `moto[s3,ec2,server]==${version}`],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error(`pip could not install moto (${code}).`);
    try {
      renameSync(aside, folder);
    } catch (caught) {
      if (!existsSync(join(folder, 'moto'))) throw caught;
    }
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}
