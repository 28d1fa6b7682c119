/** What every runner keeps of its port, played on the in-memory twin and on real sandboxes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findImages, perigeeHome } from '../../node-agent/images/find-images.ts';
import {
  checkoutSources,
  createRunner,
  defaultWorkerLimits,
} from '../../node-agent/runner/create-runner.ts';
import type { TaskStage } from '../../node-agent/runner/memory.ts';
import { createMemoryRunner } from '../../node-agent/runner/memory.ts';
import type {
  Runner,
  RunnerEvent,
  TaskInput,
  WorkerFiles,
  WorkerStart,
} from '../../node-agent/runner/port.ts';
import { assert } from '../../protocol/base/assert.ts';
import type { BatchNumber } from '../../protocol/wire/ids.ts';
import type { GroupSpec, IsolationLevel } from '../../protocol/wire/task.ts';
import { isMissing } from '../isolation/attack.ts';
import { sourceGroup } from '../specs/group-spec.ts';

/** What tasks do, told by their argument; the same in Python and in the twin's play. */
const functionSource = `
import os, sys, time
def f(order, value):
    if order == 'return': return value
    if order == 'print': sys.stdout.write(value); return None
    if order == 'raise': raise KeyError(value)
    if order == 'hang': time.sleep(1000)
    if order == 'print and hang': sys.stdout.write(value); time.sleep(1000)
    if order == 'print and exit': sys.stdout.write(value); os._exit(3)
`;

interface Subject {
  runner: Runner;
  files: WorkerFiles;
  broken: WorkerFiles;
  close(): Promise<void>;
}

const subjects: readonly [string, () => Promise<Subject>][] = [
  ['the in-memory twin', openTwin],
  ['real sandboxes', () => openReal(null)],
  ['real sandboxes of gVisor', () => openReal('strong')],
];

for (const [title, open] of subjects)
  describe.skipIf(title.includes('gVisor') && isMissing('strong'))(title, () => {
    let subject: Subject;
    let events: RunnerEvent[];
    let waiters: (() => void)[];

    beforeEach(async () => {
      subject = await open();
      events = [];
      waiters = [];
      subject.runner.onEvent((event) => {
        events.push(event);
        for (const wake of waiters.splice(0)) wake();
      });
    });

    afterEach(async () => {
      await subject.close();
    });

    /** Resolves with the first event, past or to come, that fits. */
    async function seen<Kind extends RunnerEvent['kind']>(
      kind: Kind,
      fits: (event: Extract<RunnerEvent, { kind: Kind }>) => boolean = () => true,
    ): Promise<Extract<RunnerEvent, { kind: Kind }>> {
      for (;;) {
        const found = events.find(
          (event): event is Extract<RunnerEvent, { kind: Kind }> =>
            event.kind === kind && fits(event as Extract<RunnerEvent, { kind: Kind }>),
        );
        if (found !== undefined) return found;
        const next = Promise.withResolvers<void>();
        waiters.push(next.resolve);
        await next.promise;
      }
    }

    function start(worker: number, options: { broken?: boolean } = {}): void {
      const files = options.broken === true ? subject.broken : subject.files;
      const request: WorkerStart = { worker, slot: worker - 1, spec: specOf(), files };
      subject.runner.start(request);
    }

    async function startReady(worker: number): Promise<void> {
      start(worker);
      await seen('workerReady', (event) => event.worker === worker);
    }

    it('says nothing of a worker within the call that starts it', async () => {
      start(1);
      expect(events).toEqual([]);
      await seen('workerReady');
    });

    it('runs tasks one after another, in their order', async () => {
      await startReady(1);
      subject.runner.feed(1, [taskOf(0, 'return', 'a'), taskOf(1, 'return', 'b')]);
      subject.runner.feed(1, [taskOf(2, 'return', 'c')]);
      await seen('taskEnded', (event) => event.task.index === 2);
      expect(events.map(shortOf)).toEqual([
        'ready',
        ...['started 0', 'ended 0 success J"a"'],
        ...['started 1', 'ended 1 success J"b"'],
        ...['started 2', 'ended 2 success J"c"'],
      ]);
    });

    it('tells a task’s output between its start and its end, with offsets that count every byte', async () => {
      await startReady(1);
      subject.runner.feed(1, [taskOf(0, 'print', 'one'), taskOf(1, 'print', 'three')]);
      const ended = await seen('taskEnded', (event) => event.task.index === 1);
      expect(ended.task.logBytes).toBe(5);
      expect(events.map(shortOf)).toEqual([
        'ready',
        ...['started 0', 'output 0 at 0: one', 'ended 0 success Jnull'],
        ...['started 1', 'output 1 at 0: three', 'ended 1 success Jnull'],
      ]);
    });

    it('goes on with the same worker after an exception', async () => {
      await startReady(1);
      subject.runner.feed(1, [taskOf(0, 'raise', 'x'), taskOf(1, 'return', 'still')]);
      const failed = await seen('taskEnded', (event) => event.task.index === 0);
      expect(failed.task.failure).toMatchObject({ name: 'KeyError' });
      expect(failed.task.result).toHaveLength(0);
      const ended = await seen('taskEnded', (event) => event.task.index === 1);
      expect(ended.task.status).toBe('success');
    });

    it('gives back tasks that have not begun, and runs none of them', async () => {
      await startReady(1);
      const waiting = [taskOf(1, 'return', 'b'), taskOf(2, 'return', 'c')];
      subject.runner.feed(1, [taskOf(0, 'hang', ''), ...waiting]);
      await seen('taskStarted');
      const taken = subject.runner.retract(1, [refOf(0), refOf(1), refOf(2), refOf(9)]);
      expect(taken).toEqual([refOf(1), refOf(2)]);
      expect(subject.runner.retract(1, [refOf(1)])).toEqual([]);
    });

    it('kills a running task with its worker, its output told before the end', async () => {
      await startReady(1);
      subject.runner.feed(1, [taskOf(0, 'print and hang', 'last words'), taskOf(1, 'return', '')]);
      await seen('taskOutput');
      const before = performance.now();
      subject.runner.kill(1);
      const ended = await seen('workerEnded');
      expect(performance.now() - before).toBeLessThan(10_000);
      expect(ended).toMatchObject({
        worker: 1,
        end: { kind: 'asked' },
        running: { ...refOf(0), logBytes: 10 },
      });
      expect(events.at(-1)).toBe(ended);
    });

    it('tells which task ran when a worker dies by itself, after all it wrote', async () => {
      await startReady(1);
      subject.runner.feed(1, [taskOf(0, 'print and exit', 'bye'), taskOf(1, 'return', '')]);
      const ended = await seen('workerEnded');
      expect(ended).toMatchObject({
        end: { kind: 'died', exitCode: 3, signal: null },
        running: { ...refOf(0), logBytes: 3 },
      });
      expect(events.map(shortOf).slice(0, 3)).toEqual(['ready', 'started 0', 'output 0 at 0: bye']);
    });

    it('lets an idle worker go', async () => {
      await startReady(1);
      subject.runner.stop(1);
      expect(await seen('workerEnded')).toMatchObject({ end: { kind: 'asked' }, running: null });
    });

    it('tells that a function cannot be loaded, once, and no task of it', async () => {
      start(1, { broken: true });
      const ended = await seen('workerEnded');
      expect(ended.end).toMatchObject({ kind: 'unloadable', code: 'exception' });
      expect(events).toHaveLength(1);
    });

    it('keeps workers apart', async () => {
      await Promise.all([startReady(1), startReady(2)]);
      subject.runner.feed(1, [taskOf(0, 'hang', '')]);
      subject.runner.feed(2, [taskOf(1, 'return', 'here')]);
      const ended = await seen('taskEnded');
      expect(ended).toMatchObject({ worker: 2, task: { index: 1 } });
      subject.runner.kill(1);
      await seen('workerEnded', (event) => event.worker === 1);
      subject.runner.feed(2, [taskOf(2, 'return', 'still here')]);
      await seen('taskEnded', (event) => event.task.index === 2);
    });

    it('takes orders for a worker that is gone without a word', async () => {
      await startReady(1);
      subject.runner.kill(1);
      await seen('workerEnded');
      subject.runner.kill(1);
      subject.runner.stop(1);
      subject.runner.feed(1, [taskOf(0, 'return', '')]);
      expect(subject.runner.retract(1, [refOf(0)])).toEqual([]);
      expect(events).toHaveLength(2);
    });

    it('ends every worker when it closes', async () => {
      await Promise.all([startReady(1), startReady(2)]);
      subject.runner.feed(1, [taskOf(0, 'hang', '')]);
      await seen('taskStarted');
      await subject.runner.close();
      const ended = events.filter((event) => event.kind === 'workerEnded');
      expect(ended.map((event) => event.worker).sort()).toEqual([1, 2]);
    });
  });

async function openTwin(): Promise<Subject> {
  const files = {
    rootfs: '',
    pythonPath: '',
    sitePath: null,
    functionPath: 'good',
    cloudpicklePath: null,
  };
  const failure = { name: 'NameError', message: '', traceback: '' };
  const runner = createMemoryRunner({
    now: () => performance.now(),
    play: playOrder,
    startEnd: (start) =>
      start.files.functionPath === 'broken'
        ? { kind: 'unloadable', code: 'exception', failure }
        : undefined,
  });
  return {
    runner,
    files,
    broken: { ...files, functionPath: 'broken' },
    close: () => runner.close(),
  };
}

function playOrder(stage: TaskStage): void {
  const text = Buffer.from(stage.input.payload.subarray(1)).toString('utf8');
  const [[order, value]] = JSON.parse(text) as [[string, string]];
  if (order.startsWith('print')) stage.print(Buffer.from(value));
  if (order === 'return') stage.succeed(Buffer.from(`J${JSON.stringify(value)}`));
  if (order === 'print') stage.succeed(Buffer.from('Jnull'));
  if (order === 'raise') stage.fail({ name: 'KeyError', message: value, traceback: '' });
  if (order === 'print and exit') {
    stage.die({ kind: 'died', exitCode: 3, signal: null, peakMemoryBytes: 0 });
  }
}

async function openReal(isolation: IsolationLevel | null): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-test-'));
  const images = await findImages(perigeeHome(process.env), {
    arch: process.arch,
    onSkipped: () => {},
  });
  const image = images.find((one) => one.python.version.startsWith('2.7'));
  assert(image !== undefined, 'the image with Python 2.7 is here: run npm run setup');
  const runner = await createRunner(
    { log: { debug: () => {}, warn: () => {} } },
    {
      folder: join(folder, 'runner'),
      sources: checkoutSources,
      mounts: [],
      isolation,
      isolationMin: 'minimal',
      allowNone: false,
      allowNetwork: false,
      limits: defaultWorkerLimits,
    },
  );
  const files: WorkerFiles = {
    rootfs: image.rootfs,
    pythonPath: image.pythonPath,
    sitePath: null,
    functionPath: join(folder, 'function'),
    cloudpicklePath: null,
  };
  writeFileSync(files.functionPath, functionSource);
  const broken = { ...files, functionPath: join(folder, 'broken') };
  writeFileSync(broken.functionPath, 'raise NameError("nothing here")');
  return {
    runner,
    files,
    broken,
    async close() {
      await runner.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function specOf(): GroupSpec {
  const python = { implementation: 'CPython', version: '2.7.18' };
  return sourceGroup({ name: 'orders', python, memoryBytes: 128 * 1024 * 1024 });
}

function refOf(index: number) {
  return { batch: 1 as BatchNumber, index, attempt: 1 };
}

function taskOf(index: number, order: string, value: string): TaskInput {
  return {
    ...refOf(index),
    payload: Buffer.from(`J${JSON.stringify([[order, value], {}])}`),
    payloadPath: null,
    payloadTag: 0x4a,
  };
}

/** An event in a few words, without times. */
function shortOf(event: RunnerEvent): string {
  switch (event.kind) {
    case 'workerReady':
      return 'ready';
    case 'taskStarted':
      return `started ${event.task.index}`;
    case 'taskOutput':
      return `output ${event.task.index} at ${event.offset}: ${Buffer.from(event.bytes)}`;
    case 'taskEnded': {
      const { index, status, result } = event.task;
      return `ended ${index} ${status} ${Buffer.from(result)}`;
    }
    case 'workerEnded':
      return `worker ended ${event.end.kind}`;
  }
}
