/** The interpreters that the SDK's suites run under, and cloudpickle for those that lack it. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { checkout } from '../setup/run-program.ts';

export interface Python {
  /** For example `3.12`. */
  version: string;
  program: string;
  /** Made by set-up, with cloudpickle, pip and what an image has. */
  isClient: boolean;
}

const supported = ['2.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13'];

/** The two client environments, which must be there, and every other supported Python on this machine. */
export function findPythons(): Python[] {
  const clients = ['2.7', '3.11'].map((version) => ({
    version,
    program: join(checkout, '.perigee/client', `py${version}`, 'bin', `python${version}`),
    isClient: true,
  }));
  const others = supported
    .filter((version) => !clients.some((client) => client.version === version))
    .flatMap((version) => {
      const program = findProgram(version);
      return program === undefined ? [] : [{ version, program, isClient: false }];
    });
  return [...clients, ...others];
}

/** A folder that holds cloudpickle as the client environment of the same major version has it. */
export function provideCloudpickle(folder: string, python: Python): string {
  const client = findPythons().find(
    (other) => other.isClient && other.version.startsWith(python.version.slice(0, 2)),
  );
  const script = 'import cloudpickle, os; print(os.path.dirname(cloudpickle.__file__))';
  const source = execFileSync(client?.program ?? '', ['-c', script], { encoding: 'utf8' }).trim();
  const place = join(folder, `cloudpickle-${python.version}`);
  if (!existsSync(place)) {
    mkdirSync(place);
    symlinkSync(source, join(place, 'cloudpickle'));
  }
  return place;
}

function findProgram(version: string): string | undefined {
  const pyenv = join(process.env['PYENV_ROOT'] ?? join(homedir(), '.pyenv'), 'versions');
  const installed = existsSync(pyenv) ? readdirSync(pyenv) : [];
  const folders = [
    ...installed
      .filter((name) => name.startsWith(`${version}.`))
      .map((name) => join(pyenv, name, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  return folders
    .map((folder) => join(folder, `python${version}`))
    .find((program) => existsSync(program) && runs(program, version));
}

/** A shim may be there without the version that it stands for; a system's Python may be cut down. */
function runs(program: string, version: string): boolean {
  const script =
    'import sys, ssl, ctypes, unittest, zipfile; print("%d.%d" % sys.version_info[:2])';
  try {
    const said = execFileSync(program, ['-c', script], { encoding: 'utf8', stdio: 'pipe' });
    return said.trim() === version;
  } catch {
    return false;
  }
}
