/** What a request for a part of a file asks for (RFC 9110, sections 13 and 14). */

/** Bytes `start … start + length - 1`. */
export interface ByteRange {
  start: number;
  length: number;
}

/** The headers of a request that decide what is answered. */
export interface PartRequest {
  range?: string | undefined;
  ifRange?: string | undefined;
  ifNoneMatch?: string | undefined;
}

export type PartAnswer =
  | { kind: 'whole' }
  | { kind: 'part'; range: ByteRange }
  | { kind: 'unchanged' }
  | { kind: 'beyond' };

/** What to answer about a file of that size and ETag. Several ranges at once are answered by the whole. */
export function answerPart(
  request: PartRequest,
  file: { sizeBytes: number; etag: string },
): PartAnswer {
  if (request.ifNoneMatch !== undefined && matches(request.ifNoneMatch, file.etag)) {
    return { kind: 'unchanged' };
  }
  // The part is wanted of that very version only.
  const isOther = request.ifRange !== undefined && request.ifRange.trim() !== file.etag;
  if (request.range === undefined || isOther) return { kind: 'whole' };
  return findPart(request.range, file.sizeBytes);
}

function findPart(header: string, sizeBytes: number): PartAnswer {
  const match = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/.exec(header.trim());
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return { kind: 'whole' };
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes);
    if (length === 0) return { kind: 'beyond' };
    return { kind: 'part', range: { start: sizeBytes - length, length } };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return { kind: 'whole' };
  if (start >= sizeBytes) return { kind: 'beyond' };
  const end = last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  return { kind: 'part', range: { start, length: end - start + 1 } };
}

function matches(header: string, etag: string): boolean {
  if (header.trim() === '*') return true;
  return header.split(',').some((one) => one.trim().replace(/^W\//, '') === etag);
}
