/** The table of exit codes in words; every command uses these and no others. */
import { exitCodes } from '../../protocol/base/errors.ts';

const meanings: Record<keyof typeof exitCodes, string> = {
  ok: 'It worked.',
  failed: 'It failed.',
  usage: 'The command line or the request is not valid.',
  taskFailed: 'The awaited task failed.',
  signIn: 'The token is missing, wrong, expired or revoked, or may not do that.',
  notFound: 'There is no such task, group, node, token or namespace.',
  refused: 'The mesh refused, or it conflicts with what is there.',
  unreachable: 'No mesh is up, or the coordinator does not answer.',
  version: 'The two ends are of versions that do not fit.',
  timedOut: 'The wait timed out.',
  interrupted: 'Stopped by Ctrl-C.',
};

/** Number and meaning, ascending. */
export function listExitCodes(): { code: number; name: string; meaning: string }[] {
  return Object.entries(exitCodes)
    .map(([name, code]) => ({ code, name, meaning: meanings[name as keyof typeof exitCodes] }))
    .sort((left, right) => left.code - right.code);
}
