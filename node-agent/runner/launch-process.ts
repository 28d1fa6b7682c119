/** Starts a worker's process: its pipes, its control group, its command. */
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { assert } from '../../protocol/base/assert.ts';
import { toError } from '../../protocol/base/errors.ts';
import type { LaunchContext, LaunchPlan } from './launch.ts';
import { childFds, standardFds, withCgroup } from './launch.ts';
import { floodBytesMax, makePipes, openPipe, PipeReader, resultReadBytes } from './pipe-reader.ts';
import type { WorkerStart } from './port.ts';
import type { WorkerDeps } from './worker-deps.ts';

export interface LaunchedWorker {
  plan: LaunchPlan;
  child: ChildProcess;
  commands: Socket;
  results: PipeReader;
  output: PipeReader;
  /** The pid, outside, of the first process inside; null when the command does not tell. */
  insidePid: Promise<number | null>;
  exited: Promise<{ code: number | null; signal: string | null }>;
}

/**
 * Runs the level's command for a worker.
 * @throws Error when it cannot be run at all.
 */
export async function launchWorker(
  start: WorkerStart,
  deps: WorkerDeps,
  on: { output: (bytes: Buffer) => void; results: (bytes: Buffer) => void },
  includeFolder: string | null,
): Promise<LaunchedWorker> {
  const plan = deps.plan({ ...contextOf(start, deps), includeFolder });
  const { outputPath, resultsPath } = deps.folder;
  await makePipes([outputPath, resultsPath], deps.identity);
  const [outputEnds, resultEnds] = [openPipe(outputPath), openPipe(resultsPath)];
  const output = new PipeReader(outputEnds.readFd, on.output, { periodBytesMax: floodBytesMax });
  const results = new PipeReader(resultEnds.readFd, on.results, {
    periodBytesMax: Infinity,
    readBytes: resultReadBytes,
  });
  let child: ChildProcess;
  try {
    child = spawnPlan(plan, deps, { output: outputEnds.writeFd, results: resultEnds.writeFd });
  } catch (caught) {
    output.close();
    results.close();
    throw caught;
  } finally {
    closeSync(outputEnds.writeFd);
    closeSync(resultEnds.writeFd);
  }
  const commands = socketOf(child, (isStandard(plan) ? standardFds : childFds).commands);
  // A worker that ends breaks its pipe; its exit is what is waited for.
  commands.on('error', () => {});
  if (plan.seccompProgram !== null) {
    const filter = socketOf(child, childFds.seccomp);
    filter.on('error', () => {});
    filter.end(plan.seccompProgram);
  }
  const exited = Promise.withResolvers<{ code: number | null; signal: string | null }>();
  child.once('exit', (code, signal) => exited.resolve({ code, signal }));
  child.once('error', (caught) => exited.reject(toError(caught)));
  return {
    plan,
    child,
    commands,
    results,
    output,
    insidePid: plan.hasInfo ? readInfo(socketOf(child, childFds.info)) : Promise.resolve(null),
    exited: exited.promise,
  };
}

function contextOf(start: WorkerStart, deps: WorkerDeps): LaunchContext {
  const { spec, files } = start;
  const { folder } = deps;
  return {
    identity: deps.identity,
    rootfs: files.rootfs,
    pythonPath: files.pythonPath,
    sitePath: files.sitePath,
    harnessPath: deps.harnessPath,
    packagesFolder: deps.packagesFolder,
    functionPath: folder.stage(files.functionPath, 'function'),
    cloudpicklePath:
      files.cloudpicklePath === null
        ? null
        : folder.stage(files.cloudpicklePath, 'cloudpickle.zip'),
    inFolder: folder.inFolder,
    tmpFolder: folder.tmpFolder,
    lazyFolder: makeLazyFolder(start, deps),
    rootFolder: folder.rootFolder,
    outputPath: folder.outputPath,
    mounts: deps.mounts,
    network: spec.network,
    cpus: spec.cpus,
    memoryBytes: spec.memoryBytes,
    processesMax: deps.limits.processesMax,
    tmpBytes: deps.limits.tmpBytes,
    hasCgroup: deps.cgroup !== null,
    arch: process.arch,
  };
}

/** Where the mount has what the worker's namespace may see; its place in the sandbox is made. */
function makeLazyFolder(start: WorkerStart, deps: WorkerDeps): string | null {
  if (deps.lazy === null) return null;
  const point = join(deps.folder.inFolder, 'lazy');
  mkdirSync(point);
  chmodSync(point, 0o755);
  return deps.lazy.files.folderOf(start.spec.namespace);
}

function spawnPlan(
  plan: LaunchPlan,
  deps: WorkerDeps,
  fds: { output: number; results: number },
): ChildProcess {
  const stdio: StdioOptions = isStandard(plan)
    ? ['pipe', fds.results, fds.output]
    : ['ignore', fds.output, fds.output, 'pipe', fds.results];
  // By place: what is not used is /dev/null there.
  if (plan.hasInfo) stdio[childFds.info] = 'pipe';
  if (plan.seccompProgram !== null) stdio[childFds.seccomp] = 'pipe';
  for (let fd = 0; fd < stdio.length; fd += 1) stdio[fd] ??= 'ignore';
  const argv = deps.cgroup === null ? plan.argv : withCgroup(deps.cgroup.joinPaths, plan.argv);
  const [command = '', ...args] = argv;
  return spawn(command, args, {
    stdio,
    env: plan.environment,
    cwd: '/',
    // A session of its own: Ctrl-C at the agent's terminal is not for its workers.
    detached: true,
  });
}

function isStandard(plan: LaunchPlan): boolean {
  return plan.channel === 'standard';
}

function socketOf(child: ChildProcess, fd: number): Socket {
  const stream = child.stdio[fd];
  assert(stream instanceof Socket, `descriptor ${fd} is a pipe`);
  return stream;
}

/** bubblewrap's JSON comes in pieces, and is whole at the end of the stream. */
async function readInfo(info: Socket): Promise<number | null> {
  let text = '';
  info.setEncoding('utf8');
  info.on('data', (piece: string) => {
    text += piece;
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  info.on('error', () => {});
  info.once('close', () => resolve());
  await promise;
  const match = /"child-pid"\s*:\s*(\d+)/.exec(text);
  return match === null ? null : Number(match[1]);
}
