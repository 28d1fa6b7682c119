/**
 * Machines boot by themselves: the user data of EC2's instances, as its API gives it, runs on bare
 * machines that reach the coordinator and nothing else.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DescribeInstanceAttributeCommand,
  EC2Client,
  paginateDescribeInstances,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parsePools } from '../../coordinator/autoscaler/pools/read-pools.ts';
import type { Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { loadProvider } from '../../coordinator/autoscaler/providers/load-provider.ts';
import { parseSettings } from '../../coordinator/settings.ts';
import type { Coordinator } from '../../coordinator/start-coordinator.ts';
import { startCoordinator } from '../../coordinator/start-coordinator.ts';
import type { NodeView } from '../../protocol/wire/api.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { BareMachine, BareMachines } from '../clouds/bare-machines.ts';
import { openBareMachines } from '../clouds/bare-machines.ts';
import type { Ec2Proxy } from '../clouds/ec2-proxy.ts';
import { startEc2Proxy } from '../clouds/ec2-proxy.ts';
import { findPythons } from '../python/find-pythons.ts';
import type { MotoServer } from '../setup/moto.ts';
import { startMoto } from '../setup/moto.ts';
import { perigeeHome } from '../setup/perigee-home.ts';
import { runProgram } from '../setup/run-program.ts';

const region = 'eu-west-1';
const pool = 'cloud';
const { signal } = new AbortController();
const poll = { timeout: 240_000, interval: 200 };
const deadManSeconds = 8;

/** What EC2's machine rooms do: run what was asked for, cut the power of what was terminated. */
class MachineRoom {
  readonly running = new Map<string, BareMachine>();
  readonly #ec2: EC2Client;
  readonly #machines: BareMachines;
  #stopped = false;
  #work: Promise<void>;

  constructor(ec2: EC2Client, machines: BareMachines) {
    this.#ec2 = ec2;
    this.#machines = machines;
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#look();
      await new Promise((done) => setTimeout(done, 200));
    }
  }

  async #look(): Promise<void> {
    for (const { id, state } of await listInstances(this.#ec2)) {
      const machine = this.running.get(id);
      if (state === 'running' && machine === undefined) {
        this.running.set(id, this.#machines.boot(id, await this.#userData(id)));
      } else if (state === 'running' && machine?.isEnded() === true) {
        // It powered itself off, and its shutdown behaviour is to terminate.
        await this.#ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
      } else if (state !== 'running' && machine?.isEnded() === false) {
        await machine.kill();
      }
    }
  }

  async #userData(id: string): Promise<string> {
    const { UserData } = await this.#ec2.send(
      new DescribeInstanceAttributeCommand({ InstanceId: id, Attribute: 'userData' }),
    );
    return Buffer.from(UserData?.Value ?? '', 'base64').toString('utf8');
  }
}

async function listInstances(ec2: EC2Client): Promise<{ id: string; state: string }[]> {
  const found: { id: string; state: string }[] = [];
  for await (const { Reservations } of paginateDescribeInstances({ client: ec2 }, {})) {
    for (const { InstanceId, State } of (Reservations ?? []).flatMap(
      (each) => each.Instances ?? [],
    )) {
      if (InstanceId !== undefined) found.push({ id: InstanceId, state: State?.Name ?? '' });
    }
  }
  return found;
}

describe('a bare machine', () => {
  let home: string;
  let folder: string;
  let moto: MotoServer;
  let proxy: Ec2Proxy;
  let ec2: EC2Client;
  let machines: BareMachines;
  let room: MachineRoom;
  let coordinator: Coordinator;
  let provider: Provider;
  const said: string[] = [];

  // Shared, so that the archives are made once.
  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'perigee-boot-home-'));
    copyImage(join(home, 'images'));
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));
  beforeEach(async () => {
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' });
    folder = mkdtempSync(join(tmpdir(), 'perigee-boot-'));
    machines = openBareMachines();
    moto = await startMoto();
    proxy = await startEc2Proxy(moto.url, machines.hostAddress);
    ec2 = new EC2Client({ region, endpoint: moto.url });
    room = new MachineRoom(ec2, machines);
    coordinator = await start();
    const [entry] = parsePools([describePool()], 'pools.json');
    const create = await loadProvider('ec2', entry?.fields);
    const offers = entry?.offers ?? [];
    provider = await create({ pool, coordinator: coordinator.join, env: process.env, offers });
  });
  afterEach(async () => {
    await provider?.close();
    await room?.stop();
    await coordinator?.stop();
    await machines?.close();
    await proxy?.stop();
    ec2?.destroy();
    await moto?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The coordinator itself makes nothing of it: these tests do. */
  const describePool = (): object => ({
    ...{ name: pool, provider: 'ec2', max: 4, dryRun: true },
    offers: [
      {
        ...{ id: 'spot', type: 'c5.large', zone: 'eu-west-1a', spot: true, pricePerHour: 0.03 },
        ...{ slots: 2, cpus: 1.5, memoryGiB: 1 },
      },
    ],
    ec2: { region, image: 'ami-12c6146b', endpoint: proxy.url },
  });
  async function start(): Promise<Coordinator> {
    const host = machines.hostAddress;
    const poolsFile = join(folder, 'pools.json');
    writeFileSync(poolsFile, JSON.stringify([describePool()]));
    const note = (fields: object, text: string): void => {
      said.push(`${text} ${JSON.stringify(fields)}`);
    };
    return startCoordinator({
      settings: parseSettings({
        argv: [
          '--data',
          join(folder, 'data'),
          '--host',
          host,
          '--mesh-host',
          host,
          '--insecure-http',
          '--pools',
          poolsFile,
        ],
        env: {
          PERIGEE_HOME: home,
          PERIGEE_DEAD_MAN_MS: String(deadManSeconds * 1_000),
        },
        isRoot: true,
      }),
      log: { info: note, warn: note, error: note },
      env: process.env,
      onFatal: (error) => said.push(String(error)),
    });
  }
  async function launch(instance: string): Promise<string> {
    const id = instance as InstanceId;
    const userData = await coordinator.bootstrap.userData(id, pool, 'spot');
    return provider.create({ instance: id, offer: 'spot', userData }, signal);
  }
  async function nodes(): Promise<NodeView[]> {
    const response = await fetch(`${coordinator.url}/v1/nodes`, {
      headers: { authorization: `Bearer ${coordinator.token}` },
    });
    return ((await response.json()) as { items: NodeView[] }).items;
  }
  const stateOf = async (name: string): Promise<string | undefined> =>
    (await nodes()).find((node) => node.name === name)?.state;
  /** For a failure's message: what the machine itself said. */
  const story = (): string =>
    [...room.running.values()].map((machine) => machine.said()).join('\n---\n');
  async function untilReady(instance: string): Promise<void> {
    const deadlineMs = Date.now() + poll.timeout;
    while ((await stateOf(instance)) !== 'ready') {
      const over = [...room.running.values()].every((machine) => machine.isEnded());
      if (over && room.running.size > 0) throw new Error(`the machine ended: ${story()}`);
      if (Date.now() > deadlineMs) throw new Error(`it did not join: ${story()}`);
      await new Promise((done) => setTimeout(done, poll.interval));
    }
  }

  it('becomes a node, works, drains and is terminated, and no instance is left', async () => {
    await launch('cloud-00000001');
    await untilReady('cloud-00000001');
    const python = findPythons().find(({ isClient, version }) => isClient && version === '3.11');
    const ran = await runProgram([python?.program ?? '', '-c', job], {
      cwd: folder,
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        PERIGEE_URL: coordinator.url,
        PERIGEE_TOKEN: coordinator.token,
      },
    });
    expect(ran.status, `${ran.stderr}\n${story()}`).toBe(0);
    expect(ran.stdout.trim()).toBe('[0, 1, 4, 9]');

    const node = (await nodes()).find(({ name }) => name === 'cloud-00000001');
    // It says what the offer says, not what it finds.
    expect(node).toMatchObject({ slots: 2, cpus: 1.5, memoryBytes: 2 ** 30 });
    await fetch(`${coordinator.url}/v1/nodes/${node?.id}/drain`, {
      method: 'POST',
      headers: { authorization: `Bearer ${coordinator.token}` },
    });
    // It leaves, powers itself off, and so is terminated.
    await expect
      .poll(
        async () => (await listInstances(ec2)).filter(({ state }) => state !== 'terminated'),
        poll,
      )
      .toEqual([]);
    await provider.terminate('cloud-00000001' as InstanceId, null, signal);
    const listed = [...(await provider.list(signal)).values()];
    expect(listed.filter(({ state }) => state !== 'gone')).toEqual([]);
  });

  it('drains by itself when the cloud announces that it takes the machine back', async () => {
    const id = 'cloud-00000002' as InstanceId;
    const script = await coordinator.bootstrap.userData(id, pool, 'spot');
    // The metadata of a cloud has an address of its own, which only the cloud can give.
    const userData = script.replace('set -u', `set -u\nexport PERIGEE_METADATA_URL=${proxy.url}`);
    const handle = await provider.create({ instance: id, offer: 'spot', userData }, signal);
    await untilReady(id);
    proxy.interrupted.add(handle);
    await expect
      .poll(
        async () => (await listInstances(ec2)).filter(({ state }) => state !== 'terminated'),
        poll,
      )
      .toEqual([]);
    expect(story()).toContain('This machine is taken back');
  });

  it('ends itself when its coordinator is gone', async () => {
    await launch('cloud-00000003');
    await untilReady('cloud-00000003');
    const [machine] = room.running.values();
    machine?.cutOff();
    await expect
      .poll(
        async () => (await listInstances(ec2)).filter(({ state }) => state !== 'terminated'),
        poll,
      )
      .toEqual([]);
    expect(machine?.isEnded()).toBe(true);
  });

  it('cannot spend the token of another instance, nor any twice', async () => {
    const script = await coordinator.bootstrap.userData(
      'cloud-00000004' as InstanceId,
      pool,
      'spot',
    );
    machines.boot('thief', script.replaceAll('cloud-00000004', 'cloud-00000005'));
    await expect
      .poll(() => said.some((line) => line.includes('is for instance cloud-00000004')), poll)
      .toBe(true);
    expect(await stateOf('cloud-00000005')).toBeUndefined();
  });
});

const job = `
from perigee import AsyncTasks
def square(x):
    return x * x
f = AsyncTasks().create_function(square, image='perigee/python:py3.11', memory='256Mi')
print([task.result for task in f.map(range(4))])
`;

/** One image, as an own copy that shares its bytes: the machines fetch what is there. */
function copyImage(to: string): void {
  mkdirSync(to, { recursive: true });
  const from = join(perigeeHome(), 'images');
  const digest = readdirSync(from).find((name) => {
    const file = join(from, name, 'image.json');
    try {
      return readFileSync(file, 'utf8').startsWith('{\n  "name": "perigee/python:py3.11"');
    } catch {
      return false;
    }
  });
  if (digest === undefined) throw new Error('set-up has not made the image python:py3.11');
  execFileSync('cp', ['-a', join(from, digest), to]);
}
