/**
 * A coordinator without agents: the real core, driver, SQLite store, blob folder and gateway, and a
 * libp2p host of its own. Nodes are played by dispatching what an agent's session would.
 */

import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createFleetState,
  defaultLifecycleSettings,
} from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import { defaultFleetSettings } from '../../../../coordinator/autoscaler/plan/inputs.ts';
import { planFleet } from '../../../../coordinator/autoscaler/plan/plan-fleet.ts';
import { isClockIdle } from '../../../../coordinator/core/clock-wake.ts';
import type { SendEffect } from '../../../../coordinator/core/effects.ts';
import { defaultCoreSettings } from '../../../../coordinator/core/settings.ts';
import { createState } from '../../../../coordinator/core/state.ts';
import { step } from '../../../../coordinator/core/step.ts';
import { nextWakeMs } from '../../../../coordinator/core/views.ts';
import type { RunningDriver } from '../../../../coordinator/driver.ts';
import { createDriver } from '../../../../coordinator/driver.ts';
import type { Gateway } from '../../../../coordinator/gateway/create-gateway.ts';
import { createGateway } from '../../../../coordinator/gateway/create-gateway.ts';
import type { GatewayDeps, MachineShape } from '../../../../coordinator/gateway/ports.ts';
import type { GatewaySettings } from '../../../../coordinator/gateway/settings.ts';
import { gatewayDefaults } from '../../../../coordinator/gateway/settings.ts';
import type { BuildLogs } from '../../../../coordinator/images/build-log.ts';
import { createBuildLogs } from '../../../../coordinator/images/build-log.ts';
import type { ImageCatalogue } from '../../../../coordinator/images/catalogue.ts';
import { openCatalogue } from '../../../../coordinator/images/catalogue.ts';
import { createImageImporter } from '../../../../coordinator/images/oci/image-importer.ts';

import type { Retention } from '../../../../coordinator/retention/create-retention.ts';
import { createRetention } from '../../../../coordinator/retention/create-retention.ts';

import {
  catalogueDefaults,
  createStacCatalogue,
} from '../../../../coordinator/stac/create-catalogue.ts';

import { openBlobStore } from '../../../../coordinator/store/blob-store.ts';
import { openSqliteStore } from '../../../../coordinator/store/open-sqlite.ts';
import type { BlobStore, Store, TokenRole } from '../../../../coordinator/store/port.ts';
import type { RetentionStore } from '../../../../coordinator/store/retention-port.ts';
import { makeToken } from '../../../../coordinator/tokens.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import { encodeBlock } from '../../../../protocol/wire/block.ts';
import type {
  AttemptRef,
  ImageDigest,
  NamespaceName,
  NodeId,
  SessionNumber,
} from '../../../../protocol/wire/ids.ts';
import type { AttemptOutcome, NodeImage } from '../../../../protocol/wire/task.ts';

export const digestPython2 = `sha256:${'2'.repeat(64)}` as ImageDigest;
export const digestPython3 = `sha256:${'3'.repeat(64)}` as ImageDigest;

export const images: readonly NodeImage[] = [
  {
    digest: digestPython2,
    names: ['perigee/geospatial:py2.7'],
    python: { implementation: 'CPython', version: '2.7.18' },
    arch: 'x64',
    sizeBytes: 1_000_000,
  },
  {
    digest: digestPython3,
    names: ['perigee/python:py3.11'],
    python: { implementation: 'CPython', version: '3.11.2' },
    arch: 'x64',
    sizeBytes: 2_000_000,
  },
];

/** What the node was told, as attempts. */
export interface TestNode {
  id: NodeId;
  /** Waits until the node holds so many attempts that it has not reported. */
  held(count: number): Promise<AttemptRef[]>;
  start(attempts: readonly AttemptRef[]): void;
  log(attempt: AttemptRef, offset: number, text: string): void;
  report(outcomes: readonly (AttemptRef & AttemptOutcome)[]): void;
  leave(): void;
}

/** The mesh under test. */
export interface GatewayMesh extends AsyncDisposable {
  url: string;
  gateway: Gateway;
  driver: RunningDriver;
  store: Store & RetentionStore;
  blobs: BlobStore;
  host: MeshHost;
  catalogue: ImageCatalogue;
  buildLogs: BuildLogs;
  /** Not started: a test that wants a pass starts it. */
  retention: Retention;
  /** Digests whose files were to be deleted. */
  removedImages: ImageDigest[];
  /** Operator of `default`. */
  operator: string;
  nowMs: { value: number };
  disk: { isFull: boolean };
  fleet: { shapes: MachineShape[]; booting: number; hold: string | null };
  /** Log lines at level error: a test that leaves one behind has found a bug. */
  errors: unknown[];
  token(
    namespace: string,
    role: TokenRole,
    options?: { expiresAtMs?: number; revokedAtMs?: number },
  ): Promise<string>;
  join(options?: { slots?: number; cpus?: number; memoryBytes?: number }): TestNode;
  call(method: string, path: string, options?: CallOptions): Promise<Response>;
  stop(): Promise<void>;
}

export interface CallOptions {
  token?: string | null;
  json?: unknown;
  body?: Uint8Array | string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Starts one in a fresh folder. */
export async function startGatewayMesh(
  changes: Partial<GatewaySettings> = {},
): Promise<GatewayMesh> {
  const folder = await mkdtemp(join(tmpdir(), 'perigee-gateway-'));
  const store = openSqliteStore(join(folder, 'perigee.db'));
  const blobs = await openBlobStore(join(folder, 'blobs'));
  const nowMs = { value: 0 };
  const clock = { nowMs: () => Date.now() + nowMs.value };
  const disk = { isFull: false };
  const fleet = { shapes: [] as MachineShape[], booting: 0, hold: null as string | null };
  const errors: unknown[] = [];
  const log = {
    info: () => undefined,
    warn: () => undefined,
    error: (fields: object) => void errors.push(fields),
  };
  const nodes = new Map<NodeId, (effect: SendEffect) => void>();
  const driver = createDriver(
    {
      state: createState({
        seed: 1,
        settings: defaultCoreSettings,
        restored: await store.restore(),
        now: clock.nowMs(),
      }),
      step,
      nextWakeMs,
      isClockIdle,
      store,
      clock,
      disk: { isFull: () => false },
      transport: {
        send: (effects) => {
          for (const effect of effects) nodes.get(effect.node)?.(effect);
        },
        keepBlock: () => undefined,
      },
      onFatal: (error) => void errors.push(error),
      log,
    },
    {
      clockTickMs: 20,
      tickOutcomesMax: 2_000,
      tickBytesMax: 1_000_000,
      commitRetryMs: 50,
      backlogBytesMax: 64_000_000,
    },
  );
  driver.start();
  const host = await createMeshHost({
    key: await generateMeshKey(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    connectionsMax: 50,
  });
  const catalogue = await openCatalogue(store);
  const buildLogs = createBuildLogs(store);
  const importer = createImageImporter(
    { catalogue, buildLogs, clock, log },
    {
      folder: join(folder, 'images'),
      arch: 'x64',
      isRoot: false,
      pullsMax: 1,
      authFile: '',
      insecure: [],
      allowed: [],
    },
  );
  const stac = createStacCatalogue({ ...catalogueDefaults, file: join(folder, 'stac.db') });
  const removedImages: ImageDigest[] = [];
  const fleetState = createFleetState({
    pools: [],
    settings: { ...defaultLifecycleSettings, plan: defaultFleetSettings },
    decide: planFleet,
    nextId: () => 'none',
  });
  const retention = createRetention(
    { store, blobs, driver, clock, log },
    {
      ...{ keepLogsDays: 14, keepResultsDays: 30, keepRecordsDays: 90 },
      ...{ sweepMs: 3_600_000, sweepPauseMs: 1, blobGraceMs: 3_600_000 },
    },
  );
  const deps: GatewayDeps = {
    driver,
    store,
    blobs,
    clock,
    log,
    mesh: host,
    fleet: {
      shapes: () => fleet.shapes,
      booting: () => fleet.booting,
      hold: () => fleet.hold,
      state: () => fleetState,
      nowMs: () => clock.nowMs(),
      events: (limit) => store.listFleetEvents({ limit }),
    },
    images: {
      list: async () => images,
      remove: async (digest) => void removedImages.push(digest),
    },
    catalogue,
    importer,
    stac,
    buildLogs,
    builds: {
      request: async () => {
        throw new PerigeeError('internal', 'no build runs here');
      },
    },
    disk: {
      assertRoom: async () => {
        if (disk.isFull) throw new PerigeeError('disk_full');
      },
    },
    retention,
    version: '0.0.0-test',
  };
  const gateway = createGateway(deps, { ...gatewayDefaults, ...changes });
  const stopParts = async (): Promise<void> => {
    await gateway.stop();
    await retention.stop();
    await importer.stop();
    await stac.stop();
    await driver.stop();
    await host.stop();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  };
  const { url } = await gateway.start().catch(async (error: unknown) => {
    await stopParts();
    throw error;
  });
  const token: GatewayMesh['token'] = async (namespace, role, options = {}) => {
    await store.createNamespace(namespace as NamespaceName, clock.nowMs());
    const made = makeToken('access');
    await store.saveToken({
      id: made.id,
      purpose: 'access',
      secretHash: made.secretHash,
      label: 'test',
      role,
      namespaces: [namespace as NamespaceName],
      createdAtMs: clock.nowMs(),
      expiresAtMs: options.expiresAtMs ?? null,
      revokedAtMs: options.revokedAtMs ?? null,
      usesLeft: null,
    });
    return made.text;
  };
  const operator = await token('default', 'operator');
  let sessions = 1_000;
  let stopping: Promise<void> | undefined;
  const mesh: GatewayMesh = {
    url,
    gateway,
    driver,
    store,
    blobs,
    host,
    catalogue,
    buildLogs,
    retention,
    removedImages,
    operator,
    nowMs,
    disk,
    fleet,
    errors,
    token,
    join(options = {}) {
      sessions += 1;
      return joinNode(driver, nodes, { session: sessions as SessionNumber, ...options });
    },
    call(method, path, options = {}) {
      const headers: Record<string, string> = { ...options.headers };
      const bearer = options.token === undefined ? operator : options.token;
      if (bearer !== null) headers['authorization'] = `Bearer ${bearer}`;
      let body: string | Uint8Array<ArrayBuffer> | null = null;
      if (options.json !== undefined) {
        headers['content-type'] = 'application/json';
        body = JSON.stringify(options.json);
      } else if (options.body !== undefined) {
        body = typeof options.body === 'string' ? options.body : new Uint8Array(options.body);
      }
      const signal = options.signal === undefined ? {} : { signal: options.signal };
      return fetch(url + path, { method, headers, body, ...signal });
    },
    stop() {
      stopping ??= stopParts();
      return stopping;
    },
    [Symbol.asyncDispose]: () => mesh.stop(),
  };
  return mesh;
}

function joinNode(
  driver: RunningDriver,
  nodes: Map<NodeId, (effect: SendEffect) => void>,
  options: { session: SessionNumber; slots?: number; cpus?: number; memoryBytes?: number },
): TestNode {
  const { session } = options;
  const id = `12D3KooWTestNode${session}` as NodeId;
  const held = new Map<string, AttemptRef>();
  const waiters: { count: number; resolve: (attempts: AttemptRef[]) => void }[] = [];
  const check = (): void => {
    for (const waiter of [...waiters]) {
      if (held.size < waiter.count) continue;
      waiters.splice(waiters.indexOf(waiter), 1);
      waiter.resolve([...held.values()]);
    }
  };
  const key = (attempt: AttemptRef): string =>
    `${attempt.batch}-${attempt.index}-${attempt.attempt}`;
  nodes.set(id, (effect) => {
    if (effect.kind !== 'sendGrant') return;
    for (let index = effect.lo; index < effect.lo + effect.count; index += 1) {
      const attempt = { batch: effect.batch, index, attempt: effect.attempt };
      held.set(key(attempt), attempt);
    }
    check();
  });
  driver.dispatch({
    kind: 'nodeJoined',
    node: id,
    session,
    namespaces: null,
    hello: {
      kind: 'hello',
      protocol: 1,
      software: 'test',
      joinToken: null,
      nodeName: `node-${session}`,
      instance: null,
      capacity: {
        slots: options.slots ?? 8,
        cpus: options.cpus ?? 8,
        memoryBytes: options.memoryBytes ?? 10 * 1024 ** 4,
        diskBytes: 1_000_000_000,
      },
      images: [...images],
      isolation: 'standard',
      mounts: [],
      peerAddresses: [],
      pid: 1,
      held: [],
      draining: false,
    },
  });
  driver.dispatch({ kind: 'nodePulled', node: id, session, heldMax: 4_000 });
  return {
    id,
    held(count) {
      const { promise, resolve } = Promise.withResolvers<AttemptRef[]>();
      waiters.push({ count, resolve });
      check();
      return promise;
    },
    start: (attempts) => driver.dispatch({ kind: 'attemptsStarted', node: id, session, attempts }),
    log(attempt, offset, text) {
      driver.appendLogs([{ ...attempt, offset, bytes: Buffer.from(text) }]);
    },
    report(outcomes) {
      for (const outcome of outcomes) held.delete(key(outcome));
      driver.dispatch({ kind: 'reportReceived', node: id, session, report: 1, outcomes });
    },
    leave: () => driver.dispatch({ kind: 'nodeLeft', node: id, session }),
  };
}

/** A success. */
export function succeeded(
  attempt: AttemptRef,
  result: Uint8Array | string = 'Presult',
): AttemptRef & AttemptOutcome {
  return {
    ...attempt,
    status: 'success',
    result: typeof result === 'string' ? Buffer.from(result) : result,
    failure: null,
    runtimeMs: 12.5,
    peakMemoryBytes: 3_000_000,
    logBytes: 0,
  };
}

/** An exception with a log of so many bytes. */
export function raised(attempt: AttemptRef, logBytes = 0): AttemptRef & AttemptOutcome {
  return {
    ...succeeded(attempt, new Uint8Array(0)),
    status: 'exception',
    failure: { name: 'KeyError', message: "'red'", traceback: 'Traceback: KeyError' },
    logBytes,
  };
}

/** The smallest valid group request. */
export function groupRequest(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    name: 'ndvi',
    image: 'perigee/geospatial:py2.7',
    function: { kind: 'pickle', inline: Buffer.from('a pickle').toString('base64') },
    python: { implementation: 'CPython', version: '2.7.17' },
    ...changes,
  };
}

/** Makes a group over HTTP and answers its id. */
export async function createTestGroup(
  mesh: GatewayMesh,
  options: { token?: string; changes?: Record<string, unknown> } = {},
): Promise<string> {
  const response = await mesh.call('POST', '/v1/groups', {
    json: groupRequest(options.changes),
    ...(options.token === undefined ? {} : { token: options.token }),
  });
  if (response.status !== 201) throw new Error(await response.text());
  const { group } = (await response.json()) as { group: { id: string } };
  return group.id;
}

/** A block of pickles. */
export function testBlock(count: number, text = 'argument'): Uint8Array {
  return encodeBlock(Array.from({ length: count }, (_, index) => Buffer.from(`P${text} ${index}`)));
}

/** Puts a batch over HTTP. */
export function putBatch(
  mesh: GatewayMesh,
  group: string,
  options: {
    count: number;
    block?: Uint8Array;
    uuid?: string;
    token?: string;
    headers?: Readonly<Record<string, string>>;
  },
): Promise<Response> {
  const uuid = options.uuid ?? randomUUID();
  return mesh.call('PUT', `/v1/groups/${group}/batches/${uuid}`, {
    body: options.block ?? testBlock(options.count),
    headers: {
      'x-perigee-count': String(options.count),
      'content-type': 'application/octet-stream',
      ...options.headers,
    },
    ...(options.token === undefined ? {} : { token: options.token }),
  });
}

/** Lower-case hexadecimal SHA-256. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The problem of an answer, with its status checked against the table. */
export async function problem(response: Response): Promise<{
  code: string;
  detail: string;
  fix: string;
  status: number;
  title: string;
  details?: Record<string, unknown>;
}> {
  const type = response.headers.get('content-type');
  const text = await response.text();
  if (type !== 'application/problem+json') {
    throw new Error(`not a problem: ${response.status} ${type} ${text.slice(0, 500)}`);
  }
  const body = JSON.parse(text);
  if (body.status !== response.status) throw new Error(`status ${body.status} in ${text}`);
  return body;
}
