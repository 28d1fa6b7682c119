/** The TypeScript SDK's figures: `ts-client.ts RUNS`; prints one JSON object a line. */
import { asCompleted, connect } from '../../sdk/ts/index.ts';

const runs = Number(process.argv[2] ?? 3);
const say = (scenario: string, figure: number, unit: string, tasks?: number): void => {
  process.stdout.write(`${JSON.stringify({ scenario, figure, unit, tasks })}\n`);
};

await using mesh = await connect();
const source = 'def nothing(value):\n    return value\n';
const nothing = await mesh.createFunction<number>({ source });

async function rate(count: number): Promise<number> {
  const began = performance.now();
  const tasks = await nothing.map(Array.from({ length: count }, (_, value) => value));
  const seen = new Uint8Array(count);
  for await (const task of asCompleted(tasks)) {
    const value = Number(await task.result());
    seen[value] = (seen[value] ?? 0) + 1;
  }
  const seconds = (performance.now() - began) / 1_000;
  if (seen.some((times) => times !== 1)) throw new Error('results are missing or wrong');
  return count / seconds;
}

await rate(1_000);
process.stdout.write('{"mark":true}\n');
for (const count of [1_000, 20_000]) {
  for (let run = 0; run < runs; run += 1) {
    say(`no-op map of ${count}, TypeScript`, await rate(count), 'tasks/s', count);
  }
}
// Warm is what V8 has compiled, here as well as there.
for (let value = 0; value < 1_000; value += 1) await (await nothing.call([value])).result();
process.stdout.write('{"mark":true}\n');
for (let run = 0; run < runs; run += 1) {
  const trips: number[] = [];
  for (let value = 0; value < 300; value += 1) {
    const began = performance.now();
    const task = await nothing.call([value]);
    if ((await task.result()) !== value) throw new Error('a result is wrong');
    trips.push(performance.now() - began);
  }
  trips.sort((one, other) => one - other);
  say('round trip p50, TypeScript', trips[150] ?? Number.NaN, 'ms', trips.length);
  say('round trip p99, TypeScript', trips[296] ?? Number.NaN, 'ms');
}
