/** What counts as a long and as a short task, by measured time. */
import type { HeldGroup } from './state.ts';

/** Tasks of this length and above are never held ahead: another node may have a slot for them. */
export const longTaskMs = 150;
/** Tasks shorter than this are not told of while they run, and their outcomes may wait for one another. */
export const shortTaskMs = 20;

/** Whether a group's tasks are known to be short. */
export function isShort({ taskMs }: HeldGroup): boolean {
  return taskMs !== null && taskMs < shortTaskMs;
}
