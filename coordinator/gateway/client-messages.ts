/** Checks what clients send on `/perigee/client/1`. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { Input } from './input/fields.ts';
import { readObject } from './input/fields.ts';

/** A message of a client; the input of a call is checked by its operation. */
export type CheckedClientMessage =
  | { kind: 'open'; protocol: number; token: string }
  | { kind: 'call'; id: number; name: string; input: Input }
  | { kind: 'part'; id: number; bytes: Uint8Array }
  | { kind: 'partsEnd'; id: number }
  | { kind: 'cancel'; id: number };

/**
 * The message of a decoded frame.
 * @throws PerigeeError frame_invalid
 */
export function readClientMessage(raw: unknown): CheckedClientMessage {
  if (typeof raw !== 'object' || raw === null) throw malformed('it is not a map');
  const message = raw as Input;
  const { kind } = message;
  switch (kind) {
    case 'open':
      return {
        kind,
        protocol: readInteger(message, 'protocol'),
        token: readString(message, 'token'),
      };
    case 'call':
      return {
        kind,
        id: readInteger(message, 'id'),
        name: readString(message, 'name'),
        input: readInput(message['input']),
      };
    case 'part': {
      const bytes = message['bytes'];
      if (!(bytes instanceof Uint8Array)) throw malformed('"bytes" are not bytes');
      return { kind, id: readInteger(message, 'id'), bytes };
    }
    case 'partsEnd':
    case 'cancel':
      return { kind, id: readInteger(message, 'id') };
    default:
      throw malformed(`"kind" is ${JSON.stringify(kind)?.slice(0, 40) ?? 'missing'}`);
  }
}

function readInput(value: unknown): Input {
  if (value === undefined || value === null) return {};
  try {
    return readObject(value, 'input');
  } catch (cause) {
    throw malformed('"input" is not a map', cause);
  }
}

function readInteger(message: Input, field: string): number {
  const value = message[field];
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw malformed(`"${field}" is not a whole number`);
}

function readString(message: Input, field: string): string {
  const value = message[field];
  if (typeof value === 'string') return value;
  throw malformed(`"${field}" is not a text`);
}

function malformed(why: string, cause?: unknown): PerigeeError {
  return new PerigeeError('frame_invalid', `A client's message is malformed: ${why}.`, { cause });
}
