/** Plain HTTP stays on the machine unless somebody said otherwise. */
import { isIP } from 'node:net';
import { PerigeeError } from '../../../protocol/base/errors.ts';

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}

/** @throws PerigeeError insecure_listen */
export function checkListen(settings: {
  host: string;
  tls: object | null;
  behindProxy: boolean;
  insecureHttp: boolean;
}): void {
  const { host, tls, behindProxy, insecureHttp } = settings;
  if (isLoopback(host) || tls !== null || behindProxy || insecureHttp) return;
  throw new PerigeeError(
    'insecure_listen',
    `Listening on ${host} without TLS would send tokens over the network in the clear.`,
  );
}
