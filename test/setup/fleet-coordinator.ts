/** A coordinator's process with pools of its own, and what its command line says of them. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { FleetExplainView, FleetView } from '../../protocol/wire/api.ts';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { imageOf, launcher, runProgram } from './run-program.ts';

export interface FleetCoordinator {
  tasks: Tasks;
  fleet(): Promise<FleetView>;
  explain(): Promise<FleetExplainView>;
  /** What it wrote to stderr. */
  said(): string;
  /** Ends it as a user would; idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts it below `folder`, which sandboxes must be able to reach, with one image that shares its
 * bytes with set-up's. No local nodes: what runs, runs on a machine of a pool.
 */
export async function startFleetCoordinator(options: {
  folder: string;
  pools: readonly object[];
  env: NodeJS.ProcessEnv;
}): Promise<FleetCoordinator> {
  const { folder } = options;
  mkdirSync(join(folder, 'home/images'), { recursive: true });
  execFileSync('cp', ['-al', imageOf('3.11').folder, join(folder, 'home/images')]);
  writeFileSync(join(folder, 'pools.json'), JSON.stringify(options.pools));
  const env: NodeJS.ProcessEnv = {
    ...options.env,
    ...{ PERIGEE_HOME: join(folder, 'home'), NO_COLOR: '1' },
    PERIGEE_CONFIG: join(folder, 'config.json'),
  };
  const coordinator = spawn(
    launcher,
    [
      ...['coordinator', '--json', '--data', join(folder, 'data'), '--local-nodes', '0'],
      ...['--pools', join(folder, 'pools.json')],
    ],
    { env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  coordinator.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const stop = async (): Promise<void> => {
    if (coordinator.exitCode !== null || coordinator.signalCode !== null) return;
    const closed = once(coordinator, 'close');
    coordinator.kill('SIGTERM');
    await closed;
  };
  const [line] = await Promise.race([
    once(createInterface({ input: coordinator.stdout }), 'line'),
    once(coordinator, 'close').then(() => ['']),
  ]);
  if (line === '') throw new Error(`The coordinator did not start.\n${said}`);
  const { url, token } = JSON.parse(String(line)) as { url: string; token: string };
  Object.assign(env, { PERIGEE_URL: url, PERIGEE_TOKEN: token });
  const see = async <View>(...words: string[]): Promise<View> => {
    const ran = await runProgram([launcher, ...words, '--json'], { env });
    if (ran.status !== 0) throw new Error(`${words.join(' ')}: ${ran.stderr}`);
    return JSON.parse(ran.stdout) as View;
  };
  return {
    tasks: createTasks({ url, token }),
    fleet: () => see<FleetView>('fleet'),
    explain: () => see<FleetExplainView>('explain', 'fleet'),
    said: () => said,
    stop,
  };
}
