/** Packages of the index that only tests need, installed beside the checkout's Python 3 client environment. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const checkout = resolve(import.meta.dirname, '../..');
export const testPython = join(checkout, '.perigee/client/py3.11/bin/python');

/**
 * A folder with these packages, installed when it is not there yet. Two test files may ask at once:
 * each installs aside, and the first to be done is kept.
 */
export async function installForTests(
  name: string,
  parts: readonly (readonly string[])[],
): Promise<string> {
  const folder = join(checkout, '.perigee/test', name);
  if (existsSync(folder)) return folder;
  const aside = `${folder}.${process.pid}`;
  mkdirSync(aside, { recursive: true });
  try {
    for (const requirements of parts) await install(aside, requirements);
    try {
      renameSync(aside, folder);
    } catch (caught) {
      if (!existsSync(folder)) throw caught;
    }
    return folder;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

async function install(folder: string, requirements: readonly string[]): Promise<void> {
  const parameters = ['install', '--quiet', '--disable-pip-version-check', '--no-compile'];
  const child = spawn(
    testPython,
    ['-m', 'pip', ...parameters, '--upgrade', '--target', folder, ...requirements],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`pip could not install ${requirements.join(' ')} (${code}).`);
}
