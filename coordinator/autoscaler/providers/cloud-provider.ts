/** What all providers of machines elsewhere have in common. */
import { createHash } from 'node:crypto';
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import type { InstanceOffer, Provider, ProviderFault } from '../provider-port.ts';
import { ProviderFailure } from '../provider-port.ts';

export interface CloudDeps {
  pool: string;
  /** In order of preference. */
  offers: readonly InstanceOffer[];
  /** Whose machines these are: the mesh's peer id. Every machine is tagged with it. */
  coordinator: string;
  env: Readonly<Record<string, string | undefined>>;
}

/** One call of a cloud's API; beyond it the answer counts as lost. */
export const callMsMax = 30_000;
/** One answer to the fleet takes a few of them. */
export const answerMsMax = 2 * callMsMax;

/** What machines elsewhere know nothing of: they are seen by listings alone. */
export const seenByListing = {
  kill: () => undefined,
  pids: () => [],
  onEnded: () => undefined,
  adopt: () => undefined,
} satisfies Pick<Provider, 'kill' | 'pids' | 'onEnded' | 'adopt'>;

/** @throws ProviderFailure invalid */
export function getOffer(deps: CloudDeps, id: string): InstanceOffer {
  const offer = deps.offers.find((each) => each.id === id);
  if (offer !== undefined) return offer;
  const message = `Pool ${deps.pool} has no offer "${id}".`;
  throw new ProviderFailure('invalid', message, { mayHaveMade: false });
}

/** 64 hexadecimal digits that stand for one instance of one coordinator: what makes a request repeatable. */
export function requestToken(deps: CloudDeps, instance: InstanceId): string {
  return createHash('sha256').update(`${deps.coordinator} ${instance}`).digest('hex');
}

/** A short name of the coordinator, of lower-case letters and digits, for clouds whose tags take no more. */
export function coordinatorLabel(deps: CloudDeps): string {
  return createHash('sha256').update(deps.coordinator).digest('hex').slice(0, 24);
}

/** The caller's signal, with a bound. */
export function boundedSignal(signal: AbortSignal, msMax: number = callMsMax): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(msMax)]);
}

/** A failure as `check` tells it. */
export function faultOf(caught: unknown, options: { what: string; fix: string }): ProviderFault {
  const code = caught instanceof ProviderFailure ? caught.failure : 'unavailable';
  const message = caught instanceof Error ? caught.message : String(caught);
  return { code, message: `${options.what}: ${message}`, fix: options.fix };
}
