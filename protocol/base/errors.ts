/** What every error code means to each edge: its text, the fix, the HTTP status and the exit code. */
export interface ErrorEntry {
  /** One sentence; the thrown error may say more. */
  text: string;
  /** What the reader can do about it. */
  fix: string;
  /** Whether the same request may succeed later, unchanged. */
  retryable: boolean;
  httpStatus: number;
  /** See `exitCodes`. */
  exitCode: number;
}

/** The one table of exit codes that every command uses. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  taskFailed: 3,
  signIn: 4,
  notFound: 5,
  refused: 6,
  unreachable: 7,
  version: 8,
  timedOut: 124,
  interrupted: 130,
} as const;

const entry = (
  text: string,
  fix: string,
  options: { status: number; exit: keyof typeof exitCodes; retryable?: boolean },
): ErrorEntry => ({
  text,
  fix,
  retryable: options.retryable ?? false,
  httpStatus: options.status,
  exitCode: exitCodes[options.exit],
});

/** Every code that leaves a Perigee process. docs/errors.md lists the same; a test holds the two together. */
export const errorTable = {
  invalid_request: entry('The request is not valid.', 'Correct the field that the message names.', {
    status: 400,
    exit: 'usage',
  }),
  token_missing: entry(
    'No access token was given.',
    'Set PERIGEE_TOKEN, or run `scripts/perigee up`, which writes one to the config file.',
    { status: 401, exit: 'signIn' },
  ),
  token_wrong: entry(
    'The access token is not known to this mesh.',
    'Check PERIGEE_TOKEN and PERIGEE_URL; an operator makes a new token with `scripts/perigee token create`.',
    { status: 401, exit: 'signIn' },
  ),
  token_expired: entry(
    'The access token has expired.',
    'Ask an operator for a new one: `scripts/perigee token create`.',
    { status: 401, exit: 'signIn' },
  ),
  token_revoked: entry(
    'The access token was revoked.',
    'Ask an operator for a new one: `scripts/perigee token create`.',
    { status: 401, exit: 'signIn' },
  ),
  forbidden: entry(
    'This token may not do that.',
    'Use a token whose role and namespace allow it; `scripts/perigee token ls` shows them to an operator.',
    { status: 403, exit: 'signIn' },
  ),
  join_token_wrong: entry(
    'The join token is not known, expired, used up or revoked.',
    'Make one on the coordinator with `scripts/perigee join-token create` and pass it to the agent.',
    { status: 401, exit: 'signIn' },
  ),
  not_found: entry('There is no such thing.', 'Check the id; lists show what there is.', {
    status: 404,
    exit: 'notFound',
  }),
  ambiguous_id: entry('The id prefix fits more than one.', 'Give more digits of the id.', {
    status: 400,
    exit: 'usage',
  }),
  conflict: entry(
    'The request contradicts what is already recorded.',
    'Use a fresh id, or send the same payload as before.',
    { status: 409, exit: 'refused' },
  ),
  stac_invalid: entry(
    'The item or collection is not valid STAC.',
    'Correct the field that the message names; stacspec.org says what each must hold.',
    { status: 400, exit: 'usage' },
  ),
  group_terminated: entry(
    'The group takes no more tasks: it was terminated.',
    'Call create_function again.',
    { status: 409, exit: 'refused' },
  ),
  image_unknown: entry(
    'No node, pool or provider of this mesh has that image.',
    'Use one of the images that the message names (`scripts/perigee status` lists them).',
    { status: 422, exit: 'refused' },
  ),
  image_invalid: entry(
    'The image is damaged, or is nothing that Perigee can run.',
    'The message says what is wrong with it; import or build it again.',
    { status: 422, exit: 'refused' },
  ),
  registry_denied: entry(
    'The image registry refused the credentials, or wants some.',
    'Log in with `skopeo login REGISTRY` as the user that runs the coordinator, or give --registry-auth-file.',
    { status: 422, exit: 'refused' },
  ),
  registry_unreachable: entry(
    'The image registry cannot be reached.',
    'Check the name and the network of the coordinator’s machine; plain HTTP beyond loopback needs --insecure-registry.',
    { status: 503, exit: 'unreachable', retryable: true },
  ),
  image_building: entry(
    'The image is still being built.',
    'Wait for it: `scripts/perigee image show NAME --log` prints the build’s log until it is over.',
    { status: 409, exit: 'refused', retryable: true },
  ),
  build_failed: entry(
    'The image could not be built.',
    'Mend what the message and the build’s log say (`scripts/perigee image show NAME --log`), and build it again.',
    { status: 422, exit: 'failed' },
  ),
  image_in_use: entry(
    'Groups that are not terminated, or other images, rest on the image.',
    'Terminate them first: `scripts/perigee group terminate ID`.',
    { status: 409, exit: 'refused' },
  ),
  version_mismatch: entry(
    'The function was pickled by another Python than the image runs.',
    'Run the client with the Python that the message names, or choose the other image.',
    { status: 422, exit: 'refused' },
  ),
  unsatisfiable: entry(
    'No node, pool or provider could ever meet the request.',
    'Ask for fewer cpus or less memory, or add a machine that has them.',
    { status: 422, exit: 'refused' },
  ),
  too_large: entry(
    'The payload is over the limit.',
    'Send less at a time; the message gives the limit.',
    {
      status: 413,
      exit: 'refused',
    },
  ),
  queue_full: entry(
    'The mesh holds as many unfinished batches as it may.',
    'Wait until some are done; the SDKs do so by themselves.',
    { status: 429, exit: 'refused', retryable: true },
  ),
  rate_limited: entry(
    'The token makes more calls than it may.',
    'Call less often, or several tasks at a time with map; the SDKs wait and try again by themselves.',
    { status: 429, exit: 'refused', retryable: true },
  ),
  disk_full: entry(
    'The coordinator’s disk is past its high-water mark; nothing new is taken.',
    'Free space below the data directory; what was accepted is safe and goes on.',
    { status: 507, exit: 'refused', retryable: true },
  ),
  draining: entry('The coordinator is stopping.', 'Try again when it is back.', {
    status: 503,
    exit: 'unreachable',
    retryable: true,
  }),
  cursor_expired: entry(
    'That cursor is older than what is kept.',
    'Start again without a cursor.',
    {
      status: 410,
      exit: 'notFound',
    },
  ),
  result_expired: entry(
    'That is not kept any more.',
    'Run the task again. An operator sets how long things are kept (PERIGEE_KEEP_RESULTS_DAYS and others, docs/operations.md).',
    { status: 410, exit: 'notFound' },
  ),
  protocol_version: entry(
    'The two ends speak different versions of the protocol.',
    'Update the older one; the message names both versions.',
    { status: 426, exit: 'version' },
  ),
  data_newer: entry(
    'The data directory was written by a newer Perigee.',
    'Start it with that version or a later one.',
    { status: 500, exit: 'version' },
  ),
  data_locked: entry(
    'Another coordinator uses this data directory.',
    'Stop it, or choose another directory with --data.',
    { status: 500, exit: 'refused' },
  ),
  data_unwritable: entry(
    'The data directory cannot be written.',
    'Check its owner and mode, or choose another with --data.',
    { status: 500, exit: 'refused' },
  ),
  data_corrupt: entry(
    'The database is damaged.',
    'Restore it from a copy; the message names the file and the first fault found.',
    { status: 500, exit: 'failed' },
  ),
  port_taken: entry('The port is in use.', 'Choose another, or 0 for any free one.', {
    status: 500,
    exit: 'refused',
  }),
  insecure_listen: entry(
    'HTTP beyond loopback needs TLS.',
    'Give --tls-cert and --tls-key, or --behind-proxy, or --insecure-http if you accept it.',
    { status: 500, exit: 'usage' },
  ),
  setup_missing: entry('Set-up has not been run.', 'Run `npm run setup` in the checkout.', {
    status: 500,
    exit: 'failed',
  }),
  isolation_unavailable: entry(
    'This machine cannot isolate user code as asked.',
    'Follow the line in the message, or accept less with --min-isolation.',
    { status: 500, exit: 'refused' },
  ),
  unreachable: entry(
    'The coordinator cannot be reached.',
    'Check PERIGEE_URL, or start a mesh with `scripts/perigee up`.',
    { status: 503, exit: 'unreachable', retryable: true },
  ),
  timed_out: entry(
    'The wait timed out.',
    'Wait longer, or ask `scripts/perigee task ID` why it is not done.',
    {
      status: 504,
      exit: 'timedOut',
    },
  ),
  range_invalid: entry(
    'The range lies beyond the end of the file.',
    'Ask for bytes below the length that Content-Range gives.',
    { status: 416, exit: 'usage' },
  ),
  asset_not_found: entry(
    'The origin has no such asset.',
    'Check the URI; the message gives the origin’s answer.',
    { status: 404, exit: 'notFound' },
  ),
  asset_denied: entry(
    'The origin, or a rule of this node, refuses the asset.',
    'Give the agents credentials for it with --imagery-credentials, or a mount or address that they may read.',
    { status: 403, exit: 'refused' },
  ),
  asset_unreachable: entry(
    'The origin could not be read.',
    'Try again; the message gives the range and the origin’s answer.',
    { status: 502, exit: 'unreachable', retryable: true },
  ),
  asset_invalid: entry(
    'That is not an asset that can be read.',
    'Give an https:, http:, s3:, gs: or file: URI of one file.',
    { status: 400, exit: 'usage' },
  ),
  asset_changed: entry(
    'The asset changed at its origin while it was read.',
    'Open it again: everything read from then on is of the new version.',
    { status: 409, exit: 'refused', retryable: true },
  ),
  frame_invalid: entry('A peer sent something that is not a valid frame.', 'Update the peer.', {
    status: 400,
    exit: 'failed',
  }),
  internal: entry('Perigee made a mistake.', 'Report it with the log of the process.', {
    status: 500,
    exit: 'failed',
  }),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

/** The one error class of the project: a code from the table, a message that says what happened, and the fix. */
export class PerigeeError extends Error {
  override name = 'PerigeeError';
  readonly code: ErrorCode;
  readonly fix: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string = errorTable[code].text,
    options: { cause?: unknown; fix?: string; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fix = options.fix ?? errorTable[code].fix;
    this.details = options.details ?? {};
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }

  get httpStatus(): number {
    return errorTable[this.code].httpStatus;
  }

  get exitCode(): number {
    return errorTable[this.code].exitCode;
  }
}

/** True for a string that is a code of the table (the wire carries codes as text). */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorTable, value);
}

/** Coerces what was caught into an Error, once, at the place that caught it. */
export function toError(caught: unknown): Error {
  return caught instanceof Error ? caught : new Error(String(caught));
}
