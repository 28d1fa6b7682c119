#!/usr/bin/env node
/** The node-agent's process. `scripts/perigee agent` and the local provider exec it. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { assertNever } from '../protocol/base/assert.ts';
import type { ErrorCode } from '../protocol/base/errors.ts';
import {
  errorTable,
  exitCodes,
  isErrorCode,
  PerigeeError,
  toError,
} from '../protocol/base/errors.ts';
import type { MeshHost } from '../protocol/net/create-mesh-host.ts';
import type { InstanceId } from '../protocol/wire/ids.ts';
import { nameCharsMax } from '../protocol/wire/limits.ts';
import { keepAliveFile } from './alive-file.ts';
import type { ExitReason } from './core/effects.ts';
import { openDataFolder } from './data-folder.ts';
import type { ImageryLink } from './imagery/imagery-link.ts';
import type { Mount } from './imagery/parse-mounts.ts';
import { parseMounts } from './imagery/parse-mounts.ts';
import type { ImageryCache } from './imagery/port.ts';
import { findImages, perigeeHome } from './images/find-images.ts';
import { measureDisk, measureMachine } from './machine.ts';
import type { NoticeKind } from './machine-notice.ts';
import { watchNotices } from './machine-notice.ts';
import { peerListenAddresses } from './mesh/peer-listen.ts';
import { outputLimitsOf } from './outputs/limits.ts';
import { formatAgentMark, readAgentMark } from './runner/agent-mark.ts';
import { createHeldResults } from './runner/held-results.ts';
import type { LazyAssets } from './runner/worker-deps.ts';
import type { AgentSettings } from './settings.ts';
import { coreSettingsOf, defaultNodeName, readAgentSettings } from './settings.ts';
import { agentHelp } from './settings-help.ts';
import type { Agent } from './start-agent.ts';

/** Everything that must be taken down again, last made first. */
type CleanUp = () => void | Promise<void>;

/** How long the last clean-up may take before the process goes anyway. */
const exitMsMax = 5_000;

async function runAgent(
  settings: AgentSettings,
  cleanUps: CleanUp[],
  stop: StopSignal,
): Promise<number> {
  const data = openDataFolder(settings.data);
  cleanUps.push(() => data.close());
  // libp2p takes most of a second to load: it comes while the sandboxes are probed.
  const shell = importShell();
  // Its failure is told where it is awaited.
  shell.catch(() => undefined);
  const machine = measureMachine();
  // Most groups ask for one cpu: a node with half of one is slow, not useless.
  const cpus = settings.cpus ?? Math.max(1, machine.cpus);
  const slots = settings.slots ?? Math.max(1, Math.floor(cpus));
  const [mounts, disk] = await Promise.all([parseMounts(settings.mount), measureDisk(data.path)]);
  const { pino } = await import('pino');
  const log = pino(
    { name: 'agent', level: settings.logLevel },
    pino.destination({ dest: 2, sync: true }),
  );
  const openMesh = async () => {
    const modules = await shell;
    const key = await modules.loadMeshKey(`${data.path}/node.key`);
    const listen = peerListenAddresses(settings.peerListen, settings.join ?? '');
    const host = await modules.createMeshHost({ key, listen, connectionsMax: 100 });
    cleanUps.push(() => host.stop());
    const imagery = await startImagery(settings, { host, data, mounts, log, cleanUps });
    return { modules, host, ...imagery };
  };
  const opening = openMesh();
  const results = createHeldResults();
  const runnerDeps = opening.then(({ cache, lazy }) => ({
    log,
    results,
    imagery: cache,
    ...(lazy === null ? {} : { lazy }),
  }));
  // Its failure is told where it is awaited.
  runnerDeps.catch(() => undefined);
  const { createRunner, defaultWorkerLimits } = await import('./runner/create-runner.ts');
  const [{ modules, host, link }, runner, images] = await Promise.all([
    opening,
    createRunner(runnerDeps, {
      folder: `${data.path}/runner`,
      sources: {
        harnessPath: fileURLToPath(new URL('runner/harness.py', import.meta.url)),
        packageFolder: findSdkPackage(),
      },
      mounts,
      isolationMin: settings.minIsolation,
      isolation: settings.isolation,
      allowNone: settings.insecure,
      allowNetwork: settings.allowNetwork,
      limits: defaultWorkerLimits,
      outputs: outputLimitsOf(settings),
    }),
    findImages(perigeeHome(process.env), {
      arch: process.arch,
      onSkipped: (folder, reason) => log.warn({ folder, reason }, 'An image is passed over.'),
    }),
  ]);
  cleanUps.push(() => runner.close());
  if (images.length === 0) {
    log.warn(
      { home: perigeeHome(process.env) },
      'No image is here: run `npm run setup` to build them.',
    );
  }
  const agent = await modules.startAgent(
    {
      ...{ host, runner, results, imagery: link, log },
      now: () => performance.now(),
      random: Math.random,
      onRested: modules.createHeapShrinker(),
    },
    {
      address: settings.join ?? '',
      joinToken: readJoinToken(settings),
      software: softwareName(),
      nodeName: (settings.name ?? defaultNodeName()).slice(0, nameCharsMax),
      instance: settings.instance as InstanceId | null,
      capacity: {
        slots,
        cpus,
        memoryBytes: settings.memoryBytes ?? machine.memoryBytes,
        diskBytes: disk.sizeBytes,
      },
      images,
      home: perigeeHome(process.env),
      mountNames: mounts.map((mount) => mount.name),
      dataFolder: data.path,
    },
    { ...settings, core: coreSettingsOf(settings) },
  );
  cleanUps.push(() => agent.stop());
  log.info(
    { node: host.peerId, slots, cpus, isolation: runner.isolation },
    'The agent has started.',
  );
  if (settings.aliveFile !== null) {
    const isJoined = (): boolean => agent.state.session.kind === 'open';
    cleanUps.push(keepAliveFile(settings.aliveFile, { isJoined, log }));
  }
  if (settings.notices === 'ec2' || settings.notices === 'gce') {
    const onNotice = (reason: string): void => {
      log.warn({ reason }, 'This machine is taken back: draining.');
      agent.drain(reason);
    };
    const watched = {
      kind: settings.notices as NoticeKind,
      url: settings.metadataUrl,
      pollMs: settings.noticePollMs,
    };
    cleanUps.push(watchNotices({ onNotice, log }, watched));
  }
  stop.onFirst(() => {
    log.info({}, 'Asked to stop: running tasks are finished first; a second signal ends them.');
    agent.drain('Its process was asked to stop.');
  });
  return exitCodeOf(await agent.finished, agent);
}

/** The node's cache with its line to the coordinator, and the mount below which large assets are filled. */
async function startImagery(
  settings: AgentSettings,
  deps: {
    host: MeshHost;
    data: { path: string };
    mounts: readonly Mount[];
    log: Logger;
    cleanUps: CleanUp[];
  },
): Promise<{ cache: ImageryCache; link: ImageryLink; lazy: LazyAssets | null }> {
  const { host, data, mounts, log, cleanUps } = deps;
  const [
    { openImagery },
    { createImageryLink, defaultImageryLinkSettings },
    { createOriginShares },
  ] = await Promise.all([
    import('./imagery/open-imagery.ts'),
    import('./imagery/imagery-link.ts'),
    import('./imagery/origins/origin-shares.ts'),
  ]);
  const now = (): number => performance.now();
  const shares = createOriginShares(now, {
    requestsMax: settings.imageryRequestsMax,
    perSecondMax: settings.imageryRequestsPerSecondMax,
  });
  const linkSettings = { ...defaultImageryLinkSettings, epoch: Date.now() };
  const link = createImageryLink(now, shares, linkSettings);
  const cache = openImagery(settings, {
    dataFolder: data.path,
    mounts,
    log,
    mesh: { host, link },
  });
  cleanUps.push(() => cache.stop());
  await cache.start();
  link.reads = () => {
    const { hits, misses, cacheBytes, peerBytes, originBytes } = cache.stats();
    return { hits, misses, cacheBytes, peerBytes, originBytes };
  };
  const lazy = await mountLazyFiles(cache, settings, { log, cleanUps });
  link.mode = lazy === null ? 'whole' : 'lazy';
  return { cache, link, lazy };
}

/** Files that are filled as they are read, where root and /dev/fuse allow; else assets are fetched whole. */
async function mountLazyFiles(
  imagery: ImageryCache,
  settings: AgentSettings,
  { log, cleanUps }: { log: Logger; cleanUps: CleanUp[] },
): Promise<LazyAssets | null> {
  const { openLazyFiles } = await import('./imagery/fuse/lazy-files.ts');
  const agent = readAgentMark();
  try {
    const files = await openLazyFiles(imagery, {
      // Slots' users must reach it, which the data folder does not promise.
      folder: `/run/perigee-imagery/${formatAgentMark(agent)}`,
      agent,
      warn: (fields, message) => log.warn(fields, message),
    });
    cleanUps.push(() => files.close());
    return { files, wholeAssetBytesMax: settings.imageryWholeBytesMax };
  } catch (caught) {
    log.info({ reason: toError(caught).message }, 'Large imagery is fetched whole here.');
    return null;
  }
}

async function importShell() {
  const [{ createMeshHost }, { loadMeshKey }, { createHeapShrinker }, { startAgent }] =
    await Promise.all([
      import('../protocol/net/create-mesh-host.ts'),
      import('../protocol/net/mesh-key.ts'),
      import('../protocol/net/shrink-heap.ts'),
      import('./start-agent.ts'),
    ]);
  return { createMeshHost, createHeapShrinker, loadMeshKey, startAgent };
}

function exitCodeOf(reason: ExitReason, agent: Agent): number {
  switch (reason.kind) {
    case 'stopped':
      return exitCodes.ok;
    case 'orphaned':
      throw new PerigeeError(
        'unreachable',
        `The coordinator was away for too long; ${agent.state.attempts.size} attempts were given up.`,
        { fix: 'Check the coordinator; --exit-when-orphaned-seconds sets the patience.' },
      );
    case 'refused': {
      const code: ErrorCode = isErrorCode(reason.code) ? reason.code : 'internal';
      throw new PerigeeError(code, reason.message, { fix: reason.fix });
    }
    default:
      return assertNever(reason);
  }
}

function readJoinToken(settings: AgentSettings): string | null {
  if (settings.joinTokenFile === null) return settings.joinToken;
  try {
    return readFileSync(settings.joinTokenFile, 'utf8').trim();
  } catch (cause) {
    throw new PerigeeError(
      'invalid_request',
      `The join token file cannot be read: ${toError(cause).message}`,
      { cause, fix: 'Check --join-token-file, or set PERIGEE_JOIN_TOKEN.' },
    );
  }
}

/** The `perigee` package that sandboxes offer; null where the agent came without it. */
function findSdkPackage(): string | null {
  const folder = fileURLToPath(new URL('../sdk/python/src/perigee', import.meta.url));
  return existsSync(folder) ? folder : null;
}

function softwareName(): string {
  const path = fileURLToPath(new URL('../package.json', import.meta.url));
  const found: unknown = JSON.parse(readFileSync(path, 'utf8'));
  const version =
    typeof found === 'object' && found !== null && 'version' in found ? found.version : '';
  return `perigee/${version}`;
}

/** SIGTERM and SIGINT: the first one asks, the second one ends. */
interface StopSignal {
  /** Called once; at once when the signal has come already. */
  onFirst(listener: () => void): void;
  /** Resolves at the second signal, or at the first while nothing could be asked. */
  readonly second: Promise<void>;
}

function watchSignals(): StopSignal {
  const second = Promise.withResolvers<void>();
  let count = 0;
  let listener: (() => void) | undefined;
  const take = (): void => {
    count += 1;
    if (count === 1 && listener !== undefined) listener();
    else second.resolve();
  };
  process.on('SIGTERM', take);
  process.on('SIGINT', take);
  return {
    onFirst(given) {
      listener = given;
    },
    second: second.promise,
  };
}

async function cleanUpAll(cleanUps: CleanUp[]): Promise<void> {
  for (const cleanUp of cleanUps.toReversed()) {
    try {
      await cleanUp();
    } catch (caught) {
      process.stderr.write(`perigee agent: ${toError(caught).message}\n`);
    }
  }
}

/** Two lines for people: what happened, and what to do. */
function tell(caught: unknown): number {
  const error = toError(caught);
  const known = error instanceof PerigeeError;
  const fix = known ? error.fix : errorTable.internal.fix;
  const message = known ? error.message : (error.stack ?? error.message);
  process.stderr.write(`perigee agent: ${message}\n${fix} (${known ? error.code : 'internal'})\n`);
  return known ? error.exitCode : exitCodes.failed;
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(agentHelp());
    return exitCodes.ok;
  }
  const cleanUps: CleanUp[] = [];
  const stop = watchSignals();
  let code: number;
  try {
    const interrupted = stop.second.then(() => exitCodes.interrupted);
    code = await Promise.race([
      runAgent(readAgentSettings(args, process.env), cleanUps, stop),
      interrupted,
    ]);
  } catch (caught) {
    code = tell(caught);
  }
  // Nothing may hold the process once it is to go: what is left is the kernel's to take away.
  setTimeout(() => process.exit(code), exitMsMax).unref();
  await cleanUpAll(cleanUps);
  return code;
}

process.exit(await main(process.argv.slice(2)));
