/** Functions and arguments that travel as blobs: each is fetched once and kept while it has users. */
import { assert } from '../../protocol/base/assert.ts';
import type { BlobHash } from '../../protocol/wire/ids.ts';
import type { AgentState, HeldAttempt, HeldBlob, HeldGroup, Turn } from './state.ts';
import { makeWaiting } from './waiting.ts';

/** Asks for the blobs that a group's workers need, when that was not done yet. */
export function askGroupFiles(turn: Turn, group: HeldGroup): void {
  if (group.filesAsked) return;
  group.filesAsked = true;
  for (const hash of groupBlobs(group)) {
    const blob = useBlob(turn, hash);
    if (blob.phase.kind === 'ready') continue;
    group.filesMissing.add(hash);
    blob.groups.push(group);
  }
}

/** Lets go of a group's blobs. */
export function releaseGroupFiles(turn: Turn, group: HeldGroup): void {
  if (!group.filesAsked) return;
  group.filesAsked = false;
  group.filesMissing.clear();
  for (const hash of groupBlobs(group)) {
    const blob = turn.state.blobs.get(hash);
    assert(blob !== undefined, 'a group that asked for its files uses their blobs');
    const at = blob.groups.indexOf(group);
    if (at >= 0) blob.groups.splice(at, 1);
    leaveBlob(turn, hash, blob);
  }
}

/** An attempt whose arguments are a blob: asks for it now or when others have ended. */
export function askArgument(turn: Turn, attempt: HeldAttempt): void {
  attempt.phase = { kind: 'fetching' };
  turn.state.fetchLater.push(attempt);
  askNextArguments(turn);
}

/** Asks for the arguments that there is room for, in order. */
export function askNextArguments(turn: Turn): void {
  const { state } = turn;
  // Arguments may be gigabytes: those of the next tasks are fetched, not of all that are held.
  while (state.blobAttempts < state.settings.blobAttemptsMax) {
    const attempt = state.fetchLater.shift();
    if (attempt === undefined) return;
    assert(attempt.blob !== null, 'only attempts with a blob wait for one');
    state.blobAttempts += 1;
    const blob = useBlob(turn, attempt.blob.hash);
    if (blob.phase.kind === 'ready') makeWaiting(attempt);
    else blob.attempts.push(attempt);
  }
}

/** Undoes what `askArgument` did for an attempt that leaves. */
export function releaseArgument(turn: Turn, attempt: HeldAttempt): void {
  const { state } = turn;
  assert(attempt.blob !== null, 'only attempts with a blob let go of one');
  const later = state.fetchLater.indexOf(attempt);
  if (later >= 0) {
    state.fetchLater.splice(later, 1);
    return;
  }
  const blob = state.blobs.get(attempt.blob.hash);
  assert(blob !== undefined, 'an attempt that asked for its blob uses it');
  const at = blob.attempts.indexOf(attempt);
  if (at >= 0) blob.attempts.splice(at, 1);
  state.blobAttempts -= 1;
  leaveBlob(turn, attempt.blob.hash, blob);
}

/** Asks again for what failed and is still wanted. */
export function retryBlobs(turn: Turn, options: { atOnce: boolean }): void {
  for (const [hash, blob] of turn.state.blobs) {
    if (blob.phase.kind !== 'failed') continue;
    if (!options.atOnce && blob.phase.retryAtMs > turn.now) continue;
    blob.phase = { kind: 'asked' };
    turn.effects.push({ kind: 'fetchBlob', hash });
  }
}

/** The blobs of a group's function and of what it carries. */
export function groupBlobs(group: HeldGroup): BlobHash[] {
  const { functionBlob, cloudpickleBlob, include } = group.spec;
  // Nobody keeps a client from naming one blob twice.
  const hashes = new Set([functionBlob]);
  if (cloudpickleBlob !== null) hashes.add(cloudpickleBlob);
  if (include !== undefined) hashes.add(include.blob);
  return [...hashes];
}

function useBlob(turn: Turn, hash: BlobHash): HeldBlob {
  const { blobs } = turn.state;
  let blob = blobs.get(hash);
  if (blob === undefined) {
    blob = { users: 0, phase: { kind: 'asked' }, attempts: [], groups: [] };
    blobs.set(hash, blob);
    turn.effects.push({ kind: 'fetchBlob', hash });
  }
  blob.users += 1;
  return blob;
}

function leaveBlob(turn: Turn, hash: BlobHash, blob: HeldBlob): void {
  blob.users -= 1;
  if (blob.users > 0) return;
  turn.state.blobs.delete(hash);
  turn.effects.push({ kind: 'releaseBlob', hash });
}

/** Users that each blob should have by the attempts and groups alone; for the invariants. */
export function countBlobUsers(state: AgentState): Map<BlobHash, number> {
  const users = new Map<BlobHash, number>();
  const add = (hash: BlobHash) => users.set(hash, (users.get(hash) ?? 0) + 1);
  for (const group of state.groups.values()) {
    if (group.filesAsked) for (const hash of groupBlobs(group)) add(hash);
  }
  for (const attempt of state.attempts.values()) {
    if (attempt.blob === null || state.fetchLater.includes(attempt)) continue;
    add(attempt.blob.hash);
  }
  return users;
}
