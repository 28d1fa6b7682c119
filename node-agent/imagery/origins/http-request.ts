/** One HTTP request for imagery: bounded, never stalled for long, and never to a closed address. */
import { lookup } from 'node:dns';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { isIP } from 'node:net';
import { isAllowedHost, isClosedAddress } from './address-rule.ts';
import { OriginFailure } from './port.ts';

export interface HttpSettings {
  /** `HOST` or `HOST:PORT` that may be read though their address is closed. */
  allowed: readonly string[];
  /** Silence of the origin after which the attempt is given up. */
  stallMsMax: number;
  socketsMax: number;
}

export interface HttpAsk {
  method: 'GET' | 'HEAD';
  headers: Readonly<Record<string, string>>;
  /** A longer body is cut off and told as a failure. */
  bodyBytesMax: number;
  signal: AbortSignal;
}

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface HttpClient {
  /** Follows up to five redirects. @throws OriginFailure */
  ask(uri: string, ask: HttpAsk): Promise<HttpAnswer>;
  close(): void;
}

const redirectsMax = 5;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Of an answer that is no success: enough to see what it says. */
const refusalBytesMax = 4_096;

export function createHttpClient(settings: HttpSettings): HttpClient {
  const pool = { keepAlive: true, maxSockets: settings.socketsMax, timeout: 60_000 };
  const agents = { http: new HttpAgent(pool), https: new HttpsAgent(pool) };

  const askOnce = (url: URL, ask: HttpAsk): Promise<HttpAnswer> => {
    const free = isAllowedHost(url, settings.allowed);
    const literal = url.hostname.replace(/^\[|\]$/g, '');
    if (!free && isIP(literal) !== 0 && isClosedAddress(literal)) throw closedTo(url);
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const sent = (secure ? httpsRequest : httpRequest)(url, {
        method: ask.method,
        headers: { 'user-agent': 'perigee', 'accept-encoding': 'identity', ...ask.headers },
        agent: secure ? agents.https : agents.http,
        signal: ask.signal,
        ...(free ? {} : { lookup: openLookup(url) }),
      });
      const fail = (caught: unknown): void => reject(asFailure(url, caught, ask.signal));
      // The socket's own timeout counts silence, whatever is still to come.
      sent.setTimeout(settings.stallMsMax, () => {
        sent.destroy(new OriginFailure('faulty', `${url.host} sent nothing for too long`));
      });
      sent.on('error', fail);
      sent.on('response', (response) => {
        readBody(response, ask).then(resolve, (caught: unknown) => {
          sent.destroy();
          fail(caught);
        });
      });
      sent.end();
    });
  };

  return {
    async ask(uri, ask) {
      let url = new URL(uri);
      let headers = ask.headers;
      for (let hop = 0; hop <= redirectsMax; hop += 1) {
        const answer = await askOnce(url, { ...ask, headers });
        const { location } = answer.headers;
        if (!redirects.has(answer.status) || location === undefined) return answer;
        const next = URL.parse(location, url);
        if (next === null || !/^https?:$/.test(next.protocol)) {
          throw new OriginFailure('invalid', `${url.host} redirects to ${location.slice(0, 200)}`);
        }
        // Credentials are for the host that they were given for.
        if (next.origin !== url.origin) headers = withoutCredentials(headers);
        url = next;
      }
      throw new OriginFailure('invalid', `${url.host} redirects more than ${redirectsMax} times`);
    },
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

async function readBody(response: IncomingMessage, ask: HttpAsk): Promise<HttpAnswer> {
  const status = response.statusCode ?? 0;
  const isRefusal = status >= 300;
  const bytesMax = isRefusal ? refusalBytesMax : ask.bodyBytesMax;
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).length;
    if (bytes <= bytesMax) continue;
    response.destroy();
    if (isRefusal) break;
    throw new OriginFailure('faulty', `the body is longer than the ${bytesMax} bytes asked for`, {
      status,
    });
  }
  return { status, headers: response.headers, body: Buffer.concat(parts) };
}

/** Checks what a name resolves to, in the very call that connects: a name may change its mind. */
function openLookup(url: URL): LookupFunction {
  return (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return done(error, [], 0);
      const found = addresses.filter(({ address }) => !isClosedAddress(address));
      const [first] = found;
      if (first === undefined) return done(closedTo(url), [], 0);
      return options.all === true ? done(null, found) : done(null, first.address, first.family);
    });
  };
}

function closedTo(url: URL): OriginFailure {
  return new OriginFailure(
    'denied',
    `${url.host} is loopback, link-local or a metadata address, which this node does not read (--imagery-allow opens it)`,
  );
}

function asFailure(url: URL, caught: unknown, signal: AbortSignal): unknown {
  if (signal.aborted || caught instanceof OriginFailure) return caught;
  const message = caught instanceof Error ? caught.message : String(caught);
  return new OriginFailure('faulty', `${url.host}: ${message}`, { cause: caught });
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  const kept = new Set(['range', 'if-match', 'accept', 'accept-encoding']);
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => kept.has(name.toLowerCase())),
  );
}
