// Where set-up puts things. Plain JavaScript for Node 18: this runs before the project's own Node
// and its npm packages exist.

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const checkout = resolve(fileURLToPath(new URL('../..', import.meta.url)));
export const nodeProgram = join(checkout, 'node_modules', '.bin', 'node');
export const ownFolder = join(checkout, '.perigee');
export const logFile = join(ownFolder, 'setup.log');

/**
 * The folder for what is shared by every checkout of one user: PERIGEE_HOME, else /var/lib/perigee
 * for root (slot users other than root must be able to walk to it), else the user's data folder.
 */
export function perigeeHome(env = process.env) {
  if (env.PERIGEE_HOME) return resolve(env.PERIGEE_HOME);
  if (process.getuid() === 0) return '/var/lib/perigee';
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'perigee');
}

export function imagesFolder(env = process.env) {
  return join(perigeeHome(env), 'images');
}

/** A digest is `sha256:` and 64 hex digits; the folder is named by the first 32. */
export function imageFolder(digest, env = process.env) {
  return join(imagesFolder(env), digest.slice('sha256:'.length, 'sha256:'.length + 32));
}

export function clientFolder(pythonVersion) {
  return join(ownFolder, 'client', `py${pythonVersion}`);
}
