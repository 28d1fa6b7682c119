/** Where an agent listens for other nodes. */
import { isIP } from 'node:net';
import { PerigeeError } from '../../protocol/base/errors.ts';

/**
 * Multiaddrs to listen on. Nothing listens beyond loopback unless asked: without a setting only
 * an agent that reaches its coordinator over loopback listens, there.
 * @param setting `none`, or `HOST`, `HOST:PORT`, `[HOST6]:PORT` with an address of this machine.
 * @param join The coordinator's multiaddr.
 * @throws PerigeeError invalid_request
 */
export function peerListenAddresses(setting: string | null, join: string): string[] {
  if (setting === 'none') return [];
  if (setting === null) {
    if (join.startsWith('/ip4/127.')) return ['/ip4/127.0.0.1/tcp/0'];
    return join.startsWith('/ip6/::1/') ? ['/ip6/::1/tcp/0'] : [];
  }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(setting);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3] ?? 0);
  const version = isIP(host);
  if (version === 0 || port > 65_535) {
    throw new PerigeeError('invalid_request', `--peer-listen is '${setting}'.`, {
      fix: 'Give none, or an address of this machine with or without a port, for example 192.0.2.7:7482.',
    });
  }
  return [`/ip${version}/${host}/tcp/${port}`];
}
