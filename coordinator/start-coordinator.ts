/** Wires the coordinator's parts together, in the order in which they need each other. */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { PerigeeError, toError } from '../protocol/base/errors.ts';
import { createArchiveStore } from '../protocol/images/archive-store.ts';
import { imageProtocol, serveImage } from '../protocol/images/image-transfer.ts';
import { createMeshHost } from '../protocol/net/create-mesh-host.ts';
import { loadMeshKey } from '../protocol/net/mesh-key.ts';
import type { NodeId } from '../protocol/wire/ids.ts';
import { taskKey } from '../protocol/wire/ids.ts';
import { lineResultBytesMax } from '../protocol/wire/limits.ts';
import type { Bootstrap } from './bootstrap/port.ts';
import { isClockIdle } from './core/clock-wake.ts';
import { locateNodes } from './core/holdings.ts';
import type { CoreSettings } from './core/settings.ts';
import { defaultCoreSettings } from './core/settings.ts';
import { createState } from './core/state.ts';
import { step } from './core/step.ts';
import { nextWakeMs } from './core/views.ts';
import { createDriver } from './driver.ts';
import { createGateway } from './gateway/create-gateway.ts';
import { createLocalImages } from './gateway/images/local-images.ts';
import type { GatewayLog } from './gateway/ports.ts';
import { gatewayDefaults } from './gateway/settings.ts';
import { readDirectoryTokens } from './identity.ts';
import { createBuildLogs } from './images/build-log.ts';
import { createBuilds } from './images/builds.ts';
import { openCatalogue } from './images/catalogue.ts';
import { createImageImporter } from './images/oci/image-importer.ts';
import { tellKnownImages } from './images/tell-known.ts';
import { chooseJoinAddress } from './join-address.ts';
import type { AgentMesh } from './mesh/agent-mesh.ts';
import { createAgentMesh } from './mesh/agent-mesh.ts';
import { createNodeImages } from './mesh/node-images.ts';
import { openFleet } from './open-fleet.ts';
import { readMounts } from './read-mounts.ts';
import { createRetention } from './retention/create-retention.ts';
import type { CoordinatorSettings } from './settings.ts';
import { catalogueDefaults, createStacCatalogue } from './stac/create-catalogue.ts';
import { openBlobStore } from './store/blob-store.ts';
import { openDataDirectory } from './store/data-directory.ts';
import { createDiskGuard, readDisk } from './store/disk-guard.ts';
import { openSqliteStore } from './store/open-sqlite.ts';
import type { Store } from './store/port.ts';
import { keepRecentBlobs, type RecentBlobsSettings } from './store/recent-blobs.ts';

export interface StartDeps {
  settings: CoordinatorSettings;
  log: GatewayLog;
  env: Readonly<Record<string, string | undefined>>;
  /** The process must end at once. */
  onFatal(error: Error): void;
  /** Nothing has been queued or held for a few seconds: time to tidy up. */
  onRested?(): void;
}

/** A coordinator that takes tasks. */
export interface Coordinator {
  url: string;
  /** Operator, in namespace `default`. */
  token: string;
  /** Where agents join. */
  join: string;
  joinToken: string;
  /** What makes machines of clouds nodes. */
  bootstrap: Bootstrap;
  /** This process and the local nodes'. */
  pids(): { coordinator: number; nodes: readonly number[] };
  /** Stops taking work, ends local nodes, stores what they said; idempotent. */
  stop(): Promise<void>;
  /** Ends local nodes now; for those who cannot wait. */
  kill(): void;
}

/** Messages of an agent that wait while its report's blobs are looked up. */
const sessionWaitingMax = 10_000;

/** Enough for what a few clients fetch as it comes; 10 s are longer than any of them is behind. */
const recentBlobs: RecentBlobsSettings = {
  blobBytesMax: lineResultBytesMax,
  bytesMax: 32 * 1024 ** 2,
  quietMs: 10_000,
};

const version = readVersion();
const clock = { nowMs: () => Date.now() };

/**
 * Opens the directory and starts everything on it.
 * @throws PerigeeError data_locked, data_unwritable, data_corrupt, data_newer, port_taken, insecure_listen
 */
export async function startCoordinator(deps: StartDeps): Promise<Coordinator> {
  const { settings, log } = deps;
  const mounts = readMounts(settings.mounts);
  const stack = new AsyncDisposableStack();
  try {
    const directory = openDataDirectory(settings.data);
    stack.defer(() => directory.release());
    const disk = createDiskGuard(
      { readDisk: () => readDisk(settings.data), log },
      {
        freeBytesMin: settings.diskFreeBytesMin,
        freeShareMin: settings.diskFreeShareMin,
        recheckMs: settings.diskRecheckMs,
      },
    );
    await disk.start();
    stack.defer(() => disk.stop());
    const store = openSqliteStore(directory.databaseFile);
    stack.defer(() => store.close());
    const blobs = keepRecentBlobs(await openBlobStore(directory.blobFolder), recentBlobs);
    const tokens = await readDirectoryTokens(store, { folder: settings.data, nowMs: Date.now() });
    const host = await createMeshHost({
      key: await loadMeshKey(join(settings.data, 'mesh.key')),
      listen: [await meshAddress(store, settings)],
      connectionsMax: settings.connectionsMax,
    });
    stack.defer(() => host.stop());
    await store.setMeta('meshPort', portOf(host.addresses()));

    const restored = await store.restore();
    const state = createState({
      seed: randomInt(2 ** 32),
      settings: coreSettings(settings),
      restored,
      now: Date.now(),
    });
    // The driver and the mesh know each other; neither acts before both are there.
    const transport: { mesh: AgentMesh | undefined } = { mesh: undefined };
    const driver = createDriver(
      {
        state,
        step,
        nextWakeMs,
        isClockIdle,
        store,
        clock,
        disk,
        transport: {
          send: (effects) => transport.mesh?.send(effects),
          keepBlock: (save) => transport.mesh?.keepBlock(save),
        },
        onFatal: deps.onFatal,
        onRested: () => deps.onRested?.(),
        log,
      },
      settings,
    );
    const mesh = createAgentMesh(
      {
        host,
        driver,
        store,
        blobs,
        disk,
        touchBlob: (hash) => store.touchBlob(hash, { nowMs: clock.nowMs(), staleMs: 0 }),
        clock,
        async locate(node, query) {
          // A node that has just said that it reads an asset is found by whoever asks after it.
          await driver.caughtUp();
          return locateNodes(driver.state(), node, query);
        },
        holds: (node, attempt) =>
          state.nodes.get(node)?.held.get(taskKey(attempt))?.attempt === attempt.attempt,
        findSpec: (group) => state.groups.get(group)?.spec,
        log,
        software: `perigee ${version}`,
      },
      {
        wire: { heartbeatMs: settings.heartbeatMs, leaseMs: settings.leaseMs },
        sessionFirst: restored.nextSession,
        blockCacheBytesMax: settings.blockCacheBytesMax,
        blobStreamsMax: settings.blobStreamsMax,
        originBudget: {
          requestsMax: settings.imageryOriginRequestsMax,
          perSecondMax: settings.imageryOriginPerSecondMax,
        },
        greetingMsMax: settings.greetingMsMax,
        waitingMax: sessionWaitingMax,
      },
    );
    transport.mesh = mesh;
    stack.defer(() => mesh.stop());
    stack.defer(() => driver.stop());
    const images = createLocalImages(join(settings.home, 'images'), {
      clock,
      onBroken: (path, error) => log.warn({ path, err: error }, 'an image cannot be read'),
    });
    const catalogue = await openCatalogue(store);
    const buildLogs = createBuildLogs(store);
    const builds = createBuilds(
      {
        folder: join(settings.home, 'images'),
        env: deps.env,
        nowMs: clock.nowMs,
        catalogue,
        logs: buildLogs,
        log,
        onBuilt: images.forget,
      },
      { ...settings, buildHosts: settings.buildHosts.split(',').filter((host) => host !== '') },
    );
    stack.defer(() => builds.stop());
    const importer = createImageImporter(
      { catalogue, buildLogs, clock, log },
      {
        folder: join(settings.home, 'images'),
        arch: process.arch,
        isRoot: process.getuid?.() === 0,
        pullsMax: settings.pullsMax,
        authFile: settings.registryAuthFile,
        insecure: settings.insecureRegistries,
        allowed: settings.registries,
      },
    );
    stack.defer(() => importer.stop());
    const archives = createArchiveStore({
      folder: join(settings.home, 'images'),
      bytesMax: settings.imageArchivesBytesMax,
    });
    stack.defer(() => archives.close());
    await host.handle(
      imageProtocol,
      (stream, peer) =>
        serveImage(stream, createNodeImages({ store, archives, catalogue }, peer as NodeId)),
      { streamsMax: settings.blobStreamsMax },
    );
    stack.defer(() => host.unhandle(imageProtocol));
    const stac = createStacCatalogue({ ...catalogueDefaults, file: directory.stacFile });
    stack.defer(() => stac.stop());
    const joinAddress = chooseJoinAddress(host.addresses());
    const tls = readTls(settings);
    const listening = { url: '' };
    const { fleet, bootstrap } = await openFleet({
      ...{ settings, env: deps.env, log, driver, store, images, mounts, joinAddress },
      coordinator: host.peerId,
      certificate: tls?.cert ?? null,
      listeningUrl: () => listening.url,
    });
    stack.defer(() => fleet.stop());
    const retention = createRetention({ store, blobs, driver, clock, log }, settings);
    stack.defer(() => retention.stop());
    const gateway = createGateway(
      {
        boot: bootstrap,
        driver,
        store,
        blobs,
        clock,
        log,
        mesh: host,
        fleet,
        images,
        catalogue,
        importer,
        stac,
        buildLogs,
        builds,
        disk,
        retention,
        version,
      },
      {
        ...gatewayDefaults,
        host: settings.host,
        port: settings.port || Number((await store.getMeta('httpPort')) ?? 0),
        tls,
        behindProxy: settings.behindProxy,
        insecureHttp: settings.insecureHttp,
        callsPerSecondMax: settings.callsPerSecondMax,
        callsBurst: settings.callsBurst,
      },
    );
    stack.defer(() => gateway.stop());
    driver.start();
    const known = await tellKnownImages({ driver, catalogue, images, log });
    stack.defer(() => known.stop());
    await mesh.start();
    await builds.start();
    await importer.start();
    const { url } = await gateway.start();
    // Machines are told where it is, so none is made before.
    listening.url = url;
    await fleet.start();
    retention.start();
    await store.setMeta('httpPort', new URL(url).port);
    const running = stack.move();
    let stopping: Promise<void> | undefined;
    return {
      url,
      token: tokens.access,
      join: joinAddress,
      joinToken: tokens.join,
      bootstrap,
      pids: () => ({ coordinator: process.pid, nodes: fleet.pids() }),
      stop() {
        stopping ??= running.disposeAsync();
        return stopping;
      },
      kill: () => fleet.kill(),
    };
  } finally {
    await stack.disposeAsync();
  }
}

function coreSettings(settings: CoordinatorSettings): CoreSettings {
  const {
    suspectMs,
    leaseMs,
    drainMsMax,
    retryDelayBaseMs,
    retryDelayMaxMs,
    retryElsewhereMs,
    openBatchesMax,
    quarantineTaskNodes,
    quarantineNodeTasks,
  } = settings;
  return {
    ...defaultCoreSettings,
    suspectMs,
    leaseMs,
    drainMsMax,
    retryDelayBaseMs,
    retryDelayMaxMs,
    retryElsewhereMs,
    openBatchesMax,
    quarantineTaskNodes,
    quarantineNodeTasks,
  };
}

/** The port that the directory had before is kept: agents come back to the same address. */
async function meshAddress(store: Store, settings: CoordinatorSettings): Promise<string> {
  const port = settings.meshPort || Number((await store.getMeta('meshPort')) ?? 0);
  const { meshHost } = settings;
  const version = isIP(meshHost);
  const kind = version === 0 ? 'dns4' : `ip${version}`;
  const host = meshHost === 'localhost' ? 'ip4/127.0.0.1' : `${kind}/${meshHost}`;
  return `/${host}/tcp/${port}`;
}

function portOf(addresses: readonly string[]): string {
  return /\/tcp\/(\d+)/.exec(addresses[0] ?? '')?.[1] ?? '0';
}

function readTls(settings: CoordinatorSettings): { cert: string; key: string } | null {
  if (settings.tlsCert === '') return null;
  try {
    return {
      cert: readFileSync(settings.tlsCert, 'utf8'),
      key: readFileSync(settings.tlsKey, 'utf8'),
    };
  } catch (caught) {
    const cause = toError(caught);
    throw new PerigeeError('invalid_request', `The TLS files cannot be read: ${cause.message}`, {
      cause,
      fix: 'Check --tls-cert and --tls-key.',
    });
  }
}

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const manifest: unknown = JSON.parse(text);
  const found =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? manifest.version
      : undefined;
  return typeof found === 'string' ? found : 'unknown';
}
