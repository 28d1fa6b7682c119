/**
 * Machines that have nothing: a bare Debian as root file system, a network namespace of their own
 * with an address of their own and no route but to the coordinator's network, processes of their own.
 * They run their user data and end with it.
 */
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { perigeeHome } from '../setup/perigee-home.ts';

const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
/** What every cloud image of Debian has beyond the smallest system. */
const included = 'curl,ca-certificates,mount';

export interface BareMachines {
  /** Where the coordinator and the clouds' stand-ins listen, for machines to reach. */
  readonly hostAddress: string;
  boot(name: string, userData: string): BareMachine;
  close(): Promise<void>;
}

export interface BareMachine {
  readonly address: string;
  readonly ended: Promise<void>;
  isEnded(): boolean;
  /** What it wrote. */
  said(): string;
  /** Takes its network away. */
  cutOff(): void;
  /** As if its power was cut. */
  kill(): Promise<void>;
}

export function openBareMachines(): BareMachines {
  const root = findBareRoot();
  const folder = mkdtempSync(join(tmpdir(), 'perigee-machines-'));
  // One net in 10.231.0.0/16 for each process, so that two test runs do not meet.
  const net = `10.231.${process.pid % 250}`;
  const bridge = `pgb${process.pid % 100_000}`;
  const machines: (BareMachine & { remove(): void })[] = [];
  ip('link', 'add', bridge, 'type', 'bridge');
  ip('address', 'add', `${net}.1/24`, 'dev', bridge);
  ip('link', 'set', bridge, 'up');

  const boot = (name: string, userData: string): BareMachine => {
    const number = machines.length + 2;
    const space = `${bridge}-${number}`;
    const address = `${net}.${number}`;
    const [outer, inner] = [`${bridge}v${number}`, `${bridge}w${number}`];
    ip('netns', 'add', space);
    ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', inner);
    ip('link', 'set', inner, 'netns', space);
    ip('link', 'set', outer, 'master', bridge, 'up');
    ip('-n', space, 'address', 'add', `${address}/24`, 'dev', inner);
    ip('-n', space, 'link', 'set', inner, 'up');
    ip('-n', space, 'link', 'set', 'lo', 'up');
    const own = join(folder, name);
    for (const part of ['upper', 'work', 'root']) mkdirSync(join(own, part), { recursive: true });
    writeFileSync(join(own, 'upper/user-data'), userData, { mode: 0o700 });
    mkdirSync(join(own, 'upper/usr/sbin'), { recursive: true });
    // Its power is its first process, which ends by itself after this.
    writeFileSync(join(own, 'upper/usr/sbin/poweroff'), '#!/bin/sh\ntouch /powered-off\n', {
      mode: 0o755,
    });
    const child = spawn(
      'ip',
      [
        ...['netns', 'exec', space, 'unshare', '--mount', '--pid', '--fork', '--kill-child'],
        ...['--uts', '--ipc', '--propagation', 'private', 'sh', '-c', enter, 'sh'],
        ...[root, own, name],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
    );
    const machine = watch(child, {
      address,
      cutOff: () => ip('link', 'set', outer, 'down'),
      remove: () => {
        spawnSync('ip', ['netns', 'delete', space]);
        spawnSync('ip', ['link', 'delete', outer]);
      },
    });
    machines.push(machine);
    return machine;
  };
  return {
    hostAddress: `${net}.1`,
    boot,
    async close() {
      for (const machine of machines) {
        await machine.kill();
        machine.remove();
      }
      spawnSync('ip', ['link', 'delete', bridge]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** From an empty mount namespace to the machine's own root, with nothing of the host in sight. */
const enter = `set -e
root=$1; own=$2; name=$3
mount -t overlay overlay -o "lowerdir=$root,upperdir=$own/upper,workdir=$own/work" "$own/root"
cd "$own/root"
mount -t proc proc proc
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev; mount --make-rslave dev
mount --rbind /sys sys; mount --make-rslave sys
hostname "$name"
mkdir -p .host
pivot_root . .host
umount -l .host
exec /bin/sh /user-data`;

function watch(
  child: ChildProcess,
  own: { address: string; cutOff(): void; remove(): void },
): BareMachine & { remove(): void } {
  let said = '';
  let isOver = false;
  const keep = (chunk: Buffer): void => {
    said = (said + chunk.toString('utf8')).slice(-100_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const ended = new Promise<void>((done) => {
    child.once('close', () => {
      isOver = true;
      done();
    });
    child.once('error', (error) => {
      said += error.message;
      isOver = true;
      done();
    });
  });
  return {
    ...own,
    ended,
    isEnded: () => isOver,
    said: () => said,
    async kill() {
      // unshare --kill-child takes the machine's first process along, and the kernel the others.
      if (!isOver) child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Made once by mmdebstrap and kept, for it takes a minute. */
function findBareRoot(): string {
  const folder = join(perigeeHome(), 'test-roots', `bookworm-${arch}`);
  if (existsSync(join(folder, 'bin/sh'))) return folder;
  const made = `${folder}.${process.pid}`;
  mkdirSync(made, { recursive: true, mode: 0o755 });
  try {
    const said = spawnSync(
      'mmdebstrap',
      ['--variant=minbase', '--format=directory', `--include=${included}`, 'bookworm', made],
      { encoding: 'utf8' },
    );
    if (said.status !== 0) throw new Error(`no bare root: ${said.error?.message ?? said.stderr}`);
    if (!existsSync(folder)) renameSync(made, folder);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
  return folder;
}

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: 'pipe' });
}
