/**
 * A cloud's API on loopback: moto from PyPI, installed once into a folder of its own with set-up's
 * Python, and started on a free port for a test. Serves S3, EC2 and the rest of what moto knows.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { installForTests, testPython } from './pip-packages.ts';

const version = '5.2.5';

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
  const folder = await installForTests(`moto-${version}`, [[`moto[s3,ec2,server]==${version}`]]);
  const child = spawn(testPython, ['-c', script], {
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
