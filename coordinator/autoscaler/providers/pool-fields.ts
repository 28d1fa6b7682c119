/** The fields that stand below a provider's name in the pools file. */
import type { Input } from '../../gateway/input/fields.ts';
import {
  readIntegerOr,
  readObject,
  readText,
  readTextOr,
  readTextsOrNull,
  refuseUnknownFields,
} from '../../gateway/input/fields.ts';

/** One method for each kind of field; each throws PerigeeError invalid_request with the field's name. */
export interface PoolFields {
  readonly input: Input;
  text(field: string): string;
  textOr<Fallback>(field: string, fallback: Fallback): string | Fallback;
  textOrNull(field: string): string | null;
  /** None when the field is left out. */
  texts(field: string, countMax: number): string[];
  integerOr<Fallback>(
    field: string,
    options: { min: number; max: number; fallback: Fallback },
  ): number | Fallback;
}

/** @throws PerigeeError invalid_request for what is no object, or has a field that is not known */
export function readPoolFields(
  fields: unknown,
  options: { provider: string; known: readonly string[]; charsMax: number },
): PoolFields {
  const { provider, known, charsMax } = options;
  const input = readObject(fields ?? {}, `"${provider}"`);
  refuseUnknownFields(input, known, `"${provider}"`);
  return {
    input,
    text: (field) => readText(input, field, charsMax),
    textOr: (field, fallback) => readTextOr(input, field, { charsMax, fallback }),
    textOrNull: (field) => readTextOr(input, field, { charsMax, fallback: null }),
    texts: (field, countMax) => readTextsOrNull(input, field, countMax) ?? [],
    integerOr: (field, range) => readIntegerOr(input, field, range),
  };
}
