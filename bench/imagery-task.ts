/**
 * Imagery as tasks read it: a real mesh of two agents with sandboxes, an HTTP origin with latency, and
 * beside each figure what the machine allows, or GDAL's `/vsicurl` in tasks that have the network.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Figure } from './figures.ts';
import { makeScenes, startOrigin } from './imagery/scenes.ts';
import type { BenchMesh } from './product/mesh.ts';
import { checkout, perigee, startBenchMesh } from './product/mesh.ts';
import { runLines } from './run-lines.ts';

/** Windows are read so large: one tile, or up to four. */
const windowSize = 512;
const joinMsMax = 60_000;

export interface TaskBenchOptions {
  runs: number;
  /** Width and height of the large scene in pixels. */
  side: number;
  /** Windows read in one run. */
  reads: number;
  /** Of copying pages. */
  seconds: number;
  /** Parts of `imagery/tasks.py`; all by default. */
  parts?: readonly string[];
}

export async function measureImageryTasks(options: TaskBenchOptions): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-bench-imagery-'));
  try {
    // Sandboxes are another user's, and the agents' folders lie in it.
    chmodSync(folder, 0o711);
    const scenes = makeScenes(folder, options.side);
    await using origin = await startOrigin({
      'scene.tif': scenes.filled,
      'whole.tif': scenes.whole,
      'raw.tif': scenes.raw,
    });
    await using mesh = await startBenchMesh({ nodes: 0 });
    const nodes = Math.max(2, availableParallelism());
    await using _agents = await startAgents(mesh, { folder, host: origin.host, nodes });
    const where = (name: string, file: string): { uri: string; local: string } => ({
      uri: `${origin.url}/${name}.tif`,
      local: `data:bench/${file}.tif`,
    });
    const plan = {
      ...{ windowSize, nodes, side: options.side, reads: options.reads, seconds: options.seconds },
      origin: origin.url,
      filled: where('scene', 'filled'),
      whole: where('whole', 'whole'),
      raw: where('raw', 'raw'),
    };
    const script = join(checkout, 'bench/imagery/tasks.py');
    const words = [String(options.runs), ...(options.parts ?? [])];
    return await runLines('product', [perigee, 'python', script, ...words], {
      env: { ...mesh.env, PERIGEE_BENCH_IMAGERY: JSON.stringify(plan) },
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Agents with one slot each, whose tasks may have the network: `up` starts none of those. */
async function startAgents(
  mesh: BenchMesh,
  options: { folder: string; host: string; nodes: number },
): Promise<AsyncDisposable> {
  const agents = Array.from({ length: options.nodes }, (_, at) =>
    spawn(
      perigee,
      [
        ...['agent', '--join', mesh.join, '--data', join(options.folder, `agent-${at}`)],
        ...['--name', `bench-${at}`, '--slots', '1', '--cpus', '1', '--log-level', 'warn'],
        ...['--imagery-allow', options.host, '--mount', `bench=${options.folder}`],
        // Many times the windows that are read, whatever the machine has.
        ...['--memory-bytes', String(2 * 1024 ** 3), '--allow-network'],
      ],
      {
        env: { ...mesh.env, PERIGEE_JOIN_TOKEN: mesh.joinToken },
        stdio: ['ignore', 'inherit', 'inherit'],
      },
    ),
  );
  const stop = async (): Promise<void> => {
    for (const agent of agents) if (agent.exitCode === null) agent.kill('SIGTERM');
    await Promise.all(
      agents.map(async (agent) => {
        if (agent.exitCode === null && agent.signalCode === null) await once(agent, 'exit');
      }),
    );
  };
  const began = performance.now();
  for (;;) {
    const headers = { authorization: `Bearer ${mesh.token}` };
    const answer = await fetch(`${mesh.url}/v1/nodes`, { headers });
    const { items } = (await answer.json()) as { items: { state: string }[] };
    if (items.filter(({ state }) => state === 'ready').length >= options.nodes) break;
    if (performance.now() - began > joinMsMax || agents.some((one) => one.exitCode !== null)) {
      await stop();
      throw new Error('The agents did not join.');
    }
    await pause(200);
  }
  return { [Symbol.asyncDispose]: stop };
}
