import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { NoticeKind } from '../../../node-agent/machine-notice.ts';
import { watchNotices } from '../../../node-agent/machine-notice.ts';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** A metadata server, and a watch of it; `told` settles with the first notice. */
async function watch(
  kind: NoticeKind,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  stops.push(() => new Promise((resolve) => server.close(resolve)));
  stops.push(() => server.closeAllConnections());
  const told = Promise.withResolvers<string>();
  const reasons: string[] = [];
  const warnings: string[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  stops.push(
    watchNotices(
      {
        onNotice: (reason) => {
          reasons.push(reason);
          told.resolve(reason);
        },
        log: { warn: (_, message) => warnings.push(message) },
      },
      { kind, url, pollMs: 5 },
    ),
  );
  return { told: told.promise, reasons, warnings };
}

describe('notices of GCE', () => {
  const instance = '/computeMetadata/v1/instance';
  /** What the metadata hold; whoever does not say the word gets nothing. */
  const metadata =
    (values: Record<string, string>) => (request: IncomingMessage, response: ServerResponse) => {
      const isAsked = request.headers['metadata-flavor'] === 'Google';
      const value = values[(request.url ?? '').slice(instance.length + 1)];
      response.writeHead(!isAsked ? 403 : value === undefined ? 404 : 200).end(value);
    };

  it('tell of a preemption, once', async () => {
    const values = { preempted: 'FALSE', 'maintenance-event': 'NONE' };
    let looks = 0;
    const watched = await watch('gce', (request, response) => {
      looks += 1;
      if (looks > 6) values.preempted = 'TRUE';
      metadata(values)(request, response);
    });
    expect(await watched.told).toBe('GCE preempts the machine');
    const seen = looks;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect({ looks, reasons: watched.reasons.length }).toEqual({ looks: seen, reasons: 1 });
    // Three looks of two questions each had found nothing.
    expect(seen).toBe(7);
  });

  it('tell of maintenance that ends the machine, not of one that moves it', async () => {
    const values = { preempted: 'FALSE', 'maintenance-event': 'MIGRATE_ON_HOST_MAINTENANCE' };
    let looks = 0;
    const watched = await watch('gce', (request, response) => {
      looks += 1;
      if (looks > 6) values['maintenance-event'] = 'TERMINATE_ON_HOST_MAINTENANCE';
      metadata(values)(request, response);
    });
    expect(await watched.told).toBe('GCE ends the machine for maintenance of its host');
    expect(looks).toBeGreaterThan(6);
  });

  it('are no notice while the metadata fail, which is told after ten looks', async () => {
    let looks = 0;
    const watched = await watch('gce', (request, response) => {
      looks += 1;
      if (looks <= 12) request.socket.destroy();
      else metadata({ preempted: 'TRUE' })(request, response);
    });
    await watched.told;
    expect(watched.warnings).toEqual(['The machine’s metadata cannot be read.']);
  });
});

describe('notices of EC2', () => {
  it('are read with a session, which is renewed when it is refused', async () => {
    const asked: string[] = [];
    let sessions = 0;
    const watched = await watch('ec2', (request, response) => {
      asked.push(`${request.method} ${request.headers['x-aws-ec2-metadata-token'] ?? ''}`.trim());
      if (request.method === 'PUT') {
        sessions += 1;
        response.end(`session-${sessions}`);
      } else if (request.headers['x-aws-ec2-metadata-token'] === 'session-1') {
        response.writeHead(asked.length < 4 ? 404 : 401).end();
      } else response.end('{"action": "terminate"}');
    });
    expect(await watched.told).toBe('EC2 takes the spot instance back: {"action": "terminate"}');
    expect(asked).toEqual([
      ...['PUT', 'GET session-1', 'GET session-1', 'GET session-1'],
      ...['PUT', 'GET session-2'],
    ]);
  });
});
