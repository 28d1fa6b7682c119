/** What the two ends of a stream of results say, checked as every message is (`check-message.ts`). */
import { lineResultBytesMax } from '../wire/limits.ts';
import type { ResultAnswer, ResultPut } from '../wire/messages.ts';
import { checkHash, checkSize } from './check-common.ts';
import { checkFields, checkInteger, invalidField } from './check-field.ts';
import { checkRefusal } from './check-message.ts';

/**
 * A put on a stream of results.
 * @throws PerigeeError frame_invalid
 */
export function checkResultPut(message: unknown): ResultPut {
  const fields = checkFields(message, 'put');
  if (fields['kind'] !== 'put') throw invalidField('put.kind', 'put');
  return {
    kind: 'put',
    number: checkSize(fields['number'], 'put.number'),
    hash: checkHash(fields['hash'], 'put.hash'),
    sizeBytes: checkInteger(0, lineResultBytesMax)(fields['sizeBytes'], 'put.sizeBytes'),
  };
}

/**
 * The answer to a put on a stream of results.
 * @throws PerigeeError frame_invalid
 */
export function checkResultAnswer(message: unknown): ResultAnswer {
  const fields = checkFields(message, 'answer');
  const kind = fields['kind'];
  const number = checkSize(fields['number'], 'answer.number');
  switch (kind) {
    case 'ok':
      return { kind, number };
    case 'refused':
      return { kind, number, ...checkRefusal(fields) };
    default:
      throw invalidField('answer.kind', 'ok or refused');
  }
}
