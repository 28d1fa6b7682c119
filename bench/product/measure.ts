/** The product's scenarios: each a whole-system run with real processes. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Figure } from '../figures.ts';
import { runLines } from '../run-lines.ts';
import { startIdleAgents } from './idle-agents.ts';
import { measureImages } from './images.ts';
import { type BenchMesh, checkout, perigee, startBenchMesh } from './mesh.ts';
import { watchProcesses } from './processes.ts';

/** Names for the command line, in the order in which they run. */
export const scenarioNames = [
  'first',
  'maps',
  'trips',
  'typescript',
  'beside',
  'sleeps',
  'payloads',
  'logs',
  'processes',
  'images',
  'million',
  'idle-agents',
] as const;
export type ScenarioName = (typeof scenarioNames)[number];

/** How long a mesh is watched while it does nothing; local nodes retire after 20 s. */
const idleMs = 8_000;
/** Until then processes tidy up behind the work: once, so that it is not what idling costs. */
const settleMs = 7_000;

/** Measures one scenario on a mesh of its own. */
export async function measureScenario(
  name: ScenarioName | 'short',
  options: { runs: number; idleAgents: number },
): Promise<Figure[]> {
  // It has meshes of its own kind.
  if (name === 'images') return await measureImages(options.runs);
  await using mesh = await startBenchMesh(name === 'idle-agents' ? { nodes: 0 } : {});
  switch (name) {
    case 'typescript': {
      // The first call of a mesh starts its nodes: that is another scenario.
      await python(mesh, 'short', 1);
      const script = join(checkout, 'bench/product/ts-client.ts');
      return await runLines('product', [process.execPath, script, String(options.runs)], {
        env: mesh.env,
        meshPid: mesh.pid,
      });
    }
    case 'beside':
      return await python(mesh, 'beside', options.runs, {
        PERIGEE_BENCH_TOKEN: await createNeighbour(mesh),
      });
    case 'processes': {
      await python(mesh, 'short', 1);
      await pause(settleMs);
      const idle = await watchProcesses(mesh.pid, { scenario: 'idle', during: pause(idleMs) });
      const during = python(mesh, 'maps', 1);
      return [...idle, ...(await watchProcesses(mesh.pid, { scenario: 'loaded', during }))];
    }
    case 'million': {
      const during = python(mesh, 'million', 1);
      const load = await watchProcesses(mesh.pid, { scenario: '1M tasks', during });
      return [...(await during), ...load];
    }
    case 'idle-agents': {
      await using agents = await startIdleAgents(options.idleAgents, mesh);
      const scenario = `${agents.count} idle agents`;
      return await watchProcesses(mesh.pid, { scenario, during: pause(idleMs) });
    }
    default:
      return await python(mesh, name, options.runs);
  }
}

function python(
  mesh: BenchMesh,
  name: string,
  runs: number,
  env: NodeJS.ProcessEnv = {},
): Promise<Figure[]> {
  const script = join(checkout, 'bench/product/scenarios.py');
  return runLines('product', [perigee, 'python', script, name, String(runs)], {
    env: { ...mesh.env, PERIGEE_BENCH_SLOTS: String(availableParallelism()), ...env },
    meshPid: mesh.pid,
  });
}

/** A namespace beside the first one; a token of it. */
async function createNeighbour(mesh: BenchMesh): Promise<string> {
  const namespace = 'neighbour';
  await call(mesh, { method: 'PUT', path: `/v1/namespaces/${namespace}` });
  const body = { role: 'user', namespace };
  const { token } = await call(mesh, { method: 'POST', path: '/v1/tokens', body });
  if (typeof token !== 'string') throw new Error('The coordinator made no token.');
  return token;
}

async function call(
  mesh: BenchMesh,
  request: { method: string; path: string; body?: object },
): Promise<Record<string, unknown>> {
  const answer = await fetch(`${mesh.url}${request.path}`, {
    method: request.method,
    headers: { authorization: `Bearer ${mesh.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(request.body ?? {}),
  });
  if (!answer.ok) throw new Error(`${request.path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}
