/** `scripts/sim`: many simulated meshes, or one again; ends at the first broken promise. */
import { parseArgs } from 'node:util';
import { noFaults, plantedFaults } from '../test/sim/faults.ts';
import { runWorld } from '../test/sim/world.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    fault: { type: 'string' },
    storm: { type: 'string' },
  },
});

const planted = values.fault === undefined ? undefined : plantedFaults[values.fault];
if (values.fault !== undefined && planted === undefined) {
  process.stderr.write(
    `There is no fault "${values.fault}". Use one of: ${Object.keys(plantedFaults).join(', ')}\n`,
  );
  process.exit(2);
}
const first = Number(values.seed ?? values.from);
/** Short storms show many worlds in the same time, long ones go deeper into each. */
const storm = values.storm === undefined ? {} : { stormMs: 1_000 * Number(values.storm) };
const again = [
  ...(values.storm === undefined ? [] : [`--storm ${values.storm}`]),
  ...(values.fault === undefined ? [] : [`--fault '${values.fault}'`]),
];
const last = values.seed === undefined ? first + Number(values.seeds) - 1 : first;
const began = Date.now();
let events = 0;

for (let seed = first; seed <= last; seed += 1) {
  try {
    const report = runWorld(seed, planted?.() ?? noFaults, storm);
    events += report.events;
    if (first === last) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } catch (caught) {
    process.stdout.write(
      `seed ${seed}: ${caught instanceof Error ? caught.stack : String(caught)}\n`,
    );
    process.stdout.write(
      `replay it with: ${['scripts/sim', `--seed ${seed}`, ...again].join(' ')}\n`,
    );
    process.exit(1);
  }
  if ((seed - first + 1) % 1000 === 0) progress(seed);
}
progress(last);

function progress(seed: number): void {
  const seconds = (Date.now() - began) / 1000;
  process.stdout.write(
    `seeds ${first}-${seed}: ${events} events in ${seconds.toFixed(0)} s, no promise broken\n`,
  );
}
