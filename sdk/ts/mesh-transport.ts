/** The libp2p end of a client: finds the coordinator, holds on to its identity, opens streams. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { createMeshHost, type MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../protocol/net/mesh-key.ts';
import type { MeshView } from '../../protocol/wire/api.ts';
import { clientProtocol } from '../../protocol/wire/messages.ts';
import type { ClientStream } from './client-calls.ts';
import { createClientStream } from './client-stream.ts';
import type { MeshAddress } from './config.ts';
import { createHttpClient } from './http.ts';
import { version } from './version.ts';

/** Streams to one coordinator. */
export interface MeshTransport {
  /**
   * Opens a fresh stream; asks the coordinator's HTTP side first where libp2p listens.
   * @throws PerigeeError unreachable; forbidden when another coordinator is there than before.
   */
  open(signal: AbortSignal): Promise<ClientStream>;
  /** Drops the connection and what is known of the addresses. */
  hangUp(): Promise<void>;
  stop(): Promise<void>;
}

/** One connection, and one more while the old one is dying. */
const connectionsMax = 8;
const lookMsMax = 10_000;

/**
 * A transport that trusts one peer id: the one of the config file, else the first that the URL names.
 * What answers there later, or in between, must prove to be the same.
 */
export function createMeshTransport(address: MeshAddress & { token: string }): MeshTransport {
  const http = createHttpClient({ url: address.url, token: null });
  const identity = { token: address.token, software: `perigee-sdk ${version}` };
  let pinned = address.peerId;
  let targets: readonly string[] = [];
  let host: Promise<MeshHost> | undefined;

  const look = async (signal: AbortSignal): Promise<readonly string[]> => {
    const view = await http.json<unknown>('GET', '/v1/mesh', { signal, timeoutMs: lookMsMax });
    const { peerId, addresses } = decodeMeshView(view, address.url);
    pinned ??= peerId;
    if (peerId !== pinned) throw stranger(address.url, { peerId, pinned });
    return addresses.filter((one) => one.endsWith(`/p2p/${peerId}`));
  };
  const dial = async (signal: AbortSignal): Promise<ClientStream> => {
    host ??= startHost();
    const { open } = await host;
    let failure: unknown = new PerigeeError(
      'unreachable',
      `${address.url} names no libp2p address.`,
    );
    for (const target of targets) {
      try {
        return createClientStream(await open(target, clientProtocol, { signal }), identity);
      } catch (caught) {
        failure = caught;
      }
    }
    throw failure;
  };
  return {
    async open(signal) {
      if (targets.length === 0) targets = await look(signal);
      try {
        return await dial(signal);
      } catch (caught) {
        // It may have come back elsewhere.
        targets = [];
        throw caught;
      }
    },
    async hangUp() {
      targets = [];
      if (pinned !== null) await (await host)?.hangUp(pinned);
    },
    async stop() {
      await (await host)?.stop();
    },
  };
}

async function startHost(): Promise<MeshHost> {
  return createMeshHost({ key: await generateMeshKey(), listen: [], connectionsMax });
}

function decodeMeshView(value: unknown, url: string): Pick<MeshView, 'peerId' | 'addresses'> {
  if (typeof value === 'object' && value !== null) {
    const { peerId, addresses }: { peerId?: unknown; addresses?: unknown } = value;
    if (typeof peerId === 'string' && Array.isArray(addresses)) {
      return { peerId, addresses: addresses.filter((one) => typeof one === 'string') };
    }
  }
  throw new PerigeeError('unreachable', `${url}/v1/mesh does not say where the mesh is.`, {
    fix: 'Check PERIGEE_URL: another program may listen there.',
  });
}

function stranger(url: string, ids: { peerId: string; pinned: string }): PerigeeError {
  return new PerigeeError(
    'forbidden',
    `The coordinator at ${url} is ${ids.peerId}, not ${ids.pinned} as before.`,
    {
      fix: 'If its data directory was made anew on purpose, run `scripts/perigee up` again, or connect with its own url and token.',
      details: ids,
    },
  );
}
