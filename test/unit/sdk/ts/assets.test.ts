/** The assets that a map sends with its calls, by the table that the Python SDK is held against too. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readAssetList } from '../../../../protocol/wire/asset-list.ts';
import type { GroupId } from '../../../../protocol/wire/ids.ts';
import { CloudFunction } from '../../../../sdk/ts/cloud-function.ts';
import type { MeshContext } from '../../../../sdk/ts/task-handle.ts';
import type { Value } from '../../../../sdk/ts/value.ts';

interface Case {
  name: string;
  map: Value[][];
  assets?: string[][];
  expect: string[];
}

const checkout = resolve(import.meta.dirname, '../../../..');
const cases: Case[] = JSON.parse(
  readFileSync(join(checkout, 'test/contract/asset-calls.json'), 'utf8'),
);

/** A function whose batches go nowhere, and what was sent of them. */
function makeFunction(): { fn: CloudFunction; sent: { count: number; assets?: Uint8Array }[] } {
  const sent: { count: number; assets?: Uint8Array }[] = [];
  const context = {
    follower: {
      async submit(send: () => Promise<{ batch: number }>) {
        const { batch, ...view } = await send();
        return { ...view, number: batch, outcomes: new Map(), watchers: new Map() };
      },
    },
    link: {
      async call(_name: string, input: { count: number; assets?: Uint8Array }) {
        sent.push(input);
        return { batch: sent.length, submittedAfter: 0 };
      },
    },
  } as unknown as MeshContext;
  return { fn: new CloudFunction(context, { id: '0123456789ab' as GroupId, name: 'f' }), sent };
}

describe('the assets of a map', () => {
  it.each(cases)('$name', async (one) => {
    const { fn, sent } = makeFunction();
    const [first = [], ...others] = one.map;
    const told = one.assets?.values();
    if (told === undefined) await fn.map(first, ...others);
    else await fn.map(first, ...others, { assets: () => told.next().value ?? [] });
    const lists = sent.map(({ count, assets }) => assets ?? new Uint8Array(count));
    expect(Buffer.concat(lists).toString('hex')).toBe(one.expect.join(''));
    for (const { count, assets } of sent) if (assets !== undefined) readAssetList(assets, count);
  });

  it('are told by a function of the call’s arguments', async () => {
    const { fn, sent } = makeFunction();
    const scenes = [{ red: 's3://b/r', nir: 's3://b/n' }];
    await fn.map(scenes, { assets: (scene) => [scene.red, scene.nir] });
    await fn.map(['a', 'b'], [1], { assets: (name, factor) => [`s3://b/${name}${factor}`] });
    expect(sent.map(({ assets }) => assets?.length)).toEqual([17, 18]);
  });

  it('are refused when they are no texts, and calls without any send none', async () => {
    const { fn, sent } = makeFunction();
    const wrong = { assets: () => [7 as unknown as string] };
    await expect(fn.map(['a'], wrong)).rejects.toMatchObject({ code: 'invalid_request' });
    await fn.map(['a', 'b']);
    expect(sent).toEqual([expect.not.objectContaining({ assets: expect.anything() })]);
  });
});
