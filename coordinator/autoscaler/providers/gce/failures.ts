/** What Google's errors mean to a fleet: those of a call by status, those of an operation by code. */
import type { ProviderFailureKind } from '../../provider-port.ts';
import { ProviderFailure } from '../../provider-port.ts';

/** An operation that ended in an error. */
export class OperationError extends Error {
  override readonly name = 'OperationError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

const deadlineExceeded = 4;
const byCode: readonly (readonly [ProviderFailureKind, RegExp])[] = [
  ['stockout', /RESOURCE_POOL_EXHAUSTED|STOCKOUT|RESOURCE_NOT_AVAILABLE|NO_CAPACITY/],
  ['throttled', /rateLimitExceeded|RATE_LIMIT|userRateLimitExceeded|TOO_MANY_REQUESTS/i],
  ['quota', /quota|LIMIT_EXCEEDED/i],
  ['denied', /PERMISSION|FORBIDDEN|forbidden|UNAUTHENTICATED|accessNotConfigured|UNAUTHORIZED/],
  ['invalid', /INVALID|NOT_FOUND|UNSUPPORTED|BAD_REQUEST|CONDITION_NOT_MET/],
];

/** The HTTP status of an error of the SDK; undefined when no answer came. */
export function statusOf(caught: unknown): number | undefined {
  if (typeof caught !== 'object' || caught === null) return undefined;
  // `code` is gRPC's, whatever was spoken.
  const status: unknown = Reflect.get(caught, 'httpStatusCode');
  return typeof status === 'number' && status >= 400 && status < 600 ? status : undefined;
}

/** No answer came in the time that a call was given, by gRPC's code for it. */
export function isDeadlinePassed(caught: unknown): boolean {
  return caught instanceof Error && Reflect.get(caught, 'code') === deadlineExceeded;
}

/** Whatever the SDK threw, as a fleet knows it. */
export function toFailure(caught: unknown): ProviderFailure {
  if (caught instanceof ProviderFailure) return caught;
  const message = caught instanceof Error ? caught.message : String(caught);
  const failure = kindOf(caught, message);
  return new ProviderFailure(failure, message, {
    mayHaveMade: failure === 'unavailable',
    cause: caught,
  });
}

function kindOf(caught: unknown, message: string): ProviderFailureKind {
  if (caught instanceof OperationError) return byText(caught.code) ?? 'unavailable';
  switch (statusOf(caught)) {
    case 401:
      return 'denied';
    case 403:
      // Google says 403 for quotas and rates too.
      return byText(message) ?? 'denied';
    case 429:
      return 'throttled';
    case 400:
    case 404:
    case 409:
    case 412:
      return 'invalid';
    case undefined:
      return /credentials|invalid_grant|GOOGLE_APPLICATION/i.test(message)
        ? 'denied'
        : 'unavailable';
    default:
      return byText(message) === 'stockout' ? 'stockout' : 'unavailable';
  }
}

function byText(text: string): ProviderFailureKind | undefined {
  return byCode.find(([, pattern]) => pattern.test(text))?.[0];
}
