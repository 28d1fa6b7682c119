/** A coordinator without HTTP on loopback: the real core, driver, mesh and blob files, and agents made of frames. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isClockIdle } from '../../../../coordinator/core/clock-wake.ts';
import { locateNodes } from '../../../../coordinator/core/holdings.ts';
import { defaultCoreSettings } from '../../../../coordinator/core/settings.ts';
import { createState } from '../../../../coordinator/core/state.ts';
import { step } from '../../../../coordinator/core/step.ts';
import { nextWakeMs } from '../../../../coordinator/core/views.ts';
import type { RunningDriver } from '../../../../coordinator/driver.ts';
import { createDriver } from '../../../../coordinator/driver.ts';
import type { AgentMesh } from '../../../../coordinator/mesh/agent-mesh.ts';
import { createAgentMesh } from '../../../../coordinator/mesh/agent-mesh.ts';
import { openBlobStore } from '../../../../coordinator/store/blob-store.ts';
import { createMemoryStore } from '../../../../coordinator/store/memory.ts';
import type { BlobStore, Store } from '../../../../coordinator/store/port.ts';
import { makeToken } from '../../../../coordinator/tokens.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { checkCoordinatorMessage } from '../../../../protocol/net/check-message.ts';
import type { MeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import { createMeshHost } from '../../../../protocol/net/create-mesh-host.ts';
import type { FrameStream } from '../../../../protocol/net/frame-stream.ts';
import { createFrameStream } from '../../../../protocol/net/frame-stream.ts';
import { generateMeshKey } from '../../../../protocol/net/mesh-key.ts';
import { encodeBlock } from '../../../../protocol/wire/block.ts';
import type { GroupId, ImageDigest, NamespaceName, NodeId } from '../../../../protocol/wire/ids.ts';
import { taskKey } from '../../../../protocol/wire/ids.ts';
import type {
  AgentMessage,
  CoordinatorMessage,
  Hello,
} from '../../../../protocol/wire/messages.ts';
import { agentProtocol } from '../../../../protocol/wire/messages.ts';
import type { GroupSpec } from '../../../../protocol/wire/task.ts';
import { sourceGroup } from '../../../specs/group-spec.ts';

export const alice = 'alice' as NamespaceName;
export const bob = 'bob' as NamespaceName;
const digest = `sha256:${'0'.repeat(64)}` as ImageDigest;
const python = { implementation: 'CPython', version: '3.11.2' };

export const groupSpec = (group: string, namespace = alice): GroupSpec =>
  sourceGroup({ group: group as GroupId, namespace });

export const payload = (text: string): Buffer => Buffer.from(`J${text}`);

/** An agent's end of a session, by hand. */
export interface HandAgent {
  node: NodeId;
  frames: FrameStream;
  messages: CoordinatorMessage[];
  closed: Promise<Error | undefined>;
  /** The first message of a kind that was not asked for before; waits for it. */
  next<Kind extends CoordinatorMessage['kind']>(
    kind: Kind,
  ): Promise<Extract<CoordinatorMessage, { kind: Kind }>>;
  say(message: AgentMessage): void;
}

export interface MeshBench extends AsyncDisposable {
  driver: RunningDriver;
  store: Store;
  blobs: BlobStore;
  /** Whether there is no room for outputs. */
  disk: { isFull: boolean };
  mesh: AgentMesh;
  address: string;
  /** A join token; for every namespace unless told. */
  makeJoinToken(namespaces?: readonly NamespaceName[] | null): Promise<string>;
  /** A machine with a peer id of its own. */
  createMachine(): Promise<MeshHost>;
  /** Opens a session without a word. */
  connect(machine: MeshHost): Promise<HandAgent>;
  hello(changes?: Partial<Hello>): Hello;
  submit(group: string, payloads: readonly Uint8Array[]): Promise<number>;
}

export async function createMeshBench(
  settings: { greetingMsMax?: number; blockCacheBytesMax?: number } = {},
): Promise<MeshBench> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-mesh-'));
  const store = createMemoryStore();
  const disk = { isFull: false };
  const blobs = await openBlobStore(join(folder, 'blobs'));
  const clock = { nowMs: () => Date.now() };
  const restored = await store.restore();
  const state = createState({
    seed: 1,
    settings: defaultCoreSettings,
    restored,
    now: clock.nowMs(),
  });
  const log = { info: () => undefined, warn: () => undefined };
  const transport: { mesh: AgentMesh | undefined } = { mesh: undefined };
  const driver = createDriver(
    {
      state,
      step,
      nextWakeMs,
      isClockIdle,
      store,
      clock,
      disk: { isFull: () => false },
      transport: {
        send: (effects) => transport.mesh?.send(effects),
        keepBlock: (save) => transport.mesh?.keepBlock(save),
      },
      onFatal(error) {
        throw error;
      },
      log,
    },
    {
      clockTickMs: 20,
      tickOutcomesMax: 2_000,
      tickBytesMax: 2 ** 20,
      commitRetryMs: 10,
      backlogBytesMax: 2 ** 26,
    },
  );
  const host = await createMeshHost({
    key: await generateMeshKey(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    connectionsMax: 100,
  });
  const mesh = createAgentMesh(
    {
      host,
      driver,
      store,
      blobs,
      disk: {
        async assertRoom() {
          if (disk.isFull) throw new PerigeeError('disk_full');
        },
      },
      touchBlob: async () => {},
      clock,
      locate: async (node, query) => locateNodes(state, node, query),
      holds: (node, attempt) =>
        state.nodes.get(node)?.held.get(taskKey(attempt))?.attempt === attempt.attempt,
      findSpec: (group) => state.groups.get(group)?.spec,
      log,
      software: 'perigee test',
    },
    {
      wire: { heartbeatMs: 1_000, leaseMs: 15_000 },
      sessionFirst: restored.nextSession,
      blockCacheBytesMax: settings.blockCacheBytesMax ?? 2 ** 20,
      blobStreamsMax: 10,
      originBudget: { requestsMax: 8, perSecondMax: 100 },
      greetingMsMax: settings.greetingMsMax ?? 5_000,
      waitingMax: 100,
    },
  );
  transport.mesh = mesh;
  driver.start();
  await mesh.start();
  const [address = ''] = host.addresses();
  const machines: MeshHost[] = [];
  let batches = 0;
  return {
    disk,
    driver,
    store,
    blobs,
    mesh,
    address,
    async makeJoinToken(namespaces = null) {
      const token = makeToken('join');
      await store.saveToken({
        id: token.id,
        purpose: 'join',
        secretHash: token.secretHash,
        label: '',
        role: null,
        namespaces,
        createdAtMs: 1,
        expiresAtMs: null,
        revokedAtMs: null,
        usesLeft: 1,
      });
      return token.text;
    },
    async createMachine() {
      const key = await generateMeshKey();
      const machine = await createMeshHost({ key, listen: [], connectionsMax: 4 });
      machines.push(machine);
      return machine;
    },
    connect: (machine) => connect(machine, address),
    hello: (changes = {}) => ({
      kind: 'hello',
      protocol: 1,
      software: 'hand',
      joinToken: null,
      nodeName: 'n',
      instance: null,
      capacity: { slots: 4, cpus: 4, memoryBytes: 2 ** 40, diskBytes: 2 ** 40 },
      images: [{ digest, names: ['i'], python, arch: 'x64', sizeBytes: 1 }],
      isolation: 'strong',
      mounts: [],
      peerAddresses: [],
      pid: 1,
      held: [],
      draining: false,
      ...changes,
    }),
    async submit(group, payloads) {
      batches += 1;
      const answer = await driver.request({
        kind: 'batchSubmitted',
        group: group as GroupId,
        clientBatch: `batch-${batches}`,
        blockHash: '0'.repeat(64),
        count: payloads.length,
        block: encodeBlock(payloads),
        assets: null,
      });
      return answer.kind === 'batchTaken' ? answer.batch : 0;
    },
    async [Symbol.asyncDispose]() {
      for (const machine of machines) await machine.stop();
      await driver.stop();
      await mesh.stop();
      await host.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

async function connect(machine: MeshHost, address: string): Promise<HandAgent> {
  const signal = AbortSignal.timeout(5_000);
  const stream = await machine.open(address, agentProtocol, { signal });
  const messages: CoordinatorMessage[] = [];
  const unread: CoordinatorMessage[] = [];
  let wake = (): void => undefined;
  const { promise: closed, resolve } = Promise.withResolvers<Error | undefined>();
  const frames = createFrameStream(stream, {
    onMessage(message) {
      const checked = checkCoordinatorMessage(message);
      messages.push(checked);
      unread.push(checked);
      wake();
    },
    onClose: resolve,
  });
  return {
    node: machine.peerId as NodeId,
    frames,
    messages,
    closed,
    say: (message) => void frames.send(message),
    async next(kind) {
      for (;;) {
        const at = unread.findIndex((message) => message.kind === kind);
        const [found] = at < 0 ? [] : unread.splice(at, 1);
        if (found?.kind === kind)
          return found as Extract<CoordinatorMessage, { kind: typeof kind }>;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
