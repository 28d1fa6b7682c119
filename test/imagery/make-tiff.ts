/** Small GeoTIFF-like files made by hand: uncompressed, in one strip or in strips of a row, or a header alone. */

export interface TiffOptions {
  width: number;
  height: number;
  /** Every pixel's value. */
  value?: number;
  /** Strips of so many rows; all in one by default. */
  rowsPerStrip?: number;
  /** A header that declares pixels which are not there. */
  headerOnly?: boolean;
  /** Declares one square tile of the width and the height, compressed. */
  oneTile?: boolean;
}

/** A little-endian TIFF of one band of bytes. */
export function makeTiff(options: TiffOptions): Buffer {
  const { width, height, value = 0, rowsPerStrip = height } = options;
  const strips = Math.ceil(height / rowsPerStrip);
  const tags: [tag: number, kind: 3 | 4, values: number[]][] = [
    [256, 4, [width]],
    [257, 4, [height]],
    [258, 3, [8]],
    [259, 3, [options.oneTile === true ? 8 : 1]],
    [262, 3, [1]],
  ];
  const tagsCount = options.oneTile === true ? 10 : 9;
  const listsAt = 8 + 2 + 12 * tagsCount + 4;
  const dataAt = listsAt + (strips > 1 ? strips * 8 : 0);
  const rowsOf = (strip: number): number => Math.min(rowsPerStrip, height - strip * rowsPerStrip);
  const isEmpty = options.headerOnly === true;
  const offsets = Array.from({ length: strips }, (_, strip) =>
    isEmpty ? 0 : dataAt + strip * rowsPerStrip * width,
  );
  const counts = Array.from({ length: strips }, (_, strip) =>
    isEmpty ? 0 : rowsOf(strip) * width,
  );
  if (options.oneTile === true) {
    tags.push([277, 3, [1]], [322, 4, [width]], [323, 4, [height]], [324, 4, [0]], [325, 4, [0]]);
  } else {
    tags.push([273, 4, offsets], [277, 3, [1]], [278, 4, [rowsPerStrip]], [279, 4, counts]);
  }
  const file = Buffer.alloc(isEmpty ? dataAt : dataAt + width * height, value);
  file.fill(0, 0, dataAt);
  file.write('II*\0', 0, 'latin1');
  file.writeUInt32LE(8, 4);
  file.writeUInt16LE(tags.length, 8);
  let list = listsAt;
  for (const [at, [tag, kind, values]] of tags.entries()) {
    const entry = 10 + 12 * at;
    file.writeUInt16LE(tag, entry);
    file.writeUInt16LE(kind, entry + 2);
    file.writeUInt32LE(values.length, entry + 4);
    if (values.length === 1) {
      if (kind === 3) file.writeUInt16LE(values[0] ?? 0, entry + 8);
      else file.writeUInt32LE(values[0] ?? 0, entry + 8);
      continue;
    }
    file.writeUInt32LE(list, entry + 8);
    for (const one of values) list = file.writeUInt32LE(one, list);
  }
  return file;
}
