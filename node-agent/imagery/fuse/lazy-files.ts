/** Files that are filled as they are read, for assets that are too large to be fetched whole: one FUSE mount per agent. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { toError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import type { AgentMark } from '../../runner/agent-mark.ts';
import { formatAgentMark, isStaleMark } from '../../runner/agent-mark.ts';
import type { AssetVersion, ImageryCache } from '../port.ts';
import { serveFuse } from './serve-fuse.ts';
import type { LazyFile } from './tree.ts';
import { FuseTree } from './tree.ts';

/** One file in the hands of a task. */
export interface LazyGrant {
  /** Below the namespace's folder. */
  path: string;
  /** Why the last read of it failed; null while all went well. */
  readonly failure: Error | null;
  /** Idempotent. */
  release(): void;
}

export interface LazyFiles {
  /** The machine's path of what one namespace may see; the sandbox's bind. Made at the first call. */
  folderOf(namespace: NamespaceName): string;
  grant(version: AssetVersion, options: { namespace: NamespaceName; name: string }): LazyGrant;
  /** Unmounts; idempotent. */
  close(): Promise<void>;
}

export interface LazyFilesOptions {
  /** Where the mount goes; made when missing. */
  folder: string;
  agent: AgentMark;
  warn(fields: object, message: string): void;
}

const mountSource = 'perigee-imagery-';
const readMsMax = 120_000;

/**
 * Mounts where this machine allows it, after unmounting what dead agents left.
 * @throws Error that says what is missing: root, /dev/fuse, a kernel that is new enough.
 */
export async function openLazyFiles(
  cache: Pick<ImageryCache, 'read'>,
  options: LazyFilesOptions,
): Promise<LazyFiles> {
  if (process.getuid?.() !== 0) throw new Error('the agent is not root');
  await unmountStale(options.agent);
  const made = mkdirSync(options.folder, { recursive: true });
  // Slots' users walk through, whatever this process's mask is; they cannot list. A folder above that
  // was there before, perhaps /tmp, is not the agent's to close.
  if (made !== undefined && made !== options.folder) chmodSync(dirname(options.folder), 0o711);
  chmodSync(options.folder, 0o711);
  const fd = openSync('/dev/fuse', constants.O_RDWR);
  const tree = new FuseTree();
  const closing = new AbortController();
  const fuseOptions = [
    ...['fd=3', 'rootmode=40000', 'user_id=0', 'group_id=0'],
    ...['allow_other', 'default_permissions', 'ro', 'nosuid', 'nodev', 'noexec'],
  ];
  const source = `${mountSource}${formatAgentMark(options.agent)}`;
  try {
    await run(
      ['mount', '-i', '-t', 'fuse', '-o', fuseOptions.join(','), source, options.folder],
      fd,
    );
  } catch (caught) {
    closeSync(fd);
    throw caught;
  }
  const server = serveFuse(fd, {
    tree,
    warn: options.warn,
    read: (version, range, file) =>
      cache.read(version, range, {
        namespace: file.namespace,
        signal: AbortSignal.any([closing.signal, AbortSignal.timeout(readMsMax)]),
      }),
  });
  const close = async (): Promise<void> => {
    closing.abort();
    // Lazily: workers that still end have it bound.
    await run(['umount', '-l', options.folder], null).catch((caught: unknown) =>
      options.warn({ error: toError(caught).message }, 'The imagery mount stays.'),
    );
    await server.ended;
    closeSync(fd);
    try {
      rmdirSync(options.folder);
    } catch {
      // Not empty: it was there before.
    }
  };
  let closed: Promise<void> | undefined;
  try {
    await server.ready;
  } catch (caught) {
    closed = close();
    await closed;
    throw caught;
  }
  return {
    folderOf(namespace) {
      tree.addNamespace(namespace);
      return join(options.folder, namespace);
    },
    grant(version, where) {
      const { file, path } = tree.add(version, where);
      return grantOf(tree, file, path);
    },
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

function grantOf(tree: FuseTree, file: LazyFile, path: string): LazyGrant {
  return {
    path,
    get failure() {
      return file.failure;
    },
    release: () => tree.remove(file),
  };
}

/** Mounts whose agent is gone answer nothing but errors. */
async function unmountStale(agent: AgentMark): Promise<void> {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [place = '', kind = ''] = line.split(' - ');
    const source = kind.split(' ')[1] ?? '';
    if (!source.startsWith(mountSource)) continue;
    if (!isStaleMark(source.slice(mountSource.length), agent)) continue;
    const path = (place.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    // Another agent that starts now may have done it.
    await run(['umount', '-l', path], null).catch(() => undefined);
  }
}

/** @throws Error with what the program said. */
async function run(argv: readonly string[], fuseFd: number | null): Promise<void> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe', fuseFd ?? 'ignore'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${program}: ${said.trim() || `status ${code}`}`);
}
