/** The link over streams in memory that answer, break or fall silent as the test says. */
import { describe, expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { CallSink, ClientStream } from '../../../../sdk/ts/client-calls.ts';
import { createMeshLink, type MeshLinkDependencies } from '../../../../sdk/ts/mesh-link.ts';

const settings = { awayMsMax: 5_000, firstAwayMsMax: 5_000 };

interface StartedCall {
  name: string;
  input: object;
  sink: CallSink;
  parts: Uint8Array[];
  isEnded: boolean;
  isCancelled: boolean;
}

interface MemoryStream extends ClientStream {
  calls: StartedCall[];
  isPaused: boolean;
  /** Fails all calls, as a lost connection does. */
  lose(): void;
}

function createMemoryStream(onCall: (call: StartedCall) => void): MemoryStream {
  const calls: StartedCall[] = [];
  let isOpen = true;
  const fail = (error: PerigeeError): void => {
    if (!isOpen) return;
    isOpen = false;
    for (const call of calls) if (!call.isCancelled) call.sink.onFail(error);
  };
  const lose = (): void => fail(new PerigeeError('unreachable', 'The line broke.'));
  const stream: MemoryStream = {
    calls,
    isPaused: false,
    get isOpen() {
      return isOpen;
    },
    callCount: 0,
    start(name, input, sink) {
      const call = { name, input, sink, parts: [], isEnded: false, isCancelled: false };
      const started: StartedCall = call;
      calls.push(started);
      queueMicrotask(() => {
        if (isOpen) onCall(started);
        else sink.onFail(new PerigeeError('unreachable', 'The stream is closed.'));
      });
      return {
        cancel: () => {
          started.isCancelled = true;
        },
        sendPart: (bytes) => {
          started.parts.push(bytes);
          return true;
        },
        endParts: () => {
          started.isEnded = true;
          started.sink.onEnd({ created: true });
        },
      };
    },
    drained: () => Promise.resolve(),
    pause: () => {
      stream.isPaused = true;
    },
    resume: () => {
      stream.isPaused = false;
    },
    close: async () => lose(),
    abort: () => lose(),
    lose,
  };
  return stream;
}

/** Each `open` takes the next of these. */
function createDependencies(
  ...opens: ((signal: AbortSignal) => Promise<ClientStream>)[]
): MeshLinkDependencies & { opened: number } {
  const dependencies = {
    opened: 0,
    open(signal: AbortSignal) {
      const open = opens[Math.min(dependencies.opened, opens.length - 1)];
      dependencies.opened += 1;
      if (open === undefined) throw new Error('nothing to open');
      return open(signal);
    },
    hangUp: () => Promise.resolve(),
  };
  return dependencies;
}

const whoami = { tokenId: 't', role: 'user', namespace: 'default', expiresAt: null };
const answering = async (): Promise<MemoryStream> =>
  createMemoryStream((call) => call.sink.onEnd(whoami));
const away = async (): Promise<never> => {
  throw new PerigeeError('unreachable', 'Nobody is there.');
};

describe('a link', () => {
  it('runs operations over one stream', async () => {
    const dependencies = createDependencies(answering);
    const link = createMeshLink(dependencies, settings);
    const answers = await Promise.all([link.call('whoami', {}), link.call('whoami', {})]);
    expect(answers).toEqual([whoami, whoami]);
    expect(dependencies.opened).toBe(1);
    await link.close();
  });

  it('sends an operation again when nobody is there, or the line breaks under it', async () => {
    const breaking = async (): Promise<ClientStream> => {
      const stream = createMemoryStream(() => stream.lose());
      return stream;
    };
    const dependencies = createDependencies(away, breaking, answering);
    const link = createMeshLink(dependencies, settings);
    expect(await link.call('whoami', {})).toEqual(whoami);
    expect(dependencies.opened).toBe(3);
    await link.close();
  });

  it('gives up on one that stays away, with the last error', async () => {
    const link = createMeshLink(createDependencies(away), { ...settings, firstAwayMsMax: 0 });
    await expect(link.call('whoami', {})).rejects.toMatchObject({
      code: 'unreachable',
      message: 'Nobody is there.',
    });
  });

  it('does not repeat what was refused', async () => {
    const refusing = async (): Promise<ClientStream> =>
      createMemoryStream((call) => call.sink.onFail(new PerigeeError('forbidden')));
    const dependencies = createDependencies(refusing);
    const link = createMeshLink(dependencies, settings);
    await expect(link.call('whoami', {})).rejects.toMatchObject({ code: 'forbidden' });
    expect(dependencies.opened).toBe(1);
    await link.close();
  });

  it('tells the coordinator of a call that its caller gave up', async () => {
    const stream = createMemoryStream((call) => {
      if (call.name === 'status.get') controller.abort(new Error('enough'));
    });
    const controller = new AbortController();
    const link = createMeshLink(
      createDependencies(async () => stream),
      settings,
    );
    const { signal } = controller;
    await expect(link.call('status.get', {}, { signal })).rejects.toThrow('enough');
    expect(stream.calls[0]?.isCancelled).toBe(true);
    await expect(link.call('whoami', {}, { timeoutMs: 1 })).rejects.toMatchObject({
      code: 'timed_out',
    });
    await link.close();
  });

  it('holds the sender back while its reader is slow, and loses no item', async () => {
    const stream = createMemoryStream((call) => {
      for (let item = 0; item < 200; item += 1) call.sink.onItem(item);
      call.sink.onEnd(undefined);
    });
    const link = createMeshLink(
      createDependencies(async () => stream),
      settings,
    );
    const { signal } = new AbortController();
    const items = link.subscribe('tasks.log', { id: '1-0' }, { signal });
    const seen: unknown[] = [(await items.next()).value];
    expect(stream.isPaused).toBe(true);
    for await (const item of items) seen.push(item);
    expect(seen).toEqual(Array.from({ length: 200 }, (_, index) => index));
    expect(stream.isPaused).toBe(false);
    expect(stream.isOpen).toBe(false);
    await link.close();
  });

  it('counts a subscription that is silent for too long as lost', async () => {
    const link = createMeshLink(
      createDependencies(async () => createMemoryStream(() => undefined)),
      settings,
    );
    const { signal } = new AbortController();
    const items = link.subscribe('tasks.log', { id: '1-0' }, { signal, silenceMsMax: 5 });
    await expect(items.next()).rejects.toMatchObject({ code: 'unreachable' });
    await link.close();
  });

  it('sends a blob in parts, and no more of them once it was answered', async () => {
    const bytes = new Uint8Array(600_000).map((_, index) => index);
    const stream = createMemoryStream(() => undefined);
    const link = createMeshLink(
      createDependencies(async () => stream),
      settings,
    );
    await link.upload({ hash: 'ab', bytes });
    const [call] = stream.calls;
    expect(call?.parts.map((part) => part.length)).toEqual([262_144, 262_144, 75_712]);
    expect(Buffer.compare(Buffer.concat(call?.parts ?? []), bytes)).toBe(0);
    await link.close();

    const known: StartedCall[] = [];
    const knowing = createMemoryStream(() => undefined);
    const start = knowing.start;
    knowing.start = (name, input, sink) => {
      const open = start(name, input, sink);
      known.push(...knowing.calls);
      return {
        ...open,
        sendPart: (part) => {
          open.sendPart(part);
          sink.onEnd({ created: false });
          return false;
        },
      };
    };
    const second = createMeshLink(
      createDependencies(async () => knowing),
      settings,
    );
    await second.upload({ hash: 'ab', bytes });
    expect(known[0]?.parts).toHaveLength(1);
    expect(known[0]?.isEnded).toBe(false);
    await second.close();
  });

  it('fails what is open when it is closed, and all that comes later', async () => {
    const link = createMeshLink(
      createDependencies(async () => createMemoryStream(() => undefined)),
      settings,
    );
    const waiting = link.call('whoami', {});
    const closed = expect(waiting).rejects.toMatchObject({ code: 'invalid_request' });
    await link.close();
    await closed;
    await expect(link.call('whoami', {})).rejects.toMatchObject({ code: 'invalid_request' });
  });
});
