/** Real sandboxes over the real cache, whose origin is the HTTP server of the tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LazyFiles } from '../../node-agent/imagery/fuse/lazy-files.ts';
import { openLazyFiles } from '../../node-agent/imagery/fuse/lazy-files.ts';
import { readAgentMark } from '../../node-agent/runner/agent-mark.ts';
import type { Sandbox, Sandboxes } from '../isolation/sandboxes.ts';
import { openSandboxes } from '../isolation/sandboxes.ts';
import type { TestCache } from '../unit/node-agent/imagery/caches.ts';
import { namespace, openCache } from '../unit/node-agent/imagery/caches.ts';

const mib = 1024 ** 2;
/** Width and height of the scene that changes. */
export const side = 4_096;

const source = `
import sys, time
import numpy
from perigee import errors, imagery

def f(order, *values):
    try:
        return globals()[order](*values)
    except errors.PerigeeError as caught:
        return [type(caught).__name__, caught.message]

def window(uri, *box):
    array, _ = imagery.read(uri, window=box or None)
    return ['read', int(array.sum())]

def mosaic(uri):
    array, _ = imagery.ndarray([uri, uri])
    return ['read', list(array.shape)]

def path(uri):
    with open(imagery.open(uri), 'rb') as opened:
        return len(opened.read())

# Reads strip by strip; after the first one the origin is told to change, and seen to have.
def changing(uri, flag):
    seen = set()
    for row in range(0, ${side}, 64):
        try:
            array, _ = imagery.read(uri, window=(0, row, ${side}, 64))
        except errors.AssetChangedError as caught:
            again, _ = imagery.read(uri)
            return [sorted(seen), row > 0, caught.message, numpy.unique(again).tolist()]
        seen.update(numpy.unique(array).tolist())
        if row == 0:
            print('the first strip is read')
            sys.stdout.flush()
            wait_for(flag)
    again, _ = imagery.read(uri)
    return [sorted(seen), False, None, numpy.unique(again).tolist()]

def wait_for(flag):
    while True:
        try:
            return imagery.open(flag)
        except errors.AssetNotFoundError:
            time.sleep(0.05)
`;

export interface TaskBench extends AsyncDisposable {
  sandboxes: Sandboxes;
  cache: TestCache;
  start(python?: '2.7' | '3.11'): Sandbox;
}

/** A cache and sandboxes that read through it, with large assets filled as they are read or whole. */
export async function openBench(
  host: string,
  options: { lazy: boolean; folder?: string; wholeAssetBytesMax?: number },
): Promise<TaskBench> {
  const wholeAssetBytesMax = options.wholeAssetBytesMax ?? mib;
  const cache = await openCache({
    allowed: [host],
    stallMsMax: 5_000,
    freshMs: 50,
    wholeAssetBytesMax,
    ...(options.folder === undefined ? {} : { folder: options.folder }),
  });
  const mount = mkdtempSync(join(tmpdir(), 'perigee-mount-'));
  let files: LazyFiles | null = null;
  if (options.lazy) {
    const agent = readAgentMark();
    files = await openLazyFiles(cache.cache, { folder: mount, agent, warn: () => {} });
  }
  const lazy = files === null ? {} : { lazy: { files, wholeAssetBytesMax } };
  const sandboxes = await openSandboxes('standard', {}, { imagery: cache.cache, ...lazy });
  return {
    sandboxes,
    cache,
    start: (python = '2.7') =>
      sandboxes.start({ source, python, spec: { namespace, memoryBytes: 512 * mib } }),
    async [Symbol.asyncDispose]() {
      await sandboxes[Symbol.asyncDispose]();
      await files?.close();
      await cache[Symbol.asyncDispose]();
      rmSync(mount, { recursive: true, force: true });
    },
  };
}

/** What the function answers; fails with the task's traceback. */
export async function callIn(sandbox: Sandbox, ...call: unknown[]): Promise<unknown> {
  const end = await sandbox.call(...call);
  if (end.kind === 'ended' && end.task.status === 'success') return end.value;
  const why = end.kind === 'ended' ? end.task.failure?.traceback : JSON.stringify(end.event.end);
  throw new Error(`the task failed: ${why}\n${end.log}`);
}
