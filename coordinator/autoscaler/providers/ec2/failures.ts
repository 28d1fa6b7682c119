/** What EC2's error codes mean to a fleet. */
import type { ProviderFailureKind } from '../../provider-port.ts';
import { ProviderFailure } from '../../provider-port.ts';

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html */
const kinds: readonly (readonly [ProviderFailureKind, RegExp])[] = [
  [
    'stockout',
    /^(Insufficient(Instance|Host|ReservedInstance)Capacity|InsufficientCapacity|InsufficientFreeAddressesInSubnet|SpotMaxPriceTooLow|InsufficientCapacityOnHost)$/,
  ],
  [
    'quota',
    /^(InstanceLimitExceeded|VcpuLimitExceeded|MaxSpotInstanceCountExceeded|VolumeLimitExceeded|AttachmentLimitExceeded|.*LimitExceeded)$/,
  ],
  [
    'denied',
    /^(UnauthorizedOperation|AuthFailure|AccessDenied(Exception)?|InvalidClientTokenId|ExpiredToken(Exception)?|RequestExpired|OptInRequired|PendingVerification|Blocked|UnrecognizedClientException|SignatureDoesNotMatch|MissingAuthenticationToken|IncompleteSignature|CredentialsProviderError|TokenProviderError)$/,
  ],
  [
    'invalid',
    /^(Invalid|Missing|Unknown|Unsupported|Malformed|IdempotentParameterMismatch|OperationNotPermitted)/,
  ],
];
const throttled =
  /^(RequestLimitExceeded|Throttl.*|EC2ThrottledException|RequestThrottled.*|SlowDown|TooManyRequestsException|BandwidthLimitExceeded)$/;

/** A dry run that would have worked is told as an error. */
export function isDryRunSuccess(caught: unknown): boolean {
  return codeOf(caught) === 'DryRunOperation';
}

/** EC2's code, or the name of an error that never reached it. */
export function codeOf(caught: unknown): string {
  return caught instanceof Error ? caught.name : '';
}

/** Whatever the SDK threw, as a fleet knows it. */
export function toFailure(caught: unknown): ProviderFailure {
  if (caught instanceof ProviderFailure) return caught;
  const code = codeOf(caught);
  const said = caught instanceof Error ? caught.message : String(caught);
  const failure = kindOf(code);
  return new ProviderFailure(failure, code === '' ? said : `${code}: ${said}`, {
    // EC2 refuses before it makes; only an answer that never came, or broke, leaves doubt.
    mayHaveMade: failure === 'unavailable' || code === 'IdempotentParameterMismatch',
    cause: caught,
  });
}

function kindOf(code: string): ProviderFailureKind {
  // Before the limits of an account, whose names end alike.
  if (throttled.test(code)) return 'throttled';
  return kinds.find(([, pattern]) => pattern.test(code))?.[0] ?? 'unavailable';
}
