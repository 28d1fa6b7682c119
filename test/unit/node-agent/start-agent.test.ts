import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { defaultCoreSettings } from '../../../node-agent/core/settings.ts';
import type { MemoryRunner, TaskStage } from '../../../node-agent/runner/memory.ts';
import { createMemoryRunner } from '../../../node-agent/runner/memory.ts';
import type { Agent } from '../../../node-agent/start-agent.ts';
import { startAgent } from '../../../node-agent/start-agent.ts';
import { createMeshHost } from '../../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../../protocol/net/mesh-key.ts';
import type { GroupId, ImageDigest } from '../../../protocol/wire/ids.ts';
import { encodeBlobReference, findBlobReference } from '../../../protocol/wire/payload.ts';
import type { GroupSpec } from '../../../protocol/wire/task.ts';
import { groupSpec, ref } from './core/core-bench.ts';
import type { TinyCoordinator } from './tiny-coordinator.ts';
import {
  addBlob,
  createQueue,
  grants,
  startTinyCoordinator,
  welcome,
  within,
} from './tiny-coordinator.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const read = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const pickled = (value: string): Uint8Array => text(`P${value}`);

interface World {
  coordinator: TinyCoordinator;
  agent: Agent;
  runner: MemoryRunner;
  spec: GroupSpec;
  folder: string;
  /** Tasks that have begun; a test ends them. */
  nextTask(): Promise<TaskStage>;
}

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function startWorld(
  options: { address?: string; orphanedMs?: number; silentMsMax?: number } = {},
): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'perigee-agent-test-'));
  cleanUps.push(() => rm(folder, { recursive: true, force: true }));
  const coordinator = await startTinyCoordinator(await generateMeshKey());
  cleanUps.push(async () => coordinator[Symbol.asyncDispose]());
  const spec = groupSpec({ functionBlob: addBlob(coordinator, text('def f(): pass')) });
  const tasks = createQueue<TaskStage>('a task to begin');
  const runner = createMemoryRunner({ play: tasks.push, now: () => performance.now() });
  const host = await createMeshHost({
    key: await generateMeshKey(),
    listen: [],
    connectionsMax: 4,
  });
  cleanUps.push(() => host.stop());
  const agent = await startAgent(
    {
      host,
      runner,
      now: () => performance.now(),
      random: () => 0,
      log: { info: () => undefined, warn: () => undefined },
    },
    {
      address: options.address ?? coordinator.address,
      joinToken: 'pgj_secret',
      software: 'perigee/test',
      nodeName: 'tester',
      instance: null,
      capacity: { slots: 1, cpus: 1, memoryBytes: 4 * 1024 ** 3, diskBytes: 1 },
      images: [
        {
          digest: spec.imageDigest as ImageDigest,
          names: [spec.imageName],
          python: spec.python,
          arch: process.arch,
          sizeBytes: 1,
          rootfs: '/nowhere',
          pythonPath: '/usr/bin/python3',
          sitePath: null,
        },
      ],
      home: folder,
      mountNames: ['landsat'],
      dataFolder: folder,
    },
    {
      core: {
        ...defaultCoreSettings,
        retryMs: 20,
        diskFreeBytesMin: 0,
        orphanedMs: options.orphanedMs ?? null,
      },
      imageArchivesBytesMax: 0,
      imagesBytesMax: 2 ** 40,
      imagesDiskFreeBytesMin: 0,
      tickMs: 10,
      reconnectMsMin: 5,
      reconnectMsMax: 20,
      welcomeMsMax: 5_000,
      silentMsMax: options.silentMsMax ?? 60_000,
      blobCacheBytesMax: 1_000_000,
      logBytesMax: 64 * 1024 * 1024,
    },
  );
  cleanUps.push(() => agent.stop());
  return { coordinator, agent, runner, spec, folder, nextTask: tasks.next };
}

/** A session that stands, with task 0 running. */
async function startRunning() {
  const world = await startWorld();
  const session = await world.coordinator.accept();
  session.send(welcome());
  await session.next('pull');
  session.send(grants(world.spec, [pickled('zero')]));
  const stage = await world.nextTask();
  await session.next('started');
  return { ...world, session, stage };
}

describe('an agent and its coordinator', () => {
  it('says who it is, pulls, runs what it is granted, and reports until acknowledged', async () => {
    const { session, stage, agent } = await startRunning();
    expect(session.hello).toMatchObject({
      joinToken: 'pgj_secret',
      nodeName: 'tester',
      capacity: { slots: 1 },
      mounts: ['landsat'],
      held: [],
      draining: false,
      pid: process.pid,
      isolation: 'none',
    });
    expect(read(stage.input.payload)).toBe('Pzero');
    expect(read(await readFile(stage.start.files.functionPath))).toBe('def f(): pass');
    stage.print(text('hello\n'));
    stage.succeed(pickled('result'));
    const report = await session.next('report');
    expect(report.outcomes).toMatchObject([{ ...ref(0), status: 'success', logBytes: 6 }]);
    expect(
      session.all('log').flatMap(({ chunks }) => chunks.map(({ bytes }) => read(bytes))),
    ).toEqual(['hello\n']);
    // Output comes before the report that ends it.
    expect(session.kinds().lastIndexOf('log')).toBeLessThan(session.kinds().indexOf('report'));
    session.send({ kind: 'ack', report: report.report });
    await expect.poll(() => agent.state.reports.size, { timeout: 40_000 }).toBe(0);
    expect(session.all('report')).toHaveLength(1);
  });

  it('comes back after a loss, tells what it holds, and repeats what was not acknowledged', async () => {
    const { coordinator, session, stage, runner } = await startRunning();
    stage.succeed(pickled('result'));
    await session.next('report');
    session.cut();
    const again = await coordinator.accept();
    expect(again.hello.held).toEqual([ref(0)]);
    again.send(welcome());
    const report = await again.next('report');
    expect(report.outcomes).toMatchObject([{ ...ref(0), status: 'success' }]);
    again.send({ kind: 'ack', report: report.report });
    expect(runner.workers).toHaveLength(1);
  });

  it('keeps a task running while the coordinator is away and sends only the log it lacks', async () => {
    const { coordinator, session, stage } = await startRunning();
    stage.print(text('before '));
    await session.next('log');
    session.cut();
    await session.closed;
    stage.print(text('while '));
    const again = await coordinator.accept();
    expect(again.hello.held).toEqual([ref(0)]);
    again.send(welcome({ logOffsets: [{ ...ref(0), offset: 3 }] }));
    const { chunks } = await again.next('log');
    expect(chunks.map(({ offset }) => offset)[0]).toBe(3);
    expect(chunks.map(({ bytes }) => read(bytes)).join('')).toBe('ore while ');
    expect(await again.next('started')).toEqual({ kind: 'started', attempts: [ref(0)] });
    stage.succeed(pickled('result'));
    expect((await again.next('report')).outcomes).toMatchObject([
      { status: 'success', logBytes: 13 },
    ]);
  });

  it('kills what the coordinator has given to another node meanwhile', async () => {
    const { coordinator, session, stage, runner } = await startRunning();
    const killed = Promise.withResolvers<void>();
    stage.signal.addEventListener('abort', () => killed.resolve());
    session.cut();
    const again = await coordinator.accept();
    again.send(welcome({ drop: [ref(0)] }));
    await within(killed.promise, 'the kill');
    await again.next('heartbeat');
    expect(again.all('report')).toEqual([]);
    expect(runner.workers).toEqual([]);
  });

  it('kills a cancelled task and reports it', async () => {
    const { session } = await startRunning();
    session.send({ kind: 'cancel', attempts: [ref(0)] });
    expect((await session.next('report')).outcomes).toMatchObject([{ status: 'cancelled' }]);
  });

  it('sleeps between heartbeats while it holds nothing, and ends the next task at its limit', async () => {
    const { session, stage, agent, spec, nextTask } = await startRunning();
    stage.succeed(pickled('result'));
    session.send({ kind: 'ack', report: (await session.next('report')).report });
    // Each look of the core at the time is either a heartbeat's or the clock's, which is every 10 ms.
    const looksBesideHeartbeats = async (): Promise<number> => {
      const beats = session.all('heartbeat').length;
      const looks = new Set<number>();
      const endMs = performance.now() + 400;
      while (performance.now() < endMs) {
        looks.add(agent.state.tickedAtMs);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      return looks.size - (session.all('heartbeat').length - beats);
    };
    await expect.poll(looksBesideHeartbeats, { timeout: 10_000 }).toBeLessThanOrEqual(3);
    const short = { ...spec, group: 'bbbbbbbbbbbb' as GroupId, taskTimeoutMs: 100 };
    session.send(grants(short, [pickled('one')], { batch: 2 }));
    await nextTask();
    const { outcomes } = await session.next('report');
    expect(outcomes).toMatchObject([{ ...ref(0, { batch: 2 }), status: 'timeout' }]);
    await expect.poll(looksBesideHeartbeats, { timeout: 10_000 }).toBeGreaterThan(3);
  });

  it('resolves arguments that are blobs and stores results that are too long, each once', async () => {
    const { coordinator, session, stage, spec, nextTask, folder } = await startRunning();
    stage.succeed(pickled('result'));
    const long = text('x'.repeat(200_000));
    const hash = addBlob(coordinator, long);
    const reference = encodeBlobReference({ tag: 0x50, hash, sizeBytes: long.length });
    session.send(grants(spec, [reference, reference], { batch: 2 }));
    const first = await nextTask();
    expect(first.input).toMatchObject({ payload: new Uint8Array(0), payloadTag: 0x50 });
    expect(read(await readFile(first.input.payloadPath ?? ''))).toBe(read(long));
    const spool = join(folder, 'spooled');
    await writeFile(spool, 'y'.repeat(100_000));
    first.succeedInFile(spool, 0x50);
    const second = await nextTask();
    second.succeed(pickled('short'));
    for (;;) {
      const report = await session.next('report');
      session.send({ kind: 'ack', report: report.report });
      const stored = report.outcomes.find((outcome) => outcome.batch === 2 && outcome.index === 0);
      if (stored === undefined) continue;
      const found = findBlobReference(stored.result);
      expect(found).toMatchObject({ tag: 0x50, sizeBytes: 100_000 });
      expect(found && read(coordinator.blobs.get(found.hash) ?? text(''))).toBe(
        'y'.repeat(100_000),
      );
      break;
    }
    expect(coordinator.blobReads.get(hash)).toBe(1);
    await expect(readFile(spool)).rejects.toThrow('ENOENT');
  });

  it('keeps the beginning and the end of a flood of output, within bounds', async () => {
    const { session, stage } = await startRunning();
    const piece = Buffer.alloc(256 * 1024, 'x');
    const mib = 1024 * 1024;
    for (let sent = 0; sent < 40 * mib; sent += piece.length) stage.print(piece);
    stage.print(text('the end'));
    stage.succeed(pickled('result'));
    const report = await session.next('report');
    expect(report.outcomes[0]?.logBytes).toBe(40 * mib + 7);
    const chunks = session.all('log').flatMap((message) => message.chunks);
    const offsets = chunks.map(({ offset }) => offset);
    expect(offsets).toEqual(offsets.toSorted((left, right) => left - right));
    const headBytes = chunks
      .filter(({ offset }) => offset < mib)
      .reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(headBytes).toBeGreaterThanOrEqual(mib);
    const tail = chunks.filter(({ offset }) => offset >= 33 * mib + piece.length);
    expect(tail.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeGreaterThan(6 * mib);
    expect(read(chunks.at(-1)?.bytes ?? text(''))).toMatch(/the end$/);
    expect(chunks.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThan(12 * mib);
  });

  it('drains at SIGTERM: returns, finishes, says goodbye', async () => {
    const { session, stage, spec, agent } = await startRunning();
    session.send(grants(spec, [pickled('one')], { lo: 1 }));
    agent.drain('Enough.');
    await session.next('drainAsked');
    expect(await session.next('returned')).toEqual({ kind: 'returned', attempts: [ref(1)] });
    stage.succeed(pickled('result'));
    const report = await session.next('report');
    session.send({ kind: 'ack', report: report.report });
    expect(await within(agent.finished, 'the end')).toEqual({ kind: 'stopped' });
    await agent.stop();
    await session.next('goodbye');
  });

  it('ends when it is refused, with the reason and the fix', async () => {
    const { coordinator, agent } = await startWorld();
    const session = await coordinator.accept();
    session.send({
      kind: 'refused',
      code: 'join_token_wrong',
      message: 'used up',
      fix: 'make one',
    });
    expect(await within(agent.finished, 'the end')).toEqual({
      kind: 'refused',
      code: 'join_token_wrong',
      message: 'used up',
      fix: 'make one',
    });
  });

  it('tells another peer at the address from no peer at all', async () => {
    const first = await startTinyCoordinator(await generateMeshKey());
    cleanUps.push(async () => first[Symbol.asyncDispose]());
    const other = await startTinyCoordinator(await generateMeshKey());
    const [, peer] = other.address.split('/p2p/');
    await other[Symbol.asyncDispose]();
    const address = first.address.replace(/\/p2p\/.*/, `/p2p/${peer}`);
    const { agent } = await startWorld({ address });
    const reason = await within(agent.finished, 'the end');
    expect(reason).toMatchObject({
      kind: 'refused',
      code: 'unreachable',
      message: expect.stringContaining('its peer id is not the one in the join address'),
    });
  });

  it('gives up after its patience when nobody answers', async () => {
    const gone = await startTinyCoordinator(await generateMeshKey());
    await gone[Symbol.asyncDispose]();
    const { agent } = await startWorld({ address: gone.address, orphanedMs: 100 });
    expect(await within(agent.finished, 'the end')).toEqual({ kind: 'orphaned' });
  });

  it('keeps a session with a coordinator that is silent but there', async () => {
    const { coordinator } = await startWorld({ silentMsMax: 40 });
    const session = await coordinator.accept();
    session.send(welcome());
    for (let beat = 0; beat < 5; beat += 1) await session.next('heartbeat');
    expect(coordinator.openedStreams()).toBeGreaterThan(3);
    session.send({ kind: 'drain', reason: 'It has been idle.' });
    await session.next('goodbye');
  });

  it('drops a coordinator that sends garbage and dials again', async () => {
    const { coordinator, session } = await startRunning();
    session.send({ kind: 'grants', groups: [], grants: 'all' } as never);
    const again = await coordinator.accept();
    expect(again.hello.held).toEqual([ref(0)]);
  });
});
