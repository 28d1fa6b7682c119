import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { configPath, type MeshConfig, writeConfig } from '../../../ts/config.ts';
import { type CommandContext, hint, type ShowOptions, say } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { collect, wholeNumber } from '../../options.ts';
import { programName } from '../../terminal.ts';
import { claimConfig, findPeerId, releaseConfig } from '../../up/config-claim.ts';
import type { ReadyLine } from '../../up/coordinator-process.ts';
import { defaultDataDirectory } from '../../up/default-data.ts';
import { runMesh } from '../../up/run-mesh.ts';
import { renderLogLine } from '../../up/start-failure.ts';

interface UpOptions extends ShowOptions {
  data?: string;
  port?: number;
  meshPort?: number;
  mount?: string[];
  imageryAllow?: string[];
  allowNetwork?: boolean;
  nodes?: number;
  pools?: string;
  logLevel?: string;
}

const portMax = 65_535;
const nodesMax = 4_096;
/** Pino's numbers. */
const logLevels = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;

/** `up`: a mesh on this machine, in the foreground. */
export function meshUp(context: CommandContext): Command {
  const command = describeCommand('up', {
    summary: 'Run a mesh on this machine, in the foreground, until Ctrl-C.',
    details:
      'Nodes come and go with the work, from none up to the number of cores. Ctrl-C or SIGTERM ' +
      'gives running tasks a few seconds to finish (PERIGEE_STOP_MS_MAX) and keeps the others for ' +
      'the next start; a second Ctrl-C stops at once. A coordinator that crashes is ' +
      'started again. The config file is written, so that scripts and commands on this machine ' +
      'find the mesh, and removed at the end. Ports are kept with the data directory. ' +
      'With --json the first line is one object: url, token, join, joinToken and pids.',
    examples: ['up', 'up --mount scenes=/srv/landsat', 'up --data ./mesh --port 7480 --json'],
  })
    .option('--data <dir>', 'where the mesh keeps everything (default: $PERIGEE_HOME/mesh)')
    .option(
      '--port <n>',
      'HTTP port; 0 for the one it had before, else any free one',
      wholeNumber(0, portMax),
    )
    .option('--mesh-port <n>', 'libp2p port; 0 as for --port', wholeNumber(0, portMax))
    .option('--mount <name=dir>', 'offer a folder read-only as /data/NAME; repeatable', collect)
    .option(
      '--imagery-allow <host>',
      'HOST or HOST:PORT that tasks may read assets from though it is loopback or link-local; repeatable',
      collect,
    )
    .option(
      '--allow-network',
      'give functions that ask for it (network=True) this machine’s network',
    )
    .option('--nodes <n>', 'local nodes at most (default: the cores)', wholeNumber(0, nodesMax))
    .option('--pools <file>', 'JSON file of pools of machines elsewhere (docs/autoscaling.md)')
    .addOption(
      new Option('--log-level <level>', "show the coordinator's log from this level").choices(
        Object.keys(logLevels),
      ),
    );
  return withJson(command).action((options: UpOptions) => runUp(context, options));
}

async function runUp(context: CommandContext, options: UpOptions): Promise<void> {
  const { environment, stderr } = context.terminal;
  const data = resolve(options.data ?? defaultDataDirectory(environment, process.getuid?.()));
  const level = (options.logLevel ?? 'warn') as keyof typeof logLevels;
  let config: MeshConfig | undefined;
  let isReady = false;
  try {
    await runMesh({
      flags: coordinatorFlags(options, data),
      environment,
      onSignal: (listener) => context.terminal.onSignal(listener),
      onLogLine: (line) => {
        // Before it is up, a failure to start is told once, in three lines with its fix.
        const shown = options.json === true ? line : renderLogLine(line, logLevels[level]);
        if (shown !== undefined && (isReady || options.logLevel !== undefined)) {
          stderr.write(`${shown}\n`);
        }
      },
      onReady: async (ready, { restarts }) => {
        isReady = true;
        config = await publishConfig(context, ready, data);
        if (restarts > 0) say(context, `The coordinator is up again: ${ready.url}`);
        else announce(context, options, { ready, config, data });
      },
      say: (text) => say(context, text),
    });
  } finally {
    if (config !== undefined) {
      await releaseConfig(configPath(environment), config);
      await releaseConfig(ownConfigPath(data), config);
    }
  }
}

function coordinatorFlags(options: UpOptions, data: string): string[] {
  const flags = ['--data', data, '--json'];
  flags.push('--local-nodes', String(options.nodes ?? availableParallelism()));
  if (options.port !== undefined) flags.push('--port', String(options.port));
  if (options.meshPort !== undefined) flags.push('--mesh-port', String(options.meshPort));
  for (const mount of options.mount ?? []) flags.push('--mount', mount);
  for (const host of options.imageryAllow ?? []) flags.push('--imagery-allow', host);
  if (options.allowNetwork === true) flags.push('--allow-network');
  if (options.pools !== undefined) flags.push('--pools', resolve(options.pools));
  if (options.logLevel !== undefined) flags.push('--log-level', options.logLevel);
  return flags;
}

/** A copy of the config beside the data: how to use this mesh when the config file is another's. */
function ownConfigPath(data: string): string {
  return join(data, 'config.json');
}

async function publishConfig(
  context: CommandContext,
  ready: ReadyLine,
  data: string,
): Promise<MeshConfig> {
  const peerId = (await findPeerId(ready.url)) ?? peerIdOf(ready.join);
  const config = { url: ready.url, token: ready.token, peerId, data };
  await mkdir(data, { recursive: true, mode: 0o700 });
  await writeConfig(ownConfigPath(data), config);
  const path = configPath(context.terminal.environment);
  const claim = await claimConfig(path, config);
  if (claim.kind === 'held') {
    say(
      context,
      `${path} belongs to another mesh that is up, ${claim.url}, and stays as it is.\n` +
        `To use this one: PERIGEE_CONFIG=${ownConfigPath(data)} ${programName} status`,
    );
  }
  return config;
}

function announce(
  context: CommandContext,
  options: UpOptions,
  up: { ready: ReadyLine; config: MeshConfig; data: string },
): void {
  const { ready } = up;
  const { stdout, environment } = context.terminal;
  if (options.json === true) {
    const { url, token, join: address, joinToken } = ready;
    const pids = { up: process.pid, ...ready.pids };
    stdout.write(`${JSON.stringify({ url, token, join: address, joinToken, pids })}\n`);
    return;
  }
  stdout.write(
    [
      `Mesh is up: ${ready.url}  (token in ${configPath(environment)})`,
      `  data   ${up.data}`,
      `  nodes  from 0 up to ${options.nodes ?? availableParallelism()}, as work is queued`,
      `  join   ${ready.join}`,
      'Ctrl-C stops it.',
      '',
    ].join('\n'),
  );
  hint(context, 'python mine.py');
}

/** The peer id at the end of a join address. */
function peerIdOf(address: string): string {
  return address.slice(address.lastIndexOf('/') + 1);
}
