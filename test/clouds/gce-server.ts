/**
 * The REST calls of Compute Engine that the provider makes, with its habits: operations that take a
 * while, listings that come late, answers lost after their effect, stockouts told by the operation
 * and quotas by the call.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Machine {
  name: string;
  zone: string;
  labels: Record<string, string>;
  status: string;
  visibleAtMs: number;
  body: Record<string, unknown>;
}

export interface GceServer {
  url: string;
  trouble: string | null;
  lostAnswers: number;
  listDelayMs: number;
  /** How long an operation takes. */
  operationMs: number;
  machines: Map<string, Machine>;
  stop(): Promise<void>;
}

const zones = ['europe-west1-b', 'europe-west1-c'];
const types = ['e2-standard-2', 'c3-standard-4'];
const pageSize = 2;

type Json = Record<string, unknown>;

export async function startGceServer(): Promise<GceServer> {
  const operations = new Map<string, { doneAtMs: number; error: string | null; place: string }>();
  const requests = new Map<string, { operation: string }>();

  const begin = (place: string, error: string | null): Json => {
    const name = `operation-${operations.size + 1}`;
    operations.set(name, { doneAtMs: Date.now() + server.operationMs, error, place });
    return { kind: 'compute#operation', name, status: 'RUNNING' };
  };
  const insert = (place: string, zone: string, body: Json, requestId: string): Json => {
    const before = requests.get(requestId);
    if (before !== undefined) return { name: before.operation, status: 'RUNNING' };
    const name = String(body['name']);
    const labels = body['labels'] as Record<string, string>;
    refuseBadLabels(labels);
    if (server.machines.has(name)) throw new Refusal(409, 'alreadyExists', 'it is there');
    if (server.trouble === 'quota')
      throw new Refusal(403, 'quotaExceeded', "Quota 'CPUS' exceeded");
    const stockout = server.trouble === 'stockout' ? 'ZONE_RESOURCE_POOL_EXHAUSTED' : null;
    const operation = begin(place, stockout);
    requests.set(requestId, { operation: String(operation['name']) });
    if (stockout !== null) requests.delete(requestId);
    else {
      server.machines.set(name, {
        name,
        zone,
        labels,
        status: 'RUNNING',
        visibleAtMs: Date.now() + server.listDelayMs,
        body,
      });
    }
    return operation;
  };
  const wait = async (name: string): Promise<Json> => {
    const operation = operations.get(name);
    if (operation === undefined) throw new Refusal(404, 'notFound', name);
    await new Promise((done) => setTimeout(done, Math.max(0, operation.doneAtMs - Date.now())));
    const { error } = operation;
    return {
      kind: 'compute#operation',
      name,
      status: 'DONE',
      ...(error === null
        ? {}
        : { error: { errors: [{ code: error, message: 'try another zone' }] } }),
    };
  };
  const list = (query: URLSearchParams): Json => {
    const wanted = [...(query.get('filter') ?? '').matchAll(/labels\.([\w-]+)=([\w-]+)/g)];
    const found = [...server.machines.values()]
      .filter(({ visibleAtMs }) => visibleAtMs <= Date.now())
      .filter(({ labels }) => wanted.every(([, key = '', value]) => labels[key] === value));
    const from = Number(query.get('pageToken') ?? 0);
    const page = found.slice(from, from + pageSize);
    const items: Json = {};
    for (const zone of zones) {
      const here = page.filter((machine) => machine.zone === zone);
      items[`zones/${zone}`] =
        here.length === 0
          ? { warning: { code: 'NO_RESULTS_ON_PAGE' } }
          : { instances: here.map(show) };
    }
    const next = from + pageSize < found.length ? { nextPageToken: String(from + pageSize) } : {};
    return { kind: 'compute#instanceAggregatedList', items, ...next };
  };
  const answer = async (request: IncomingMessage, body: Json): Promise<Json> => {
    const url = new URL(request.url ?? '', 'http://x');
    const path = url.pathname.replace(/^\/compute\/v1\/projects\/test-project\//, '');
    if (!/^Bearer \S+\.\S+\.\S+$/.test(request.headers.authorization ?? '')) {
      throw new Refusal(401, 'required', 'Login Required');
    }
    if (server.trouble === 'denied') throw new Refusal(403, 'forbidden', 'Required permission');
    if (server.trouble === 'throttled')
      throw new Refusal(403, 'rateLimitExceeded', 'Rate Limit: rateLimitExceeded');
    if (server.trouble === 'unavailable') throw new Refusal(503, 'backendError', 'try again');
    const requestId = url.searchParams.get('requestId') ?? '';
    const [scope = '', place = '', noun = '', name = '', verb = ''] = path.split('/');
    if (path === 'aggregated/instances') return list(url.searchParams);
    if (noun === 'operations' && verb === 'wait') return wait(name);
    if (noun === 'machineTypes') {
      if (zones.includes(place) && types.includes(name)) return { name };
      throw new Refusal(404, 'notFound', `machine type ${name} in ${place}`);
    }
    if (scope === 'zones' && noun === 'instances' && request.method === 'POST') {
      if (!zones.includes(place)) throw new Refusal(404, 'notFound', place);
      return insert(path, place, body, requestId);
    }
    if (scope === 'regions' && noun === 'instances' && name === 'bulkInsert') {
      const properties = body['instanceProperties'] as Json;
      const [own = ''] = Object.keys(body['perInstanceProperties'] as Json);
      return insert(path, zones[1] ?? '', { ...properties, name: own }, requestId);
    }
    if (scope === 'zones' && noun === 'instances' && request.method === 'DELETE') {
      if (server.machines.get(name)?.zone !== place) throw new Refusal(404, 'notFound', name);
      server.machines.delete(name);
      return begin(path, null);
    }
    throw new Refusal(404, 'notFound', `${request.method} ${path}`);
  };
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    const isCreation = request.method === 'POST' && !request.url?.includes('/operations/');
    try {
      const said = await answer(request, text === '' ? {} : (JSON.parse(text) as Json));
      if (isCreation && server.lostAnswers > 0) {
        server.lostAnswers -= 1;
        response.destroy();
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said));
    } catch (caught) {
      const refusal =
        caught instanceof Refusal ? caught : new Refusal(500, 'internal', String(caught));
      const { status: code, reason, message } = refusal;
      const error = { code, message, errors: [{ reason, message, domain: 'global' }] };
      response
        .writeHead(code, { 'content-type': 'application/json' })
        .end(JSON.stringify({ error }));
    }
  };
  const http = createServer((request, response) => void handle(request, response));
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
  const { port } = http.address() as AddressInfo;
  const server: GceServer = {
    url: `http://127.0.0.1:${port}`,
    trouble: null,
    lostAnswers: 0,
    listDelayMs: 0,
    operationMs: 100,
    machines: new Map(),
    async stop() {
      http.closeAllConnections();
      await new Promise((done) => http.close(done));
    },
  };
  return server;
}

class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** https://docs.cloud.google.com/compute/docs/labeling-resources#label_format */
function refuseBadLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    const isGood =
      /^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$/u.test(key) &&
      /^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$/u.test(value);
    if (isGood) continue;
    const message = `Invalid value for field 'resource.labels': '${key}: ${value}'.`;
    throw new Refusal(400, 'invalid', message);
  }
}

function show(machine: Machine): Json {
  return {
    kind: 'compute#instance',
    name: machine.name,
    zone: `https://www.googleapis.com/compute/v1/projects/test-project/zones/${machine.zone}`,
    labels: machine.labels,
    status: machine.status,
    creationTimestamp: '2026-01-01T00:00:00.000-07:00',
    scheduling: machine.body['scheduling'],
  };
}
