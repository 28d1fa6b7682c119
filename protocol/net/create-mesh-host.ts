/** A libp2p host as every process of the mesh uses it: TCP, noise, yamux; no discovery, no relay. */
import { noise } from '@chainsafe/libp2p-noise';
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys';
import type { Connection, Stream } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { PerigeeError, toError } from '../base/errors.ts';
import { joinWritesOf, renewWindowByHalves } from './lean-link.ts';
import { streamReadBufferBytesMax, streamWindowBytesMax } from './limits.ts';

/** What a host is made of. */
export interface MeshHostSettings {
  /** From `loadMeshKey`. */
  key: Uint8Array;
  /** Multiaddrs to listen on, for example `/ip4/127.0.0.1/tcp/0`; empty for a host that only dials. */
  listen: readonly string[];
  /** Connections at once; further ones are refused. */
  connectionsMax: number;
  /** Addresses to announce in place of those listened on, for example behind a forwarded port. */
  announce?: readonly string[];
}

/** Takes a stream that a peer opened. What it throws ends the stream. */
export type MeshHandler = (stream: Stream, peer: string) => void | Promise<void>;

/** A started host. */
export interface MeshHost extends AsyncDisposable {
  readonly peerId: string;
  /** Where it can be dialled, each with its peer id. */
  addresses(): string[];
  /** Serves a protocol; `streamsMax` bounds the streams of one connection. */
  handle(protocol: string, handler: MeshHandler, options: { streamsMax: number }): Promise<void>;
  unhandle(protocol: string): Promise<void>;
  /**
   * Opens a stream to an address with a peer id, or to a connected peer by its id alone.
   * @throws PerigeeError unreachable, protocol_version when the peer does not speak the protocol.
   */
  open(target: string, protocol: string, options: { signal: AbortSignal }): Promise<Stream>;
  /** Closes every connection to a peer. */
  hangUp(peer: string): Promise<void>;
  /** Idempotent; closes all connections and listeners. */
  stop(): Promise<void>;
}

/**
 * Starts a host.
 * @throws PerigeeError port_taken when an address to listen on is in use, invalid_request when it is malformed.
 * @example
 * const host = await createMeshHost({ key, listen: ['/ip4/127.0.0.1/tcp/0'], connectionsMax: 100 });
 */
export async function createMeshHost(settings: MeshHostSettings): Promise<MeshHost> {
  const libp2p = await startLibp2p(settings);
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= Promise.resolve(libp2p.stop());
    return stopping;
  };
  return {
    peerId: libp2p.peerId.toString(),
    addresses: () => libp2p.getMultiaddrs().map((address) => address.toString()),
    handle: (protocol, handler, options) =>
      libp2p.handle(
        protocol,
        async (stream: Stream, connection: Connection) => {
          renewWindowByHalves(stream);
          try {
            await handler(stream, connection.remotePeer.toString());
          } catch (caught) {
            stream.abort(toError(caught));
          }
        },
        { maxInboundStreams: options.streamsMax },
      ),
    unhandle: (protocol) => libp2p.unhandle(protocol),
    async open(target, protocol, options) {
      const peer = target.startsWith('/') ? parseAddress(target) : peerIdFromString(target);
      try {
        const stream = await libp2p.dialProtocol(peer, protocol, { signal: options.signal });
        renewWindowByHalves(stream);
        return stream;
      } catch (caught) {
        throw openError(target, protocol, toError(caught));
      }
    },
    hangUp: (peer) => libp2p.hangUp(peerIdFromString(peer)),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function startLibp2p(settings: MeshHostSettings): ReturnType<typeof createLibp2p> {
  const addresses = {
    listen: settings.listen.map((address) => parseAddress(address).toString()),
    ...(settings.announce === undefined ? {} : { announce: [...settings.announce] }),
  };
  try {
    return await createLibp2p({
      privateKey: privateKeyFromProtobuf(settings.key),
      addresses,
      transports: [tcp()],
      connectionEncrypters: [joinWritesOf(noise())],
      streamMuxers: [
        yamux({
          streamOptions: {
            maxStreamWindowSize: streamWindowBytesMax,
            maxReadBufferLength: streamReadBufferBytesMax,
          },
        }),
      ],
      connectionManager: {
        maxConnections: settings.connectionsMax,
        // libp2p's defaults (5 a second from one address, 10 half-open) would turn a fleet away
        // that comes back behind one NAT after a restart.
        inboundConnectionThreshold: settings.connectionsMax,
        maxIncomingPendingConnections: settings.connectionsMax,
        // Whether to come back, and when, is the session's decision, not the connection's.
        reconnectRetries: 0,
      },
      // Heartbeats tell who is alive; a second opinion would only close slow connections.
      connectionMonitor: { enabled: false },
    });
  } catch (caught) {
    throw listenError(settings.listen, toError(caught));
  }
}

function parseAddress(address: string): ReturnType<typeof multiaddr> {
  try {
    return multiaddr(address);
  } catch (cause) {
    throw new PerigeeError('invalid_request', `${address} is not a mesh address.`, {
      cause,
      fix: 'A mesh address looks like /ip4/192.0.2.1/tcp/7481/p2p/12D3Koo….',
    });
  }
}

function openError(target: string, protocol: string, cause: Error): PerigeeError {
  if (cause.name === 'UnsupportedProtocolError') {
    return new PerigeeError('protocol_version', `${target} does not speak ${protocol}.`, { cause });
  }
  return new PerigeeError('unreachable', `${target} cannot be reached: ${cause.message}`, {
    cause,
  });
}

// The transport manager wraps the socket's error, sometimes twice and sometimes in an aggregate.
function listenError(listen: readonly string[], error: Error): Error {
  if (!mentions(error, 'EADDRINUSE') && !mentions(error, 'EACCES')) {
    if (error.name !== 'UnsupportedListenAddressesError') return error;
  }
  const why = mentions(error, 'EADDRINUSE')
    ? 'the port is in use'
    : mentions(error, 'EACCES')
      ? 'this port needs more rights'
      : 'this machine has no such address';
  return new PerigeeError('port_taken', `Cannot listen on ${listen.join(', ')}: ${why}.`, {
    cause: error,
  });
}

function mentions(error: unknown, code: string): boolean {
  if (!(error instanceof Error)) return false;
  if (error.message.includes(code) || ('code' in error && error.code === code)) return true;
  if (error instanceof AggregateError) return error.errors.some((inner) => mentions(inner, code));
  return mentions(error.cause, code);
}
