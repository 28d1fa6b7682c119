/** What the gateway is told at its start; `coordinator/settings.ts` fills it from flags and environment. */
export interface GatewaySettings {
  /** Where to listen; beyond loopback only with `tls`, `behindProxy` or `insecureHttp`. */
  host: string;
  /** 0 for any free port. */
  port: number;
  /** PEM texts; null for plain HTTP. */
  tls: { cert: string; key: string } | null;
  behindProxy: boolean;
  insecureHttp: boolean;
  /** Silence on a completion stream after which a heartbeat is sent. */
  heartbeatMs: number;
  /** For a request's head to arrive; guards against clients that hold a socket by trickling. */
  headersTimeoutMs: number;
  /** For a bounded body (JSON, batch) to arrive. */
  bodyTimeoutMs: number;
  /** A blob upload or a download that moves no byte for so long is given up. */
  idleTimeoutMs: number;
  /** How long an idle connection is kept for the client's next request. */
  keepAliveTimeoutMs: number;
  /** Calls of one token that are let through a second in the long run; 0 for any number. */
  callsPerSecondMax: number;
  /** Calls at once by a token that has been quiet. */
  callsBurst: number;
  /** HTTP connections at once; more are not accepted. */
  connectionsMax: number;
  /** Completion and log streams open at once, over HTTP and libp2p; more are refused with queue_full. */
  streamsMax: number;
  /** Outcomes kept encoded per namespace for live streams; older ones are read from the store. */
  recentOutcomesMax: number;
  /** Bytes of those. */
  recentBytesMax: number;
}

/** Defaults of everything that has one. */
export const gatewayDefaults = {
  host: '127.0.0.1',
  port: 0,
  tls: null,
  behindProxy: false,
  insecureHttp: false,
  heartbeatMs: 5_000,
  headersTimeoutMs: 15_000,
  bodyTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  // Above the usual pause of a person's script between two calls, so that the SDK's connection stays.
  keepAliveTimeoutMs: 75_000,
  // Some times what one coordinator can answer to a single client that calls task by task.
  callsPerSecondMax: 5_000,
  callsBurst: 20_000,
  connectionsMax: 4_096,
  streamsMax: 4_096,
  recentOutcomesMax: 8_192,
  recentBytesMax: 8 * 1024 * 1024,
} as const satisfies GatewaySettings;
