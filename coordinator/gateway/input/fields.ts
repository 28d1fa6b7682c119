/**
 * Reads the fields of an input that nobody has checked. Every refusal names the field, what was
 * expected and what came, so that the text alone tells the caller what to change.
 */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import { findNear } from './near-names.ts';

/** What a caller sent: anything. */
export type Input = Readonly<Record<string, unknown>>;

/** Inclusive bounds of a number. */
export interface Range {
  min: number;
  max: number;
}

/**
 * The object of a body.
 * @throws PerigeeError invalid_request
 */
export function readObject(value: unknown, name: string): Input {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    if (!(value instanceof Uint8Array)) return value as Input;
  }
  throw new PerigeeError('invalid_request', `${name} must be an object, not ${show(value)}.`);
}

/**
 * Refuses fields that nobody reads: a misspelt limit would otherwise be a default, silently.
 * @throws PerigeeError invalid_request
 */
export function refuseUnknownFields(input: Input, known: readonly string[], name: string): void {
  for (const field of Object.keys(input)) {
    if (known.includes(field)) continue;
    const near = findNear(field, known)[0];
    throw new PerigeeError(
      'invalid_request',
      `${name} has no field "${field}"${near === undefined ? '' : `; did you mean "${near}"?`}`,
      { fix: `Fields are ${known.join(', ')}.`, details: { field } },
    );
  }
}

/** Text that must be there, of at most `charsMax` characters. */
export function readText(input: Input, field: string, charsMax: number): string {
  const value = input[field];
  if (typeof value === 'string' && value.length > 0 && value.length <= charsMax) return value;
  throw refused(field, `must be a text of 1-${charsMax} characters`, value);
}

/** As `readText`, but undefined or null gives the fallback. */
export function readTextOr<Fallback>(
  input: Input,
  field: string,
  options: { charsMax: number; fallback: Fallback },
): string | Fallback {
  const value = input[field];
  if (value === undefined || value === null) return options.fallback;
  if (typeof value === 'string' && value.length <= options.charsMax) return value;
  throw refused(field, `must be a text of at most ${options.charsMax} characters`, value);
}

/** A whole number; undefined or null gives the fallback. */
export function readIntegerOr<Fallback>(
  input: Input,
  field: string,
  options: Range & { fallback: Fallback },
): number | Fallback {
  const value = input[field];
  if (value === undefined || value === null) return options.fallback;
  if (Number.isInteger(value)) return readNumberOr(input, field, options);
  throw refused(field, `must be a whole number from ${options.min} to ${options.max}`, value);
}

/** A number; undefined or null gives the fallback. */
export function readNumberOr<Fallback>(
  input: Input,
  field: string,
  options: Range & { fallback: Fallback },
): number | Fallback {
  const value = input[field];
  if (value === undefined || value === null) return options.fallback;
  if (typeof value === 'number' && value >= options.min && value <= options.max) return value;
  throw refused(field, `must be a number from ${options.min} to ${options.max}`, value);
}

/** A truth value; undefined or null gives the fallback. */
export function readBooleanOr(input: Input, field: string, fallback: boolean): boolean {
  const value = input[field];
  if (value === undefined || value === null) return fallback;
  if (typeof value === 'boolean') return value;
  throw refused(field, 'must be true or false', value);
}

/** One of a few words; undefined or null gives the fallback. */
export function readChoiceOr<Choice extends string, Fallback>(
  input: Input,
  field: string,
  options: { choices: readonly Choice[]; fallback: Fallback },
): Choice | Fallback {
  const value = input[field];
  if (value === undefined || value === null) return options.fallback;
  for (const choice of options.choices) if (choice === value) return choice;
  throw refused(field, `must be one of ${options.choices.join(', ')}`, value);
}

/** A list of texts; undefined or null gives null. */
export function readTextsOrNull(input: Input, field: string, countMax: number): string[] | null {
  const value = input[field];
  if (value === undefined || value === null) return null;
  if (Array.isArray(value) && value.length <= countMax) {
    const texts = value.filter((item): item is string => typeof item === 'string');
    if (texts.length === value.length) return texts;
  }
  throw refused(field, `must be a list of at most ${countMax} texts`, value);
}

/** Bytes, as msgpack carries them. */
export function readBytes(input: Input, field: string): Uint8Array {
  const value = input[field];
  if (value instanceof Uint8Array) return value;
  throw refused(field, 'must be bytes', value);
}

/** The refusal of one field. */
export function refused(field: string, expectation: string, value: unknown): PerigeeError {
  return new PerigeeError('invalid_request', `"${field}" ${expectation}, not ${show(value)}.`, {
    details: { field },
  });
}

/** A value as a message shows it: short, and never a whole payload. */
export function show(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
