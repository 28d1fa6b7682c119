import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from './fake-terminal.ts';

/** The three lines of an error. */
const complaint = (what: string, why: string, fix: string) =>
  `error: ${what}\n  why: ${why}\n  fix: ${fix}\n`;

describe('a command line', () => {
  it('without words is the help', async () => {
    const ended = await runCommand([]);
    expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ended.stdout).toMatch(/^Examples:\n {2}scripts\/perigee up\n/);
    expect(ended.stdout).toContain('Usage: scripts/perigee');
  });

  it('with an unknown command names the near ones', async () => {
    expect(await runCommand(['stats'])).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: complaint(
        'The command line is not valid. [invalid_request]',
        "unknown command 'stats'.",
        'Did you mean status? `scripts/perigee --help` lists everything.',
      ),
    });
  });

  it('with an unknown option names the near one, and the help of its command', async () => {
    const ended = await runCommand(['node', 'ls', '--jsn']);
    expect(ended).toMatchObject({ exitCode: 2, stdout: '' });
    expect(ended.stderr).toContain(
      'fix: Did you mean --json? `scripts/perigee node ls --help` lists everything.',
    );
  });

  it.each([
    [['tasks', '--limit', '0'], 'fix: scripts/perigee tasks --help'],
    [['tasks', '--state', 'gone'], 'Allowed choices are queued, running, done.'],
    [['token', 'create', '--expires', 'soon'], '"soon" is not a duration such as 90s'],
    [['up', '--port', '70000'], '"70000" is not a whole number from 0 to 65535.'],
    [['task'], "missing required argument 'id'."],
    [['status', 'extra'], 'too many arguments'],
    [['help', 'nothing'], 'There is no help on "nothing".'],
    [['task', 'xyz'], '"xyz" is not a task\'s id, such as 17-3.'],
    [['group', 'XYZ'], '"XYZ" is not a group\'s id or a part of one.'],
  ])('%j is refused with status 2', async (words, said) => {
    const ended = await runCommand(words);
    expect(ended).toMatchObject({ exitCode: 2, stdout: '' });
    expect(ended.stderr).toContain(said);
    expect(ended.stderr.split('\n')).toHaveLength(4);
  });

  it('interrupted in a pause between two tries ends with the signal’s status, and without a complaint', async () => {
    let tries = 0;
    const away = createServer((request) => {
      tries += 1;
      request.socket.destroy();
    }).listen(0, '127.0.0.1');
    await once(away, 'listening');
    const { port } = away.address() as AddressInfo;
    const environment = { PERIGEE_URL: `http://127.0.0.1:${port}`, PERIGEE_TOKEN: 'x' };
    let interrupt: (signal: 'SIGINT') => void = () => undefined;
    const running = runCommand(['logs', '-f', '17-3'], {
      environment,
      onSignal(listener) {
        interrupt = listener;
        return () => undefined;
      },
    });
    // Behind the second try it has said so, and waits to try again.
    await expect.poll(() => tries, { timeout: 20_000 }).toBe(2);
    interrupt('SIGINT');
    const { exitCode, stderr } = await running;
    expect([exitCode, stderr]).toEqual([130, 'The coordinator is away; waiting for it.\n']);
    away.close();
  });

  it('with --json fails with one problem object on standard error', async () => {
    const ended = await runCommand(['taks', '--json']);
    expect(ended).toMatchObject({ exitCode: 2, stdout: '' });
    expect(JSON.parse(ended.stderr)).toMatchObject({
      code: 'invalid_request',
      status: 400,
      exitCode: 2,
      detail: "unknown command 'taks'.",
      fix: expect.stringContaining('Did you mean'),
    });
  });

  it('that stops at a noun shows its verbs and fails', async () => {
    const ended = await runCommand(['join-token']);
    expect(ended).toMatchObject({ exitCode: 2, stdout: '' });
    expect(ended.stderr).toMatch(/create .*\n.*ls .*\n.*revoke /);
  });

  it('that needs a mesh says how to start one when none is configured', async () => {
    expect(await runCommand(['status'])).toEqual({
      exitCode: 7,
      stdout: '',
      stderr: complaint(
        'The coordinator cannot be reached. [unreachable]',
        'No mesh is up on this machine: there is no /nowhere/perigee/config.json, and PERIGEE_URL is not set.',
        'scripts/perigee up',
      ),
    });
  });
});

describe('help', () => {
  it('prints the table of exit codes', async () => {
    const { stdout } = await runCommand(['help', 'exit-codes']);
    const codes = stdout.split('\n').flatMap((line) => /^ *(\d+) /.exec(line)?.[1] ?? []);
    expect(codes).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '124', '130']);
  });

  it('of a command is what its --help prints', async () => {
    const [topic, flag] = await Promise.all([
      runCommand(['help', 'node', 'drain']),
      runCommand(['node', 'drain', '--help']),
    ]);
    expect(topic.stdout).toContain('scripts/perigee node drain worker-1');
    expect(topic).toEqual(flag);
  });
});

describe('version', () => {
  it('needs no mesh', async () => {
    const { stdout, exitCode } = await runCommand(['version', '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      protocol: expect.any(Number),
      node: process.version,
    });
  });
});

describe('against something that is no mesh', () => {
  const server = createServer((_request, response) => response.end('<html>hello</html>'));
  let url = '';

  beforeAll(async () => {
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const address = server.address();
    url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  });
  afterAll(() => server.close());

  it('says so, and where to look', async () => {
    const ended = await runCommand(['status'], {
      environment: { PERIGEE_URL: url, PERIGEE_TOKEN: 't' },
    });
    expect(ended).toMatchObject({ exitCode: 1, stdout: '' });
    expect(ended.stderr).toContain('is not JSON');
    expect(ended.stderr).toContain('fix: Check PERIGEE_URL');
  });

  it('refuses a URL of another kind', async () => {
    const environment = { PERIGEE_URL: 'ftp://x', PERIGEE_TOKEN: 't' };
    const ended = await runCommand(['status'], { environment });
    expect(ended).toMatchObject({ exitCode: 2, stdout: '' });
    expect(ended.stderr).toContain('"ftp://x" is not an http or https URL.');
  });
});
