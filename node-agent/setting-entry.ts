/** What an entry of the agent's settings table is made of. */
export interface NumberEntry {
  type: 'number';
  unit: string;
  /** Null: not set; `doc` says what happens then. */
  default: number | null;
  min: number;
  max: number;
  /** Null: by environment only. */
  flag: string | null;
  env: string;
  doc: string;
}
export interface TextEntry {
  type: 'text';
  default: string | null;
  /** The only values taken, when given. */
  words?: readonly string[];
  flag: string | null;
  env: string | null;
  doc: string;
}
export interface SwitchEntry {
  type: 'switch';
  flag: string;
  doc: string;
}
export interface ListEntry {
  type: 'list';
  flag: string;
  doc: string;
}
export type Entry = NumberEntry | TextEntry | SwitchEntry | ListEntry;

/** A duration, set by environment only. */
export const milliseconds = (
  value: number,
  entry: { env: string; doc: string; max?: number },
): NumberEntry & { default: number } => ({
  type: 'number',
  unit: 'ms',
  default: value,
  min: 1,
  max: entry.max ?? 24 * 3_600_000,
  flag: null,
  env: entry.env,
  doc: entry.doc,
});
