/**
 * A TIFF's directories, and the rules of a Cloud Optimized GeoTIFF as GDAL's
 * validate_cloud_optimized_geotiff.py has them.
 */
import { readFileSync } from 'node:fs';

export interface TiffImage {
  /** Of its directory. */
  offset: number;
  width: number;
  height: number;
  /** 0 when it is in strips. */
  tileWidth: number;
  tileHeight: number;
  compression: number;
  predictor: number;
  isReduced: boolean;
  /** Of the tiles that are there. */
  dataOffsets: number[];
  /** The end of the last one. */
  dataEnd: number;
}

export interface Tiff {
  sizeBytes: number;
  isBig: boolean;
  images: TiffImage[];
}

const sizes: Record<number, number> = {
  1: 1,
  2: 1,
  3: 2,
  4: 4,
  5: 8,
  11: 4,
  12: 8,
  13: 4,
  16: 8,
  18: 8,
};

/** Reads all directories of a little-endian TIFF or BigTIFF. */
export function readTiff(path: string): Tiff {
  const bytes = readFileSync(path);
  if (bytes.toString('latin1', 0, 2) !== 'II') throw new Error('not a little-endian TIFF');
  const isBig = bytes.readUInt16LE(2) === 43;
  const pointer = (at: number): number =>
    isBig ? Number(bytes.readBigUInt64LE(at)) : bytes.readUInt32LE(at);
  const images: TiffImage[] = [];
  for (let offset = pointer(isBig ? 8 : 4); offset !== 0; ) {
    const count = isBig ? Number(bytes.readBigUInt64LE(offset)) : bytes.readUInt16LE(offset);
    const first = offset + (isBig ? 8 : 2);
    const entryBytes = isBig ? 20 : 12;
    const tags = new Map<number, number[]>();
    for (let index = 0; index < count; index += 1) {
      const at = first + index * entryBytes;
      const kind = bytes.readUInt16LE(at + 2);
      const values = isBig ? Number(bytes.readBigUInt64LE(at + 4)) : bytes.readUInt32LE(at + 4);
      const size = (sizes[kind] ?? 0) * values;
      const inline = at + (isBig ? 12 : 8);
      const place = size <= (isBig ? 8 : 4) ? inline : pointer(inline);
      tags.set(bytes.readUInt16LE(at), readValues(bytes, { kind, place, count: values }));
    }
    images.push(imageOf(offset, tags));
    offset = pointer(first + count * entryBytes);
  }
  return { sizeBytes: bytes.length, isBig, images };
}

function readValues(
  bytes: Buffer,
  field: { kind: number; place: number; count: number },
): number[] {
  const { kind, place, count } = field;
  return Array.from({ length: count }, (_, index) => {
    if (kind === 3) return bytes.readUInt16LE(place + 2 * index);
    if (kind === 4) return bytes.readUInt32LE(place + 4 * index);
    if (kind === 16) return Number(bytes.readBigUInt64LE(place + 8 * index));
    return bytes[place + index] ?? 0;
  });
}

function imageOf(offset: number, tags: ReadonlyMap<number, number[]>): TiffImage {
  const one = (tag: number, fallback: number): number => tags.get(tag)?.[0] ?? fallback;
  const offsets = tags.get(324) ?? tags.get(273) ?? [];
  const counts = tags.get(325) ?? tags.get(279) ?? [];
  const there = offsets.flatMap((at, index) =>
    (counts[index] ?? 0) > 0 ? [{ at, end: at + (counts[index] ?? 0) }] : [],
  );
  return {
    offset,
    width: one(256, 0),
    height: one(257, 0),
    tileWidth: one(322, 0),
    tileHeight: one(323, 0),
    compression: one(259, 1),
    predictor: one(317, 1),
    isReduced: (one(254, 0) & 1) === 1,
    dataOffsets: there.map(({ at }) => at),
    dataEnd: Math.max(0, ...there.map(({ end }) => end)),
  };
}

/** What keeps a TIFF from being a COG, in words; empty for a valid one. */
export function findCogFaults(tiff: Tiff): string[] {
  const [main, ...overviews] = tiff.images;
  if (main === undefined) return ['it has no image'];
  const faults: string[] = [];
  if (Math.max(main.width, main.height) > 512) {
    if (main.tileWidth === 0) faults.push('it is not tiled');
    if (overviews.length === 0) faults.push('it is larger than 512 and has no overviews');
  }
  // A ghost area of the COG driver lies before the first directory.
  if (main.offset > 300) faults.push(`the main directory is at ${main.offset}, not at the start`);
  let before: TiffImage = main;
  for (const [index, overview] of overviews.entries()) {
    const name = `overview ${index}`;
    if (!overview.isReduced) faults.push(`${name} is no overview`);
    if (overview.offset < before.offset)
      faults.push(`the directory of ${name} is before that of the finer one`);
    if (overview.width >= before.width && overview.height >= before.height)
      faults.push(`${name} is not coarser`);
    if (overview.tileWidth === 0 && Math.max(overview.width, overview.height) > 512)
      faults.push(`${name} is not tiled`);
    before = overview;
  }
  const firstData = Math.min(...tiff.images.flatMap(({ dataOffsets }) => dataOffsets));
  for (const { offset } of tiff.images) {
    if (offset > firstData)
      faults.push(`the directory at ${offset} is behind data at ${firstData}`);
  }
  // The coarsest first, so that a reader of the beginning of the file has it.
  const starts = tiff.images.map(({ dataOffsets }) => Math.min(...dataOffsets));
  for (let index = 1; index < starts.length; index += 1) {
    if ((starts[index] ?? 0) > (starts[index - 1] ?? 0))
      faults.push(`data of image ${index} are behind those of the finer one`);
  }
  const end = Math.max(...tiff.images.map(({ dataEnd }) => dataEnd));
  // The driver's trailer of a tile is four bytes.
  if (tiff.sizeBytes - end > 4) faults.push(`${tiff.sizeBytes - end} bytes at the end are no tile`);
  return faults;
}
