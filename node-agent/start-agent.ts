/** Puts an agent together around a runner: the core's loop, the link to the coordinator, blobs, logs. */
import type { PerigeeError } from '../protocol/base/errors.ts';
import { imageProtocol } from '../protocol/images/image-transfer.ts';
import type { MeshHost } from '../protocol/net/create-mesh-host.ts';
import type { InstanceId } from '../protocol/wire/ids.ts';
import { peerAddressesMax } from '../protocol/wire/limits.ts';
import { protocolVersion } from '../protocol/wire/messages.ts';
import type { Capacity } from '../protocol/wire/task.ts';
import type { ExitReason } from './core/effects.ts';
import type { CoreSettings } from './core/settings.ts';
import type { AgentState } from './core/state.ts';
import { createAgentState } from './core/state.ts';
import { isImageWanted, listHeld } from './core/views.ts';
import { createDriver } from './driver.ts';
import type { ImageryLink } from './imagery/imagery-link.ts';
import type { FoundImage } from './images/find-images.ts';
import { createMeshImages } from './images/mesh-images.ts';
import { createMemoryMeter, measureDisk, measureLoad } from './machine.ts';
import { openBlobCache } from './mesh/blob-cache.ts';
import { createCoordinatorLink } from './mesh/coordinator-link.ts';
import { createHeartbeat } from './mesh/heartbeat.ts';
import { createLogForwarder } from './mesh/log-forwarder.ts';
import { createPeers } from './mesh/peers.ts';
import { createResultUploads } from './mesh/upload-result.ts';
import { createHeldResults, type HeldResults } from './runner/held-results.ts';
import type { Runner } from './runner/port.ts';

export interface AgentDeps {
  host: MeshHost;
  runner: Runner;
  /** The runner's, where its large results wait in memory. */
  results?: HeldResults;
  /** Of a cache that is started, and the caller's to stop; without one tasks read no imagery. */
  imagery?: ImageryLink;
  /** Monotonic, in ms. */
  now(): number;
  /** 0-1, for the spread of reconnects. */
  random(): number;
  /** Nothing has been held for a few seconds: time to tidy up. */
  onRested?(): void;
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

/** Everything about this node that does not change while it runs. */
export interface AgentProfile {
  /** Coordinator's multiaddr with its peer id. */
  address: string;
  joinToken: string | null;
  software: string;
  nodeName: string;
  instance: InstanceId | null;
  capacity: Capacity;
  images: readonly FoundImage[];
  /** PERIGEE_HOME, where images are and come. */
  home: string;
  mountNames: readonly string[];
  /** For blobs; exists, on the disk whose free space counts. */
  dataFolder: string;
}

export interface AgentTimes {
  core: CoreSettings;
  tickMs: number;
  reconnectMsMin: number;
  reconnectMsMax: number;
  welcomeMsMax: number;
  silentMsMax: number;
  blobCacheBytesMax: number;
  imageArchivesBytesMax: number;
  imagesBytesMax: number;
  imagesDiskFreeBytesMin: number;
  logBytesMax: number;
}

export interface Agent extends AsyncDisposable {
  /** Resolves when the agent wants to leave: drained, orphaned or refused. Call `stop` then. */
  readonly finished: Promise<ExitReason>;
  /** SIGTERM: takes nothing new, finishes what runs, says goodbye. */
  drain(reason: string): void;
  /** Ends everything at once; idempotent. The runner and the host are the caller's. */
  stop(): Promise<void>;
  /** To read only. */
  readonly state: AgentState;
}

/** Live output of a flood, per attempt: what a person can still follow, and the line can bear. */
const liveBytesPerSecond = 1024 * 1024;
/** A dial takes a few round trips; more means that nobody answers. */
const blobDialMsMax = 10_000;
/** The first failures to connect, then one in so many, are told. */
const failuresPerWarning = 15;

/** Starts an agent; it dials by itself from now on. */
export async function startAgent(
  deps: AgentDeps,
  profile: AgentProfile,
  times: AgentTimes,
): Promise<Agent> {
  const { host, imagery, runner, log } = deps;
  const state = createAgentState({
    settings: times.core,
    capacity: profile.capacity,
    images: profile.images.map((image) => image.digest),
    nowMs: deps.now(),
  });
  const logs = createLogForwarder({ logBytesMax: times.logBytesMax, liveBytesPerSecond });
  const blobs = await openBlobCache(host, {
    folder: `${profile.dataFolder}/blobs`,
    address: profile.address,
    bytesMax: times.blobCacheBytesMax,
    dialMsMax: blobDialMsMax,
  });
  const warn = (message: string): void => log.warn({}, message);
  const stopping = new AbortController();
  const uploads = new Set<Promise<unknown>>();
  const track = <Value>(upload: Promise<Value>): Promise<Value> => {
    uploads.add(upload);
    return upload.finally(() => uploads.delete(upload));
  };
  const resultUploads = createResultUploads(
    { host, results: deps.results ?? createHeldResults(), stopping: stopping.signal },
    { address: profile.address, dialMsMax: blobDialMsMax },
  );
  const peers = createPeers({ host, send: (message) => link.send(message), now: deps.now });
  const images = createMeshImages(
    {
      host,
      peers,
      onChanged: (all) => link.send({ kind: 'imagesChanged', images: all }),
      onLost: (digest) => driver.dispatch({ kind: 'imageLost', digest }),
      isWanted: (digest) => isImageWanted(state, digest),
      log,
    },
    {
      home: profile.home,
      address: profile.address,
      found: profile.images,
      archivesBytesMax: times.imageArchivesBytesMax,
      imagesBytesMax: times.imagesBytesMax,
      diskFreeBytesMin: times.imagesDiskFreeBytesMin,
    },
  );
  await images.serve();
  imagery?.connect({ peers, send: (message) => link.send(message) });

  const driver = createDriver(
    state,
    {
      runner,
      logs,
      blobs,
      link: {
        send: (message) => link.send(message),
        sendAfterLogs: (refs, message) => link.sendAfterLogs(refs, message),
        offerLogs: () => link.offerLogs(),
        reset: () => link.reset(),
      },
      uploadResult: (result) => track(resultUploads.upload(result)),
      uploadOutput: (output) => track(resultUploads.uploadOutput(output)),
      images,
      removeFile: (path) => resultUploads.remove(path),
      now: deps.now,
      warn,
      onRested: () => deps.onRested?.(),
    },
    { tickMs: times.tickMs },
  );
  const heartbeat = createHeartbeat({
    send: (message) => link.sendHeartbeat(message),
    measureLoad: () => measureLoad(profile.capacity.cpus),
    measureMemoryFree: createMemoryMeter(deps.now),
    measureDiskFree: async () => (await measureDisk(profile.dataFolder)).freeBytes,
    measureReads: () => imagery?.reads() ?? null,
    onDiskMeasured: (diskFreeBytes) => driver.dispatch({ kind: 'healthMeasured', diskFreeBytes }),
    warn,
  });
  const link = createCoordinatorLink(
    { host, logs, now: deps.now, random: deps.random },
    {
      address: profile.address,
      reconnectMsMin: times.reconnectMsMin,
      reconnectMsMax: times.reconnectMsMax,
      welcomeMsMax: times.welcomeMsMax,
      silentMsMax: times.silentMsMax,
    },
    {
      makeHello() {
        driver.settle();
        return {
          kind: 'hello',
          protocol: protocolVersion,
          software: profile.software,
          joinToken: profile.joinToken,
          nodeName: profile.nodeName,
          instance: profile.instance,
          capacity: profile.capacity,
          images: images.list(),
          isolation: runner.isolation,
          mounts: [...profile.mountNames],
          peerAddresses: host.addresses().slice(0, peerAddressesMax),
          imagery: imagery?.mode ?? 'none',
          network: times.core.allowNetwork,
          arch: process.arch,
          pid: process.pid,
          held: listHeld(state),
          draining: state.draining,
        };
      },
      onOpened(welcome) {
        log.info({ node: welcome.node, coordinator: welcome.software }, 'Joined the mesh.');
        driver.dispatch({ kind: 'sessionOpened', drop: welcome.drop });
        imagery?.sessionOpened();
        heartbeat.begin(welcome.settings.heartbeatMs);
      },
      onMessage(message) {
        if (message.kind === 'drain') {
          log.info({ reason: message.reason }, 'Draining: the coordinator asked for it.');
        }
        // Who has what is between the shells: no decision of the core hangs on it.
        if (message.kind === 'located') peers.take(message);
        else if (message.kind === 'holdingsAsked') imagery?.tellAll();
        else if (message.kind === 'originShares') imagery?.origins.take(message);
        else driver.receive(message);
      },
      onLost(error) {
        heartbeat.end();
        peers.forget();
        imagery?.sessionLost();
        if (state.exited) return;
        const fields = { error: error?.message ?? null };
        log.warn(fields, 'The coordinator is away; running tasks go on.');
        driver.dispatch({ kind: 'sessionLost' });
      },
      onRefused(error: PerigeeError) {
        const { code, message, fix } = error;
        driver.dispatch({ kind: 'sessionRefused', code, message, fix });
      },
      onFailed(error, attempt) {
        if (attempt !== 1 && attempt % failuresPerWarning !== 0) return;
        const fields = { address: profile.address, attempt, error: error.message };
        log.warn(fields, 'The coordinator cannot be reached; trying again.');
      },
    },
  );

  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped ??= (async () => {
      driver.stop();
      heartbeat.end();
      await link.close();
      stopping.abort();
      await host.unhandle(imageProtocol);
      await Promise.all([blobs.close(), images.close()]);
      await Promise.allSettled(uploads);
    })();
    return stopped;
  };
  return {
    finished: driver.finished,
    drain: (reason) => driver.dispatch({ kind: 'stopAsked', reason }),
    stop,
    [Symbol.asyncDispose]: stop,
    state,
  };
}
