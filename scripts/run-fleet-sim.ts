/** `scripts/sim fleet N`: many simulated days of a fleet; ends at the first broken promise. */
import { parseArgs } from 'node:util';
import { planFleet } from '../coordinator/autoscaler/plan/plan-fleet.ts';
import { boundFormula } from '../test/sim/fleet/bound.ts';
import { findBrokenPromises } from '../test/sim/fleet/promises.ts';
import { runFleet } from '../test/sim/fleet/run-fleet.ts';
import { scenarios } from '../test/sim/fleet/scenarios.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    from: { type: 'string', default: '1' },
    scenario: { type: 'string' },
    'look-seconds': { type: 'string', default: '5' },
  },
});
const seeds = Number(positionals[0] ?? 1000);
const first = Number(values.from);
const quietLookMs = 1000 * Number(values['look-seconds']);
const chosen = scenarios.filter(({ name }) => name === (values.scenario ?? name));
if (!(seeds >= 1) || !(first >= 1) || !(quietLookMs >= 1000) || chosen.length === 0) {
  process.stderr.write(
    `Usage: scripts/sim fleet [N] [--from SEED] [--look-seconds S] [--scenario NAME], a name of: ${scenarios.map(({ name }) => name).join(', ')}\n`,
  );
  process.exit(2);
}
const began = Date.now();
const ratios = new Map(
  chosen.map(({ name }) => [name, { sum: 0, least: Number.POSITIVE_INFINITY }]),
);
process.stdout.write(`bound = ${boundFormula}\n`);

for (let seed = first; seed < first + seeds; seed += 1) {
  for (const scenario of chosen) {
    const result = runFleet(scenario, seed, planFleet, { quietLookMs });
    const broken = findBrokenPromises(scenario, result);
    if (broken.length > 0) {
      process.stdout.write(
        `seed ${seed}, ${scenario.name}: ${broken.join('; ')}\n${JSON.stringify(result)}\n` +
          `replay it with: scripts/sim fleet 1 --from ${seed} --look-seconds ${quietLookMs / 1000} --scenario '${scenario.name}'\n`,
      );
      process.exit(1);
    }
    const ratio = ratios.get(scenario.name);
    if (ratio === undefined) continue;
    ratio.sum += result.makespanSeconds / result.boundSeconds;
    ratio.least = Math.min(ratio.least, result.makespanSeconds / result.boundSeconds);
  }
  if ((seed - first + 1) % 20 === 0 || seed === first + seeds - 1) progress(seed);
}
for (const [name, { sum, least }] of ratios) {
  process.stdout.write(
    `${name}: makespan ÷ bound ${(sum / seeds).toFixed(2)}, at least ${least.toFixed(2)}\n`,
  );
}

function progress(seed: number): void {
  const seconds = (Date.now() - began) / 1000;
  process.stdout.write(
    `seeds ${first}-${seed}, ${chosen.length} scenarios: ${seconds.toFixed(0)} s, no machine leaked, none killed at work, no cap passed\n`,
  );
}
