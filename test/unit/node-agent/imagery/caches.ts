/** Caches on folders of their own, over real origins, for tests. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImagerySettings } from '../../../../node-agent/imagery/create-imagery-cache.ts';
import { createImageryCache } from '../../../../node-agent/imagery/create-imagery-cache.ts';
import type { OriginSettings } from '../../../../node-agent/imagery/origins/create-origins.ts';
import { createOrigins } from '../../../../node-agent/imagery/origins/create-origins.ts';
import type { ImageryCache } from '../../../../node-agent/imagery/port.ts';
import type { NamespaceName } from '../../../../protocol/wire/ids.ts';

export const namespace = 'team-a' as NamespaceName;
export const other = 'team-b' as NamespaceName;
export const never = new AbortController().signal;

export interface TestCache extends AsyncDisposable {
  cache: ImageryCache;
  folder: string;
  warnings: string[];
  /** Stops it and opens another on the same folder. */
  reopen(): Promise<void>;
}

export async function openCache(
  settings: Partial<ImagerySettings & OriginSettings> = {},
): Promise<TestCache> {
  const base = await mkdtemp(join(tmpdir(), 'perigee-imagery-'));
  const folder = settings.folder ?? base;
  const warnings: string[] = [];
  const make = async (): Promise<ImageryCache> => {
    const now = (): number => performance.now();
    const origins = createOrigins(
      { now, random: () => 0 },
      {
        credentials: [],
        roots: [],
        allowed: [],
        stallMsMax: 400,
        requestsMax: 16,
        requestsPerSecondMax: 1_000,
        ...settings,
      },
    );
    const cache = createImageryCache(
      { origins, now, warn: (message) => warnings.push(message) },
      {
        bytesMax: 1024 ** 3,
        diskFreeBytesMin: 0,
        wholeAssetBytesMax: 1024 ** 2,
        freshMs: 10_000,
        ...settings,
        folder,
      },
    );
    await cache.start();
    return cache;
  };
  const own: TestCache = {
    cache: await make(),
    folder,
    warnings,
    async reopen() {
      await own.cache.stop();
      own.cache = await make();
    },
    async [Symbol.asyncDispose]() {
      await own.cache.stop();
      await rm(base, { recursive: true, force: true });
    },
  };
  return own;
}
