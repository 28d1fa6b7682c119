/** One line of the coordinator's table of settings, by kind. */

/** How its text is read. */
export type SettingType = 'integer' | 'number' | 'text' | 'switch' | 'list';

/** One setting. */
export interface Setting<Value> {
  type: SettingType;
  /** Of numbers; empty for counts and texts. */
  unit: string;
  default: Value;
  min: number;
  max: number;
  /** Null when only the environment sets it. */
  flag: string | null;
  doc: string;
}

interface NumberOptions {
  unit?: string;
  default: number;
  min?: number;
  max?: number;
  flag?: string;
  doc: string;
}

/** A number, whole or not. */
export const number = (type: 'integer' | 'number', options: NumberOptions): Setting<number> => ({
  type,
  unit: options.unit ?? '',
  default: options.default,
  min: options.min ?? 0,
  max: options.max ?? Number.MAX_SAFE_INTEGER,
  flag: options.flag ?? null,
  doc: options.doc,
});
/** A whole number; a count unless it has a unit. */
export const integer = (options: NumberOptions): Setting<number> => number('integer', options);
/** A duration of at least a millisecond. */
export const milliseconds = (options: NumberOptions): Setting<number> =>
  number('integer', { unit: 'ms', min: 1, ...options });
/** A size. */
export const bytes = (options: NumberOptions): Setting<number> =>
  number('integer', { unit: 'bytes', ...options });
/** A long time; parts of a day are taken too. */
export const days = (options: NumberOptions): Setting<number> =>
  number('number', { unit: 'days', max: 36_500, ...options });
/** What has no bounds. */
export const plain = <Value>(
  type: SettingType,
  options: { default: Value; flag: string; doc: string },
): Setting<Value> => ({ type, unit: '', min: 0, max: 0, ...options });
/** A text. */
export const text = (options: { default: string; flag: string; doc: string }): Setting<string> =>
  plain('text', options);
/** Off by default. */
export const toggle = (options: { flag: string; doc: string }): Setting<boolean> =>
  plain('switch', { default: false, ...options });
