// BullMQ: a queue on Redis whose worker is this process, without any Python: the ceiling for a queue there.
import { Queue, QueueEvents, Worker } from 'bullmq';

const runs = Number(process.argv[2]);
const { hostname, port } = new URL(process.env.BENCH_REDIS);
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
const say = (scenario, figure, unit) =>
  process.stdout.write(`${JSON.stringify({ scenario, figure, unit })}\n`);

const queue = new Queue('bench', { connection });
const events = new QueueEvents('bench', { connection });
const worker = new Worker('bench', async (job) => job.data.value, { connection, concurrency: 200 });
await Promise.all([worker.waitUntilReady(), events.waitUntilReady()]);

async function map(count) {
  const seen = new Set();
  const done = Promise.withResolvers();
  const take = (_job, value) => {
    seen.add(value);
    if (seen.size === count) done.resolve();
  };
  worker.on('completed', take);
  const began = performance.now();
  for (let first = 0; first < count; first += 1000) {
    await queue.addBulk(
      Array.from({ length: Math.min(1000, count - first) }, (_, at) => ({
        name: 'nothing',
        data: { value: first + at },
        opts: { removeOnComplete: true },
      })),
    );
  }
  await done.promise;
  worker.off('completed', take);
  return count / ((performance.now() - began) / 1000);
}

await map(1000);
for (const count of [1000, 10000]) {
  for (let run = 0; run < runs; run += 1) say(`no-op map of ${count}`, await map(count), 'tasks/s');
}
for (let run = 0; run < runs; run += 1) {
  const trips = [];
  for (let value = 0; value < 300; value += 1) {
    const began = performance.now();
    const job = await queue.add('nothing', { value });
    if ((await job.waitUntilFinished(events)) !== value) throw new Error('a result is wrong');
    trips.push(performance.now() - began);
  }
  trips.sort((one, other) => one - other);
  say('round trip p50', trips[150], 'ms');
  say('round trip p99', trips[296], 'ms');
}
await worker.close();
await events.close();
await queue.close();
