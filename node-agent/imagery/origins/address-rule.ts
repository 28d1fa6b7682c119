/**
 * Which addresses a URI may lead to. A task names any URI and the agent fetches it with the
 * machine's own network, so the services that trust whoever can reach them are closed: a cloud's
 * metadata, and everything that listens on loopback, the coordinator included.
 */
import { BlockList, isIP } from 'node:net';

const closed = new BlockList();
closed.addSubnet('0.0.0.0', 8);
closed.addSubnet('127.0.0.0', 8);
closed.addSubnet('169.254.0.0', 16);
// Alibaba's and Oracle's metadata.
closed.addAddress('100.100.100.200');
closed.addAddress('192.0.0.192');
closed.addSubnet('224.0.0.0', 3);
closed.addAddress('::', 'ipv6');
closed.addAddress('::1', 'ipv6');
closed.addSubnet('fe80::', 10, 'ipv6');
closed.addSubnet('ff00::', 8, 'ipv6');
closed.addAddress('fd00:ec2::254', 'ipv6');
// Ways to write an IPv4 address in IPv6 that a router may translate back.
closed.addSubnet('64:ff9b::', 96, 'ipv6');
closed.addSubnet('2002::', 16, 'ipv6');

/** Whether an address as text is closed to assets. */
export function isClosedAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return closed.check(address);
  if (family !== 6) return true;
  const mapped = findMapped(address);
  return mapped === undefined ? closed.check(address, 'ipv6') : closed.check(mapped);
}

/** The IPv4 address in `::ffff:127.0.0.1` or `::ffff:7f00:1`. */
function findMapped(address: string): string | undefined {
  const canonical = URL.parse(`http://[${address.split('%')[0]}]/`)?.hostname ?? '';
  const match = /^\[::(?:ffff:)?([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(canonical);
  if (match === null) return undefined;
  const [high, low] = [Number.parseInt(match[1] ?? '', 16), Number.parseInt(match[2] ?? '', 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** Whether `HOST` or `HOST:PORT` of a list lets a URL through. */
export function isAllowedHost(url: URL, allowed: readonly string[]): boolean {
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return allowed.some((one) => one === url.hostname || one === `${url.hostname}:${port}`);
}
