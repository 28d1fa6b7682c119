/** What a pool of machines made by scripts says below `"command"` in the pools file. */

import type { Input } from '../../../gateway/input/fields.ts';
import {
  readNumberOr,
  readObject,
  readTextsOrNull,
  refused,
  refuseUnknownFields,
} from '../../../gateway/input/fields.ts';

export interface CommandSettings {
  /** Program and parameters, without a shell. */
  create: readonly string[];
  list: readonly string[];
  destroy: readonly string[];
  timeoutMs: number;
}

const wordsMax = 64;

/** @throws PerigeeError invalid_request */
export function parseCommandSettings(fields: unknown): CommandSettings {
  const input = readObject(fields, '"command"');
  refuseUnknownFields(input, ['create', 'list', 'destroy', 'timeoutSeconds'], '"command"');
  const range = { min: 0.1, max: 3_600, fallback: 120 };
  return {
    create: readWords(input, 'create'),
    list: readWords(input, 'list'),
    destroy: readWords(input, 'destroy'),
    timeoutMs: readNumberOr(input, 'timeoutSeconds', range) * 1_000,
  };
}

function readWords(input: Input, field: string): string[] {
  const words = readTextsOrNull(input, field, wordsMax);
  if (words === null || words[0] === undefined || words[0] === '') {
    throw refused(field, 'must be a list of a program and its parameters', input[field]);
  }
  return words;
}
