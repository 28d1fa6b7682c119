/**
 * The HTTP side of the client: what the command line speaks, and how the SDK finds the mesh's
 * libp2p address. On node:http, because fetch ends a silent body after five minutes, and the log of
 * a quiet task may be silent for longer.
 */
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { errorTable, isErrorCode, PerigeeError, toError } from '../../protocol/base/errors.ts';

/** What every call may carry. */
export interface HttpOptions {
  query?: Readonly<Record<string, string | number | boolean | null | undefined>>;
  headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  body?: unknown;
  signal?: AbortSignal | undefined;
  /** For the head of the answer; default 30 s. A streamed body may take as long as it likes. */
  timeoutMs?: number;
}

/** The answer to a streamed call. */
export interface HttpStream {
  status: number;
  /** The value of a header, lower-case name. */
  header(name: string): string | undefined;
  chunks: AsyncIterable<Uint8Array>;
}

/** A mesh's HTTP API. */
export interface HttpClient {
  readonly url: string;
  /**
   * The JSON value of the answer; undefined for an empty one.
   * @throws PerigeeError with the code of the answered problem, unreachable, or timed_out.
   */
  json<T>(method: string, path: string, options?: HttpOptions): Promise<T>;
  /** As `json`, but the body is handed over as it comes. */
  stream(method: string, path: string, options?: HttpOptions): Promise<HttpStream>;
}

const defaultTimeoutMs = 30_000;
/** Of a JSON answer; a page of a hundred tasks with tracebacks stays far below. */
const jsonAnswerBytesMax = 64 * 1024 * 1024;

/** A client of one mesh. */
export function createHttpClient(address: { url: string; token: string | null }): HttpClient {
  return {
    url: address.url,
    async json<T>(method: string, path: string, options: HttpOptions = {}): Promise<T> {
      const answer = await send(address, { method, path, options });
      const bytes = await readAll(answer, jsonAnswerBytesMax);
      // The caller names the type that docs/api.md gives for the call.
      return (bytes.length === 0 ? undefined : parseJson(bytes, answer)) as T;
    },
    async stream(method, path, options = {}) {
      const answer = await send(address, { method, path, options });
      return {
        status: answer.statusCode ?? 0,
        header: (name) => firstHeader(answer, name),
        chunks: readChunks(answer, address.url, options.signal),
      };
    },
  };
}

async function send(
  address: { url: string; token: string | null },
  call: { method: string; path: string; options: HttpOptions },
): Promise<IncomingMessage> {
  const { method, options } = call;
  const url = new URL(address.url + call.path);
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
  }
  const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
  const headers: Record<string, string> = {
    accept: 'application/json, application/problem+json',
    ...options.headers,
  };
  if (address.token !== null) headers['authorization'] = `Bearer ${address.token}`;
  if (body !== undefined) {
    headers['content-type'] = 'application/json';
    headers['content-length'] = String(body.length);
  }
  const deadline = AbortSignal.timeout(options.timeoutMs ?? defaultTimeoutMs);
  const request = await openRequest(url, { method, headers });
  // An abort during the body is told by the body; without a listener it would end the process too.
  request.on('error', () => undefined);
  const abort = (): void => {
    request.destroy(new PerigeeError('timed_out', `${method} ${url.href}: no answer in time.`));
  };
  const cancel = (): void => {
    request.destroy(toError(options.signal?.reason));
  };
  try {
    options.signal?.throwIfAborted();
    // Stays for the body too: a followed log ends when its caller goes.
    options.signal?.addEventListener('abort', cancel, { once: true });
    deadline.addEventListener('abort', abort, { once: true });
    request.end(body);
    const [answer]: IncomingMessage[] = await once(request, 'response');
    if (answer === undefined) throw new PerigeeError('internal', 'A response event without one.');
    answer.once('close', () => options.signal?.removeEventListener('abort', cancel));
    const status = answer.statusCode ?? 0;
    if (status >= 400) throw await readProblem(answer, `${method} ${url.pathname}`);
    return answer;
  } catch (caught) {
    request.destroy();
    options.signal?.throwIfAborted();
    throw toUnreachable(caught, address.url);
  } finally {
    deadline.removeEventListener('abort', abort);
  }
}

async function openRequest(
  url: URL,
  init: { method: string; headers: Record<string, string> },
): Promise<ReturnType<typeof httpRequest>> {
  // Loaded when needed: TLS costs every command 20 ms, and most meshes are on loopback.
  if (url.protocol === 'https:') return (await import('node:https')).request(url, init);
  return httpRequest(url, init);
}

async function* readChunks(
  answer: IncomingMessage,
  url: string,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of answer as AsyncIterable<Uint8Array>) yield chunk;
  } catch (caught) {
    signal?.throwIfAborted();
    throw toUnreachable(caught, url);
  }
}

async function readAll(answer: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let held = 0;
  for await (const chunk of answer as AsyncIterable<Uint8Array>) {
    held += chunk.length;
    if (held > bytesMax) {
      throw new PerigeeError('too_large', `The answer is over ${bytesMax} bytes.`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, held);
}

function parseJson(bytes: Buffer, answer: IncomingMessage): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new PerigeeError('internal', `The answer (${answer.statusCode}) is not JSON.`, {
      cause,
      fix: 'Check PERIGEE_URL: something else may listen there.',
    });
  }
}

async function readProblem(answer: IncomingMessage, call: string): Promise<PerigeeError> {
  const text = (await readAll(answer, jsonAnswerBytesMax)).toString('utf8');
  return decodeProblem(text, { status: answer.statusCode ?? 0, call });
}

/** The error that an `application/problem+json` body stands for. */
export function decodeProblem(
  text: string,
  context: { status: number; call: string },
): PerigeeError {
  let fields: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) fields = value as Record<string, unknown>;
  } catch {
    // Not a problem document; the status alone has to do.
  }
  const { code, detail, fix } = fields;
  if (!isErrorCode(code)) {
    return new PerigeeError(
      context.status === 404 ? 'not_found' : 'internal',
      `${context.call} was answered with status ${context.status} and no error code.`,
      { fix: 'Check PERIGEE_URL: another program or another version may listen there.' },
    );
  }
  return new PerigeeError(code, typeof detail === 'string' ? detail : errorTable[code].text, {
    ...(typeof fix === 'string' && fix !== '' ? { fix } : {}),
    details: { call: context.call },
  });
}

function toUnreachable(caught: unknown, url: string): unknown {
  if (caught instanceof PerigeeError) return caught;
  const error = toError(caught);
  // `once` wraps nothing, and destroy(reason) surfaces the reason itself.
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return new PerigeeError('unreachable', `${url} does not answer (${code || error.message}).`, {
    cause: error,
  });
}

function firstHeader(answer: IncomingMessage, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
