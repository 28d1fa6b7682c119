/** Many idle agents on one coordinator: the real protocol, each with a key of its own, in this process. */
import { createMeshHost, type MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { createFrameStream, type FrameStream } from '../../protocol/net/frame-stream.ts';
import { generateMeshKey } from '../../protocol/net/mesh-key.ts';
import type { Hello } from '../../protocol/wire/messages.ts';
import { agentProtocol, protocolVersion } from '../../protocol/wire/messages.ts';

export interface IdleAgents extends AsyncDisposable {
  readonly count: number;
}

/** Agents that join at once; more would only queue at the handshake. */
const joiningMax = 20;

/** Joins so many agents that pull, beat once a second and are given nothing to do. */
export async function startIdleAgents(
  count: number,
  mesh: { join: string; joinToken: string },
): Promise<IdleAgents> {
  const agents: { host: MeshHost; frames: FrameStream }[] = [];
  let next = 0;
  const joinNext = async (): Promise<void> => {
    while (next < count) {
      next += 1;
      agents.push(await joinAgent(next, mesh));
    }
  };
  await Promise.all(Array.from({ length: joiningMax }, joinNext));
  const beat = setInterval(() => {
    for (const { frames } of agents) {
      frames.send({ kind: 'heartbeat', load: 0, memoryFreeBytes: 1e9, diskFreeBytes: 1e11 });
    }
  }, 1_000);
  return {
    count: agents.length,
    async [Symbol.asyncDispose]() {
      clearInterval(beat);
      await Promise.all(agents.map(({ host }) => host.stop()));
    },
  };
}

async function joinAgent(
  number: number,
  mesh: { join: string; joinToken: string },
): Promise<{ host: MeshHost; frames: FrameStream }> {
  const host = await createMeshHost({
    key: await generateMeshKey(),
    listen: [],
    connectionsMax: 2,
  });
  const signal = AbortSignal.timeout(60_000);
  const stream = await host.open(mesh.join, agentProtocol, { signal });
  const welcomed = Promise.withResolvers<void>();
  const frames = createFrameStream(stream, {
    onMessage(message) {
      if (typeof message !== 'object' || message === null || !('kind' in message)) return;
      if (message.kind === 'welcome') welcomed.resolve();
      else if (message.kind === 'refused') welcomed.reject(new Error(JSON.stringify(message)));
    },
    onClose: (error) => welcomed.reject(error ?? new Error('The coordinator hung up.')),
  });
  const hello: Hello = {
    kind: 'hello',
    protocol: protocolVersion,
    software: 'perigee bench',
    joinToken: mesh.joinToken,
    nodeName: `idle-${number}`,
    instance: null,
    capacity: { slots: 2, cpus: 2, memoryBytes: 8e9, diskBytes: 1e11 },
    images: [],
    isolation: 'standard',
    mounts: [],
    peerAddresses: [],
    pid: process.pid,
    held: [],
    draining: false,
  };
  frames.send(hello);
  await welcomed.promise;
  frames.send({ kind: 'pull', heldMax: 8 });
  return { host, frames };
}
