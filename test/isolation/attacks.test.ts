/** Every attack of the table, as a real function in a real sandbox, at each level that stops it. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Server } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultWorkerLimits } from '../../node-agent/runner/create-runner.ts';
import { assert } from '../../protocol/base/assert.ts';
import type { Attack, Targets } from './attack.ts';
import { everyLevel, isMissing, prelude } from './attack.ts';
import { attacks } from './attack-table.ts';
import type { CallEnd } from './sandboxes.ts';
import { openSandboxes } from './sandboxes.ts';

const mib = 1024 * 1024;

for (const level of everyLevel)
  describe.skipIf(isMissing(level))(`level ${level}`, () => {
    let targets: Targets;
    let cleanUp: () => Promise<void>;

    beforeAll(async () => {
      const sandboxes = await openSandboxes(level, {
        limits: { ...defaultWorkerLimits, processesMax: 64, tmpBytes: 64 * mib },
      });
      // Below /var: sandboxes with a root of their own have another /tmp anyway.
      const folder = mkdtempSync(join(tmpdir(), 'perigee-secret-'));
      const secretPath = join('/var/tmp', `perigee-secret-${process.pid}-${level}`);
      writeFileSync(secretPath, 'secret', { mode: 0o644 });
      const decoy = spawn('sleep', ['600'], { stdio: 'ignore' });
      const tcp = await listen({ port: 0, host: '127.0.0.1' });
      const abstractName = `perigee-test-${process.pid}-${level}`;
      const abstract = await listen({ path: `\0${abstractName}` });
      assert(decoy.pid !== undefined, 'sleep runs');
      targets = {
        sandboxes,
        secretPath,
        decoyPid: decoy.pid,
        tcpPort: (tcp.address() as AddressInfo).port,
        abstractName,
      };
      cleanUp = async () => {
        await sandboxes[Symbol.asyncDispose]();
        rmSync(folder, { recursive: true });
        rmSync(secretPath);
        await endProcess(decoy);
        for (const server of [tcp, abstract]) await closeServer(server);
      };
    });

    afterAll(async () => {
      await cleanUp();
    });

    const own = attacks.filter((attack) => attack.levels.includes(level));
    it.each(own.map((attack) => [attack.title.slice(0, 80), attack] as const))(
      'stops a task that %s',
      async (_, attack) => {
        await attack.holds(await play(attack, targets), targets);
      },
    );

    it('still runs other tasks after all of it', async () => {
      const sandbox = targets.sandboxes.start({ source: 'def f(x): return x + 1' });
      expect(await sandbox.call(1)).toMatchObject({ value: 2 });
    });
  });

async function play(attack: Attack, targets: Targets): Promise<CallEnd> {
  const argument = attack.argument?.(targets) ?? null;
  const sandbox = targets.sandboxes.start({
    source: prelude + attack.source,
    spec: {
      memoryBytes: attack.memoryBytes ?? 128 * mib,
      taskIsolation: attack.taskIsolation ?? 'worker',
    },
  });
  for (let call = 0; call < (attack.callsBefore ?? 0); call += 1) await sandbox.call(argument);
  const end = await sandbox.call(argument);
  if (end.kind === 'ended') sandbox.kill();
  await sandbox.ended;
  return end;
}

async function listen(where: { port: number; host: string } | { path: string }): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen(where, () => listening.resolve());
  await listening.promise;
  return server;
}

async function closeServer(server: Server): Promise<void> {
  await new Promise((resolve) => {
    server.close(resolve);
  });
}

async function endProcess(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => {
    child.once('exit', resolve);
  });
  child.kill('SIGKILL');
  await exited;
}
