/**
 * Stands before moto and is what moto is not: EC2 with its habits. It honours ClientToken as AWS
 * documents it (moto stores the token and makes two machines), shows a new machine in listings only
 * after a while, drops answers after their effect, has stockouts and throttling, knows of spot
 * interruptions, and serves instance metadata (IMDSv2) with the two-minute notice.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Ec2Proxy {
  url: string;
  port: number;
  /** Fails the calls that follow; null to stop failing. */
  trouble: string | null;
  /** Answers of RunInstances that are dropped after their effect. */
  lostAnswers: number;
  /** How long a new machine is missing from listings. */
  listDelayMs: number;
  /** Machines that EC2 has announced to take back. */
  interrupted: Set<string>;
  /** Calls seen, by action. */
  calls: Map<string, number>;
  stop(): Promise<void>;
}

const failures: Readonly<Record<string, { status: number; code: string; only?: RegExp }>> = {
  stockout: { status: 500, code: 'InsufficientInstanceCapacity', only: /^RunInstances$/ },
  quota: { status: 400, code: 'VcpuLimitExceeded', only: /^RunInstances$/ },
  throttled: { status: 503, code: 'RequestLimitExceeded' },
  denied: { status: 403, code: 'UnauthorizedOperation' },
  unavailable: { status: 503, code: 'ServiceUnavailable' },
};

interface Answer {
  status: number;
  type: string;
  body: string;
}

/** @param host where to listen; machines of a test's own network reach another than loopback. */
export async function startEc2Proxy(motoUrl: string, host = '127.0.0.1'): Promise<Ec2Proxy> {
  const tokens = new Map<string, { print: string; answer: Promise<Answer> }>();
  const fresh = new Map<string, number>();
  const sessions = new Set<string>();

  const forward = async (request: IncomingMessage, body: string): Promise<Answer> => {
    const response = await fetch(`${motoUrl}${request.url}`, {
      method: request.method ?? 'POST',
      headers: {
        'content-type': request.headers['content-type'] ?? 'application/x-www-form-urlencoded',
        authorization: request.headers.authorization ?? '',
      },
      body,
    });
    const type = response.headers.get('content-type') ?? 'text/xml';
    return { status: response.status, type, body: await response.text() };
  };
  const runInstances = (request: IncomingMessage, form: URLSearchParams): Promise<Answer> => {
    const token = form.get('ClientToken') ?? '';
    const print = createHash('sha256').update(form.toString()).digest('hex');
    const before = tokens.get(token);
    if (before !== undefined) {
      if (before.print === print) return before.answer;
      return Promise.resolve(errorAnswer(400, 'IdempotentParameterMismatch'));
    }
    const answer = forward(request, form.toString()).then((made) => {
      for (const [, id = ''] of made.body.matchAll(/<instanceId>(i-[0-9a-f]+)</g)) {
        fresh.set(id, Date.now() + proxy.listDelayMs);
      }
      return made;
    });
    tokens.set(token, { print, answer });
    return answer;
  };
  const answerCall = async (
    request: IncomingMessage,
    response: ServerResponse,
    form: URLSearchParams,
  ): Promise<Answer | undefined> => {
    const action = form.get('Action') ?? '';
    proxy.calls.set(action, (proxy.calls.get(action) ?? 0) + 1);
    const failure = proxy.trouble === null ? undefined : failures[proxy.trouble];
    if (failure !== undefined && (failure.only === undefined || failure.only.test(action))) {
      return errorAnswer(failure.status, failure.code);
    }
    if (action === 'DescribeSpotInstanceRequests') return spotAnswer(form, proxy.interrupted);
    if (action === 'RunInstances' && form.get('DryRun') !== 'true') {
      const answer = await runInstances(request, form);
      if (proxy.lostAnswers === 0) return answer;
      proxy.lostAnswers -= 1;
      response.destroy();
      return undefined;
    }
    const answer = await forward(request, form.toString());
    if (action !== 'DescribeInstances') return answer;
    const hidden = [...fresh].filter(([, atMs]) => atMs > Date.now()).map(([id]) => id);
    return { ...answer, body: withoutReservations(answer.body, hidden) };
  };
  const answerMetadata = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.method === 'PUT' && request.url === '/latest/api/token') {
      const isGood = request.headers['x-aws-ec2-metadata-token-ttl-seconds'] !== undefined;
      const token = createHash('sha256').update(String(sessions.size)).digest('base64url');
      sessions.add(token);
      response.writeHead(isGood ? 200 : 400).end(isGood ? token : '');
      return;
    }
    const token = request.headers['x-aws-ec2-metadata-token'];
    if (typeof token !== 'string' || !sessions.has(token)) {
      response.writeHead(401).end();
      return;
    }
    const isNoticed =
      request.url === '/latest/meta-data/spot/instance-action' && proxy.interrupted.size > 0;
    const time = new Date(Date.now() + 120_000).toISOString();
    response
      .writeHead(isNoticed ? 200 : 404, { 'content-type': 'application/json' })
      .end(isNoticed ? JSON.stringify({ action: 'terminate', time }) : '');
  };
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/latest/')) {
      answerMetadata(request, response);
      return;
    }
    readText(request)
      .then((body) => answerCall(request, response, new URLSearchParams(body)))
      .then(
        (answer) => {
          if (answer === undefined) return;
          response.writeHead(answer.status, { 'content-type': answer.type }).end(answer.body);
        },
        () => response.destroy(),
      );
  });
  await new Promise<void>((done) => server.listen(0, host, done));
  const { port } = server.address() as AddressInfo;
  const proxy: Ec2Proxy = {
    url: `http://${host}:${port}`,
    port,
    trouble: null,
    lostAnswers: 0,
    listDelayMs: 0,
    interrupted: new Set(),
    calls: new Map(),
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
  return proxy;
}

function errorAnswer(status: number, code: string): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>${code}</Code><Message>as the test asked</Message></Error></Errors><RequestID>0</RequestID></Response>`;
  return { status, type: 'text/xml', body };
}

function spotAnswer(form: URLSearchParams, interrupted: ReadonlySet<string>): Answer {
  const asked = [...form].filter(([key]) => /^Filter\.1\.Value\.\d+$/.test(key));
  const items = asked
    .filter(([, id]) => interrupted.has(id))
    .map(
      ([, id]) =>
        `<item><spotInstanceRequestId>sir-1</spotInstanceRequestId><instanceId>${id}</instanceId><status><code>marked-for-termination</code></status></item>`,
    );
  const body = `<DescribeSpotInstanceRequestsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>0</requestId><spotInstanceRequestSet>${items.join('')}</spotInstanceRequestSet></DescribeSpotInstanceRequestsResponse>`;
  return { status: 200, type: 'text/xml', body };
}

/** Cuts whole reservations out of a listing. */
function withoutReservations(xml: string, ids: readonly string[]): string {
  if (ids.length === 0) return xml;
  let kept = '';
  let depth = 0;
  let item = '';
  for (const [part] of xml.matchAll(/<item>|<\/item>|<[^>]*>|[^<]+/g)) {
    if (part === '<item>') depth += 1;
    if (depth === 0) kept += part;
    else item += part;
    if (part !== '</item>') continue;
    depth -= 1;
    if (depth > 0) continue;
    if (!ids.some((id) => item.includes(id))) kept += item;
    item = '';
  }
  return kept;
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
