/** Numbers, sizes and times as people read them. */

const kib = 1024;
const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let place = 0;
  while (value >= kib && place < byteUnits.length - 1) {
    value /= kib;
    place += 1;
  }
  return `${place === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${byteUnits[place]}`;
}

/** `850 ms`, `12.3 s`, `4 min 5 s`, `3 h 2 min`, `2 d 4 h`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return pair(minutes, 'min', Math.floor(seconds % 60), 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, 'h', minutes % 60, 'min');
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** `41,210`. */
export function formatCount(count: number): string {
  // Not toLocaleString: loading the locale data costs a command several milliseconds.
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 task`, `2 tasks`. */
export function countOf(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** `3 min ago` for a person at a terminal, the timestamp itself for a program. */
export function formatTime(
  timestamp: string | null,
  options: { isRelative: boolean; nowMs: number },
): string {
  if (timestamp === null) return '-';
  const atMs = Date.parse(timestamp);
  if (!options.isRelative || Number.isNaN(atMs)) return timestamp;
  const seconds = (options.nowMs - atMs) / 1000;
  if (Math.abs(seconds) < 1) return 'now';
  return seconds > 0 ? `${shortSeconds(seconds)} ago` : `in ${shortSeconds(-seconds)}`;
}

function shortSeconds(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}
