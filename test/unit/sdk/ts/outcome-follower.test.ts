/** The follower over a link in memory, whose streams the test writes and breaks. */
import { afterEach, describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { BatchNumber, GroupId } from '../../../../protocol/wire/ids.ts';
import {
  encodeHeartbeat,
  encodeOutcomeRecord,
  type OutcomeRecord,
} from '../../../../protocol/wire/outcome-record.ts';
import type { MeshLink } from '../../../../sdk/ts/mesh-link.ts';
import {
  createOutcomeFollower,
  type OutcomeFollower,
} from '../../../../sdk/ts/outcome-follower.ts';
import type { OutcomeWatcher, TaskBatch } from '../../../../sdk/ts/task-batch.ts';

interface OpenedStream {
  input: { after: number; groups?: string[] | null };
  signal: AbortSignal;
  send(bytes: Uint8Array): void;
  break(error: PerigeeError): void;
}

class MemoryLink {
  readonly streams: OpenedStream[] = [];
  #arrived: () => void = () => undefined;

  /** The nth stream that was opened, once it is. */
  async opened(count: number): Promise<OpenedStream> {
    for (;;) {
      const stream = this.streams[count - 1];
      if (stream !== undefined) return stream;
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
  }

  readonly persist: MeshLink['persist'] = async (attempt, signal) => {
    for (;;) {
      try {
        return await attempt();
      } catch (caught) {
        signal.throwIfAborted();
        if (!(caught instanceof PerigeeError) || !caught.retryable) throw caught;
      }
    }
  };

  // One subscription is all that a follower makes.
  readonly subscribe = this.#follow.bind(this) as unknown as MeshLink['subscribe'];

  async *#follow(
    _name: string,
    input: OpenedStream['input'],
    options: { signal: AbortSignal },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const queue: (Uint8Array | PerigeeError)[] = [];
    let wake: () => void = () => undefined;
    const push = (item: Uint8Array | PerigeeError): void => {
      queue.push(item);
      wake();
    };
    options.signal.addEventListener('abort', () => wake());
    this.streams.push({ input, signal: options.signal, send: push, break: push });
    this.#arrived();
    for (;;) {
      options.signal.throwIfAborted();
      const item = queue.shift();
      if (item instanceof PerigeeError) throw item;
      if (item !== undefined) yield item;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  }
}

const group = 'aaaaaaaaaaaa' as GroupId;
const otherGroup = 'bbbbbbbbbbbb' as GroupId;

const record = (number: number, batch: number, index: number): Uint8Array =>
  encodeOutcomeRecord({
    kind: 'outcome',
    outcomeNumber: number,
    batch: batch as BatchNumber,
    index,
    status: 'success',
    attempt: 1,
    runtimeSeconds: 1,
    peakMemoryBytes: 0,
    logBytes: 0,
    failure: null,
    result: Uint8Array.of(0x4d, number),
  } satisfies OutcomeRecord);

const describeBatch = (batch: number, submittedAfter: number, of = group, count = 3) => ({
  batch: batch as BatchNumber,
  group: of,
  submittedAfter,
  count,
});

/** What a watcher heard, and the wait for it. */
function createWitness(): OutcomeWatcher & {
  heard: string[];
  until(count: number): Promise<void>;
} {
  const heard: string[] = [];
  let wake: () => void = () => undefined;
  const say = (text: string): void => {
    heard.push(text);
    wake();
  };
  return {
    heard,
    onOutcome: (batch, index) => say(`${batch.number}-${index}`),
    onFail: (error) => say(error instanceof PerigeeError ? error.code : String(error)),
    async until(count) {
      while (heard.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

describe('the follower', () => {
  let follower: OutcomeFollower;
  const start = (): MemoryLink => {
    const link = new MemoryLink();
    follower = createOutcomeFollower(link);
    return link;
  };
  const watchAll = (batch: TaskBatch, watcher: OutcomeWatcher, count = 3): void => {
    for (let index = 0; index < count; index += 1) follower.watch(batch, index, watcher);
  };

  afterEach(() => follower.close());

  it('tells outcomes in the order of the stream, each once though it comes twice', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const witness = createWitness();
    watchAll(batch, witness);
    const stream = await link.opened(1);
    expect(stream.input).toEqual({ after: 10, groups: [group] });
    stream.send(Buffer.concat([record(11, 1, 2), record(12, 1, 0), record(11, 1, 2)]));
    stream.send(record(13, 1, 1));
    await witness.until(3);
    expect(witness.heard).toEqual(['1-2', '1-0', '1-1']);
    expect(batch.outcomes.get(2)?.outcomeNumber).toBe(11);
  });

  it('takes a lost stream up after the last number that it said, heartbeats counted', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const witness = createWitness();
    watchAll(batch, witness);
    const first = await link.opened(1);
    first.send(record(11, 1, 0));
    first.send(encodeHeartbeat(40));
    await witness.until(1);
    first.break(new PerigeeError('unreachable'));
    const second = await link.opened(2);
    expect(second.input.after).toBe(40);
    second.send(Buffer.concat([record(41, 1, 1), record(42, 1, 2)]));
    await witness.until(3);
    expect(witness.heard).toEqual(['1-0', '1-1', '1-2']);
  });

  it('goes back for a batch that lies before its position, and only for one that is waited for', async () => {
    const link = start();
    const late = createWitness();
    const batch = follower.describe(describeBatch(9, 90));
    watchAll(batch, late);
    const first = await link.opened(1);
    const early = follower.describe(describeBatch(1, 10, otherGroup));
    expect(first.signal.aborted).toBe(false);
    const witness = createWitness();
    watchAll(early, witness);
    const second = await link.opened(2);
    expect(first.signal.aborted).toBe(true);
    expect(second.input.after).toBe(10);
    expect(second.input.groups?.toSorted()).toEqual([group, otherGroup]);
    second.send(Buffer.concat([record(11, 1, 0), record(91, 9, 0)]));
    await Promise.all([witness.until(1), late.until(1)]);
  });

  it('keeps its stream for the next wait, and for a batch submitted meanwhile', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const witness = createWitness();
    follower.watch(batch, 0, witness);
    const stream = await link.opened(1);
    // The outcome of the new batch overtakes the answer to its submission.
    const submitted = await follower.submit(async () => {
      stream.send(Buffer.concat([record(11, 2, 1), record(12, 1, 0)]));
      await witness.until(1);
      return describeBatch(2, 10);
    });
    expect(submitted.outcomes.has(1)).toBe(true);
    follower.watch(submitted, 0, witness);
    stream.send(record(13, 2, 0));
    await witness.until(2);
    expect(witness.heard).toEqual(['1-0', '2-0']);
    expect(link.streams).toHaveLength(1);
  });

  it('hears no more of a task that nobody watches', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const gone = createWitness();
    const witness = createWitness();
    watchAll(batch, gone);
    for (const index of [0, 1, 2]) follower.unwatch(batch, index, gone);
    watchAll(batch, witness);
    const stream = await link.opened(1);
    stream.send(Buffer.concat([record(11, 1, 0), record(12, 1, 1), record(13, 1, 2)]));
    await witness.until(3);
    expect(gone.heard).toEqual([]);
  });

  it('begins at nought when the coordinator has forgotten the cursor', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const witness = createWitness();
    watchAll(batch, witness);
    (await link.opened(1)).break(new PerigeeError('cursor_expired'));
    const second = await link.opened(2);
    expect(second.input.after).toBe(0);
    second.send(record(3, 1, 0));
    await witness.until(1);
  });

  it('tells every watcher, once, what cannot be mended, and tries again for the next', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const witness = createWitness();
    watchAll(batch, witness);
    (await link.opened(1)).break(new PerigeeError('token_revoked'));
    await witness.until(1);
    expect(witness.heard).toEqual(['token_revoked']);
    const next = createWitness();
    watchAll(batch, next);
    (await link.opened(2)).send(record(11, 1, 0));
    await next.until(1);
    expect(next.heard).toEqual(['1-0']);
  });

  it('ends its waits when it is closed', async () => {
    const link = start();
    const batch = follower.describe(describeBatch(1, 10));
    const witness = createWitness();
    watchAll(batch, witness);
    await link.opened(1);
    await follower.close();
    expect(witness.heard).toEqual(['invalid_request']);
    watchAll(batch, witness, 1);
    expect(witness.heard).toEqual(['invalid_request', 'invalid_request']);
  });
});
