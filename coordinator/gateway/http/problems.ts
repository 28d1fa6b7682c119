/** Errors as `application/problem+json` (RFC 9457). */
import { errorTable, PerigeeError } from '../../../protocol/base/errors.ts';
import type { GatewayLog } from '../ports.ts';

/** A problem's body. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  fix: string;
  details?: Readonly<Record<string, unknown>>;
}

export const problemType = 'application/problem+json';

/** The body for an error. */
export function problemOf(error: PerigeeError): Problem {
  const { code, message, fix, details, httpStatus } = error;
  return {
    type: `urn:perigee:error:${code}`,
    title: errorTable[code].text,
    status: httpStatus,
    detail: message,
    code,
    fix,
    ...(Object.keys(details).length === 0 ? {} : { details }),
  };
}

/** Headers that go with a problem. */
export function problemHeaders(error: PerigeeError): Record<string, string> {
  const headers: Record<string, string> = {
    'content-type': problemType,
    'cache-control': 'no-store',
  };
  if (error.httpStatus === 401) headers['www-authenticate'] = 'Bearer realm="perigee"';
  const { retryAfterSeconds } = error.details;
  if (error.retryable) headers['retry-after'] = String(retryAfterSeconds ?? 1);
  return headers;
}

/**
 * Whatever was thrown, as what the caller may see. What nobody foresaw goes to the log with its
 * stack; the caller learns only that it happened.
 */
export function coerceError(caught: unknown, log: GatewayLog): PerigeeError {
  if (caught instanceof PerigeeError) return caught;
  const framework = findFrameworkError(caught);
  if (framework !== undefined) return framework;
  log.error({ err: caught }, 'a request failed');
  return new PerigeeError('internal');
}

function findFrameworkError(caught: unknown): PerigeeError | undefined {
  if (!(caught instanceof Error) || !('statusCode' in caught)) return undefined;
  const { statusCode } = caught;
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode >= 500) return undefined;
  return new PerigeeError(statusCode === 413 ? 'too_large' : 'invalid_request', caught.message, {
    cause: caught,
  });
}
