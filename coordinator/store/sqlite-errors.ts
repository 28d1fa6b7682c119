/** What SQLite's errors mean to us. */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';

/**
 * A full disk and a damaged file are told by code; anything else stays as it is. `file` names the
 * database in the message.
 */
export function storeError(caught: unknown, file: string): Error {
  const cause = toError(caught);
  const code = 'code' in cause ? String(cause.code) : '';
  if (code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT') {
    return new PerigeeError('disk_full', `The disk of ${file} is full.`, { cause });
  }
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') {
    return new PerigeeError('data_corrupt', `${file} is damaged: ${cause.message}`, { cause });
  }
  if (
    code.startsWith('SQLITE_READONLY') ||
    code.startsWith('SQLITE_CANTOPEN') ||
    code === 'SQLITE_PERM'
  ) {
    return new PerigeeError('data_unwritable', `${file} cannot be written: ${cause.message}`, {
      cause,
    });
  }
  return cause;
}
