/** The coordinator's face to clients: HTTP for everyone, `/perigee/client/1` for the TypeScript SDK. */
import { clientProtocol } from '../../protocol/wire/messages.ts';
import { createAuthenticator } from './caller.ts';
import { createClientEdge } from './client-protocol.ts';
import { createCompletionHub } from './completions/hub.ts';
import { createHttpEdge } from './http/server.ts';
import type { GatewayDeps } from './ports.ts';
import { createRateLimit } from './rate-limit.ts';
import type { Services } from './services.ts';
import type { GatewaySettings } from './settings.ts';
import { createStreamGate } from './stream-gate.ts';
import { createSubmissionsInFlight } from './submissions-in-flight.ts';
import { createTaskWatch } from './task-watch.ts';

/** Streams of one connection; each call of the SDK that streams has one of its own. */
const clientStreamsMax = 256;

/** The gateway with its life. */
export interface Gateway extends AsyncDisposable {
  /**
   * Begins to listen and to serve the client protocol.
   * @throws PerigeeError insecure_listen, port_taken
   */
  start(): Promise<{ url: string }>;
  /** Ends streams, refuses new calls, lets those under way finish; idempotent. */
  stop(): Promise<void>;
}

/**
 * A gateway that does not listen yet.
 * @example
 * const gateway = createGateway(deps, { ...gatewayDefaults, port: 7480 });
 * const { url } = await gateway.start();
 */
export function createGateway(deps: GatewayDeps, settings: GatewaySettings): Gateway {
  const authenticator = createAuthenticator(deps.store, deps.clock);
  const services: Services = {
    deps,
    settings,
    authenticator,
    completions: createCompletionHub(deps, settings),
    tasks: createTaskWatch(deps.driver),
    rateLimit: createRateLimit(deps.clock, settings),
    streams: createStreamGate({ authenticator, clock: deps.clock }, settings.streamsMax),
    submissions: createSubmissionsInFlight(),
  };
  const http = createHttpEdge(services);
  const client = createClientEdge(services);
  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    services.streams.close();
    await deps.mesh.unhandle(clientProtocol);
    await Promise.all([client.stop(), http.stop()]);
    services.completions.close();
    services.tasks.close();
  };
  const stopOnce = (): Promise<void> => {
    stopping ??= stop();
    return stopping;
  };
  return {
    async start() {
      const listening = await http.start();
      await deps.mesh.handle(clientProtocol, client.serve, { streamsMax: clientStreamsMax });
      return listening;
    },
    stop: stopOnce,
    [Symbol.asyncDispose]: stopOnce,
  };
}
