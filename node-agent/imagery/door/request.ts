/** What tasks may say to their door: length-prefixed JSON, checked here before anything is done. */
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';

/** A longer request, or answer, ends the connection. */
export const messageBytesMax = 64 * 1024;
const uriCharsMax = 4_096;
const prefetchUrisMax = 256;

export type DoorRequest =
  | { kind: 'open'; uri: string }
  | { kind: 'stat'; uri: string }
  /** Why a read of an open asset failed, which the kernel tells as an error of input alone. */
  | { kind: 'failure'; uri: string }
  | { kind: 'prefetch'; uris: string[] };

/** @throws PerigeeError invalid_request with what is wrong. */
export function parseDoorRequest(bytes: Buffer): DoorRequest {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (caught) {
    throw invalid(`it is not JSON: ${toError(caught).message}`);
  }
  if (typeof value !== 'object' || value === null) throw invalid('it is no object');
  const fields: { kind?: unknown; uri?: unknown; uris?: unknown } = value;
  switch (fields.kind) {
    case 'open':
    case 'stat':
    case 'failure':
      return { kind: fields.kind, uri: checkUri(fields.uri) };
    case 'prefetch': {
      const { uris } = fields;
      if (!Array.isArray(uris)) throw invalid('uris is no list');
      if (uris.length > prefetchUrisMax) throw invalid(`more than ${prefetchUrisMax} uris`);
      return { kind: 'prefetch', uris: uris.map(checkUri) };
    }
    default:
      throw invalid('its kind is not known');
  }
}

function checkUri(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw invalid('a uri is no text');
  if (value.length > uriCharsMax) throw invalid(`a uri has more than ${uriCharsMax} characters`);
  // It becomes part of log lines and error texts.
  if (/\p{Cc}/u.test(value)) throw invalid('a uri has control characters');
  return value;
}

function invalid(what: string): PerigeeError {
  return new PerigeeError('invalid_request', `A request for imagery is not valid: ${what}.`);
}
