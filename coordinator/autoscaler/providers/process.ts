/**
 * Nodes as processes on the coordinator's machine. They are their own sessions, so that neither a
 * Ctrl-C for the coordinator nor its death reaches them: a restarted coordinator adopts them by
 * process id and start time.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import type { ProcessName } from '../process-table.ts';
import {
  findProcess,
  findProcessesByArgument,
  isAlive,
  readArgument,
  signalProcess,
} from '../process-table.ts';
import type { InstanceOffer, InstanceShape, ListedInstance, Provider } from '../provider-port.ts';
import { ProviderFailure } from '../provider-port.ts';

export interface ProcessProviderDeps {
  /** A fresh join token of one use, for one instance. */
  makeJoinToken(instance: InstanceId): Promise<string>;
  /** Where agents reach this coordinator; known once it listens. */
  joinAddress(): string;
  log: { warn(fields: object, message: string): void };
}

export interface ProcessProviderSettings {
  /** node-agent/main.ts. */
  agentMain: string;
  /** One folder per instance is made below. */
  folder: string;
  shape: Omit<InstanceShape, 'isolation'>;
  mounts: readonly string[];
  /** Hosts that tasks may read assets from though they are loopback or link-local. */
  imageryAllow: readonly string[];
  /** How long a node outlives a coordinator that is gone. */
  orphanMs: number;
  /** Between two looks at adopted processes, whose end no event tells. */
  watchMs: number;
  env: Readonly<Record<string, string | undefined>>;
}

const instanceFlag = '--instance';
/** A process starts in well under a second, also on a machine that swaps. */
const answerMsMax = 60_000;
/** As for the coordinator: a young space of twice 32 MB costs an agent 45 MB under load, and gains nothing. */
const engineFlags = ['--max-semi-space-size=8'];

/** The provider of pool `local`. */
export function createProcessProvider(
  deps: ProcessProviderDeps,
  settings: ProcessProviderSettings,
): Provider {
  const offer: InstanceOffer = {
    id: 'process',
    type: 'process',
    zone: null,
    spot: false,
    // The agent probes what its machine can isolate and says so when it joins.
    shape: { ...settings.shape, isolation: 'strong' },
    pricePerHour: 0,
  };
  const running = new Map<InstanceId, ProcessName>();
  /** Processes on their way, so that a second call for one waits for the first. */
  const starting = new Map<InstanceId, Promise<string>>();
  /** Of `running`, those that this run did not start. */
  const adopted = new Set<InstanceId>();
  const listeners: ((instance: InstanceId) => void)[] = [];
  let timer: NodeJS.Timeout | undefined;

  const folderOf = (instance: InstanceId): string => join(settings.folder, instance);
  const end = (instance: InstanceId): void => {
    if (!running.delete(instance)) return;
    adopted.delete(instance);
    if (adopted.size === 0) clearInterval(timer);
    for (const listener of listeners) listener(instance);
    removeFolder(instance);
  };
  /** Nobody can catch what a timer or an exit throws, and what tasks left may not be ours to remove. */
  const removeFolder = (instance: InstanceId): void => {
    const folder = folderOf(instance);
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch (caught) {
      deps.log.warn({ err: toError(caught), folder }, 'the folder of a local node stays');
    }
  };
  const watchAdopted = (): void => {
    for (const instance of adopted) {
      const process = running.get(instance);
      if (process === undefined || !isAlive(process)) end(instance);
    }
  };
  const signal = (instance: InstanceId, name: NodeJS.Signals): void => {
    const process = running.get(instance);
    if (process !== undefined) signalProcess(process, name);
  };
  const listTagged = (): { instance: InstanceId; process: ProcessName }[] =>
    findProcessesByArgument(instanceFlag)
      .map(({ value, process }) => ({ instance: value as InstanceId, process }))
      // Another coordinator on this machine may have nodes of its own.
      .filter(
        ({ instance, process }) => readArgument(process.pid, '--data') === folderOf(instance),
      );
  const findTagged = (instance: InstanceId): ProcessName | undefined =>
    listTagged().find((tagged) => tagged.instance === instance)?.process;
  const start = async (instance: InstanceId): Promise<string> => {
    const token = await deps.makeJoinToken(instance);
    const folder = folderOf(instance);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const log = openSync(join(folder, 'agent.log'), 'a', 0o600);
    try {
      const child = spawn(process.execPath, [...engineFlags, ...agentArguments(instance, folder)], {
        cwd: folder,
        detached: true,
        env: { ...settings.env, PERIGEE_JOIN_TOKEN: token },
        stdio: ['ignore', log, log],
      });
      const ended = (): void => end(instance);
      child.once('exit', ended);
      const name = await named(child);
      running.set(instance, name);
      // It may be gone before it was noted.
      if (child.exitCode !== null || child.signalCode !== null) setImmediate(ended);
      child.unref();
      return JSON.stringify(name);
    } finally {
      closeSync(log);
    }
  };
  return {
    kind: 'process',
    pool: 'local',
    answerMsMax,
    offers: () => [offer],
    check: async () => [],
    async create({ instance, offer: wanted }) {
      if (wanted !== offer.id) {
        throw new ProviderFailure('invalid', `Pool local has no offer ${wanted}.`, {
          mayHaveMade: false,
        });
      }
      const already = running.get(instance);
      if (already !== undefined) return JSON.stringify(already);
      const started = starting.get(instance) ?? start(instance);
      starting.set(instance, started);
      try {
        return await started;
      } catch (caught) {
        const cause = toError(caught);
        throw new ProviderFailure('unavailable', cause.message, { mayHaveMade: false, cause });
      } finally {
        starting.delete(instance);
      }
    },
    async list() {
      const found = new Map<InstanceId, ListedInstance>();
      for (const { instance, process } of listTagged()) {
        found.set(instance, {
          handle: JSON.stringify(process),
          state: 'running',
          launchedAtMs: null,
          offer: offer.id,
          interrupted: false,
        });
      }
      return found;
    },
    async terminate(instance, handle) {
      if (running.has(instance)) return signal(instance, 'SIGTERM');
      const known = handle === null ? findTagged(instance) : readHandle(handle);
      if (known !== undefined) signalProcess(known, 'SIGTERM');
    },
    kill: (instance) => signal(instance, 'SIGKILL'),
    pids: () => [...running.values()].map(({ pid }) => pid),
    onEnded: (listener) => {
      listeners.push(listener);
    },
    adopt(instance, handle) {
      running.set(instance, readHandle(handle));
      adopted.add(instance);
      clearInterval(timer);
      timer = setInterval(watchAdopted, settings.watchMs);
      setImmediate(watchAdopted);
    },
    async close() {
      clearInterval(timer);
    },
  };

  function agentArguments(instance: InstanceId, folder: string): string[] {
    const { shape, mounts, imageryAllow, orphanMs } = settings;
    return [
      settings.agentMain,
      ...['--join', deps.joinAddress()],
      ...['--data', folder],
      ...['--name', instance],
      ...['--slots', String(shape.slots)],
      ...['--cpus', String(shape.cpus)],
      ...['--memory-bytes', String(shape.memoryBytes)],
      ...mounts.flatMap((mount) => ['--mount', mount]),
      ...(shape.network ? ['--allow-network'] : []),
      ...imageryAllow.flatMap((host) => ['--imagery-allow', host]),
      ...[instanceFlag, instance],
      ...['--exit-when-orphaned-seconds', String(Math.ceil(orphanMs / 1000))],
    ];
  }
}

/** The process of a child, once it is one. */
async function named(child: ReturnType<typeof spawn>): Promise<ProcessName> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const { pid } = child;
  const name = pid === undefined ? undefined : findProcess(pid);
  if (name === undefined) throw new PerigeeError('internal', 'A local node ended as it began.');
  return name;
}

function readHandle(handle: string): ProcessName {
  const value: unknown = JSON.parse(handle);
  if (typeof value === 'object' && value !== null && 'pid' in value && 'startTicks' in value) {
    const { pid, startTicks } = value;
    if (typeof pid === 'number' && typeof startTicks === 'string') return { pid, startTicks };
  }
  throw new PerigeeError('data_corrupt', `An instance's handle is ${handle.slice(0, 100)}.`);
}
