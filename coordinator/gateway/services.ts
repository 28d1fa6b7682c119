/** What every operation works with. */
import type { Authenticator, Caller } from './caller.ts';
import type { CompletionHub } from './completions/hub.ts';
import type { GatewayDeps } from './ports.ts';
import type { RateLimit } from './rate-limit.ts';
import type { GatewaySettings } from './settings.ts';
import type { StreamGate } from './stream-gate.ts';
import type { SubmissionsInFlight } from './submissions-in-flight.ts';
import type { TaskWatch } from './task-watch.ts';

/** Shared by all calls of one gateway. */
export interface Services {
  deps: GatewayDeps;
  settings: GatewaySettings;
  authenticator: Authenticator;
  completions: CompletionHub;
  tasks: TaskWatch;
  rateLimit: RateLimit;
  streams: StreamGate;
  submissions: SubmissionsInFlight;
}

/** One call: the services, and who asks. */
export interface Context extends Services {
  caller: Caller;
}
