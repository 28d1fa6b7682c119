/**
 * Protocol `/perigee/blocks/1`: one request per stream. `join` makes the asker known as a reader and
 * tells what the other holds; `get` is answered by frames, of which `block` is followed by the bytes.
 * A proof shows that the asker has the credentials under which the asset is read.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import {
  checkBoolean,
  checkFields,
  checkInteger,
  checkList,
  checkOneOf,
  checkPattern,
  invalidField,
} from '../../../protocol/net/check-field.ts';

export const blocksProtocol = '/perigee/blocks/1';

export type BlocksRequest =
  | { kind: 'join'; key: string; proof: string }
  | { kind: 'get'; key: string; proof: string; index: number; fetch: boolean };

export type BlocksAnswer =
  | { kind: 'joined'; held: { index: number; sum: string }[]; coming: number[] }
  | { kind: 'block'; sum: string; sizeBytes: number }
  /** The bytes are on their way from the origin; `block` follows. */
  | { kind: 'fetching' }
  | { kind: 'absent' }
  | { kind: 'busy' };

/** Longest block on the wire: an asset kept whole. */
export const blockBytesMax = 256 * 1024 * 1024;
/** Held blocks that a `joined` tells of; its frame must stay small. Others are asked for one by one. */
export const heldTold = 150;

const checkKey = checkPattern(/^[0-9a-f]{64}$/, 'a SHA-256');
const checkIndex = checkInteger(0, 2 ** 31);
const indexesMax = 4_096;

/** @throws PerigeeError frame_invalid */
export function checkBlocksRequest(message: unknown): BlocksRequest {
  const fields = checkFields(message, 'request');
  const kind = checkOneOf(['join', 'get'])(fields['kind'], 'request.kind');
  const key = checkKey(fields['key'], 'request.key');
  const proof = checkKey(fields['proof'], 'request.proof');
  if (kind === 'join') return { kind, key, proof };
  const index = checkIndex(fields['index'], 'request.index');
  return { kind, key, proof, index, fetch: checkBoolean(fields['fetch'], 'request.fetch') };
}

/** @throws PerigeeError frame_invalid */
export function checkBlocksAnswer(message: unknown): BlocksAnswer {
  const fields = checkFields(message, 'answer');
  const kind = fields['kind'];
  switch (kind) {
    case 'joined': {
      const held = checkList((value, path) => {
        const one = checkFields(value, path);
        const index = checkIndex(one['index'], `${path}.index`);
        return { index, sum: checkKey(one['sum'], `${path}.sum`) };
      }, indexesMax)(fields['held'], 'answer.held');
      const coming = checkList(checkIndex, indexesMax)(fields['coming'], 'answer.coming');
      return { kind, held, coming };
    }
    case 'block': {
      const sizeBytes = checkInteger(0, blockBytesMax)(fields['sizeBytes'], 'answer.sizeBytes');
      return { kind, sum: checkKey(fields['sum'], 'answer.sum'), sizeBytes };
    }
    case 'fetching':
    case 'absent':
    case 'busy':
      return { kind };
    default:
      throw invalidField('answer.kind', 'a kind of answer');
  }
}

/** For one asker, one holder and one asset, so that whoever hears it can use it for nothing else. */
export function makeProof(
  peerKey: Uint8Array,
  parties: { asker: string; holder: string; key: string },
): string {
  const { asker, holder, key } = parties;
  return createHmac('sha256', peerKey).update(`${asker}\n${holder}\n${key}`).digest('hex');
}

export function isProof(given: string, expected: string): boolean {
  return timingSafeEqual(Buffer.from(given, 'hex'), Buffer.from(expected, 'hex'));
}
