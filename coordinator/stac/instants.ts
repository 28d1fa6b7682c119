/** Instants and intervals as STAC writes them. */
import { PerigeeError } from '../../protocol/base/errors.ts';

/** An interval in milliseconds since 1970, ends included; null for an open end. */
export interface Interval {
  startMs: number | null;
  endMs: number | null;
}

const instantPattern =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;
const periodPattern = /^(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?$/;

/** Milliseconds since 1970 of an RFC 3339 time, finer parts cut; undefined for anything else. */
export function findInstant(text: string): number | undefined {
  const match = instantPattern.exec(text);
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map(Number);
  const days = findDay(year, month, day);
  // A leap second is the end of its minute here.
  if (days === undefined || hour > 23 || minute > 59 || second > 60) return undefined;
  const zoneHours = Number(match[9] ?? 0);
  const zoneMinutes = Number(match[10] ?? 0);
  if (zoneHours > 23 || zoneMinutes > 59) return undefined;
  const zoneMs = (zoneHours * 60 + zoneMinutes) * 60_000 * (match[8] === '-' ? -1 : 1);
  const clockMs = ((hour * 60 + minute) * 60 + Math.min(second, 59)) * 1_000;
  return days + clockMs + Number((match[7] ?? '').padEnd(3, '0').slice(0, 3)) - zoneMs;
}

/**
 * What `datetime` of a search means: an instant, a year, month or day as a whole, or two of these
 * with a slash, of which one may be open (`..` or nothing).
 * @throws PerigeeError invalid_request
 */
export function readInterval(text: string): Interval {
  const parts = text.split('/');
  const [first = '', second] = parts;
  if (parts.length > 2) throw wrong(text, 'has more than one slash');
  if (second === undefined) return readPeriod(first, text);
  const startMs = isOpen(first) ? null : readPeriod(first, text).startMs;
  const endMs = isOpen(second) ? null : readPeriod(second, text).endMs;
  if (startMs === null && endMs === null) throw wrong(text, 'has two open ends');
  if (startMs !== null && endMs !== null && startMs > endMs) throw wrong(text, 'ends too early');
  return { startMs, endMs };
}

function readPeriod(text: string, whole: string): { startMs: number; endMs: number } {
  const instant = findInstant(text);
  if (instant !== undefined) return { startMs: instant, endMs: instant };
  const match = periodPattern.exec(text);
  const [year = 0, month, day] = (match?.slice(1) ?? []).map((part) =>
    part === undefined ? undefined : Number(part),
  );
  const startMs = match === null ? undefined : findDay(year, month ?? 1, day ?? 1);
  if (startMs === undefined) throw wrong(whole, `holds "${text.slice(0, 40)}"`);
  const after = new Date(startMs);
  if (day !== undefined) after.setUTCDate(after.getUTCDate() + 1);
  else if (month !== undefined) after.setUTCMonth(after.getUTCMonth() + 1);
  else after.setUTCFullYear(after.getUTCFullYear() + 1);
  return { startMs, endMs: after.getTime() - 1 };
}

/** Midnight of a day that is in the calendar. */
function findDay(year: number, month: number, day: number): number | undefined {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const isSame = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  return isSame ? date.getTime() : undefined;
}

function isOpen(text: string): boolean {
  return text === '' || text === '..';
}

function wrong(text: string, why: string): PerigeeError {
  return new PerigeeError('invalid_request', `"datetime" ${why}: "${text.slice(0, 80)}".`, {
    fix: 'Write 2001-07, 2001-07-10T12:00:00Z, or two of these as 2001-07/2001-08 or 2001-07/.. .',
    details: { field: 'datetime' },
  });
}
