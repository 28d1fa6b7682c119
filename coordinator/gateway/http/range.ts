/** The one form of `Range` that a resumed download needs. */

/** N of `bytes=N-`; null for every other form, which the standard allows to be ignored. */
export function findRangeStart(header: string | undefined): number | null {
  const match = /^bytes=([0-9]{1,15})-$/.exec(header ?? '');
  return match === null ? null : Number(match[1]);
}
