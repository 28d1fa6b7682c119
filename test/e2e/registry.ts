/** A real registry server on loopback, and images to push to it, for the tests. */
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

export const user = 'somebody';
export const password = 'open sesame';
/** bcrypt of the password. */
const passwordHash = '$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW';

export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  host: string;
  /** Where its blobs lie. */
  folder: string;
}

/** Starts docker-registry with one user. */
export async function startRegistry(folder: string): Promise<Registry> {
  const port = await findPort();
  const storage = join(folder, 'storage');
  mkdirSync(storage, { recursive: true });
  writeFileSync(join(folder, 'users'), `${user}:${passwordHash}\n`);
  const config = {
    version: '0.1',
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: storage } },
    http: { addr: `127.0.0.1:${port}` },
    auth: { htpasswd: { realm: 'test', path: join(folder, 'users') } },
  };
  // JSON is YAML.
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config));
  const server = spawn('docker-registry', ['serve', join(folder, 'config.yml')], {
    stdio: 'ignore',
  });
  const host = `127.0.0.1:${port}`;
  await waitUntilUp(host, server);
  return {
    host,
    folder: storage,
    async [Symbol.asyncDispose]() {
      if (server.exitCode !== null) return;
      server.kill('SIGKILL');
      await once(server, 'exit');
    },
  };
}

/** A small image with Python 2.7 and some traps, pushed as HOST/NAME:TAG. */
export function pushImage(
  registry: Registry,
  options: {
    folder: string;
    /** A root file system to take Python from. */
    from: string;
    name: string;
    architecture?: string;
    withPython?: boolean;
    filler?: string;
    /** More of `umoci config`. */
    config?: readonly string[];
  },
): void {
  const { folder, name, architecture = 'amd64', withPython = true } = options;
  const layout = join(folder, `layout-${name.replaceAll(/\W/g, '-')}`);
  const rootfs = `${layout}-rootfs`;
  mkdirSync(join(rootfs, 'usr/bin'), { recursive: true });
  mkdirSync(join(rootfs, 'etc'));
  if (withPython) copyPython(options.from, rootfs);
  writeFileSync(join(rootfs, 'usr/bin/elevate'), '#!/bin/sh\n');
  chmodSync(join(rootfs, 'usr/bin/elevate'), 0o6755);
  writeFileSync(join(rootfs, 'etc/open'), options.filler ?? 'x');
  chmodSync(join(rootfs, 'etc/open'), 0o666);
  // Whoever followed these would write into the machine.
  symlinkSync('/etc', join(rootfs, 'tmp'));
  symlinkSync('/etc/hosts', join(rootfs, 'etc/hosts'));
  const image = `${layout}:it`;
  const umoci = (...words: string[]): void => {
    execFileSync('umoci', words, { stdio: 'pipe' });
  };
  umoci('init', '--layout', layout);
  umoci('new', '--image', image);
  umoci('insert', '--image', image, rootfs, '/');
  umoci(
    ...['config', '--image', image, '--architecture', architecture, '--os', 'linux'],
    ...['--config.env', 'PATH=/usr/bin', '--config.env', 'GREETING=good day'],
    ...(options.config ?? []),
  );
  execFileSync(
    'skopeo',
    [
      ...['copy', '--quiet', '--dest-tls-verify=false', '--dest-creds', `${user}:${password}`],
      ...[`oci:${image}`, `docker://${registry.host}/${name}`],
    ],
    { stdio: 'pipe' },
  );
}

/** A file for --registry-auth-file. */
export function writeAuthFile(path: string, hosts: readonly string[], secret: string): void {
  const auth = Buffer.from(`${user}:${secret}`).toString('base64');
  writeFileSync(
    path,
    JSON.stringify({ auths: Object.fromEntries(hosts.map((host) => [host, { auth }])) }),
  );
}

function copyPython(from: string, to: string): void {
  const script =
    'cd "$1" && tar -c --exclude=dist-packages --exclude=site-packages --exclude="*.a" ' +
    'bin lib lib64 usr/bin/python2.7 usr/lib/python2.7 usr/lib/x86_64-linux-gnu usr/lib64 | tar -x -C "$2"';
  execFileSync('sh', ['-c', script, 'sh', from, to]);
}

async function findPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function waitUntilUp(host: string, server: ChildProcess): Promise<void> {
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the registry ended with ${server.exitCode}`);
    const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
    if (answer?.status === 401) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
