/** What docs/autoscaling.md shows is what the coordinator takes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parsePools, poolKinds } from '../../../../../coordinator/autoscaler/pools/read-pools.ts';
import { loadProvider } from '../../../../../coordinator/autoscaler/providers/load-provider.ts';
import { checkout } from '../../../../setup/run-program.ts';

const page = readFileSync(join(checkout, 'docs/autoscaling.md'), 'utf8');
/** Those that are pools: the page also shows a policy of AWS. */
const examples = [...page.matchAll(/^```json\n(.*?)^```$/gms)]
  .map(([, text]) => JSON.parse(text ?? '') as Record<string, unknown>)
  .filter((example) => 'provider' in example);
const [first = {}] = examples;

describe('the pools of docs/autoscaling.md', () => {
  it('show every provider', () => {
    expect(examples.map(({ provider }) => provider).sort()).toEqual([...poolKinds].sort());
  });

  it('stand together in one file, and each provider takes its fields', async () => {
    const entries = parsePools(examples, 'docs/autoscaling.md');
    for (const { kind, fields } of entries) {
      await expect(loadProvider(kind, fields)).resolves.toBeTypeOf('function');
    }
  });

  it.each(examples)('would be refused with a field of $provider that is wrong', async (example) => {
    const kind = String(example['provider']);
    const fields = { ...(example[kind] as object), surplus: 1 };
    const [entry] = parsePools([{ ...example, [kind]: fields }], 'docs/autoscaling.md');
    if (entry === undefined) throw new Error('no pool was read');
    await expect(loadProvider(entry.kind, entry.fields)).rejects.toThrow(/"surplus"/);
  });

  it('takes every field of a pool and of an offer that its table names', () => {
    const table = page.slice(page.indexOf('## A pool'), page.indexOf('A wrong field ends'));
    const named = [...table.matchAll(/^\| (.*?) \|/gm)].flatMap(([, cell]) =>
      [...(cell ?? '').matchAll(/`([a-zA-Z.]+)`/g)].map(([, name]) => name ?? ''),
    );
    expect(named.length).toBeGreaterThan(10);
    for (const name of named.map((one) => one.split('.')[0] ?? '')) {
      // An unknown field is refused by its name; a wrong value is not the point here.
      expect(refusal({ ...first, [name]: {} })).not.toContain('there is no field');
    }
  });
});

function refusal(pool: object): string {
  try {
    parsePools([pool], 'docs/autoscaling.md');
    return '';
  } catch (caught) {
    return String(caught);
  }
}
