/** Values of options, checked where they are read. */
import { InvalidArgumentError } from 'commander';

/** A parser for whole numbers within bounds; the error prints the bad value and the bounds. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw new InvalidArgumentError(`"${text}" is not a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** `90s`, `15m`, `2h`, `30d`, `4w`, or seconds. */
export function durationSeconds(text: string): number {
  const match = /^(\d{1,9})([smhdw]?)$/.exec(text);
  const unit = secondsOf[match?.[2] === '' ? 's' : (match?.[2] ?? '')];
  if (match === null || unit === undefined) {
    throw new InvalidArgumentError(`"${text}" is not a duration such as 90s, 15m, 2h or 30d.`);
  }
  return Number(match[1]) * unit;
}

/** Collects an option that may be given more than once. */
export function collect(text: string, earlier: readonly string[] | undefined): string[] {
  return [...(earlier ?? []), text];
}
