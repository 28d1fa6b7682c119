/**
 * What the tasks of a batch read, as clients send it: for each task one byte with the number of its
 * assets, then 8 bytes for each, the first 8 of the SHA-256 of the asset's URI.
 */
import type { TaskAssets } from './task.ts';

/** Assets of one task that placement looks at; what a task reads beyond is not looked at. */
export const taskAssetsMax = 32;

/**
 * Finds each task's assets in such a list; no byte is copied but those of the ids.
 * @throws RangeError when the list is not exactly that of `count` tasks.
 */
export function readAssetList(list: Uint8Array, count: number): TaskAssets {
  const starts = new Uint32Array(count + 1);
  const bytes = new Uint8Array(Math.max(0, list.length - count));
  let at = 0;
  let end = 0;
  for (let index = 0; index < count; index += 1) {
    const assets = list[at];
    if (assets === undefined || assets > taskAssetsMax) {
      throw new RangeError(`task ${index} has no number of assets from 0 to ${taskAssetsMax}`);
    }
    const ids = list.subarray(at + 1, at + 1 + assets * 8);
    if (ids.length < assets * 8) throw new RangeError(`the assets of task ${index} are cut short`);
    bytes.set(ids, end);
    end += ids.length;
    at += 1 + ids.length;
    starts[index + 1] = end;
  }
  if (at !== list.length) throw new RangeError(`there are ${list.length - at} bytes too many`);
  return { bytes, starts };
}

/** The list that `readAssetList` reads. */
export function writeAssetList(assets: TaskAssets): Uint8Array {
  const count = assets.starts.length - 1;
  const list = new Uint8Array(count + assets.bytes.length);
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    const ids = assets.bytes.subarray(assets.starts[index], assets.starts[index + 1]);
    list[at] = ids.length / 8;
    list.set(ids, at + 1);
    at += 1 + ids.length;
  }
  return list;
}
