/** Turns requests into the inputs of operations. */
import type { FastifyRequest } from 'fastify';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { Input } from '../input/fields.ts';
import { readObject } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import type { StreamOwner } from '../stream-gate.ts';

const owners = new WeakMap<FastifyRequest, StreamOwner>();

/**
 * Finds out who asks and remembers it with the request; runs before any body is read.
 * @throws PerigeeError token_missing, token_wrong, token_expired, token_revoked, rate_limited
 */
export async function admit(services: Services, request: FastifyRequest): Promise<void> {
  const token = readBearer(request);
  const caller = await services.authenticator.authenticate(token);
  services.rateLimit.take(caller.tokenId);
  owners.set(request, { caller, token: token ?? '' });
}

/** The services with the caller of a request that was admitted. */
export function contextOf(services: Services, request: FastifyRequest): Context {
  return { ...services, caller: ownerOf(request).caller };
}

/** Who opened a stream with this request. */
export function ownerOf(request: FastifyRequest): StreamOwner {
  const owner = owners.get(request);
  if (owner === undefined) throw new PerigeeError('token_missing');
  return owner;
}

/** How the texts of a query are to be read. */
export interface QueryTypes {
  numbers?: readonly string[];
  booleans?: readonly string[];
  /** Comma-separated. */
  lists?: readonly string[];
}

/** Body, query and path of a request as one input; the path wins. */
export function inputOf(request: FastifyRequest, types: QueryTypes = {}): Input {
  const input: Record<string, unknown> = {};
  if (request.body !== undefined && request.body !== null) {
    Object.assign(input, readObject(request.body, 'The body'));
  }
  for (const [field, value] of Object.entries(readObject(request.query ?? {}, 'The query'))) {
    input[field] = readQueryValue(field, value, types);
  }
  return Object.assign(input, readObject(request.params ?? {}, 'The path'));
}

function readQueryValue(field: string, value: unknown, types: QueryTypes): unknown {
  if (typeof value !== 'string') {
    throw new PerigeeError('invalid_request', `"${field}" is given more than once.`);
  }
  // `?cursor=` is how the documentation writes a field that is left out.
  if (value === '') return undefined;
  if (types.numbers?.includes(field) === true && /^-?[0-9]+(\.[0-9]+)?$/.test(value)) {
    return Number(value);
  }
  if (types.booleans?.includes(field) === true) {
    if (value === 'true' || value === '1') return true;
    if (value === 'false' || value === '0') return false;
  }
  if (types.lists?.includes(field) === true) return value.split(',');
  return value;
}

function readBearer(request: FastifyRequest): string | undefined {
  const header = request.headers.authorization;
  if (header === undefined) return undefined;
  const match = /^Bearer +(\S+) *$/i.exec(header);
  if (match === null) {
    throw new PerigeeError('token_missing', 'The Authorization header is not "Bearer <token>".');
  }
  return match[1];
}
