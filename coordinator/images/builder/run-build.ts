/**
 * Builds a layer: pip of the base image, run by its own interpreter in a bubblewrap sandbox without
 * a network, with one socket that leads to the package index. docs/adr/0007 says why so.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { ImageDigest } from '../../../protocol/wire/ids.ts';
import type { PythonVersion } from '../../../protocol/wire/task.ts';
import { packageOf } from '../requirements.ts';
import { openIndexProxy } from './index-proxy.ts';
import { insidePaths, readPipSettings } from './pip-settings.ts';

export interface BuildOrder {
  digest: ImageDigest;
  base: ImageDigest;
  requirements: readonly string[];
}

export interface BuildDeps {
  /** `<home>/images`. */
  folder: string;
  env: Readonly<Record<string, string | undefined>>;
  nowMs(): number;
}

export interface BuildBounds {
  buildMsMax: number;
  buildBytesMax: number;
  diskFreeBytesMin: number;
  /** `host:port` that builds may reach besides the index. */
  buildHosts: readonly string[];
}

/** What was built; its files are in place. */
export interface BuiltLayer {
  sizeBytes: number;
  packages: Record<string, string>;
}

/** Owner of a root coordinator's builds: nobody else’s, and below the slots’ (61001-61183). */
const buildUid = 61_000;
const watchMs = 1_000;
const buildingPrefix = '.layer-';

/** Where an image lies. */
export function imagePath(folder: string, digest: ImageDigest): string {
  return join(folder, digest.slice('sha256:'.length, 'sha256:'.length + 32));
}

/** Removes what builds left whose process is gone. */
export async function sweepBuilds(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const pid = /^\.layer-[0-9a-f]+-([0-9]+)$/.exec(name)?.[1];
    if (pid === undefined || (pid !== String(process.pid) && isRunning(pid))) continue;
    await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** One that was killed stays in the table, as a zombie, until somebody asks for its end. */
function isRunning(pid: string): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/**
 * Builds and puts in place by one rename. What is there already is taken as it is.
 * @throws PerigeeError build_failed, disk_full, isolation_unavailable, timed_out
 */
export async function runBuild(
  deps: BuildDeps,
  bounds: BuildBounds,
  build: { order: BuildOrder; onOutput: (bytes: Buffer) => void; signal: AbortSignal },
): Promise<BuiltLayer> {
  const { order } = build;
  const final = imagePath(deps.folder, order.digest);
  const there = await readLayer(final);
  if (there !== undefined) return there;
  await refuseFullDisk(deps.folder, bounds);
  const work = join(deps.folder, `${buildingPrefix}${order.digest.slice(7, 23)}-${process.pid}`);
  await rm(work, { recursive: true, force: true });
  try {
    await buildIn(work, { deps, bounds, ...build });
    const layer = await finish(work, { deps, order });
    await rename(join(work, 'image'), final);
    return layer;
  } catch (caught) {
    const there = await readLayer(final);
    if (there !== undefined) return there;
    throw caught;
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 10 });
  }
}

interface Building {
  deps: BuildDeps;
  bounds: BuildBounds;
  order: BuildOrder;
  onOutput: (bytes: Buffer) => void;
  signal: AbortSignal;
}

async function buildIn(work: string, building: Building): Promise<void> {
  const { deps, bounds, order } = building;
  const base = imagePath(deps.folder, order.base);
  const description = await readDescription(base);
  const pip = join(base, 'client-packages');
  if (!existsSync(join(pip, 'pip'))) {
    throw new PerigeeError('build_failed', 'The base image came without a pip.', {
      fix: 'Choose one of the images that `npm run setup` made as the base.',
    });
  }
  const settings = readPipSettings(deps.env, { hostsMore: bounds.buildHosts, pip });
  for (const part of ['.', 'image', 'image/site', 'net', 'tmp', 'out']) {
    await mkdir(join(work, part), { recursive: true });
    // The coordinator's umask keeps others out; a root's builds run as another user.
    await chmod(join(work, part), 0o755);
  }
  const named = order.requirements.map(packageOf);
  const isHashed = order.requirements.some((line) => line.includes('--hash'));
  const inBase = Object.entries(description.packages);
  await writeFile(
    join(work, 'order.json'),
    JSON.stringify({
      requirements: order.requirements,
      named,
      base: description.packages,
      // With hashes pip would want one of each constraint too.
      constraints: isHashed
        ? []
        : inBase
            .filter(([name]) => !named.includes(name))
            .map(([name, version]) => `${name}==${version}`),
      // The default of pip on 2.7 installs what conflicts and only says so.
      features: description.python.version.startsWith('2.') ? ['2020-resolver'] : [],
    }),
  );
  await chmod(join(work, 'order.json'), 0o644);
  await using proxy = await openIndexProxy(join(work, 'net/index.sock'), settings);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    for (const part of ['image/site', 'tmp', 'out', 'net']) {
      await chown(join(work, part), buildUid, buildUid);
    }
  }
  const argv = [
    ...(isRoot
      ? ['setpriv', `--reuid=${buildUid}`, `--regid=${buildUid}`, '--clear-groups']
      : ['setpriv']),
    ...['--no-new-privs', '--pdeathsig', 'KILL', 'bwrap'],
    ...['--unshare-all', '--unshare-user', '--disable-userns', '--die-with-parent'],
    ...['--new-session', '--cap-drop', 'ALL', '--hostname', 'perigee', '--uid', '1000'],
    ...['--gid', '1000', '--ro-bind', join(base, 'rootfs'), '/', '--proc', '/proc'],
    ...['--dev', '/dev', '--bind', join(work, 'tmp'), '/tmp', '--chdir', '/tmp'],
    ...['--tmpfs', '/perigee', '--bind', join(work, 'image/site'), '/perigee/site'],
    ...[
      '--bind',
      join(work, 'out'),
      '/perigee/out',
      '--ro-bind',
      join(work, 'net'),
      '/perigee/net',
    ],
    ...['--ro-bind', pip, '/perigee/pip', '--ro-bind', join(work, 'order.json')],
    ...['/perigee/order.json', '--ro-bind', programPath, '/perigee/build.py'],
    ...settings.folders.flatMap((path, at) => ['--ro-bind', path, `${insidePaths.links}/${at}`]),
    ...(settings.authorities === null
      ? []
      : ['--ro-bind', settings.authorities, insidePaths.authorities]),
    ...['--remount-ro', '/perigee', '--', description.python.path, '-u', '-s'],
    ...['/perigee/build.py', '/perigee/order.json'],
  ];
  const environment = {
    ...settings.environment,
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: '/tmp',
    TMPDIR: '/tmp',
    LANG: 'C.UTF-8',
    PYTHONIOENCODING: 'utf-8',
    PYTHONPATH: '/perigee/pip',
    PYTHONDONTWRITEBYTECODE: '1',
    // What a source distribution builds must not differ by the time of day.
    SOURCE_DATE_EPOCH: '315532800',
  };
  await runSandbox({ argv, environment, work, refused: proxy.refused, ...building });
}

const programPath = fileURLToPath(new URL('./build.py', import.meta.url));

async function runSandbox(
  run: Building & {
    argv: readonly string[];
    environment: Record<string, string>;
    work: string;
    refused: ReadonlySet<string>;
  },
): Promise<void> {
  const { bounds } = run;
  const [program = '', ...rest] = run.argv;
  const child = spawn(program, rest, {
    env: run.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let stopped: PerigeeError | undefined;
  const stop = (why: PerigeeError): void => {
    stopped ??= why;
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (caught) {
      // Gone already.
      if (!(caught instanceof Error && 'code' in caught && caught.code === 'ESRCH')) throw caught;
    }
  };
  let tail = '';
  const hear = (bytes: Buffer): void => {
    tail = (tail + bytes.toString('utf8')).slice(-16_384);
    run.onOutput(bytes);
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const seconds = Math.round(bounds.buildMsMax / 1000);
  const timer = setTimeout(() => {
    stop(
      new PerigeeError('build_failed', `The build took longer than ${seconds} s.`, {
        fix: 'Ask for less at a time, or have the operator raise PERIGEE_BUILD_MS_MAX.',
      }),
    );
  }, bounds.buildMsMax);
  const watch = setInterval(() => {
    look(run.work, run.deps.folder, bounds).then(
      (why) => why !== undefined && stop(why),
      () => undefined,
    );
  }, watchMs);
  const onAbort = (): void => stop(new PerigeeError('draining'));
  run.signal.addEventListener('abort', onAbort, { once: true });
  if (run.signal.aborted) onAbort();
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    // It may have grown and ended between two looks.
    if (code === 0) stopped ??= await look(run.work, run.deps.folder, bounds);
    if (stopped !== undefined) throw stopped;
    if (code !== 0) throw failure(code, tail, run.refused);
  } catch (caught) {
    const error = toError(caught);
    if (!('code' in error && error.code === 'ENOENT')) throw error;
    throw new PerigeeError('isolation_unavailable', 'Builds need bubblewrap and setpriv.', {
      cause: error,
      fix: 'Install the Debian packages bubblewrap and util-linux on the coordinator’s machine.',
    });
  } finally {
    clearTimeout(timer);
    clearInterval(watch);
    run.signal.removeEventListener('abort', onAbort);
  }
}

/** A reason to stop the build, or none. */
async function look(
  work: string,
  folder: string,
  bounds: BuildBounds,
): Promise<PerigeeError | undefined> {
  const bytes = await sizeOf(work);
  if (bytes > bounds.buildBytesMax) {
    return new PerigeeError(
      'build_failed',
      `The build is larger than ${bounds.buildBytesMax} bytes.`,
      {
        fix: 'Ask for less, or have the operator raise PERIGEE_BUILD_BYTES_MAX.',
      },
    );
  }
  try {
    await refuseFullDisk(folder, bounds);
  } catch (caught) {
    if (caught instanceof PerigeeError) return caught;
  }
  return undefined;
}

async function refuseFullDisk(folder: string, bounds: BuildBounds): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= bounds.diskFreeBytesMin) return;
  throw new PerigeeError('disk_full', `The disk of ${folder} is full; nothing is built.`, {
    fix: 'Free space there, or remove images: `scripts/perigee image rm NAME`.',
  });
}

/** pip's own words, and what to do about them. */
function failure(code: number | null, tail: string, refused: ReadonlySet<string>): PerigeeError {
  const errors = tail
    .split('\n')
    .map((line) => line.trim())
    .filter((line) =>
      /^(\[.*\] )?(ERROR|error):|is not a supported wheel|ResolutionImpossible/i.test(line),
    );
  const words = [...new Set(errors)].slice(0, 4).join(' ') || tail.trim().split('\n').at(-1) || '';
  if (/bwrap: /.test(tail) && code !== 20) {
    return new PerigeeError('isolation_unavailable', `The sandbox of the build: ${words}`, {
      fix: 'Builds need user namespaces: see docs/isolation.md.',
    });
  }
  return new PerigeeError('build_failed', words === '' ? `pip ended with ${code}.` : words, {
    fix: fixFor(tail, refused),
  });
}

function fixFor(tail: string, refused: ReadonlySet<string>): string {
  if (refused.size > 0) {
    return `The build asked for ${[...refused].join(', ')}, which is not the package index; an operator may allow it with PERIGEE_BUILD_HOSTS.`;
  }
  if (/No space left/.test(tail)) return 'Free space on the coordinator’s disk and build again.';
  if (/gcc|unable to execute|command .*cc.* failed|Unable to find.*compiler/i.test(tail)) {
    return 'It has no wheel for this Python and images have no compiler: choose a version that has one.';
  }
  if (/ResolutionImpossible|conflict/i.test(tail)) {
    return 'Two of the requirements, or what they need, exclude each other: loosen one of them.';
  }
  if (/No matching distribution|Could not find a version/i.test(tail)) {
    return 'Check name and version: the index has none that runs on the image’s Python and processor.';
  }
  if (/not a supported wheel/i.test(tail)) {
    return 'That wheel is for another Python or processor than the image’s.';
  }
  return 'Mend what pip says, and build again; `scripts/perigee image show NAME --log` shows it all.';
}

async function finish(
  work: string,
  parts: { deps: BuildDeps; order: BuildOrder },
): Promise<BuiltLayer> {
  const { order, deps } = parts;
  const image = join(work, 'image');
  const base = await readDescription(imagePath(deps.folder, order.base));
  const packages = checkPackages(await readFile(join(work, 'out/packages.json'), 'utf8'));
  await runProgram('chown', ['-R', '-h', `${process.getuid?.()}:${process.getgid?.()}`, image]);
  await runProgram('chmod', ['-R', 'u+rwX,go+rX,go-w,a-s', image]);
  const sizeBytes = await sizeOf(image);
  const description = {
    digest: order.digest,
    base: order.base,
    names: [],
    kind: 'requirements',
    requirements: order.requirements,
    python: base.python,
    arch: base.arch,
    packages,
    sizeBytes,
    builtAt: new Date(deps.nowMs()).toISOString(),
  };
  await writeFile(join(image, 'image.json'), `${JSON.stringify(description, null, 2)}\n`);
  await chmod(join(image, 'image.json'), 0o644);
  return { sizeBytes, packages };
}

async function readLayer(path: string): Promise<BuiltLayer | undefined> {
  if (!existsSync(join(path, 'image.json'))) return undefined;
  const fields = await readFields(path);
  return {
    sizeBytes: Number(fields['sizeBytes'] ?? 0),
    packages: checkPackages(JSON.stringify(fields['packages'] ?? {})),
  };
}

async function readDescription(path: string): Promise<{
  python: PythonVersion & { path: string };
  arch: string;
  packages: Record<string, string>;
}> {
  const fields = await readFields(path);
  const { python, arch } = fields;
  const { implementation, version, path: inside } = python as Record<string, string>;
  return {
    python: {
      implementation: String(implementation),
      version: String(version),
      path: String(inside),
    },
    arch: String(arch),
    packages: checkPackages(JSON.stringify(fields['packages'] ?? {})),
  };
}

async function readFields(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(path, 'image.json'), 'utf8')) as Record<string, unknown>;
}

function checkPackages(text: string): Record<string, string> {
  const value: unknown = JSON.parse(text);
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return Object.fromEntries(
    entries
      .filter((pair): pair is [string, string] => typeof pair[1] === 'string')
      .slice(0, 10_000)
      .sort(([left], [right]) => (left < right ? -1 : 1)),
  );
}

async function sizeOf(path: string): Promise<number> {
  const text = await runProgram('du', ['-s', '--block-size=1', path], { mayFail: true });
  return Number.parseInt(text, 10) || 0;
}

/** Files come and go under a `du` that watches a build: then its code is 1, its sum still good. */
function runProgram(
  program: string,
  argv: readonly string[],
  options: { mayFail?: boolean } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString('utf8');
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0 || options.mayFail === true) resolve(text);
      else reject(new Error(`${program} ended with ${code}`));
    });
  });
}
