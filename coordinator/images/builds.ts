/**
 * Builds of requirements: each set once, whoever asks for it and however often, a few at a time.
 * A build that a crash interrupted begins anew at the next start; nothing half-made is ever seen.
 */
import { createHash } from 'node:crypto';
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import type { ImageDigest, NamespaceName } from '../../protocol/wire/ids.ts';
import type { PythonVersion } from '../../protocol/wire/task.ts';
import type { BuildLogs } from './build-log.ts';
import type { BuildBounds, BuildDeps } from './builder/run-build.ts';
import { runBuild, sweepBuilds } from './builder/run-build.ts';
import type { ImageCatalogue } from './catalogue.ts';
import type { CatalogueImage } from './image.ts';

/** What to build, checked. */
export interface BuildRequest {
  namespace: NamespaceName;
  /** What the namespace will call it; null for a name made of the base's and the digest's. */
  name: string | null;
  base: { digest: ImageDigest; name: string; python: PythonVersion; arch: string };
  /** Normalized. */
  requirements: readonly string[];
}

/** Builds of one coordinator. */
export interface Builds {
  /** Takes up what was interrupted, and sweeps what it left. */
  start(): Promise<void>;
  /**
   * Makes sure that there is such an image, or that it is being built.
   * @throws PerigeeError queue_full, disk_full
   */
  request(request: BuildRequest): Promise<{ image: CatalogueImage; created: boolean }>;
  /** Ends the builds under way; they begin anew at the next start. */
  stop(): Promise<void>;
}

export interface BuildsSettings extends BuildBounds {
  buildsMax: number;
  buildsWaitingMax: number;
}

/** Raise this when a build makes something else of the same requirements. */
const layerVersion = 1;
/** Output is written to the log in pieces no more often than this. */
const flushMs = 200;

export function createBuilds(
  deps: BuildDeps & {
    catalogue: ImageCatalogue;
    logs: BuildLogs;
    log: { warn(fields: object, message: string): void };
    /** Tells whose files changed. */
    onBuilt(): void;
  },
  settings: BuildsSettings,
): Builds {
  const { catalogue } = deps;
  const waiting: ImageDigest[] = [];
  const running = new Map<ImageDigest, Promise<void>>();
  const ended = new AbortController();
  // One request after another: two of the same set must find each other.
  let last: Promise<unknown> = Promise.resolve();

  const startNext = (): void => {
    while (!ended.signal.aborted && running.size < settings.buildsMax) {
      const digest = waiting.shift();
      if (digest === undefined) return;
      const done = build(digest).catch((caught: unknown) => {
        deps.log.warn({ err: toError(caught), digest }, 'a build could not be noted down');
      });
      running.set(
        digest,
        done.then(() => {
          running.delete(digest);
          startNext();
        }),
      );
    }
  };
  const build = async (digest: ImageDigest): Promise<void> => {
    const image = catalogue.find(digest);
    if (image?.source.kind !== 'requirements' || image.base === null) return;
    await deps.logs.begin(digest);
    const writer = createLogWriter((bytes) => deps.logs.append(digest, bytes));
    try {
      const built = await runBuild(deps, settings, {
        order: { digest, base: image.base, requirements: image.source.requirements },
        onOutput: writer.add,
        signal: ended.signal,
      });
      await writer.end();
      deps.onBuilt();
      await catalogue.update(digest, {
        state: 'ready',
        sizeBytes: built.sizeBytes,
        packages: built.packages,
        failure: null,
        endedAtMs: deps.nowMs(),
      });
    } catch (caught) {
      await writer.end();
      // Stopped with the coordinator: it stays `building`, and the next start takes it up.
      if (ended.signal.aborted) return;
      const error = toError(caught);
      if (!(error instanceof PerigeeError)) deps.log.warn({ err: error, digest }, 'a build failed');
      await catalogue.update(digest, {
        state: 'buildFailed',
        failure: {
          message: error.message,
          fix: error instanceof PerigeeError ? error.fix : 'Look into the coordinator’s log.',
        },
        endedAtMs: deps.nowMs(),
      });
    } finally {
      deps.logs.end(digest);
    }
  };
  const enqueue = (digest: ImageDigest): void => {
    if (!waiting.includes(digest) && !running.has(digest)) waiting.push(digest);
    startNext();
  };
  const take = async (
    request: BuildRequest,
  ): Promise<{ image: CatalogueImage; created: boolean }> => {
    const { base, requirements, namespace } = request;
    const requestKey = hash({ layerVersion, base: base.digest, requirements });
    const known = catalogue.findRequest(requestKey);
    const isFresh = known === undefined || known.state === 'removed';
    const generation = known === undefined ? 0 : known.generation + (isFresh ? 1 : 0);
    const digest = isFresh
      ? (`sha256:${hash({ requestKey, generation })}` as ImageDigest)
      : known.digest;
    const name = {
      name: request.name ?? `${base.name}+${requestKey.slice(0, 8)}`,
      namespace,
    };
    if (!isFresh && known.state !== 'buildFailed') {
      return { image: await catalogue.addName(digest, name), created: false };
    }
    if (waiting.length >= settings.buildsWaitingMax) {
      throw new PerigeeError('queue_full', `${waiting.length} builds wait already.`);
    }
    await catalogue.put({
      digest,
      source: { kind: 'requirements', requirements },
      state: 'building',
      names: [...(isFresh ? [] : known.names.filter((other) => other.name !== name.name)), name],
      requestKey,
      generation,
      python: base.python,
      arch: base.arch,
      sizeBytes: 0,
      base: base.digest,
      packages: {},
      archive: null,
      failure: null,
      createdAtMs: deps.nowMs(),
      endedAtMs: null,
    });
    enqueue(digest);
    const image = catalogue.find(digest);
    if (image === undefined) throw new PerigeeError('internal', 'A new image is in the catalogue.');
    return { image, created: true };
  };
  return {
    async start() {
      await sweepBuilds(deps.folder);
      const open = catalogue.list().filter(({ state, source }) => {
        return state === 'building' && source.kind === 'requirements';
      });
      for (const { digest } of open.reverse()) enqueue(digest);
    },
    request(request) {
      const taken = last.then(() => take(request));
      last = taken.catch(() => undefined);
      return taken;
    },
    async stop() {
      ended.abort();
      await Promise.all(running.values());
    },
  };
}

/** Gathers output, and writes what has come together in order. */
function createLogWriter(append: (bytes: Uint8Array) => Promise<void>): {
  add(bytes: Buffer): void;
  end(): Promise<void>;
} {
  let parts: Buffer[] = [];
  let timer: NodeJS.Timeout | undefined;
  let last: Promise<void> = Promise.resolve();
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const bytes = Buffer.concat(parts);
    parts = [];
    last = last.then(() => append(bytes));
    // Who ends the log hears of it; until then it must not count as nobody's.
    last.catch(() => undefined);
  };
  return {
    add(bytes) {
      parts.push(bytes);
      timer ??= setTimeout(flush, flushMs);
    },
    end() {
      flush();
      return last;
    },
  };
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
