/**
 * How long an image keeps a user waiting: on a node that has it and no worker yet (cold start), and
 * on one that must fetch it (first use), while the coordinator packs it and when it has.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import type { Figure } from '../figures.ts';
import { runLines } from '../run-lines.ts';
import { type BenchMesh, checkout, perigee, startBenchMesh } from './mesh.ts';

const script = join(checkout, 'bench/product/scenarios.py');
/** Clients whose functions run in the image of their own interpreter. */
const pythons = [
  { option: '--py2', image: 'perigee/geospatial:py2.7' },
  { option: '--py3', image: 'perigee/geospatial:py3.11' },
];

/** Cold starts on a local node, then first uses on nodes with nothing. */
export async function measureImages(runs: number): Promise<Figure[]> {
  return [...(await measureColdStarts(runs)), ...(await measureFirstUses())];
}

async function measureColdStarts(runs: number): Promise<Figure[]> {
  await using mesh = await startBenchMesh({ nodes: 1 });
  const figures: Figure[] = [];
  for (const { option } of pythons) {
    figures.push(...(await python(mesh, [option, script, 'cold', String(runs)])));
  }
  return figures;
}

async function measureFirstUses(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-bench-images-'));
  // Slots run as other users.
  chmodSync(folder, 0o755);
  try {
    const figures: Figure[] = [];
    for (const each of pythons) figures.push(...(await measureFirstUse(folder, each)));
    return figures;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each mesh has a home with links to the image alone, so that nothing is packed there before. */
async function measureFirstUse(
  folder: string,
  of: { option: string; image: string },
): Promise<Figure[]> {
  const options = { arch: process.arch, onSkipped: () => undefined };
  const image = (await findImages(perigeeHome(process.env), options))
    .filter((found) => found.names.includes(of.image))
    // Old ones may lie there, too; the largest has the most packages.
    .sort((one, other) => other.sizeBytes - one.sizeBytes)[0];
  if (image === undefined) throw new Error(`Set-up has not made ${of.image}.`);
  const short = image.digest.slice(7, 39);
  const home = join(folder, short);
  mkdirSync(join(home, 'images'), { recursive: true });
  symlinkSync(join(perigeeHome(process.env), 'images', short), join(home, 'images', short));
  await using mesh = await startBenchMesh({ nodes: 0, home });
  const figures: Figure[] = [];
  for (const state of ['while it is packed', 'packed before']) {
    await using _ = await startNode(mesh, join(folder, `${short}-${figures.length}`));
    const scenario = `first use of ${of.image}, ${state}`;
    figures.push(...(await python(mesh, [of.option, script, 'use', '1'], scenario)));
  }
  return figures;
}

/** An agent of a machine without any image. */
async function startNode(mesh: BenchMesh, home: string): Promise<AsyncDisposable> {
  mkdirSync(join(home, 'images'), { recursive: true });
  const tokenFile = join(home, 'join-token');
  writeFileSync(tokenFile, `${mesh.joinToken}\n`, { mode: 0o600 });
  const where = ['--join', mesh.join, '--join-token-file', tokenFile, '--data', join(home, 'data')];
  const child = spawn(perigee, ['agent', ...where, '--log-level', 'info'], {
    env: { ...mesh.env, PERIGEE_HOME: home },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const joined = Promise.withResolvers<void>();
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (text.includes('Joined the mesh.')) joined.resolve();
  });
  child.once('exit', () => joined.reject(new Error('The node did not join.')));
  await joined.promise;
  return {
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      await exit;
    },
  };
}

function python(mesh: BenchMesh, words: readonly string[], scenario = ''): Promise<Figure[]> {
  return runLines('product', [perigee, 'python', ...words], {
    env: { ...mesh.env, PERIGEE_BENCH_SCENARIO: scenario },
  });
}
