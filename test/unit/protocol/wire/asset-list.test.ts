import { describe, expect, it } from 'vitest';
import {
  readAssetList,
  taskAssetsMax,
  writeAssetList,
} from '../../../../protocol/wire/asset-list.ts';

const id = (byte: number): number[] => Array.from({ length: 8 }, () => byte);

describe('a list of assets', () => {
  it('is read and written alike', () => {
    const list = Uint8Array.from([1, ...id(7), 0, 2, ...id(8), ...id(9)]);
    const assets = readAssetList(list, 3);
    expect([...assets.starts]).toEqual([0, 8, 8, 24]);
    expect(assets.bytes.subarray(8, 24)).toEqual(Uint8Array.from([...id(8), ...id(9)]));
    expect(writeAssetList(assets)).toEqual(list);
  });

  it.each([
    ['is cut within an id', [1, ...id(7).slice(1)], 1],
    ['ends before its last task', [0], 2],
    ['goes on behind its last task', [0, 0], 1],
    ['names too many assets', [taskAssetsMax + 1, ...id(1)], 1],
  ])('that %s is refused', (_, list, count) => {
    expect(() => readAssetList(Uint8Array.from(list), count)).toThrow(RangeError);
  });
});
