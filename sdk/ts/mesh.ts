/** A connection to a mesh. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type {
  GroupRequest,
  GroupView,
  IncludeRequest,
  StatusView,
  WhoamiView,
} from '../../protocol/wire/api.ts';
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import { CloudFunction } from './cloud-function.ts';
import { createDeadline, type WaitOptions } from './deadline.ts';
import { type FunctionText, readFunctionSource } from './function-source.ts';
import type { BuildWait } from './image-build.ts';
import { awaitImage, buildImage, showBuildLog } from './image-build.ts';
import { Imagery } from './imagery.ts';
import { hashArchive, readArchive } from './include-archive.ts';
import type { IncludedFiles, IncludeOptions } from './include-files.ts';
import { collectIncludes } from './include-files.ts';
import type { MeshLink } from './mesh-link.ts';
import { createOutcomeFollower } from './outcome-follower.ts';
import { hashOf } from './submission.ts';
import { Task } from './task.ts';
import { createTaskHandle, type MeshContext } from './task-handle.ts';
import type { Value } from './value.ts';

/** A function and what its tasks may use; docs/api.md says each field's default and bounds. */
export type FunctionOptions = FunctionText &
  IncludeOptions &
  Omit<Partial<GroupRequest>, 'function' | 'cloudpickle' | 'resultFormat' | 'include'> & {
    /** Name of the function in the source; default: the only one at its top level. */
    entry?: string;
    /**
     * Packages that the function needs besides the image's, as lines of a requirements file, or the
     * path of one. An image with them is built once.
     */
    requirements?: readonly string[] | string | undefined;
    /** Is given the log of an image that is being made; default: standard error. */
    onBuildLog?: ((text: string) => void) | undefined;
  };

/** Source up to this travels with the request; longer source as a blob. */
const inlineSourceBytesMax = 1024 * 1024;

/**
 * A connection to a mesh, made by `connect`. It comes back by itself when the coordinator was away.
 * @example
 * await using mesh = await connect();
 */
export class Mesh implements AsyncDisposable {
  /** The catalogue of scenes. */
  readonly imagery: Imagery;
  readonly #context: MeshContext;
  readonly #close: () => Promise<void>;

  /** Meshes come from `connect`. */
  constructor(connection: { link: MeshLink; close: () => Promise<void> }) {
    const { link } = connection;
    this.#context = { link, follower: createOutcomeFollower(link) };
    this.#close = connection.close;
    this.imagery = new Imagery(link);
  }

  /** The token's role and namespace. */
  whoami(options: WaitOptions = {}): Promise<WhoamiView> {
    return this.#context.link.call('whoami', {}, options);
  }

  /** Counts of the namespace and of the nodes that serve it. */
  status(options: WaitOptions = {}): Promise<StatusView> {
    return this.#context.link.call('status.get', {}, options);
  }

  /**
   * Makes sure that a namespace is there, by default the token's own; harmless to repeat.
   * @throws PerigeeError forbidden when the token may not make another one.
   */
  async createNamespace(
    name?: string,
    options: WaitOptions = {},
  ): Promise<{ namespace: NamespaceName; created: boolean }> {
    const { link } = this.#context;
    using deadline = createDeadline(options, 'createNamespace');
    const { signal } = deadline;
    const wanted = name ?? (await this.whoami({ signal })).namespace;
    return link.call('namespaces.create', { name: wanted }, { signal });
  }

  /**
   * Puts a Python function on the mesh; later changes of the file are not seen. Waits for an image
   * that is being made or brought in; it is made all the same when the wait ends before.
   * @throws PerigeeError invalid_request, image_unknown, build_failed, unsatisfiable, forbidden.
   * @example
   * const double = await mesh.createFunction<number>({ source: 'def double(x):\n    return 2 * x\n' });
   */
  async createFunction<Result = Value>(
    options: FunctionOptions,
    wait: WaitOptions = {},
  ): Promise<CloudFunction<Result>> {
    const { link } = this.#context;
    using deadline = createDeadline(wait, 'createFunction');
    const { signal } = deadline;
    const { group, own } = splitOptions(options);
    const { bytes, entry } = await readFunctionSource(options);
    const included = await collectIncludes(options);
    const building = { link, signal, onBuildLog: own.onBuildLog ?? showBuildLog };
    if (own.requirements !== undefined && own.requirements.length > 0) {
      const { requirements } = own;
      const base = group.image ?? null;
      const python = group.python?.version ?? null;
      group.image = await buildImage(building, { requirements, base, python });
    }
    const isInline = bytes.length <= inlineSourceBytesMax;
    const hash = hashOf(bytes);
    if (!isInline) await link.upload({ hash, bytes }, { signal });
    const request: GroupRequest = {
      ...group,
      name: group.name ?? entry,
      function: { kind: 'source', entry, ...(isInline ? { inline: bytes } : { blob: hash }) },
      resultFormat: 'msgpack',
      ...(included === null ? {} : { include: await sendIncludes(link, included, signal) }),
    };
    return new CloudFunction<Result>(this.#context, await createGroup(building, request));
  }

  /**
   * A function that was made before, in any process, by its id or a unique beginning of it.
   * @throws PerigeeError not_found, ambiguous_id; invalid_request when Python pickles are its arguments.
   */
  async findFunction<Result = Value>(
    guid: string,
    options: WaitOptions = {},
  ): Promise<CloudFunction<Result>> {
    const group = await this.#context.link.call('groups.get', { id: guid }, options);
    if (group.resultFormat === 'pickle') {
      throw new PerigeeError('invalid_request', `Group ${group.name} returns Python pickles.`, {
        fix: 'Call it from Python, or make it with result_format="json".',
      });
    }
    return new CloudFunction<Result>(this.#context, group);
  }

  /**
   * A task of any process by its two ids; the mesh is asked when something of it is wanted.
   * @throws PerigeeError invalid_request when the texts are not ids.
   */
  task<Result = Value>(guid: string, tuid: string): Task<Result> {
    return new Task<Result>(createTaskHandle(this.#context, { guid, tuid }));
  }

  /** Ends all waits and the connection; the tasks run on. Idempotent. */
  async close(): Promise<void> {
    await this.#context.follower.close();
    await this.#close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What the mesh is told of a group, and what is this side's own. */
function splitOptions(options: FunctionOptions): {
  group: Omit<Partial<GroupRequest>, 'function' | 'cloudpickle' | 'resultFormat' | 'include'>;
  own: Pick<FunctionOptions, 'requirements' | 'onBuildLog'>;
} {
  const { source: _source, file: _file, entry: _entry, ...rest } = options;
  const { includeModules: _modules, includeData: _data, includeFrom: _from, ...more } = rest;
  const { requirements, onBuildLog, ...group } = more;
  return { group, own: { requirements, onBuildLog } };
}

async function createGroup(building: BuildWait, request: GroupRequest): Promise<GroupView> {
  for (;;) {
    try {
      return await building.link.call('groups.create', request, { signal: building.signal });
    } catch (caught) {
      const isBuilding = caught instanceof PerigeeError && caught.code === 'image_building';
      const digest = isBuilding ? caught.details['digest'] : undefined;
      if (typeof digest !== 'string') throw caught;
      await awaitImage(building, digest);
    }
  }
}

async function sendIncludes(
  link: MeshLink,
  { files, modules, arch }: IncludedFiles,
  signal: AbortSignal,
): Promise<IncludeRequest> {
  const hash = await hashArchive(files);
  const { sizeBytes } = await link.call('blobs.find', { hash }, { signal });
  if (sizeBytes === null) {
    await link.upload({ hash, bytes: () => readArchive(files) }, { signal });
  }
  return { blob: hash, modules, arch };
}
