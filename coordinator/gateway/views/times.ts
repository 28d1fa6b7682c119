/** Times as the API writes them. */
import type { Timestamp } from '../../../protocol/wire/api.ts';

/** RFC 3339 of a time in milliseconds. */
export function formatTime(atMs: number): Timestamp {
  return new Date(atMs).toISOString();
}

/** As `formatTime`, null for null. */
export function formatTimeOrNull(atMs: number | null): Timestamp | null {
  return atMs === null ? null : formatTime(atMs);
}
