/** Where an agent keeps its identity and its caches, for itself alone. */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { PerigeeError, toError } from '../protocol/base/errors.ts';
import { formatAgentMark, isStaleMark, readAgentMark } from './runner/agent-mark.ts';

export interface DataFolder {
  path: string;
  /** Lets go of it; a temporary one is removed. Idempotent. */
  close(): void;
}

const temporaryPrefix = 'perigee-node-';
const lockName = 'agent.lock';

/**
 * Takes a folder, made when it does not exist; a temporary one for null, which makes this a new node.
 * @throws PerigeeError data_unwritable, data_locked
 */
export function openDataFolder(chosen: string | null): DataFolder {
  const mark = readAgentMark();
  const path =
    chosen === null ? join(tmpdir(), temporaryPrefix + formatAgentMark(mark)) : resolve(chosen);
  if (chosen === null) sweepTemporary();
  try {
    mkdirSync(path, { recursive: true });
    refuseShared(path);
    // Slot users walk through to files that they were told of; they list nothing.
    chmodSync(path, 0o711);
  } catch (cause) {
    throw cause instanceof PerigeeError ? cause : unwritable(path, cause);
  }
  const lock = join(path, lockName);
  takeLock(path, lock);
  let isOpen = true;
  return {
    path,
    close() {
      if (!isOpen) return;
      isOpen = false;
      rmSync(lock, { force: true });
      if (chosen === null) rmSync(path, { recursive: true, force: true });
    },
  };
}

/** The folder's mode is made the agent's own: that would close one like /tmp to everybody else. */
function refuseShared(path: string): void {
  if ((statSync(path).mode & 0o002) === 0) return;
  throw new PerigeeError('data_unwritable', `${path} is open to everyone.`, {
    fix: 'Give the agent a folder of its own with --data.',
  });
}

/** Two agents with one identity would take each other's sessions away, for ever. */
function takeLock(path: string, lock: string): void {
  const mark = readAgentMark();
  for (let attempt = 0; ; attempt += 1) {
    try {
      writeFileSync(lock, formatAgentMark(mark), { flag: 'wx', mode: 0o600 });
      return;
    } catch (cause) {
      const { code } = toError(cause) as NodeJS.ErrnoException;
      if (code !== 'EEXIST') throw unwritable(path, cause);
      const owner = findOwner(lock);
      // Of an agent that died: `kill -9` must not need a hand to clean up.
      if (attempt < 2 && (owner === undefined || isStaleMark(owner, mark))) {
        rmSync(lock, { force: true });
        continue;
      }
      throw new PerigeeError('data_locked', `Another agent (${owner}) uses ${path}.`, {
        fix: 'Stop it, or give this one a folder of its own with --data.',
      });
    }
  }
}

function findOwner(lock: string): string | undefined {
  try {
    const owner = readFileSync(lock, 'utf8');
    return owner === '' ? undefined : owner;
  } catch {
    // Gone in this instant: free.
    return undefined;
  }
}

/** What killed agents left. */
function sweepTemporary(): void {
  const mark = readAgentMark();
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(temporaryPrefix)) continue;
    if (!isStaleMark(name.slice(temporaryPrefix.length), mark)) continue;
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {}
  }
}

function unwritable(path: string, cause: unknown): PerigeeError {
  const message = `${path} cannot be written: ${toError(cause).message}`;
  return new PerigeeError('data_unwritable', message, { cause });
}
