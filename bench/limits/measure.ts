/** What this machine allows, measured in the same run: the parts of the task path on their own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { createMeshHost } from '../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../protocol/net/mesh-key.ts';
import { createStreamReader, writeBytes } from '../../protocol/net/stream-bytes.ts';
import type { Figure } from '../figures.ts';
import { checkout, perigee } from '../product/mesh.ts';

const limit = (scenario: string, figure: number, unit: string): Figure => ({
  of: 'limit',
  scenario,
  figure,
  unit,
});

/** Every limit once. */
export async function measureLimits(): Promise<Figure[]> {
  return [await measurePipe(), ...measureSqlite(), await measureStream(), await measureTcp()];
}

/** Tasks a second that one bare Python 2.7 loop answers over a pipe, 256 in flight. */
async function measurePipe(): Promise<Figure> {
  const script = join(checkout, 'bench/limits/pipe_loop.py');
  const child = spawn(perigee, ['python', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  // pickle.dumps(7, 2), behind its length.
  const task = Buffer.from([0, 0, 0, 5, 0x80, 2, 0x4b, 7, 0x2e]);
  const window = Buffer.concat(Array.from({ length: 256 }, () => task));
  const rounds = 400;
  let due = 0;
  let arrived = Promise.withResolvers<void>();
  child.stdout.on('data', (bytes: Buffer) => {
    due -= bytes.length;
    if (due === 0) arrived.resolve();
  });
  const round = async (): Promise<void> => {
    due = window.length;
    arrived = Promise.withResolvers<void>();
    child.stdin.write(window);
    await arrived.promise;
  };
  for (let at = 0; at < 20; at += 1) await round();
  const began = performance.now();
  for (let at = 0; at < rounds; at += 1) await round();
  const seconds = (performance.now() - began) / 1_000;
  child.stdin.end();
  await once(child, 'exit');
  return limit('bare Python 2.7 pipe loop', (rounds * 256) / seconds, 'tasks/s');
}

/** Rows a second, in transactions of 1,000, synced. */
function measureSqlite(): Figure[] {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-bench-'));
  const database = new Database(join(folder, 'bare.db'));
  try {
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.exec('create table task (id integer primary key, body blob, result blob)');
    const insert = database.prepare('insert into task (id, body) values (?, ?)');
    const update = database.prepare('update task set result = ? where id = ?');
    const body = Buffer.alloc(25, 7);
    const timed = (work: (id: number) => void): number => {
      const began = performance.now();
      for (let first = 0; first < 100_000; first += 1_000) {
        database.transaction(() => {
          for (let id = first; id < first + 1_000; id += 1) work(id);
        })();
      }
      return 100_000 / ((performance.now() - began) / 1_000);
    };
    return [
      limit(
        'bare SQLite, rows in',
        timed((id) => void insert.run(id, body)),
        'rows/s',
      ),
      limit(
        'bare SQLite, rows updated',
        timed((id) => void update.run(body, id)),
        'rows/s',
      ),
    ];
  } finally {
    database.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const bytesInAll = 200 * 1024 ** 2;
const chunk = Buffer.alloc(256 * 1024, 7);
function* chunks(): Generator<Uint8Array> {
  for (let sent = 0; sent < bytesInAll; sent += chunk.length) yield chunk;
}

/** Bytes a second of one libp2p stream (TCP, noise, yamux) within one process. */
async function measureStream(): Promise<Figure> {
  const protocol = '/perigee/bench/1';
  const make = async (listen: string[]) =>
    createMeshHost({ key: await generateMeshKey(), listen, connectionsMax: 4 });
  await using server = await make(['/ip4/127.0.0.1/tcp/0']);
  await using client = await make([]);
  await server.handle(protocol, (stream) => writeBytes(stream, chunks()), { streamsMax: 1 });
  const signal = AbortSignal.timeout(120_000);
  const stream = await client.open(server.addresses()[0] ?? '', protocol, { signal });
  const began = performance.now();
  for await (const bytes of createStreamReader(stream).readBytes(bytesInAll)) void bytes;
  const seconds = (performance.now() - began) / 1_000;
  return limit('bare libp2p stream', bytesInAll / 1e6 / seconds, 'MB/s');
}

/** Bytes a second over raw TCP on loopback within one process. */
async function measureTcp(): Promise<Figure> {
  const server = createServer((socket) => {
    const source = chunks();
    // A generator that a loop leaves is closed: take its steps by hand.
    const steps = { [Symbol.iterator]: () => ({ next: () => source.next() }) };
    const sendSteps = (): void => {
      for (const bytes of steps) {
        if (!socket.write(bytes)) return void socket.once('drain', sendSteps);
      }
      socket.end();
    };
    sendSteps();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const socket = createConnection(port, '127.0.0.1');
  const began = performance.now();
  let received = 0;
  for await (const bytes of socket) received += (bytes as Buffer).length;
  const seconds = (performance.now() - began) / 1_000;
  server.close();
  if (received !== bytesInAll) throw new Error('TCP lost bytes');
  return limit('raw loopback TCP', bytesInAll / 1e6 / seconds, 'MB/s');
}
