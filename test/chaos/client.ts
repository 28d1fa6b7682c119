/** A client that writes down what the mesh acknowledged, and asks again until it has an answer, as the SDKs do. */
import { randomUUID } from 'node:crypto';
import { encodeBlock } from '../../protocol/wire/block.ts';
import { pause } from './mesh.ts';

export interface AcknowledgedBatch {
  batch: number;
  group: string;
  /** The argument of each task, in order. */
  values: number[];
}

export interface ChaosClient {
  readonly acknowledged: readonly AcknowledgedBatch[];
  createGroup(source: string, options?: Record<string, unknown>): Promise<string>;
  /** One batch, a task for each value. */
  submit(group: string, values: number[]): Promise<AcknowledgedBatch>;
  /** Waits until every acknowledged task is done; throws after `timeoutMs` with what is missing. */
  waitUntilDone(timeoutMs: number): Promise<void>;
  get(path: string): Promise<unknown>;
}

const answerMsMax = 60_000;

/** A client of the mesh whose address `where` gives at the moment; it may change through a restart. */
export function createChaosClient(where: () => { url: string; token: string }): ChaosClient {
  const acknowledged: AcknowledgedBatch[] = [];

  const call = async (
    method: string,
    path: string,
    init: { body?: Uint8Array | string; headers?: Record<string, string> } = {},
  ): Promise<unknown> => {
    const deadline = Date.now() + answerMsMax;
    for (;;) {
      const failure = await attempt(method, path, init).catch((caught: unknown) => ({ caught }));
      if ('answer' in failure) return failure.answer;
      if (Date.now() > deadline) throw new Error(`${method} ${path}`, { cause: failure.caught });
      await pause(50);
    }
  };

  const attempt = async (
    method: string,
    path: string,
    init: { body?: Uint8Array | string; headers?: Record<string, string> },
  ): Promise<{ answer: unknown } | { caught: unknown }> => {
    const { url, token } = where();
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...init.headers },
      signal: AbortSignal.timeout(10_000),
      ...(init.body === undefined ? {} : { body: init.body }),
    });
    const text = await response.text();
    if (response.ok) return { answer: JSON.parse(text) };
    if (response.status >= 500 || response.status === 429) return { caught: new Error(text) };
    throw Object.assign(new Error(`${method} ${path}: ${response.status} ${text}`), {
      final: true,
    });
  };

  return {
    acknowledged,
    async createGroup(source, options = {}) {
      const answer = (await call('POST', '/v1/groups', {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          name: 'chaos',
          image: 'perigee/python:py3.11',
          function: {
            kind: 'source',
            inline: Buffer.from(source).toString('base64'),
            entry: 'work',
          },
          python: { implementation: 'CPython', version: '3.11' },
          resultFormat: 'json',
          memory: '512Mi',
          ...options,
        }),
      })) as { group: { id: string } };
      return answer.group.id;
    },
    async submit(group, values) {
      const payloads = values.map((value) => Buffer.from(`J${JSON.stringify([[value], {}])}`));
      const answer = (await call('PUT', `/v1/groups/${group}/batches/${randomUUID()}`, {
        headers: {
          'content-type': 'application/octet-stream',
          'x-perigee-count': String(values.length),
        },
        body: encodeBlock(payloads),
      })) as { batch: number };
      const batch = { batch: answer.batch, group, values };
      acknowledged.push(batch);
      return batch;
    },
    async waitUntilDone(timeoutMs) {
      const deadline = Date.now() + timeoutMs;
      const groups = new Set(acknowledged.map((batch) => batch.group));
      for (const group of groups) {
        const expected = acknowledged
          .filter((batch) => batch.group === group)
          .reduce((sum, batch) => sum + batch.values.length, 0);
        for (;;) {
          const { tasks } = (await call('GET', `/v1/groups/${group}`)) as {
            tasks: { succeeded: number; failed: number };
          };
          if (tasks.succeeded + tasks.failed >= expected) break;
          if (Date.now() > deadline) throw new Error(`${JSON.stringify(tasks)} of ${expected}`);
          await pause(50);
        }
      }
    },
    get: (path) => call('GET', path),
  };
}
