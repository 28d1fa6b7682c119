/**
 * Images that groups need and this node may lack. An image is unknown until a group's task waits for
 * it; then `asked → ready`, or `asked → failed → asked` up to a number of times, after which the
 * tasks that wait for it fail, and the image is unknown again; when it is the disk that has no room,
 * `asked → full`, and the tasks go back for other nodes until some time has passed. `ready` → unknown
 * when the image was removed. Other groups go on meanwhile.
 */
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import { returnAttempt, settleAttempt } from './attempts.ts';
import { failedOutcome, imageFailure } from './failures.ts';
import type { AgentState, HeldGroup, Turn } from './state.ts';

/** Whether a group's sandboxes can be started. */
export function hasImage(state: AgentState, group: HeldGroup): boolean {
  return state.images.get(group.spec.imageDigest)?.kind === 'ready';
}

/** Asks for the images that waiting tasks lack. */
export function askImages(turn: Turn): void {
  const { state } = turn;
  for (const group of state.groups.values()) {
    const { imageDigest: digest } = group.spec;
    const isBroken = group.broken !== null && group.broken.untilMs > turn.now;
    if (group.waiting.length === 0 || isBroken || state.images.has(digest)) continue;
    state.images.set(digest, { kind: 'asked', failures: 0 });
    turn.effects.push({ kind: 'fetchImage', digest });
  }
}

/** Asks again for what failed: when its time has come, or at once in a new session. */
export function retryImages(turn: Turn, options: { atOnce: boolean }): void {
  for (const [digest, image] of turn.state.images) {
    if (image.kind !== 'failed') continue;
    if (!options.atOnce && image.retryAtMs > turn.now) continue;
    turn.state.images.set(digest, { kind: 'asked', failures: image.failures });
    turn.effects.push({ kind: 'fetchImage', digest });
  }
}

export function onImageReady(turn: Turn, digest: ImageDigest): void {
  turn.state.images.set(digest, { kind: 'ready' });
}

export function onImageFailed(
  turn: Turn,
  event: { digest: ImageDigest; message: string; retryable: boolean; isFull: boolean },
): void {
  const { state, now } = turn;
  const { digest, message } = event;
  const image = state.images.get(digest);
  if (image?.kind !== 'asked') return;
  const failures = image.failures + 1;
  if (event.retryable && failures < state.settings.imageTriesMax) {
    const retryAtMs = now + state.settings.retryMs * 2 ** (failures - 1);
    state.images.set(digest, { kind: 'failed', failures, retryAtMs });
    return;
  }
  if (event.isFull) {
    state.images.set(digest, { kind: 'full', untilMs: now + state.settings.imageFullMs });
    turn.effects.push({
      kind: 'warn',
      message: `Tasks go back, as their image has no room: ${message}`,
    });
    return;
  }
  state.images.delete(digest);
  for (const group of state.groups.values()) {
    if (group.spec.imageDigest !== digest) continue;
    const failure = imageFailure(group.spec.imageName, message);
    group.broken = { untilMs: now + state.settings.unloadableMs, code: 'crash', failure };
    for (const attempt of [...group.waiting]) {
      settleAttempt(turn, attempt, failedOutcome('crash', failure));
    }
  }
}

/** It was removed, by this agent or by somebody else: asked for when a task wants it again. */
export function onImageLost(turn: Turn, digest: ImageDigest): void {
  if (turn.state.images.get(digest)?.kind === 'ready') turn.state.images.delete(digest);
}

/** Gives back what waits for an image that the disk has no room for: another node may have some. */
export function returnFull(turn: Turn): void {
  const { state, now } = turn;
  for (const group of state.groups.values()) {
    const { imageDigest: digest } = group.spec;
    const image = state.images.get(digest);
    if (group.waiting.length === 0 || image?.kind !== 'full') continue;
    if (image.untilMs > now) for (const attempt of [...group.waiting]) returnAttempt(turn, attempt);
    else state.images.delete(digest);
  }
}

/** Attempts that wait for an image: what they keep busy is the line, not a slot. */
export function countImageWaiters(state: AgentState): number {
  let count = 0;
  for (const group of state.groups.values()) {
    if (!hasImage(state, group)) count += group.waiting.length;
  }
  return count;
}
