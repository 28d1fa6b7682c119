/** What must hold of an answer to a ranged request before its bytes are believed. */
import type { HttpAnswer } from './http-request.ts';
import type { OriginRead } from './port.ts';
import { failureOfStatus, OriginFailure } from './port.ts';

/** The bytes of the range. @throws OriginFailure */
export function checkRanged(
  answer: HttpAnswer,
  read: OriginRead,
  versionOf: (answer: HttpAnswer, sizeBytes: number) => string | null,
): Uint8Array {
  const { status, body } = answer;
  const { offset, length } = read.range;
  if (status !== 206 && status !== 200) throw refusal(answer);
  let sizeBytes = body.length;
  if (status === 206) {
    const header = answer.headers['content-range'] ?? '';
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header);
    if (match === null || Number(match[1]) !== offset) {
      throw new OriginFailure('faulty', `the answer is for '${header}'`, { status });
    }
    sizeBytes = match[3] === '*' ? read.sizeBytes : Number(match[3]);
    if (sizeBytes !== read.sizeBytes) throw changed(`it has ${sizeBytes} bytes now`, status);
    if (Number(match[2]) !== offset + length - 1) {
      throw new OriginFailure('faulty', `the answer is for '${header}'`, { status });
    }
  } else if (offset !== 0 || length !== read.sizeBytes) {
    // Some servers ignore Range: only a whole asset may be taken from one.
    throw new OriginFailure('invalid', 'the origin ignores ranges and sent the whole asset', {
      status,
    });
  }
  const version = versionOf(answer, sizeBytes);
  if (version !== null && version !== read.version) throw changed(`it is ${version} now`, status);
  if (body.length !== length) {
    throw new OriginFailure('faulty', `${body.length} bytes came of ${length}`, { status });
  }
  return body;
}

/** The failure that an answer other than a success stands for. */
export function refusal(answer: HttpAnswer): OriginFailure {
  const after = Number(answer.headers['retry-after']);
  return new OriginFailure(failureOfStatus(answer.status), 'the origin refused', {
    status: answer.status,
    body: answer.body,
    retryAfterMs: Number.isFinite(after) ? after * 1_000 : null,
  });
}

function changed(how: string, status: number): OriginFailure {
  return new OriginFailure('changed', `the asset is no longer the same: ${how}`, { status });
}
