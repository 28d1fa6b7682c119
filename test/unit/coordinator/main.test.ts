import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const program = join(import.meta.dirname, '../../../coordinator/main.ts');

interface Announcement {
  url: string;
  token: string;
  join: string;
  joinToken: string;
  pids: { coordinator: number; nodes: number[] };
}

interface Run {
  child: ChildProcess;
  /** Undefined when it ended without one. */
  line: Promise<Announcement | undefined>;
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; errors: string }>;
}

describe('coordinator process', () => {
  let folder: string;
  const runs: Run[] = [];
  const start = (...flags: string[]): Run => {
    const child = spawn(
      process.execPath,
      [program, '--data', join(folder, 'data'), '--json', '--log-level', 'warn', ...flags],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PERIGEE_HOME: folder } },
    );
    let errors = '';
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const run: Run = {
      child,
      line: lines.next().then(({ value }) => value && JSON.parse(value)),
      ended: new Promise((resolve) => {
        child.once('close', (code, signal) => resolve({ code, signal, errors }));
      }),
    };
    runs.push(run);
    return run;
  };
  const ready = async (run: Run): Promise<Announcement> => {
    const line = await run.line;
    if (line === undefined) throw new Error((await run.ended).errors);
    return line;
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-main-'));
  });
  afterEach(async () => {
    for (const { child, ended } of runs.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended;
    }
    rmSync(folder, { recursive: true });
  });

  it('says where it is when it takes tasks, and what it keeps is its owner’s alone', async () => {
    const run = start();
    const { url, token, join: address, joinToken, pids } = await ready(run);
    expect(pids).toEqual({ coordinator: run.child.pid, nodes: [] });
    expect(joinToken).toMatch(/^pgj_/);
    const mesh = await (await fetch(`${url}/v1/mesh`)).json();
    expect(mesh).toMatchObject({ addresses: [address] });
    const headers = { authorization: `Bearer ${token}` };
    const whoami = await (await fetch(`${url}/v1/whoami`, { headers })).json();
    expect(whoami).toMatchObject({ role: 'operator', namespace: 'default' });
    for (const file of ['token', 'join-token', 'mesh.key', 'perigee.db']) {
      expect(statSync(join(folder, 'data', file)).mode & 0o077, file).toBe(0);
    }
    run.child.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ code: 0 });
  });

  it('keeps ports, identity and tokens through an orderly stop and through a kill', async () => {
    const first = start();
    const announced = await ready(first);
    first.child.kill('SIGTERM');
    await first.ended;
    const second = start();
    const { pids: _second, ...again } = await ready(second);
    const { pids: _first, ...before } = announced;
    expect(again).toEqual(before);
    second.child.kill('SIGKILL');
    await second.ended;
    const third = start();
    const { pids: _third, ...afterKill } = await ready(third);
    expect(afterKill).toEqual(before);
  });

  it('leaves a directory alone that another coordinator uses', async () => {
    const first = start();
    await ready(first);
    const second = start();
    const { code, errors } = await second.ended;
    expect(code).toBe(6);
    expect(errors).toContain(`Another coordinator uses ${join(folder, 'data')}`);
    expect(errors).toContain('choose another directory with --data');
    expect(await second.line).toBeUndefined();
    expect(first.child.exitCode).toBeNull();
  });

  it('says that a port is taken, by HTTP or by libp2p', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const address = taken.address();
    const port = String(typeof address === 'object' ? address?.port : 0);
    try {
      for (const flag of ['--port', '--mesh-port']) {
        const { code, errors } = await start(flag, port).ended;
        expect([flag, code]).toEqual([flag, 6]);
        expect(errors).toContain(port);
        expect(errors).toMatch(/Choose another/);
      }
    } finally {
      await new Promise((resolve) => taken.close(resolve));
    }
  });

  it('refuses flags, directories and addresses that it cannot take, with an exit code for each', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const cases: [string[], number, RegExp][] = [
      [['--port', 'x'], 2, /--port is "x"/],
      [['--data', file], 6, /cannot be written/],
      [['--host', '0.0.0.0'], 2, /--insecure-http/],
    ];
    for (const [flags, exitCode, message] of cases) {
      const { code, errors } = await start(...flags).ended;
      expect([flags, code]).toEqual([flags, exitCode]);
      const told = JSON.parse(errors.trim().split('\n').at(-1) ?? '') as {
        msg: string;
        fix: string;
      };
      expect(`${told.msg} ${told.fix}`).toMatch(message);
    }
  });

  it('ends at once when it is interrupted twice', async () => {
    const run = start();
    await ready(run);
    run.child.kill('SIGINT');
    run.child.kill('SIGINT');
    const { code } = await run.ended;
    expect([0, 130]).toContain(code);
    expect(existsSync(join(folder, 'data', 'perigee.db'))).toBe(true);
  });
});
