import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where set-up keeps what checkouts share; the same rule as `scripts/setup/places.mjs`. */
export function perigeeHome(): string {
  const { env } = process;
  if (env['PERIGEE_HOME']) return resolve(env['PERIGEE_HOME']);
  if (process.getuid?.() === 0) return '/var/lib/perigee';
  return join(env['XDG_DATA_HOME'] || join(homedir(), '.local', 'share'), 'perigee');
}
