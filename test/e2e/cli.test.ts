/** Every command of the CLI as its user types it, against one real mesh. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { quickestOf } from '../chaos/quickest-of.ts';
import { createScripts, type Scripts } from '../chaos/scripts.ts';
import { waitFor } from '../chaos/wait-for.ts';
import { launcher, type RunOptions, runProgram } from '../setup/run-program.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

let mesh: Mesh;
let scripts: Scripts;
/** Of the group of six tasks, of which 3 fails, and of the group whose task runs on. */
let doubles = '';
let failed = '';
let endless = '';
let running = '';

const submitted = `
from __future__ import print_function
import time
from perigee import AsyncTasks, as_completed
tasks = AsyncTasks()
def double(x):
    print('doubling', x)
    if x == 3:
        raise KeyError('three')
    return 2 * x
def wait(x):
    while True:
        print('tick')
        time.sleep(0.05)
group = tasks.create_function(double, name='doubles', image='perigee/geospatial:py2.7')
six = group.map(range(6))
list(as_completed(six))
endless = tasks.create_function(wait, name='endless', image='perigee/geospatial:py2.7')
last = endless(1)
print(six[3].guid, six[3].tuid, last.guid, last.tuid)
`;

beforeAll(async () => {
  mesh = await startMesh({ PERIGEE_NODE_IDLE_MS: '120000', NO_COLOR: '1' });
  scripts = createScripts(mesh.environment);
  const ended = await scripts.run(submitted);
  expect(ended).toMatchObject({ status: 0, stderr: '' });
  [doubles = '', failed = '', endless = '', running = ''] = ended.stdout.trim().split(' ');
  await waitFor('the endless task prints', async () =>
    (await perigee('logs', running)).stdout.includes('tick') ? true : undefined,
  );
});

afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
});

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

const perigee = (...words: string[]): Promise<Ended> => run(words);

/** In this process, which saves most of what hundreds of commands cost; `launch` is the real thing. */
async function run(
  words: readonly string[],
  options: { env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const { exitCode, ...said } = await runInProcess(words, { ...mesh.environment, ...options.env });
  return { status: exitCode, ...said };
}

/** As a person does it. */
const launch = (words: readonly string[], options: RunOptions = {}) =>
  runProgram([launcher, ...words], { ...options, env: mesh.environment });

/** The document of a command that works, with nothing beside it. */
async function json(...words: string[]): Promise<unknown> {
  const ended = await perigee(...words, '--json');
  expect(ended).toMatchObject({ status: 0, stderr: '' });
  return JSON.parse(ended.stdout);
}

/** Three lines on standard error, or one problem object; nothing on standard output. */
async function expectFailure(
  words: string[],
  expected: { status: number; code: string; fix: string; env?: NodeJS.ProcessEnv },
): Promise<void> {
  const env = expected.env ?? {};
  const [told, coded] = await Promise.all([
    run(words, { env }),
    run([...words, '--json'], { env }),
  ]);
  expect(told).toMatchObject({ status: expected.status, stdout: '' });
  expect(told.stderr).toMatch(/^error: .+ \[\w+\]\n {2}why: .+\n {2}fix: .+\n$/);
  expect(told.stderr).toContain(`[${expected.code}]`);
  expect(told.stderr).toContain(expected.fix);
  expect(coded).toMatchObject({ status: expected.status, stdout: '' });
  const problem: unknown = JSON.parse(coded.stderr);
  expect(problem).toMatchObject({
    code: expected.code,
    exitCode: expected.status,
    fix: expect.stringContaining(expected.fix),
  });
}

describe('status', () => {
  it('shows the mesh, and the command to type next', async () => {
    const ended = await perigee('status');
    expect(ended.stdout).toContain(`mesh       ${mesh.url}`);
    expect(ended.stdout).toMatch(/tasks {6}0 queued, 1 running, 5 succeeded, 1 failed/);
    expect(ended).toMatchObject({ status: 0, stderr: 'next: scripts/perigee groups\n' });
    expect(await json('status')).toMatchObject({
      url: mesh.url,
      namespace: 'default',
      tasks: { queued: 0, running: 1, succeeded: 5, failed: 1 },
    });
  });

  it('is what the launcher prints too', async () => {
    const [told, coded, refused] = await Promise.all([
      launch(['status']),
      launch(['status', '--json']),
      launch(['task', '999-9', '--json']),
    ]);
    expect(told).toMatchObject({ status: 0, stderr: 'next: scripts/perigee groups\n' });
    expect(told.stdout).toContain(`mesh       ${mesh.url}`);
    expect(coded).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(coded.stdout)).toMatchObject({ url: mesh.url });
    expect(refused).toMatchObject({ status: 5, stdout: '' });
    expect(JSON.parse(refused.stderr)).toMatchObject({ code: 'not_found', exitCode: 5 });
  });

  it('takes less than 300 ms of the processor, so that it is there at once', async () => {
    // The clock on the wall would measure what else the machine does.
    const script = '"$0" status > /dev/null 2>&1 || exit 1; times';
    const spentMs = async (): Promise<number> => {
      const { stdout, status } = await runProgram(['/bin/sh', '-c', script, launcher], {
        env: mesh.environment,
      });
      expect(status).toBe(0);
      const [, ofChildren = ''] = stdout.trim().split('\n');
      const seconds = [...ofChildren.matchAll(/(\d+)m([\d.]+)s/g)].map(
        ([, minutes, rest]) => Number(minutes) * 60 + Number(rest),
      );
      expect(seconds).toHaveLength(2);
      return 1000 * seconds.reduce((sum, part) => sum + part, 0);
    };
    const quickest = await quickestOf(300, spentMs);
    expect(quickest).toBeGreaterThan(20);
    expect(quickest).toBeLessThan(300);
  });
});

describe('nodes', () => {
  it('are a table for people and a list for programs', async () => {
    const { stdout, status } = await perigee('nodes');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ID +NAME +STATE +SLOTS +ISOLATION/);
    expect(stdout).toMatch(/\n\w{8} +local-\w+ +ready +[01]\/1 /);
    expect(stdout).not.toContain('\u001b');
    const nodes = (await json('nodes')) as { id: string; state: string }[];
    expect(nodes.length).toBeGreaterThan(0);
    for (const node of nodes) {
      expect(node).toMatchObject({
        id: expect.stringMatching(/^12D3KooW/),
        state: 'ready',
        slots: 1,
        isolation: expect.stringMatching(/^(strong|standard|reduced|minimal|none)$/),
      });
    }
    expect(await json('node', 'ls')).toHaveLength(nodes.length);
  });

  it('fit a terminal, with whole ids and colours', async () => {
    const env = { PERIGEE_FORCE_TTY: '80', NO_COLOR: '' };
    const { stdout } = await run(['nodes'], { env });
    expect(stdout).toContain('\u001b[');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours are what is taken away
    const plain = stdout.replace(/\u001b\[\d+m/g, '');
    for (const line of plain.trimEnd().split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(plain).toMatch(/\n\w{8} /);
  });

  it('that is idle can be drained, and is then gone from the list but not from --all', async () => {
    const idle = await waitFor('a node is idle', async () => {
      const nodes = (await json('nodes')) as {
        id: string;
        name: string;
        busy: number;
        state: string;
      }[];
      return nodes.find((node) => node.busy === 0 && node.state === 'ready');
    });
    const drained = await perigee('node', 'drain', `…${idle.id.slice(-8)}`);
    expect(drained.stdout).toMatch(
      new RegExp(`^${idle.name} .* is (draining|gone); it finishes 0 running.\n$`),
    );
    expect(drained.status).toBe(0);
    await waitFor('it has left', async () => {
      const left = (await json('nodes')) as { id: string }[];
      return left.some((node) => node.id === idle.id) ? undefined : true;
    });
    const all = (await json('nodes', '--all')) as { id: string; state: string }[];
    expect(all.find((node) => node.id === idle.id)).toMatchObject({ state: 'gone' });
    await expectFailure(['node', 'drain', 'nobody'], {
      status: 5,
      code: 'not_found',
      fix: 'scripts/perigee nodes',
    });
  });
});

describe('groups', () => {
  it('are listed newest first, and found by name', async () => {
    const { stdout, stderr } = await perigee('groups');
    expect(stdout).toMatch(/^ID +NAME +STATE +QUEUED +RUNNING +SUCCEEDED +FAILED/);
    expect(stderr).toBe(`next: scripts/perigee group ${endless}\n`);
    expect(await json('groups')).toMatchObject([{ id: endless }, { id: doubles }]);
    expect(await json('groups', '--name', 'doubles')).toMatchObject([{ id: doubles }]);
    expect((await perigee('groups', '--name', 'nothing')).stdout).toBe(
      'No group has the name nothing.\n',
    );
    const limited = await perigee('groups', '--limit', '1');
    expect(limited.stderr).toContain('There are more; --limit shows them.');
  });

  it('are shown by id, by its beginning and by @last', async () => {
    const { stdout } = await perigee('group', doubles.slice(0, 6));
    expect(stdout).toContain(`group      ${doubles}  doubles`);
    expect(stdout).toContain('0 queued, 0 running, 5 succeeded, 1 failed');
    expect(await json('group', '@last')).toMatchObject({ id: endless, name: 'endless' });
    await expectFailure(['group', 'ffffffffffff'], {
      status: 5,
      code: 'not_found',
      fix: 'perigee groups',
    });
  });
});

describe('tasks', () => {
  it('are listed with state and error', async () => {
    const { stdout, stderr } = await perigee('tasks', '--group', doubles);
    expect(stdout).toMatch(/\n\d+-3 +doubles +exception .*KeyError: 'three'\n/);
    expect(stdout.match(/ succeeded /g)).toHaveLength(5);
    expect(stderr).toMatch(/^next: scripts\/perigee task \d+-5\n$/);
    expect(await json('tasks', '--state', 'running')).toMatchObject([
      { id: running, state: 'running' },
    ]);
    expect(await json('tasks', '--limit', '2')).toHaveLength(2);
  });

  it('are shown with how they ended, their attempts and their traceback', async () => {
    const { stdout, stderr } = await perigee('task', failed);
    expect(stdout).toMatch(new RegExp(`^Task ${failed} ended as exception in attempt 1`));
    expect(stdout).toContain("error        KeyError: 'three'");
    expect(stdout).toMatch(/\nATTEMPT +NODE +GRANTED/);
    expect(stdout).toMatch(/Traceback[\s\S]*, in double\nKeyError: 'three'\n/);
    expect(stderr).toBe(`next: scripts/perigee logs ${failed}\n`);
    expect(await json('task', failed)).toMatchObject({
      id: failed,
      code: 'exception',
      attempts: [{ attempt: 1, end: 'exception' }],
      explanation: { sentence: expect.stringContaining('exception') },
    });
  });

  it('that run say so, by @last too', async () => {
    const { stdout, stderr } = await perigee('task', '@last');
    expect(stdout).toContain(`task       ${running}`);
    expect(stderr).toBe(`next: scripts/perigee logs -f ${running}\n`);
  });

  it('that are not there are not found', async () => {
    for (const words of [
      ['task', '999-9'],
      ['logs', '999-9'],
      ['cancel', '999-9'],
    ]) {
      await expectFailure(words, { status: 5, code: 'not_found', fix: 'perigee tasks' });
    }
  });
});

describe('logs', () => {
  it('are what was printed, and nothing else, on standard output', async () => {
    const first = (await json('tasks', '--group', doubles)) as { id: string }[];
    const id = first.at(-1)?.id ?? '';
    expect(await perigee('logs', id)).toMatchObject({
      status: 0,
      stdout: 'doubling 0\n',
      stderr: `next: scripts/perigee task ${id}\n`,
    });
    expect(await json('logs', id)).toEqual({ id, offset: 0, text: 'doubling 0\n' });
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('that are followed end at %s with %d, without a word', async (signal, status) => {
    const ended = await launch(['logs', '-f', '@last'], {
      when: { stdout: 'tick\ntick\n', act: (kill) => kill(signal) },
    });
    expect(ended).toMatchObject({ status, stderr: '' });
  });

  it('that are followed are JSON lines with --json, and end with their reader', async () => {
    const command = `"${launcher}" logs -f --json ${running} | head -n 2`;
    const { stdout, stderr } = await runProgram(['/bin/sh', '-c', command], {
      env: mesh.environment,
    });
    const pieces = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { offset: number; text: string });
    expect(pieces).toHaveLength(2);
    expect(pieces[1]?.offset).toBe((pieces[0]?.offset ?? 0) + (pieces[0]?.text.length ?? 0));
    expect(stderr).toBe('');
  });
});

describe('images', () => {
  it('are listed with their Python', async () => {
    expect((await perigee('images')).stdout).toMatch(
      /\nperigee\/geospatial:py2.7 +CPython 2\.7\.\d+ /,
    );
    expect(await json('images')).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: 'perigee/geospatial:py2.7' })]),
    );
  });
});

describe('access', () => {
  it('gives a namespace and a token of its own, which sees nothing else, until it is revoked', async () => {
    expect((await perigee('namespace', 'create', 'anna')).stdout).toBe('Namespace anna is made.\n');
    expect(await json('namespace', 'create', 'anna')).toEqual({
      namespace: 'anna',
      created: false,
    });
    expect(await json('namespace', 'ls')).toMatchObject([
      { namespace: 'anna' },
      { namespace: 'default' },
    ]);

    const made = await perigee(
      'token',
      'create',
      '--namespace',
      'anna',
      '--label',
      'laptop',
      '--expires',
      '1h',
    );
    expect(made.stdout).toMatch(/^pgt_\S+\n$/);
    const id = /token revoke (\S+)/.exec(made.stderr)?.[1] ?? '';
    const env = { PERIGEE_URL: mesh.url, PERIGEE_TOKEN: made.stdout.trim() };
    expect(await run(['groups'], { env })).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('No groups yet'),
    });
    expect((await run(['task', running], { env })).status).toBe(5);
    await expectFailure(['token', 'ls'], { status: 4, code: 'forbidden', fix: 'token', env });
    expect((await perigee('token', 'ls')).stdout).toMatch(
      new RegExp(`\n${id} +user +anna +laptop +`),
    );

    expect((await perigee('token', 'revoke', id.slice(0, 5))).stdout).toBe(
      `Token ${id} is revoked.\n`,
    );
    await expectFailure(['groups'], { status: 4, code: 'token_revoked', fix: 'token create', env });
    await expectFailure(['token', 'revoke', 'zzz'], {
      status: 5,
      code: 'not_found',
      fix: 'token ls',
    });
  });

  it('asks before it removes a namespace, and refuses where nobody can answer', async () => {
    await perigee('namespace', 'create', 'bert');
    await expectFailure(['namespace', 'rm', 'bert'], {
      status: 2,
      code: 'invalid_request',
      fix: 'scripts/perigee namespace rm bert --yes',
    });
    expect(await json('namespace', 'rm', 'bert', '--yes')).toEqual({ namespace: 'bert' });
    await expectFailure(['namespace', 'rm', 'default', '--yes'], {
      status: 6,
      code: 'conflict',
      fix: '',
    });
  });

  it('makes join tokens that name the command of the other machine', async () => {
    const made = await perigee('join-token', 'create', '--label', 'rack 7');
    expect(made.stdout).toMatch(/^pgj_\S+\n$/);
    expect(made.stderr).toContain(
      `scripts/perigee agent --join ${mesh.join} --join-token-file FILE`,
    );
    const listed = (await json('join-token', 'ls')) as {
      id: string;
      label: string;
      usesLeft: number | null;
    }[];
    const token = listed.find(({ label }) => label === 'rack 7');
    // Those of local nodes are used up.
    expect(listed.map(({ usesLeft }) => usesLeft)).not.toContain(0);
    const all = (await json('join-token', 'ls', '--all')) as unknown[];
    expect(all.length).toBeGreaterThan(listed.length);
    expect((await perigee('join-token', 'revoke', token?.id ?? '')).status).toBe(0);
  });
});

describe('where the mesh is', () => {
  it('is not taken from a config file that others can read', async () => {
    await withConfig(async (path) => {
      writeFileSync(path, readFileSync(configOf(mesh)), { mode: 0o644 });
      const env = { PERIGEE_CONFIG: path };
      await expectFailure(['status'], {
        status: 4,
        code: 'forbidden',
        fix: `chmod 600 ${path}`,
        env,
      });
    });
  });

  it('is refused when another mesh answers there, and that one is not shown the token', async () => {
    const seen: (string | undefined)[] = [];
    const stranger = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end(
        JSON.stringify({ peerId: '12D3KooWstranger', addresses: [], protocol: 1, version: '0' }),
      );
    });
    await new Promise<void>((listening) => stranger.listen(0, '127.0.0.1', listening));
    const address = stranger.address();
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    try {
      await withConfig(async (path) => {
        const config = JSON.parse(readFileSync(configOf(mesh), 'utf8')) as object;
        writeFileSync(path, JSON.stringify({ ...config, url }), { mode: 0o600 });
        const env = { PERIGEE_CONFIG: path };
        await expectFailure(['groups'], {
          status: 7,
          code: 'unreachable',
          fix: 'scripts/perigee up',
          env,
        });
      });
      expect(seen.length).toBeGreaterThan(0);
      expect(seen.every((token) => token === undefined)).toBe(true);
    } finally {
      stranger.close();
    }
  });

  it('is unreachable when nothing listens', async () => {
    const env = { PERIGEE_URL: 'http://127.0.0.1:1', PERIGEE_TOKEN: 'x' };
    await expectFailure(['status'], { status: 7, code: 'unreachable', fix: 'PERIGEE_URL', env });
  });

  it('needs a token', async () => {
    const env = { PERIGEE_URL: mesh.url, PERIGEE_CONFIG: '/nowhere/config.json' };
    await expectFailure(['groups'], {
      status: 4,
      code: 'token_missing',
      fix: 'PERIGEE_TOKEN',
      env,
    });
  });
});

describe('cancel', () => {
  it('of a group asks, and refuses where nobody can answer', async () => {
    await expectFailure(['cancel', endless], {
      status: 2,
      code: 'invalid_request',
      fix: `scripts/perigee group terminate ${endless} --yes`,
    });
  });

  it('of a task ends it, keeps its log, and can be repeated', async () => {
    const cancelled = await perigee('cancel', running);
    expect(cancelled).toMatchObject({
      status: 0,
      stdout: `${running} was running; it is cancelled.\n`,
    });
    await waitFor('it is done', async () => {
      const task = (await json('task', running)) as { state: string; code: string };
      return task.state === 'done' && task.code === 'cancelled' ? true : undefined;
    });
    expect((await perigee('logs', running)).stdout).toContain('tick\n');
    expect((await perigee('cancel', running)).stdout).toBe(`${running} was already done.\n`);
    expect(await json('cancel', running)).toEqual({ id: running, state: 'done' });
  });

  it('of a group without work needs no question', async () => {
    const ended = await perigee('group', 'terminate', endless);
    expect(ended).toMatchObject({ status: 0, stdout: `endless (${endless}) is terminated.\n` });
    expect(await json('cancel', doubles)).toMatchObject({ id: doubles, state: 'terminated' });
  });
});

const configOf = (of: Mesh): string => of.environment['PERIGEE_CONFIG'] ?? '';

async function withConfig(act: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-cli-config-'));
  try {
    await act(join(folder, 'config.json'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
