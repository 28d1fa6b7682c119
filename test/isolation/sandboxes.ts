/** Real sandboxes for tests: workers of real images, and what came of their tasks. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImageryCache } from '../../node-agent/imagery/port.ts';
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import type { ProcessRunner, RunnerSettings } from '../../node-agent/runner/create-runner.ts';
import {
  checkoutSources,
  createRunner,
  defaultWorkerLimits,
} from '../../node-agent/runner/create-runner.ts';
import type {
  RunnerEvent,
  TaskInput,
  TaskResult,
  WorkerNumber,
} from '../../node-agent/runner/port.ts';
import { assert } from '../../protocol/base/assert.ts';
import type { AttemptRef, BatchNumber } from '../../protocol/wire/ids.ts';
import type { GroupSpec, IsolationLevel } from '../../protocol/wire/task.ts';
import { sourceGroup } from '../specs/group-spec.ts';

export type WorkerEndEvent = Extract<RunnerEvent, { kind: 'workerEnded' }>;

/** What became of one call: its result, or the end of its worker. */
export type CallEnd =
  | { kind: 'ended'; task: TaskResult; log: string; value: unknown }
  | { kind: 'workerEnded'; event: WorkerEndEvent; log: string };

/** A worker of a function given as source. */
export interface Sandbox {
  readonly number: WorkerNumber;
  readonly ready: Promise<void>;
  readonly ended: Promise<WorkerEndEvent>;
  /** Calls the function with JSON arguments; resolves when the task or its worker has ended. */
  call(...values: unknown[]): Promise<CallEnd>;
  /** Feeds one task by hand. */
  feed(input: Partial<TaskInput>): Promise<CallEnd>;
  kill(): void;
  stop(): void;
  /** All output of all its tasks so far. */
  readonly log: string;
}

export interface SandboxOptions {
  source: string;
  python?: '2.7' | '3.11';
  spec?: Partial<GroupSpec>;
  slot?: number;
  /** A function's pickle instead of source, and its cloudpickle. */
  pickle?: Buffer;
  cloudpicklePath?: string;
  /** A tar with what the group carries. */
  includePath?: string;
  /** Packages that lie over the image's. */
  sitePath?: string;
}

/** A runner with its sandboxes. */
export interface Sandboxes extends AsyncDisposable {
  readonly runner: ProcessRunner;
  /** A folder of the test's own, outside every sandbox. */
  readonly folder: string;
  readonly events: readonly RunnerEvent[];
  start(options: SandboxOptions): Sandbox;
}

/** Opens a runner at one level. */
export async function openSandboxes(
  level: IsolationLevel | null,
  settings: Partial<RunnerSettings> = {},
  deps: { imagery?: ImageryCache } = {},
): Promise<Sandboxes> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-test-'));
  const images = await findImages(perigeeHome(process.env), {
    arch: process.arch,
    onSkipped: () => {},
  });
  const opening = createRunner(
    { log: { debug: () => {}, warn: () => {} }, ...deps },
    {
      folder: join(folder, 'runner'),
      sources: checkoutSources,
      mounts: [],
      isolation: level,
      isolationMin: 'minimal',
      allowNone: level === 'none',
      allowNetwork: false,
      limits: defaultWorkerLimits,
      ...settings,
    },
  );
  opening.catch(() => rmSync(folder, { recursive: true, force: true }));
  const runner = await opening;
  const listeners = new Map<WorkerNumber, (event: RunnerEvent) => void>();
  const events: RunnerEvent[] = [];
  runner.onEvent((event) => {
    events.push(event);
    listeners.get(event.worker)?.(event);
  });
  let workers = 0;
  return {
    runner,
    folder,
    events,
    start(options) {
      workers += 1;
      const number = workers;
      const python = options.python ?? '2.7';
      const fit = images.filter((one) => one.python.version.startsWith(python));
      // With rasterio, where it is there.
      const image = fit.find((one) => one.names.some((name) => name.includes('geo'))) ?? fit[0];
      assert(image !== undefined, `an image with Python ${python} is here: run npm run setup`);
      const functionPath = join(folder, `function-${number}`);
      writeFileSync(functionPath, options.pickle ?? options.source);
      const { sandbox, listener } = createSandbox(runner, number);
      listeners.set(number, listener);
      runner.start({
        worker: number,
        slot: options.slot ?? 0,
        spec: {
          ...defaultSpec,
          python: image.python,
          functionKind: options.pickle === undefined ? 'source' : 'pickle',
          ...options.spec,
        },
        files: {
          rootfs: image.rootfs,
          pythonPath: image.pythonPath,
          sitePath: options.sitePath ?? null,
          functionPath,
          cloudpicklePath: options.cloudpicklePath ?? null,
          includePath: options.includePath ?? null,
        },
      });
      return sandbox;
    },
    async [Symbol.asyncDispose]() {
      await runner.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Waits until a condition holds; fails when it does not within the bound. */
export async function eventually(what: string, holds: () => boolean, msMax = 40_000) {
  const start = performance.now();
  while (!holds()) {
    assert(performance.now() - start < msMax, `${what} within ${msMax} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const defaultSpec = sourceGroup({
  name: 'probe',
  python: { implementation: 'CPython', version: '2.7.18' },
  memoryBytes: 128 * 1024 * 1024,
});

function createSandbox(runner: ProcessRunner, number: WorkerNumber) {
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<WorkerEndEvent>();
  const calls = new Map<number, PromiseWithResolvers<CallEnd>>();
  const logs = new Map<number, string>();
  let log = '';
  let tasks = 0;
  ready.promise.catch(() => undefined);
  const listener = (event: RunnerEvent) => {
    switch (event.kind) {
      case 'workerReady':
        ready.resolve();
        break;
      case 'taskOutput': {
        const text = Buffer.from(event.bytes).toString('utf8');
        logs.set(event.task.index, (logs.get(event.task.index) ?? '') + text);
        log += text;
        break;
      }
      case 'taskEnded': {
        const { task } = event;
        const value = task.resultTag === 0x4a ? resultValue(task) : undefined;
        settle(task, { kind: 'ended', task, log: logs.get(task.index) ?? '', value });
        break;
      }
      case 'workerEnded':
        ready.reject(new Error(`the worker ended: ${JSON.stringify(event.end)}`));
        ended.resolve(event);
        for (const [index, call] of calls) {
          call.resolve({ kind: 'workerEnded', event, log: logs.get(index) ?? '' });
        }
        calls.clear();
        break;
      case 'taskStarted':
        break;
    }
  };
  const settle = (task: AttemptRef, end: CallEnd) => {
    calls.get(task.index)?.resolve(end);
    calls.delete(task.index);
  };
  const feed = async (input: Partial<TaskInput>): Promise<CallEnd> => {
    const early = await Promise.race([ready.promise, ended.promise]).catch(() => ended.promise);
    if (early !== undefined) return { kind: 'workerEnded', event: early, log };
    const index = tasks;
    tasks += 1;
    const call = Promise.withResolvers<CallEnd>();
    calls.set(index, call);
    runner.feed(number, [
      {
        batch: 1 as BatchNumber,
        index,
        attempt: 1,
        payload: new Uint8Array(),
        payloadPath: null,
        payloadTag: 0,
        ...input,
      },
    ]);
    return await call.promise;
  };
  const sandbox: Sandbox = {
    number,
    ready: ready.promise,
    ended: ended.promise,
    feed,
    call: (...values) =>
      feed({ payload: Buffer.from(`J${JSON.stringify([values, {}])}`), payloadTag: 0x4a }),
    kill: () => runner.kill(number),
    stop: () => runner.stop(number),
    get log() {
      return log;
    },
  };
  return { sandbox, listener };
}

function resultValue(task: TaskResult): unknown {
  if (task.status !== 'success' || task.resultPath !== null) return undefined;
  return JSON.parse(Buffer.from(task.result.subarray(1)).toString('utf8'));
}
