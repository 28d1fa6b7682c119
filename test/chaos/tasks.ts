/** Tasks of a real mesh as its HTTP API shows them, for tests that look at each one closely. */
import { randomUUID } from 'node:crypto';
import type { GroupView, NodeView, TaskView } from '../../protocol/wire/api.ts';
import { encodeBlock } from '../../protocol/wire/block.ts';
import { waitFor } from './wait-for.ts';

/** An answer, whatever its status. */
export interface Answer {
  status: number;
  body: Buffer;
  /** The body as JSON; undefined when it is none. */
  json: unknown;
}

/** A refusal as `application/problem+json` says it. */
export interface Problem {
  code: string;
  detail: string;
  fix: string;
}

export interface Tasks {
  request(
    method: string,
    path: string,
    init?: { body?: string | Uint8Array<ArrayBuffer>; headers?: Record<string, string> },
  ): Promise<Answer>;
  /** A group of Python source whose function is `work`; returns its id. */
  create(source: string, options?: Record<string, unknown>): Promise<string>;
  /** One task for each value; returns their ids. */
  submit(group: string, values: readonly unknown[]): Promise<string[]>;
  /** One task of a group of its own, waited for. */
  run(source: string, options?: Record<string, unknown>): Promise<TaskView>;
  look(task: string): Promise<TaskView>;
  /** The task once it is done. */
  settle(task: string, withinMs?: number): Promise<TaskView>;
  /** The task once it runs and its log has `text`. */
  running(task: string, text?: string): Promise<TaskView>;
  result(task: string): Promise<unknown>;
  log(task: string): Promise<Buffer>;
  cancel(task: string): Promise<void>;
  group(group: string): Promise<GroupView>;
  terminate(group: string, drain: boolean): Promise<void>;
  nodes(): Promise<NodeView[]>;
}

const answerMsMax = 60_000;

/** The API as the holder of `token` sees it. */
export function createTasks(mesh: { url: string; token: string }): Tasks {
  const request: Tasks['request'] = async (method, path, init = {}) => {
    const response = await fetch(`${mesh.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${mesh.token}`, ...init.headers },
      signal: AbortSignal.timeout(answerMsMax),
      ...(init.body === undefined ? {} : { body: init.body }),
    });
    const body = Buffer.from(await response.arrayBuffer());
    return { status: response.status, body, json: parse(body) };
  };
  const must = async (...call: Parameters<Tasks['request']>): Promise<Answer> => {
    const answer = await request(...call);
    if (answer.status < 300) return answer;
    throw new Error(`${call[0]} ${call[1]}: ${answer.status} ${answer.body.toString()}`);
  };
  const look = async (task: string): Promise<TaskView> =>
    (await must('GET', `/v1/tasks/${task}`)).json as TaskView;
  const tasks: Tasks = {
    request,
    async create(source, options = {}) {
      const { json } = await must('POST', '/v1/groups', { body: describeGroup(source, options) });
      return (json as { group: { id: string } }).group.id;
    },
    async submit(group, values) {
      const payloads = values.map((value) => Buffer.from(`J${JSON.stringify([[value], {}])}`));
      const { json } = await must('PUT', `/v1/groups/${group}/batches/${randomUUID()}`, {
        headers: {
          'content-type': 'application/octet-stream',
          'x-perigee-count': String(values.length),
        },
        body: new Uint8Array(encodeBlock(payloads)),
      });
      const { batch } = json as { batch: number };
      return values.map((_, index) => `${batch}-${index}`);
    },
    async run(source, options) {
      const [task = ''] = await tasks.submit(await tasks.create(source, options), [0]);
      return tasks.settle(task);
    },
    look,
    settle: (task, withinMs) =>
      waitFor(
        `task ${task} is done`,
        async () => {
          const found = await look(task);
          return found.state === 'done' ? found : undefined;
        },
        withinMs,
      ),
    running: (task, text = '') =>
      waitFor(`task ${task} runs and has said "${text}"`, async () => {
        const found = await look(task);
        if (found.state !== 'running') return undefined;
        if (text === '') return found;
        return (await tasks.log(task)).includes(text) ? found : undefined;
      }),
    async result(task) {
      const { body } = await must('GET', `/v1/tasks/${task}/result`);
      return parse(body.subarray(1));
    },
    log: async (task) => (await must('GET', `/v1/tasks/${task}/log`)).body,
    async cancel(task) {
      await must('POST', `/v1/tasks/${task}/cancel`);
    },
    group: async (group) => (await must('GET', `/v1/groups/${group}`)).json as GroupView,
    async terminate(group, drain) {
      await must('DELETE', `/v1/groups/${group}?drain=${drain}`);
    },
    nodes: async () => ((await must('GET', '/v1/nodes')).json as { items: NodeView[] }).items,
  };
  return tasks;
}

/** The body of `POST /v1/groups` for Python 3.11 source. */
export function describeGroup(source: string, options: Record<string, unknown> = {}): string {
  return JSON.stringify({
    name: 'failures',
    image: 'perigee/python:py3.11',
    function: { kind: 'source', inline: Buffer.from(source).toString('base64'), entry: 'work' },
    resultFormat: 'json',
    memory: '512Mi',
    ...options,
  });
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}
