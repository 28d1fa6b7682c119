// Runs a program to its end and keeps what it wrote, for the tests of set-up.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';

export const checkout = resolve(import.meta.dirname, '../..');
export const launcher = join(checkout, 'scripts/perigee');

/** The folder of the first `node` on PATH that is not the project's own. */
export function findSystemNodeFolder(): string {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = folders.find(
    (folder) => !folder.includes('node_modules') && existsSync(join(folder, 'node')),
  );
  return found ?? dirname(process.execPath);
}

/** PATH as a person's shell has it: without what `npm run` puts before it. */
export function shellPath(): string {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.filter((folder) => !folder.includes('node_modules')).join(delimiter);
}

export interface Ended {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  pid: number | undefined;
}

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  input?: string;
  /** Called once, when the output first contains the text. */
  when?: { stdout: string; act: (kill: (signal: NodeJS.Signals) => void) => void };
}

export function runProgram(command: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const [program = '', ...parameters] = command;
  return new Promise((ended, fail) => {
    const child = spawn(program, parameters, {
      cwd: options.cwd ?? checkout,
      env: options.env ?? process.env,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    let isAwaited = options.when !== undefined;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (isAwaited && options.when !== undefined && stdout.includes(options.when.stdout)) {
        isAwaited = false;
        options.when.act((signal) => child.kill(signal));
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    // A program that ends without reading its input is not an error of the test.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.on('error', fail);
    child.on('close', (status, signal) =>
      ended({ status, signal, stdout, stderr, pid: child.pid }),
    );
  });
}

export interface ImageDescription {
  name: string;
  names: string[];
  digest: string;
  python: { implementation: string; version: string; path: string };
  arch: string;
  packages: Record<string, string>;
  debianPackages: Record<string, string>;
  sizeBytes: number;
  builtAt: string;
}

/** The image's folder, as the client environment's link to its standard library tells it. */
export function imageOf(pythonVersion: string): { folder: string; about: ImageDescription } {
  const stamp = join(checkout, '.perigee/client', `py${pythonVersion}`, 'perigee-client.json');
  const { rootfs } = JSON.parse(readFileSync(stamp, 'utf8')) as { rootfs: string };
  const folder = dirname(rootfs);
  const about = JSON.parse(readFileSync(join(folder, 'image.json'), 'utf8')) as ImageDescription;
  return { folder, about };
}

/** The user's own home matters to npm and pip only; the tests of the launcher take an empty one. */
export function bareEnvironment(): NodeJS.ProcessEnv {
  return { PATH: shellPath(), HOME: homedir() };
}
