/** Everything that can be set on a node-agent: one table, read once, with the flag, the variable and the bounds. */
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { PerigeeError, toError } from '../protocol/base/errors.ts';
import type { IsolationLevel } from '../protocol/wire/task.ts';
import { isAtLeast, isolationLevels } from '../protocol/wire/task.ts';
import type { CoreSettings } from './core/settings.ts';
import { defaultCoreSettings } from './core/settings.ts';
import { imagerySettingsTable } from './imagery/settings.ts';
import { outputSettingsTable } from './outputs/limits.ts';
import type { Entry, NumberEntry, TextEntry } from './setting-entry.ts';
import { milliseconds } from './setting-entry.ts';

const kib = 1024;
const mib = 1024 * kib;
const gib = 1024 * mib;

const core = defaultCoreSettings;

/** The table; `perigee agent --help` is made from it. */
export const agentSettingsTable = {
  join: {
    type: 'text',
    default: null,
    flag: 'join',
    env: 'PERIGEE_JOIN',
    doc: 'The coordinator’s mesh address with its peer id, for example /ip4/192.0.2.1/tcp/7481/p2p/12D3Koo….',
  },
  joinTokenFile: {
    type: 'text',
    default: null,
    flag: 'join-token-file',
    env: null,
    doc: 'A file with the join token; else PERIGEE_JOIN_TOKEN holds it.',
  },
  joinToken: {
    type: 'text',
    default: null,
    flag: null,
    env: 'PERIGEE_JOIN_TOKEN',
    doc: 'The join token itself; never a flag, for flags are seen by every user of the machine.',
  },
  name: {
    type: 'text',
    default: null,
    flag: 'name',
    env: null,
    doc: 'The node’s name for people; the host’s by default.',
  },
  instance: {
    type: 'text',
    default: null,
    flag: 'instance',
    env: 'PERIGEE_INSTANCE',
    doc: 'What the provider that made this machine calls it.',
  },
  data: {
    type: 'text',
    default: null,
    flag: 'data',
    env: null,
    doc: 'Where the node’s key and its caches live; a temporary folder by default, which makes it a new node at every start.',
  },
  mount: {
    type: 'list',
    flag: 'mount',
    doc: 'NAME=DIR: offers a folder read-only to every sandbox as /data/NAME. Repeatable.',
  },
  peerListen: {
    type: 'text',
    default: null,
    flag: 'peer-listen',
    env: 'PERIGEE_PEER_LISTEN',
    doc: 'HOST[:PORT] where other nodes may fetch images and imagery from this one, or none; loopback by default when the coordinator is there, else none.',
  },
  ...imagerySettingsTable,
  slots: {
    type: 'number',
    unit: 'tasks',
    default: null,
    min: 1,
    max: 1_024,
    flag: 'slots',
    env: 'PERIGEE_SLOTS',
    doc: 'Tasks at once; the number of cpus by default.',
  },
  cpus: {
    type: 'number',
    unit: 'cpus',
    default: null,
    min: 0.1,
    max: 4_096,
    flag: 'cpus',
    env: 'PERIGEE_CPUS',
    doc: 'Cpus that tasks may ask for in all; those that this process may use by default.',
  },
  memoryBytes: {
    type: 'number',
    unit: 'bytes',
    default: null,
    min: 64 * mib,
    max: 2 ** 50,
    flag: 'memory-bytes',
    env: 'PERIGEE_MEMORY_BYTES',
    doc: 'Memory that tasks may ask for in all; what the machine or container has, less a reserve, by default.',
  },
  minIsolation: {
    type: 'text',
    default: null,
    words: isolationLevels,
    flag: 'min-isolation',
    env: 'PERIGEE_MIN_ISOLATION',
    doc: 'The weakest sandbox with which the agent starts; minimal by default, none with --insecure.',
  },
  isolation: {
    type: 'text',
    default: null,
    words: isolationLevels,
    flag: 'isolation',
    env: 'PERIGEE_ISOLATION',
    doc: 'Use this level instead of the strongest that works; strong (gVisor) is only used when asked for.',
  },
  insecure: {
    type: 'switch',
    flag: 'insecure',
    doc: 'Allows the level none: user code runs with the rights of the agent.',
  },
  allowNetwork: {
    type: 'switch',
    flag: 'allow-network',
    doc: 'Gives groups that ask for it (network=True) the machine’s network; without it they have none.',
  },
  exitWhenOrphanedSeconds: {
    type: 'number',
    unit: 's',
    default: null,
    min: 0.1,
    max: 365 * 86_400,
    flag: 'exit-when-orphaned-seconds',
    env: 'PERIGEE_EXIT_WHEN_ORPHANED_SECONDS',
    doc: 'Leaves after so long without a coordinator; looks for it for ever by default.',
  },
  aliveFile: {
    type: 'text',
    default: null,
    flag: 'alive-file',
    env: null,
    doc: 'A file that gets a new number every second while the coordinator is there: what a dead-man timer watches.',
  },
  notices: {
    type: 'text',
    default: 'none',
    words: ['none', 'ec2', 'gce'],
    flag: 'notices',
    env: 'PERIGEE_NOTICES',
    doc: 'Whose instance metadata announces that this machine is taken back; the agent then drains.',
  },
  metadataUrl: {
    type: 'text',
    default: null,
    flag: null,
    env: 'PERIGEE_METADATA_URL',
    doc: 'Where that metadata is; the cloud’s own address by default.',
  },
  noticePollMs: milliseconds(5_000, {
    env: 'PERIGEE_NOTICE_POLL_MS',
    max: 60_000,
    doc: 'Between two looks at it; the shortest notice is 30 s.',
  }),
  logLevel: {
    type: 'text',
    default: 'info',
    words: ['silent', 'error', 'warn', 'info', 'debug'],
    flag: 'log-level',
    env: 'PERIGEE_LOG_LEVEL',
    doc: 'How much the agent tells on stderr.',
  },
  tickMs: milliseconds(50, {
    env: 'PERIGEE_AGENT_TICK_MS',
    max: 1_000,
    doc: 'The rhythm of timeouts and retries while anything waits for them; a task outlives its limit by at most this.',
  }),
  reconnectMsMin: milliseconds(100, {
    env: 'PERIGEE_RECONNECT_MS_MIN',
    doc: 'First pause before dialling again; doubled at each failure.',
  }),
  reconnectMsMax: milliseconds(2_000, {
    env: 'PERIGEE_RECONNECT_MS_MAX',
    doc: 'Longest pause before dialling again; well below a lease, so that a restart costs no attempt.',
  }),
  welcomeMsMax: milliseconds(10_000, {
    env: 'PERIGEE_WELCOME_MS_MAX',
    doc: 'From dialling to the coordinator’s welcome.',
  }),
  silentMsMax: milliseconds(10_000, {
    env: 'PERIGEE_SILENT_MS_MAX',
    doc: 'Silence of the coordinator after which the agent tries the line, and dials anew when it is dead.',
  }),
  workerIdleMs: milliseconds(core.workerIdleMs, {
    env: 'PERIGEE_WORKER_IDLE_MS',
    doc: 'How long a warm worker without tasks is kept.',
  }),
  stopOrphanedMs: milliseconds(core.stopOrphanedMs, {
    env: 'PERIGEE_STOP_ORPHANED_MS',
    doc: 'How long a stopping agent tries to hand in outcomes while the coordinator is away.',
  }),
  retryMs: milliseconds(core.retryMs, {
    env: 'PERIGEE_BLOB_RETRY_MS',
    doc: 'Pause before a blob is fetched or stored again after the line failed.',
  }),
  unloadableMs: milliseconds(core.unloadableMs, {
    env: 'PERIGEE_UNLOADABLE_MS',
    doc: 'How long a function that could not be loaded fails its tasks without another try.',
  }),
  unstartableBackoffMs: milliseconds(core.unstartableBackoffMs, {
    env: 'PERIGEE_UNSTARTABLE_BACKOFF_MS',
    doc: 'How long no work is taken after sandboxes failed to start; doubled each time.',
  }),
  unstartableBackoffMsMax: milliseconds(core.unstartableBackoffMsMax, {
    env: 'PERIGEE_UNSTARTABLE_BACKOFF_MS_MAX',
    doc: 'The bound of that doubling.',
  }),
  warmWorkersMax: {
    type: 'number',
    unit: 'workers',
    default: core.warmWorkersMax,
    min: 0,
    max: 256,
    flag: null,
    env: 'PERIGEE_WARM_WORKERS_MAX',
    doc: 'Idle workers kept beside those of the slots, so that two groups that take turns do not restart theirs.',
  },
  blobCacheBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: 10 * gib,
    min: 0,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_BLOB_CACHE_BYTES_MAX',
    doc: 'Functions and arguments kept on disk after use; the oldest go first.',
  },
  imageArchivesBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: 4 * gib,
    min: 0,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_IMAGE_ARCHIVES_BYTES_MAX',
    doc: 'Packed images kept on disk for other nodes; the longest unused go first.',
  },
  ...outputSettingsTable,
  imagesBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: 20 * gib,
    min: 0,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_IMAGES_BYTES_MAX',
    doc: 'Images that came over the mesh; those unused for longest go first, those in use never.',
  },
  imagesDiskFreeBytesMin: {
    type: 'number',
    unit: 'bytes',
    default: 1 * gib,
    min: 0,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_IMAGES_DISK_FREE_BYTES_MIN',
    doc: 'With less free disk than this beside the images, unused ones that came over the mesh go.',
  },
  logBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: 128 * mib,
    min: 16 * mib,
    max: 16 * gib,
    flag: null,
    env: 'PERIGEE_AGENT_LOG_BYTES_MAX',
    doc: 'Output of all attempts in memory; beyond it what was already sent is dropped first.',
  },
  diskFreeBytesMin: {
    type: 'number',
    unit: 'bytes',
    default: core.diskFreeBytesMin,
    min: 0,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_AGENT_DISK_FREE_BYTES_MIN',
    doc: 'With less free disk than this the node takes no work.',
  },
} as const satisfies Record<string, Entry>;

type Table = typeof agentSettingsTable;
type ValueOf<E> = E extends { type: 'switch' }
  ? boolean
  : E extends { type: 'list' }
    ? readonly string[]
    : E extends { type: 'number'; default: infer D }
      ? D extends null
        ? number | null
        : number
      : E extends { default: infer D }
        ? D extends null
          ? string | null
          : string
        : never;

/** The settings of one run, checked and frozen. */
export type AgentSettings = Readonly<
  Omit<{ [Key in keyof Table]: ValueOf<Table[Key]> }, 'minIsolation' | 'isolation'>
> & {
  readonly minIsolation: IsolationLevel;
  readonly isolation: IsolationLevel | null;
};

/**
 * Reads flags and environment; flags win.
 * @throws PerigeeError invalid_request with the flag and the value at fault.
 */
export function readAgentSettings(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): AgentSettings {
  const flags = parseFlags(args);
  const values: Record<string, unknown> = {};
  for (const [key, entry] of Object.entries(agentSettingsTable as Record<string, Entry>)) {
    values[key] = readEntry(entry, flags, env);
  }
  const { isolation, insecure } = values;
  values['minIsolation'] ??= isolation ?? (insecure === true ? 'none' : 'minimal');
  const settings = Object.freeze(values) as AgentSettings;
  checkRelations(settings);
  return settings;
}

function checkRelations(settings: AgentSettings): void {
  if (settings.join === null) {
    throw invalid('--join is missing', 'Give the join address that the coordinator prints.');
  }
  // Without the peer id the agent could not tell its coordinator from anybody else.
  if (!/^\/.+\/p2p\/[1-9A-HJ-NP-Za-km-z]{20,}$/.test(settings.join)) {
    throw invalid(
      `--join is '${settings.join}', which is no mesh address with a peer id`,
      'It looks like /ip4/192.0.2.1/tcp/7481/p2p/12D3Koo…; the coordinator prints it.',
    );
  }
  if (settings.isolation !== null && !isAtLeast(settings.isolation, settings.minIsolation)) {
    throw invalid(
      `--isolation ${settings.isolation} is weaker than --min-isolation ${settings.minIsolation}`,
      'Leave one of them out.',
    );
  }
  if (settings.isolation === 'none' && !settings.insecure) {
    throw invalid(
      '--isolation none runs user code with the rights of the agent',
      'Add --insecure if you accept that.',
    );
  }
  if (settings.reconnectMsMin > settings.reconnectMsMax) {
    throw invalid(
      'PERIGEE_RECONNECT_MS_MIN is above PERIGEE_RECONNECT_MS_MAX',
      'Lower the first or raise the second.',
    );
  }
}

/** What the core decides by. */
export function coreSettingsOf(settings: AgentSettings): CoreSettings {
  const orphaned = settings.exitWhenOrphanedSeconds;
  return {
    ...defaultCoreSettings,
    workerIdleMs: settings.workerIdleMs,
    warmWorkersMax: settings.warmWorkersMax,
    unloadableMs: settings.unloadableMs,
    unstartableBackoffMs: settings.unstartableBackoffMs,
    unstartableBackoffMsMax: settings.unstartableBackoffMsMax,
    retryMs: settings.retryMs,
    pausedMs: ticksInPause * settings.tickMs,
    orphanedMs: orphaned === null ? null : orphaned * 1_000,
    stopOrphanedMs: settings.stopOrphanedMs,
    allowNetwork: settings.allowNetwork,
    diskFreeBytesMin: settings.diskFreeBytesMin,
  };
}

/** Ticks that a busy process may miss; only one that was stopped misses more. */
const ticksInPause = 10;

/** The node's name when none is given. */
export function defaultNodeName(): string {
  return hostname();
}

type Flags = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

function parseFlags(args: readonly string[]): Flags {
  const options: Record<string, { type: 'string' | 'boolean'; multiple?: boolean }> = {};
  for (const entry of Object.values(agentSettingsTable as Record<string, Entry>)) {
    if (entry.flag === null) continue;
    const type = entry.type === 'switch' ? 'boolean' : 'string';
    options[entry.flag] = { type, multiple: entry.type === 'list' };
  }
  try {
    return parseArgs({ args: [...args], options, allowPositionals: false }).values;
  } catch (caught) {
    throw invalid(toError(caught).message, '`perigee agent --help` lists the flags.');
  }
}

function readEntry(
  entry: Entry,
  flags: Flags,
  env: Readonly<Record<string, string | undefined>>,
): string | number | boolean | null | readonly string[] {
  const flagged = entry.flag === null ? undefined : flags[entry.flag];
  if (entry.type === 'switch') return flagged === true;
  if (entry.type === 'list') return Array.isArray(flagged) ? flagged.map(String) : [];
  const fromEnv = entry.env === null ? undefined : env[entry.env];
  const text = typeof flagged === 'string' ? flagged : fromEnv;
  if (text === undefined || text === '') return entry.default;
  const source = typeof flagged === 'string' ? `--${entry.flag}` : `${entry.env}`;
  return entry.type === 'number' ? readNumber(entry, source, text) : readText(entry, source, text);
}

function readNumber(entry: NumberEntry, source: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= entry.min && value <= entry.max) return value;
  throw invalid(
    `${source} is '${text}'`,
    `Give a number of ${entry.unit} from ${entry.min} to ${entry.max}.`,
  );
}

function readText(entry: TextEntry, source: string, text: string): string {
  if (entry.words === undefined || entry.words.includes(text)) return text;
  throw invalid(`${source} is '${text}'`, `Give one of ${entry.words.join(', ')}.`);
}

function invalid(what: string, fix: string): PerigeeError {
  return new PerigeeError('invalid_request', `${what}.`, { fix });
}
