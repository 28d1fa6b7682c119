/**
 * `scripts/perigee coordinator` and `scripts/perigee agent` as on two machines: where it may, the test
 * gives the agent a network namespace of its own, joined to ours by one cable; elsewhere it uses loopback.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTasks, type Tasks } from '../chaos/tasks.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { launcher, runProgram } from '../setup/run-program.ts';

/** Another machine as far as the network goes. */
interface Machine extends Disposable {
  /** The address by which it reaches this one. */
  host: string;
  /** What a command on it begins with. */
  prefix: string[];
}

let folder = '';
let machine: Machine;
let coordinator: ChildProcess;
let agent: ChildProcess;
let agentLog = '';
let said: { url: string; token: string; join: string; joinToken: string };
let tasks: Tasks;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-join-'));
  machine = connectMachine();
  coordinator = spawn(
    launcher,
    ['coordinator', '--data', join(folder, 'data'), '--mesh-host', machine.host, '--json'],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  said = JSON.parse(await firstLine(coordinator)) as typeof said;
  tasks = createTasks(said);
  writeFileSync(join(folder, 'join-token'), `${said.joinToken}\n`, { mode: 0o600 });
  mkdirSync(join(folder, 'scenes'));
  writeFileSync(join(folder, 'scenes', 'red.txt'), 'red');
});

afterAll(async () => {
  for (const child of [agent, coordinator]) if (child !== undefined) await end(child, 'SIGTERM');
  machine?.[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

const joinWords = (): string[] => [
  ...machine.prefix,
  launcher,
  'agent',
  ...['--join', said.join],
  ...['--join-token-file', join(folder, 'join-token')],
  ...['--data', join(folder, 'node')],
];

describe('an agent on another machine', () => {
  it('joins with one address and one token, and registers what it was told to offer', async () => {
    expect(said.join).toMatch(new RegExp(`^/ip4/${machine.host}/tcp/\\d+/p2p/12D3KooW`));
    const [program = '', ...words] = [
      ...joinWords(),
      ...['--name', 'far', '--slots', '3', '--cpus', '2', '--min-isolation', 'minimal'],
      ...['--mount', `scenes=${join(folder, 'scenes')}`],
    ];
    agent = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    agent.stderr?.setEncoding('utf8').on('data', (text: string) => {
      agentLog = (agentLog + text).slice(-10_000);
    });
    const node = await waitFor(`it is ready\n${agentLog}`, async () => {
      const [found] = await tasks.nodes();
      return found?.state === 'ready' ? found : undefined;
    });
    expect(node).toMatchObject({
      name: 'far',
      slots: 3,
      cpus: 2,
      mounts: ['scenes'],
      instance: null,
    });
    expect(node.images).toContain('perigee/geospatial:py2.7');
  });

  it('runs tasks, which read the folder that it mounts and cannot write there', async () => {
    const source = `
def work(value):
    try:
        open('/data/scenes/new.txt', 'w')
        return 'written'
    except (IOError, OSError):
        return open('/data/scenes/red.txt').read()
`;
    const done = await tasks.run(source);
    expect(done).toMatchObject({ status: 'SUCCESS' });
    expect(await tasks.result(done.id)).toBe('red');
  });

  it('leaves in order when it is asked to, and is the same node when it is back', async () => {
    const [before] = await tasks.nodes();
    expect(await end(agent, 'SIGTERM')).toBe(0);
    await waitFor('it is gone', async () =>
      (await tasks.nodes())[0]?.state === 'gone' ? true : undefined,
    );
    const [program = '', ...words] = joinWords();
    agent = spawn(program, words, { stdio: 'ignore' });
    const after = await waitFor('it is back', async () =>
      (await tasks.nodes()).find((node) => node.state === 'ready'),
    );
    expect(after.id).toBe(before?.id);
  });

  it('refuses a coordinator with another identity, and says where to find the address', async () => {
    // A well-formed peer id of nobody.
    const other = '12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo';
    const [program = '', ...words] = [
      ...machine.prefix,
      launcher,
      'agent',
      ...['--join', said.join.replace(/12D3KooW\w+$/, other)],
      ...['--join-token-file', join(folder, 'join-token')],
    ];
    const ended = await runProgram([program, ...words]);
    expect(ended).toMatchObject({ status: 7, stdout: '' });
    expect(ended.stderr).toContain('its peer id is not the one in the join address.');
    expect(ended.stderr).toContain('Copy the join address again from the coordinator');
  });
});

/** Its exit status. */
async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
  return child.exitCode;
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout !== null) {
    for await (const line of createInterface({ input: child.stdout })) return line;
  }
  throw new Error('The coordinator did not start.');
}

function connectMachine(): Machine {
  // At most 15 characters for a network device; the process id keeps two runs apart.
  const name = `pg${process.pid}`;
  const [near, far] = [`${name}a`, `${name}b`];
  const net = `10.213.${process.pid % 250}`;
  const ip = (...words: string[]): unknown => execFileSync('ip', words, { stdio: 'ignore' });
  try {
    ip('netns', 'add', name);
    ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', name);
    ip('addr', 'add', `${net}.1/24`, 'dev', near);
    ip('link', 'set', near, 'up');
    for (const words of [
      ['addr', 'add', `${net}.2/24`, 'dev', far],
      ['link', 'set', far, 'up'],
      ['link', 'set', 'lo', 'up'],
    ]) {
      ip('-n', name, ...words);
    }
  } catch {
    removeNamespace(name);
    return { host: '127.0.0.1', prefix: [], [Symbol.dispose]: () => undefined };
  }
  return {
    host: `${net}.1`,
    // Not `ip netns exec`, which mounts a /sys of its own, without the cgroups that agents need.
    prefix: ['nsenter', `--net=/run/netns/${name}`],
    // The cable goes with either of its ends.
    [Symbol.dispose]: () => removeNamespace(name),
  };
}

function removeNamespace(name: string): void {
  try {
    execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  } catch {
    // There is none, or no ip command.
  }
}
