/** Origins on this machine's file systems: only below folders that the operator offered. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Origin, OriginFacts } from './port.ts';
import { OriginFailure } from './port.ts';

/** A folder that may be read; `name` is how sandboxes see it, when they do. */
export interface FileRoot {
  path: string;
  name: string | null;
}

export function createFileOrigin(roots: readonly FileRoot[]): Origin {
  const use = async <Value>(
    uri: string,
    act: (file: FileHandle) => Promise<Value>,
  ): Promise<Value> => {
    const path = await findPath(uri, roots);
    // Without NONBLOCK a FIFO would hold the thread for ever.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = await open(path, flags).catch((caught: unknown) => {
      throw asFailure(uri, caught);
    });
    try {
      return await act(file);
    } catch (caught) {
      throw asFailure(uri, caught);
    } finally {
      await file.close();
    }
  };
  return {
    stat: (uri) => use(uri, (file) => factsOf(uri, file)),
    read: (uri, read) =>
      use(uri, async (file) => {
        const { offset, length } = read.range;
        const bytes = Buffer.allocUnsafe(length);
        let filled = 0;
        while (filled < length) {
          const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
          if (bytesRead === 0) break;
          filled += bytesRead;
        }
        // Looked at after the read: a writer at work would have changed the time by now.
        const { version } = await factsOf(uri, file);
        if (version !== read.version || filled < length) {
          throw new OriginFailure(
            'changed',
            `the file is no longer the same: it is ${version} now`,
          );
        }
        return bytes;
      }),
    renew: () => undefined,
    close: () => undefined,
  };
}

async function factsOf(uri: string, file: FileHandle): Promise<OriginFacts> {
  const facts = await file.stat({ bigint: true });
  if (!facts.isFile()) throw new OriginFailure('invalid', `${uri} is no regular file`);
  return { sizeBytes: Number(facts.size), version: `${facts.mtimeNs}-${facts.ino}-${facts.size}` };
}

/** The real path behind a URI, when it lies below a root. */
async function findPath(uri: string, roots: readonly FileRoot[]): Promise<string> {
  let named: string;
  try {
    named = fileURLToPath(uri);
  } catch (cause) {
    throw new OriginFailure('invalid', `${uri} is no path`, { cause });
  }
  const offered = roots.find(({ name }) => name !== null && isBelow(named, `/data/${name}`));
  const wanted =
    offered === undefined ? named : `${offered.path}${named.slice(`/data/${offered.name}`.length)}`;
  const denied = new OriginFailure(
    'denied',
    `${uri} is below no folder that this node offers (--mount, --imagery-root)`,
  );
  // What is outside is not even looked for: its absence would tell something too.
  if (!roots.some((root) => isBelow(wanted, root.path))) throw denied;
  const real = await realpath(wanted).catch((caught: unknown) => {
    throw asFailure(uri, caught);
  });
  const realRoots = await Promise.all(roots.map((root) => realpath(root.path).catch(() => null)));
  if (!realRoots.some((root) => root !== null && isBelow(real, root))) throw denied;
  return real;
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`);
}

function asFailure(uri: string, caught: unknown): Error {
  if (caught instanceof OriginFailure) return caught;
  const code = caught instanceof Error && 'code' in caught ? String(caught.code) : '';
  const kind =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? 'notFound'
      : code === 'EACCES' || code === 'EPERM' || code === 'ELOOP'
        ? 'denied'
        : 'faulty';
  return new OriginFailure(kind, `${uri}: ${code === '' ? String(caught) : code}`, {
    cause: caught,
  });
}
