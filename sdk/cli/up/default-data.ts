/** Where `up` keeps its mesh when nothing else is said. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Environment } from '../../ts/config.ts';

const systemHome = '/var/lib/perigee';

/** `$PERIGEE_HOME/mesh`; see the manual for the default of `PERIGEE_HOME`. */
export function defaultDataDirectory(environment: Environment, userId: number | undefined): string {
  return join(perigeeHome(environment, userId), 'mesh');
}

function perigeeHome(environment: Environment, userId: number | undefined): string {
  const named = environment['PERIGEE_HOME'];
  if (named !== undefined && named !== '') return named;
  if (userId === 0) return systemHome;
  const shared = environment['XDG_DATA_HOME'];
  if (shared !== undefined && shared !== '') return join(shared, 'perigee');
  return join(environment['HOME'] ?? homedir(), '.local', 'share', 'perigee');
}
