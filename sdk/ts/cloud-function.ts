/** A function on the mesh, to be called as if it were here; the mesh calls it a group. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { GroupLimitsRequest, GroupView, OutputView, Page } from '../../protocol/wire/api.ts';
import type { GroupId } from '../../protocol/wire/ids.ts';
import { type MapInput, type MapOptions, zipCalls } from './calls.ts';
import { createDeadline, pause, type WaitOptions } from './deadline.ts';
import { type Call, submitCall, submitCalls } from './submission.ts';
import type { Task } from './task.ts';
import type { MeshContext } from './task-handle.ts';
import { TaskOutput } from './task-output.ts';
import type { Value } from './value.ts';

/** First and longest pause between two looks at the counters of a group. */
const lookMs = 50;
const lookMsMax = 1_000;

/**
 * A function on the mesh. `Result` is what the caller says that it returns.
 * @example
 * const ndvi = await mesh.createFunction<number>({ file: 'ndvi.py', entry: 'mean_ndvi' });
 * const tasks = await ndvi.map(scenes);
 */
export class CloudFunction<Result = Value> {
  readonly #context: MeshContext;
  readonly #within: WaitOptions;
  /** Id of the group. */
  readonly guid: GroupId;
  readonly name: string;

  /** Functions come from `mesh.createFunction` and `mesh.findFunction`. */
  constructor(
    context: MeshContext,
    group: { id: GroupId; name: string },
    within: WaitOptions = {},
  ) {
    this.#context = context;
    this.#within = within;
    this.guid = group.id;
    this.name = group.name;
  }

  /** The same function, whose calls and maps end with the signal or the timeout. */
  within(options: WaitOptions): CloudFunction<Result> {
    return new CloudFunction(this.#context, { id: this.guid, name: this.name }, options);
  }

  /**
   * Puts one call on disk.
   * @throws PerigeeError invalid_request for a value that msgpack has no form for, group_terminated,
   *   disk_full, unreachable, timed_out; or the signal's reason.
   */
  call(
    args: readonly Value[] = [],
    kwargs: Readonly<Record<string, Value | undefined>> = {},
    options: WaitOptions = this.#within,
  ): Promise<Task<Result>> {
    const target = { context: this.#context, group: this.guid };
    return submitCall<Result>(target, { args, kwargs }, options);
  }

  /**
   * Puts one call for every element on disk; an array is one argument. Several iterables are taken
   * in step, shorter ones filled up with null. They are read as batches are filled, so that a
   * generator of a million large arguments is never in memory as a whole. With `{ assets }` as the last
   * parameter a function says for each call which imagery it reads; by default asset URIs are found
   * among the arguments.
   * @example
   * await ndvi.map(scenes, { assets: (scene) => [scene.red, scene.nir] });
   * @throws MapError, with the tasks that are on disk, when a later batch fails; else as `call`.
   */
  map<Inputs extends readonly [MapInput, ...MapInput[]]>(
    ...given: readonly [...inputs: Inputs, options: MapOptions<Inputs>]
  ): Promise<Task<Result>[]>;
  map(first: MapInput, ...others: readonly MapInput[]): Promise<Task<Result>[]>;
  map(...given: readonly unknown[]): Promise<Task<Result>[]> {
    const target = { context: this.#context, group: this.guid };
    const last = given.at(-1);
    const options = given.length > 1 && isMapOptions(last) ? last : {};
    const inputs = options === last ? given.slice(0, -1) : given;
    return submitCalls<Result>(target, callsOf(inputs, options.assets), this.#within);
  }

  /** What the coordinator says of the group. */
  describe(options: WaitOptions = this.#within): Promise<GroupView> {
    return this.#context.link.call('groups.get', { id: this.guid }, options);
  }

  /** The files that all its tasks have given out so far, in order of tasks. */
  async *outputs(options: WaitOptions = this.#within): AsyncGenerator<TaskOutput, void, undefined> {
    const { link } = this.#context;
    let cursor: string | null = null;
    do {
      const page: Page<OutputView> = await link.call(
        'groups.outputs',
        { id: this.guid, cursor },
        options,
      );
      for (const view of page.items) yield new TaskOutput(link, view);
      cursor = page.next;
    } while (cursor !== null);
  }

  /** Changes limits, for attempts that have not begun. */
  setLimits(limits: GroupLimitsRequest, options: WaitOptions = this.#within): Promise<GroupView> {
    return this.#context.link.call('groups.update', { ...limits, id: this.guid }, options);
  }

  /** Ends the group: no new tasks, queued ones are cancelled, running ones are killed unless `drain`. */
  terminate(options: WaitOptions & { drain?: boolean } = this.#within): Promise<GroupView> {
    const { drain = false } = options;
    return this.#context.link.call('groups.terminate', { id: this.guid, drain }, options);
  }

  /** Waits until no task of the group is queued or running, whoever submitted it. */
  async waitForCompletion(options: WaitOptions = this.#within): Promise<void> {
    using deadline = createDeadline(options, `Group ${this.name}`);
    const { signal } = deadline;
    for (let pauseMs = lookMs; ; pauseMs = Math.min(lookMsMax, pauseMs * 2)) {
      const { queued, running } = (await this.describe({ signal })).tasks;
      if (queued + running === 0) return;
      await pause(pauseMs, signal);
    }
  }
}

async function* callsOf(
  given: readonly unknown[],
  assets: AssetsOf | undefined,
): AsyncGenerator<Call, void, undefined> {
  const inputs: MapInput[] = [];
  for (const input of given) {
    checkInput(input);
    inputs.push(input);
  }
  for await (const args of zipCalls(inputs)) {
    yield { args, kwargs: {}, ...(assets === undefined ? {} : { assets: assets(...args) }) };
  }
}

type AssetsOf = (...args: readonly Value[]) => Iterable<unknown>;

/** An object of which every property is an option: arguments come as iterables. */
function isMapOptions(value: unknown): value is { assets?: AssetsOf } {
  if (typeof value !== 'object' || value === null) return false;
  if (Symbol.iterator in value || Symbol.asyncIterator in value) return false;
  if (!('assets' in value)) return Object.keys(value).length === 0;
  return typeof value.assets === 'function';
}

function checkInput(input: unknown): asserts input is MapInput {
  const isIterable =
    typeof input === 'object' &&
    input !== null &&
    (Symbol.iterator in input || Symbol.asyncIterator in input);
  if (isIterable || typeof input === 'string') return;
  throw new PerigeeError('invalid_request', `map takes iterables, not ${String(input)}.`, {
    fix: 'Give arrays or generators, one for each argument.',
  });
}
