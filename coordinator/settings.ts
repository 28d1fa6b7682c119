/**
 * The coordinator's settings, all of them: one table, parsed once into a frozen object. A flag wins
 * over the environment, the environment over the default.
 */
import { availableParallelism, homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { assert } from '../protocol/base/assert.ts';
import { PerigeeError } from '../protocol/base/errors.ts';
import { defaultCoreSettings } from './core/settings.ts';
import { gatewayDefaults } from './gateway/settings.ts';
import type { Setting, SettingType } from './setting-entry.ts';
import {
  bytes,
  days,
  integer,
  milliseconds,
  number,
  plain,
  text,
  toggle,
} from './setting-entry.ts';

const mib = 1024 ** 2;
const core = defaultCoreSettings;

/** The table. The environment variable of `leaseMs` is `PERIGEE_LEASE_MS`, and so on. */
export const settingsTable = {
  data: text({
    default: '',
    flag: '--data',
    doc: 'The coordinator’s directory; `coordinator` below PERIGEE_HOME when empty.',
  }),
  host: text({ default: '127.0.0.1', flag: '--host', doc: 'Address that HTTP listens on.' }),
  port: integer({
    default: 0,
    max: 65_535,
    flag: '--port',
    doc: 'HTTP port; 0 for the one that the directory had before, or any free one.',
  }),
  meshHost: text({
    default: '127.0.0.1',
    flag: '--mesh-host',
    doc: 'Address that agents and SDKs reach over libp2p.',
  }),
  meshPort: integer({
    default: 0,
    max: 65_535,
    flag: '--mesh-port',
    doc: 'libp2p port; 0 as for --port.',
  }),
  localNodes: integer({
    default: 0,
    max: 1_024,
    flag: '--local-nodes',
    doc: 'Nodes that may run as processes on this machine at once; 0 for none.',
  }),
  registryAuthFile: text({
    default: '',
    flag: '--registry-auth-file',
    doc: 'Credentials for image registries; what `skopeo login` and `docker login` wrote for this user when empty.',
  }),
  registries: plain<readonly string[]>('list', {
    default: [],
    flag: '--registry',
    doc: 'HOST or HOST:PORT: the only image registries that users may name. Repeatable; any when never given.',
  }),
  insecureRegistries: plain<readonly string[]>('list', {
    default: [],
    flag: '--insecure-registry',
    doc: 'HOST or HOST:PORT of an image registry that speaks plain HTTP; those on loopback may always.',
  }),
  imageArchivesBytesMax: bytes({
    default: 8 * 1024 * mib,
    doc: 'Packed images kept on disk for nodes that lack them; the longest unused go first.',
  }),
  pullsMax: integer({
    default: 2,
    min: 1,
    max: 32,
    doc: 'Images that are pulled from registries at once.',
  }),
  pools: text({
    default: '',
    flag: '--pools',
    doc: 'JSON file of pools of machines elsewhere; docs/autoscaling.md says what it holds.',
  }),
  fleetDryRun: toggle({
    flag: '--fleet-dry-run',
    doc: 'Makes and ends no machine; `scripts/perigee explain fleet` says what it would do.',
  }),
  mounts: plain<readonly string[]>('list', {
    default: [],
    flag: '--mount',
    doc: 'NAME=DIR, offered read-only to every sandbox of local nodes as /data/NAME.',
  }),
  imageryAllow: plain<readonly string[]>('list', {
    default: [],
    flag: '--imagery-allow',
    doc: 'HOST or HOST:PORT, from which tasks on local nodes may read assets though it is loopback or link-local.',
  }),
  allowNetwork: toggle({
    flag: '--allow-network',
    doc: 'Local nodes give groups that ask for it (network=True) this machine’s network.',
  }),
  imageryOriginRequestsMax: integer({
    default: 256,
    min: 1,
    max: 100_000,
    doc: 'Requests at once of the whole mesh to one origin of imagery, a host or a bucket; divided among the nodes that use it.',
  }),
  imageryOriginPerSecondMax: integer({
    default: 4_000,
    min: 1,
    max: 1_000_000,
    doc: 'Requests a second of the whole mesh to one origin; S3 bears 5500 for each prefix.',
  }),
  tlsCert: text({
    default: '',
    flag: '--tls-cert',
    doc: 'PEM file with the certificate chain for HTTPS.',
  }),
  tlsKey: text({ default: '', flag: '--tls-key', doc: 'PEM file with its private key.' }),
  behindProxy: toggle({
    flag: '--behind-proxy',
    doc: 'A proxy in front ends TLS: plain HTTP beyond loopback is meant.',
  }),
  insecureHttp: toggle({ flag: '--insecure-http', doc: 'Accepts plain HTTP beyond loopback.' }),
  json: toggle({
    flag: '--json',
    doc: 'The first line on stdout is one JSON object for programs.',
  }),
  logLevel: text({
    default: 'info',
    flag: '--log-level',
    doc: 'trace, debug, info, warn, error or silent.',
  }),

  heartbeatMs: milliseconds({ default: 1_000, doc: 'Between two heartbeats of an agent.' }),
  suspectMs: milliseconds({
    default: core.suspectMs,
    doc: 'Silence after which a node is given nothing new.',
  }),
  leaseMs: milliseconds({
    default: core.leaseMs,
    doc: 'Silence after which a node has lost what it held.',
  }),
  drainMsMax: milliseconds({
    default: core.drainMsMax,
    doc: 'How long a draining node may run on what it holds; then that is run elsewhere, uncharged.',
  }),
  nodeIdleMs: milliseconds({
    default: 20_000,
    doc: 'Idle time after which a local-process node retires.',
  }),
  nodeBootMsMax: milliseconds({
    default: 30_000,
    doc: 'For a local-process node to join; then its boot has failed.',
  }),
  nodeOrphanMs: milliseconds({
    default: 60_000,
    doc: 'How long a local-process node outlives a coordinator that is gone.',
  }),
  bootUrl: text({
    default: '',
    flag: '--boot-url',
    doc: 'Where machines of clouds reach this coordinator’s HTTP; the address it listens on when empty.',
  }),
  bootTokenMs: milliseconds({
    default: 30 * 60_000,
    doc: 'How long the join token in a machine’s user data is good; longer when the pool’s `bootSecondsMax` is.',
  }),
  deadManMs: milliseconds({
    default: 10 * 60_000,
    min: 5_000,
    doc: 'A machine that sees no coordinator for so long ends itself.',
  }),
  nodeMemoryBytes: bytes({
    default: 0,
    doc: 'Memory of one local-process node; 0 for its share of 9/10 of the machine.',
  }),
  fleetTickMs: milliseconds({ default: 250, doc: 'Between two looks at the fleet, with work.' }),
  instanceKeepMs: milliseconds({
    default: 7 * 24 * 3_600_000,
    doc: 'How long instances that are gone are kept; what they cost, and the latest events, are kept for good.',
  }),
  stopMsMax: milliseconds({
    default: 4_000,
    doc: 'For local-process nodes to end when the coordinator stops; then they are killed.',
  }),

  buildsMax: integer({ default: 2, min: 1, doc: 'Builds of images at once.' }),
  buildsWaitingMax: integer({ default: 100, min: 1, doc: 'Builds that may wait for their turn.' }),
  buildMsMax: milliseconds({ default: 1_800_000, doc: 'Longest time of one build of an image.' }),
  buildBytesMax: bytes({
    default: 4 * 1024 * mib,
    min: mib,
    doc: 'Most that one build may write, what it throws away included.',
  }),
  buildHosts: text({
    default: '',
    flag: '--build-hosts',
    doc: 'HOST:PORT, with commas, that builds may reach besides the hosts of pip’s index settings.',
  }),

  clockTickMs: milliseconds({ default: 100, doc: 'Between two looks at the clock, with work.' }),
  tickOutcomesMax: integer({
    default: 500,
    min: 1,
    doc: 'Outcomes of one commit; keeps a tick under some 7 ms.',
  }),
  tickBytesMax: bytes({ default: mib, min: 1, doc: 'New payload bytes of one commit.' }),
  commitRetryMs: milliseconds({
    default: 250,
    doc: 'Pause before a commit that found the disk full is tried again.',
  }),
  backlogBytesMax: bytes({
    default: 64 * mib,
    min: mib,
    doc: 'What may wait to be stored before agents are held back.',
  }),
  diskFreeBytesMin: bytes({
    default: 512 * mib,
    doc: 'Free space below which nothing new is taken.',
  }),
  diskFreeShareMin: number('number', {
    default: 0.02,
    max: 1,
    doc: 'The same as a share of the disk; the larger counts.',
  }),
  diskRecheckMs: milliseconds({ default: 1_000, doc: 'Between two looks at the disk.' }),

  callsPerSecondMax: integer({
    default: gatewayDefaults.callsPerSecondMax,
    doc: 'Calls of one access token a second in the long run; more are refused with rate_limited, which the SDKs wait out. 0 for any number.',
  }),
  callsBurst: integer({
    default: gatewayDefaults.callsBurst,
    min: 1,
    doc: 'Calls at once by a token that has been quiet.',
  }),
  keepLogsDays: days({
    default: 14,
    doc: 'Output of tasks, after their end. 0 for ever, as below.',
  }),
  keepResultsDays: days({
    default: 30,
    doc: 'Results and arguments, after the end of their tasks, and blobs that nothing has used for so long.',
  }),
  keepRecordsDays: days({
    default: 90,
    doc: 'All else that is known of tasks that are done, and of groups that were terminated; a day at least.',
  }),
  sweepMs: milliseconds({
    default: 600_000,
    doc: 'Between two passes that remove what is old and measure what is held.',
  }),
  sweepPauseMs: milliseconds({ default: 10, doc: 'Behind each step of such a pass.' }),
  blobGraceMs: milliseconds({
    default: 3_600_000,
    doc: 'How long a blob that was put is kept though nothing refers to it yet.',
  }),
  connectionsMax: integer({ default: 2_000, min: 1, doc: 'libp2p connections at once.' }),
  greetingMsMax: milliseconds({ default: 10_000, doc: 'For an agent to say hello.' }),
  blockCacheBytesMax: bytes({ default: 64 * mib, doc: 'Blocks of arguments kept near at hand.' }),
  blobStreamsMax: integer({ default: 32, min: 1, doc: 'Blob transfers of one agent at once.' }),

  retryDelayBaseMs: milliseconds({
    default: core.retryDelayBaseMs,
    doc: 'Pause before the first charged retry; doubled with every further one.',
  }),
  retryDelayMaxMs: milliseconds({
    default: core.retryDelayMaxMs,
    doc: 'Longest pause between charged retries.',
  }),
  retryElsewhereMs: milliseconds({
    default: core.retryElsewhereMs,
    min: 0,
    doc: 'How long a retry waits for another node than the one it failed on.',
  }),
  openBatchesMax: integer({
    default: core.openBatchesMax,
    min: 1,
    doc: 'Batches with unfinished tasks; beyond it submissions are refused.',
  }),
  quarantineTaskNodes: integer({
    default: core.quarantineTaskNodes,
    min: 1,
    doc: 'Distinct nodes on which a task may kill its worker.',
  }),
  quarantineNodeTasks: integer({
    default: core.quarantineNodeTasks,
    min: 2,
    doc: 'Distinct tasks whose worker dies on a node before the node is paused.',
  }),
} as const;

type Table = typeof settingsTable;
type ValueOf<S> = S extends Setting<infer Value> ? Value : never;
type Parsed = { readonly [Key in keyof Table]: ValueOf<Table[Key]> };

/** The parsed settings. */
export interface CoordinatorSettings extends Parsed {
  /** Where images and, by default, data are (`PERIGEE_HOME`). */
  readonly home: string;
}

/** What settings are parsed from. */
export interface SettingsInput {
  argv: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  /** Whether the process is root: its home is then the machine's. */
  isRoot: boolean;
}

/**
 * Parses flags and environment.
 * @throws PerigeeError invalid_request that prints the bad value.
 */
export function parseSettings(input: SettingsInput): CoordinatorSettings {
  const flags = readFlags(input.argv);
  const values: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries(settingsTable)) {
    const given = setting.flag === null ? undefined : flags.get(setting.flag);
    const name = environmentName(key);
    const fromEnvironment = input.env[name];
    if (given !== undefined) values[key] = readValue(setting, given, setting.flag ?? key);
    else if (fromEnvironment !== undefined && fromEnvironment !== '') {
      values[key] = readValue(setting, [fromEnvironment], name);
    } else values[key] = setting.default;
  }
  const home = readHome(input);
  const parsed = values as unknown as Parsed;
  const data = resolve(parsed.data === '' ? join(home, 'coordinator') : parsed.data);
  const settings = Object.freeze({ ...parsed, home, data });
  checkRelations(settings);
  return settings;
}

/** `PERIGEE_LEASE_MS` for `leaseMs`. */
export function environmentName(key: string): string {
  return `PERIGEE_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** One entry for each flag, and where the rest is told. */
export function coordinatorHelp(): string {
  const lines = Object.entries<Setting<unknown>>(settingsTable)
    .filter(([, { flag }]) => flag !== null)
    .map(([key, { flag, type, doc }]) => {
      const value = type === 'switch' ? '' : type === 'text' || type === 'list' ? ' TEXT' : ' N';
      return `  ${flag}${value}, ${environmentName(key)}\n      ${doc}`;
    });
  return `Usage: scripts/perigee coordinator [options]\n\n${lines.join('\n')}\n\ndocs/settings.md lists what only the environment sets.\n`;
}

/** Memory of one local-process node in bytes: its share of the machine, 2 GiB when there is so much. */
export function localNodeMemoryBytes(settings: CoordinatorSettings, totalBytes: number): number {
  if (settings.nodeMemoryBytes > 0) return settings.nodeMemoryBytes;
  const usable = Math.floor(totalBytes * 0.9);
  // One task of the default size must fit, or nothing would ever run on a small machine.
  const leastBytes = Math.min(2 * 1024 ** 3, usable);
  return Math.max(Math.floor(usable / availableParallelism()), leastBytes);
}

function readHome(input: SettingsInput): string {
  const { env } = input;
  if (env['PERIGEE_HOME']) return resolve(env['PERIGEE_HOME']);
  if (input.isRoot) return '/var/lib/perigee';
  return join(env['XDG_DATA_HOME'] || join(homedir(), '.local', 'share'), 'perigee');
}

function readFlags(argv: readonly string[]): Map<string, string[]> {
  const known = new Map<string, SettingType>();
  for (const { flag, type } of Object.values(settingsTable))
    if (flag !== null) known.set(flag, type);
  const flags = new Map<string, string[]>();
  for (let position = 0; position < argv.length; position += 1) {
    const word = argv[position] ?? '';
    const [name = '', inline] = word.startsWith('--') ? splitOnce(word) : [word];
    const type = known.get(name);
    if (type === undefined) {
      throw new PerigeeError('invalid_request', `The coordinator has no option ${word}.`, {
        fix: `It has ${[...known.keys()].join(', ')}.`,
      });
    }
    if (type === 'switch') {
      flags.set(name, [inline ?? 'true']);
      continue;
    }
    const value = inline ?? argv[position + 1];
    if (value === undefined) {
      throw new PerigeeError('invalid_request', `${name} needs a value.`);
    }
    if (inline === undefined) position += 1;
    flags.set(name, type === 'list' ? [...(flags.get(name) ?? []), value] : [value]);
  }
  return flags;
}

function splitOnce(word: string): [string, string?] {
  const at = word.indexOf('=');
  return at < 0 ? [word] : [word.slice(0, at), word.slice(at + 1)];
}

function readValue(setting: Setting<unknown>, given: readonly string[], name: string): unknown {
  const [first = ''] = given;
  switch (setting.type) {
    case 'text':
      return first;
    case 'list':
      return given;
    case 'switch':
      if (first === 'true' || first === '1') return true;
      if (first === 'false' || first === '0') return false;
      throw new PerigeeError('invalid_request', `${name} is "${first}", not true or false.`);
    default: {
      const value = Number(first);
      const isWhole = setting.type === 'number' || Number.isSafeInteger(value);
      if (first.trim() === '' || !isWhole || !(value >= setting.min && value <= setting.max)) {
        const kind = setting.type === 'integer' ? 'a whole number' : 'a number';
        throw new PerigeeError(
          'invalid_request',
          `${name} is "${first}", not ${kind} from ${setting.min} to ${setting.max}${setting.unit && ` (${setting.unit})`}.`,
        );
      }
      return value;
    }
  }
}

function checkRelations(settings: CoordinatorSettings): void {
  const refuse = (message: string): never => {
    throw new PerigeeError('invalid_request', message);
  };
  const { heartbeatMs, suspectMs, leaseMs } = settings;
  if (!(heartbeatMs < suspectMs && suspectMs < leaseMs)) {
    refuse(
      `The heartbeat (${heartbeatMs} ms) must be shorter than the time to be suspect (${suspectMs} ms), and that shorter than the lease (${leaseMs} ms).`,
    );
  }
  if ((settings.tlsCert === '') !== (settings.tlsKey === '')) {
    refuse('--tls-cert and --tls-key go together.');
  }
  if (settings.retryDelayBaseMs > settings.retryDelayMaxMs) {
    refuse('The first retry delay is longer than the longest.');
  }
  assert(Object.isFrozen(settings), 'settings do not change');
}
