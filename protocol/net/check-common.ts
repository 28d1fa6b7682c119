/** Checks of what many messages have in common: names, sizes and times. */
import type { BlobHash, GroupId, ImageDigest, NamespaceName } from '../wire/ids.ts';
import type { PythonVersion } from '../wire/task.ts';
import type { Check } from './check-field.ts';
import { checkFields, checkInteger, checkPattern, checkText } from './check-field.ts';

export const durationMsMax = 1000 * 3600 * 24 * 365;
export const attemptMax = 65_535;

export const checkSize = checkInteger(0);
export const checkDuration = checkInteger(0, durationMsMax);
export const checkHash = checkPattern(/^[0-9a-f]{64}$/, 'a SHA-256') as Check<BlobHash>;
export const checkDigest = checkPattern(
  /^sha256:[0-9a-f]{64}$/,
  'an image digest',
) as Check<ImageDigest>;
export const checkGroup = checkPattern(/^[0-9a-f]{12}$/, 'a group id') as Check<GroupId>;
export const checkNamespace = checkPattern(
  /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
  'a namespace name',
) as Check<NamespaceName>;

export const checkPython: Check<PythonVersion> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    implementation: checkText(40, 1)(fields['implementation'], `${path}.implementation`),
    version: checkText(40, 1)(fields['version'], `${path}.version`),
  };
};
