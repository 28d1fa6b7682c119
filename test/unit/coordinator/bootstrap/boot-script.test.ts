/** A job's boot script, run as Slurm would run it, with an agent that only says where it is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bundleFolder } from '../../../../coordinator/bootstrap/agent-bundle.ts';
import { packFolder } from '../../../../coordinator/bootstrap/boot-files.ts';
import { bootScript } from '../../../../coordinator/bootstrap/boot-script.ts';
import type { BootFile } from '../../../../coordinator/bootstrap/port.ts';

let folder = '';
let bundle: BootFile;
let server: Server;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-boot-script-'));
  const bin = join(folder, bundleFolder, 'bin');
  mkdirSync(bin, { recursive: true });
  const agent = `#!/bin/sh\npwd >'${folder}/ran-in'\nstat -c %u . >'${folder}/owner'\n`;
  writeFileSync(join(bin, 'node'), agent, { mode: 0o755 });
  const kept = join(folder, 'boot');
  bundle = await packFolder({ kept, key: 'agent', parent: folder, name: bundleFolder });
  server = createServer((_request, response) => response.end(readFileSync(bundle.path)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  rmSync(folder, { recursive: true, force: true });
});

async function runJob(instance: string, temporary: string): Promise<number | null> {
  const script = bootScript({
    ...{ instance, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    ...{ certificate: null, joinAddress: '/ip4/127.0.0.1/tcp/1', joinToken: 'secret', bundle },
    ...{ life: 'job', notices: 'none', deadManSeconds: 60, agentFlags: [] },
  });
  const job = spawn('sh', [], {
    env: { PATH: process.env['PATH'], TMPDIR: temporary },
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  job.stdin.end(script);
  const [status] = await once(job, 'exit');
  return status as number | null;
}

it('a job never lives in a folder that somebody made before, and leaves none of its own', async () => {
  const temporary = join(folder, 'tmp');
  const foreign = join(temporary, 'perigee-cl-1');
  mkdirSync(foreign, { recursive: true });
  // Another user's, who could swap what the job is about to run.
  chmodSync(foreign, 0o777);
  expect(await runJob('cl-1', temporary)).toBe(0);
  const home = readFileSync(join(folder, 'ran-in'), 'utf8').trim();
  expect(home).toMatch(/\/perigee-cl-1\.\w{8}$/);
  expect(Number(readFileSync(join(folder, 'owner'), 'utf8'))).toBe(process.getuid?.());
  expect(readdirSync(foreign)).toEqual([]);
  expect(existsSync(home)).toBe(false);
});

it('a job without a place for its home ends at once', async () => {
  expect(await runJob('cl-1', join(folder, 'nowhere'))).toBe(1);
  expect(existsSync(join(folder, 'ran-in'))).toBe(false);
});
