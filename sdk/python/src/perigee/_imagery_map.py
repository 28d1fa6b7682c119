"""Views of uncompressed GeoTIFF without a copy: the node's own cached pages, mapped."""
import struct

_TAGS = {256: 'width', 257: 'height', 258: 'bits', 259: 'compression', 273: 'offsets', 277: 'samples',
         278: 'rows_per_strip', 279: 'counts', 284: 'planar', 317: 'predictor', 339: 'format',
         322: 'tile_width', 34377: 'photoshop'}
_KINDS = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}
_DTYPES = {(8, 1): 'u1', (16, 1): 'u2', (32, 1): 'u4', (8, 2): 'i1', (16, 2): 'i2', (32, 2): 'i4',
           (32, 3): 'f4', (64, 3): 'f8'}
_STRIPS_MAX = 1000000


def find_view(path, bands, window):
    """`(array, metadata)` of a window as a read-only map; None when the layout does not allow it."""
    layout = _find_layout(path)
    if layout is None:
        return None
    import numpy
    from perigee import _imagery_read as reading
    with reading.open_scene(path, path) as scene:
        if scene.count != layout['samples'] or (scene.width, scene.height) != (layout['width'], layout['height']):
            return None
        indexes = reading.band_indexes(scene, bands, path)
        first = indexes[0]
        if indexes != list(range(first, first + len(indexes))):
            return None
        column, row, columns, rows = reading.check_window(window, scene.width, scene.height, path)
        transform = scene.transform * scene.transform.translation(column, row)
        crs, nodata = scene.crs, scene.nodata
    count, height, width = layout['samples'], layout['height'], layout['width']
    shape = (height, width, count) if layout['interleaved'] else (count, height, width)
    pixels = numpy.memmap(path, dtype=layout['dtype'], mode='r', offset=layout['offset'], shape=shape)
    if layout['interleaved']:
        pixels = pixels.transpose(2, 0, 1)
    view = pixels[first - 1:first - 1 + len(indexes), row:row + rows, column:column + columns]
    return view, reading.metadata_of(view, transform, crs, nodata)


def _find_layout(path):
    try:
        with open(path, 'rb') as opened:
            return _read_layout(opened)
    except (struct.error, KeyError, ValueError, OverflowError, IOError, OSError):
        return None  # not a TIFF, one that GDAL must look at, or a read that failed and fails again


def _read_layout(opened):
    head = opened.read(8)
    order = {b'II': '<', b'MM': '>'}[head[:2]]
    if struct.unpack(order + 'H', head[2:4])[0] != 42:
        return None
    tags = _read_tags(opened, order, struct.unpack(order + 'I', head[4:])[0])
    if 'tile_width' in tags or tags.get('compression', [1]) != [1] or tags.get('predictor', [1]) != [1]:
        return None
    samples = tags.get('samples', [1])[0]
    bits = set(tags['bits'])
    formats = set(tags.get('format', [1]))
    if len(bits) != 1 or len(formats) != 1:
        return None
    kind = _DTYPES[bits.pop(), formats.pop()]
    size = int(kind[1])
    width, height = tags['width'][0], tags['height'][0]
    planar = tags.get('planar', [1])[0]
    offsets, counts = tags['offsets'], tags['counts']
    # One piece from the first strip to the last, with nothing between and nothing left out.
    at = offsets[0]
    for offset, count in zip(offsets, counts):
        if offset != at or count == 0:
            return None
        at += count
    if at - offsets[0] != width * height * samples * size:
        return None
    opened.seek(0, 2)
    if opened.tell() < at:
        return None
    return {'width': width, 'height': height, 'samples': samples, 'dtype': order + kind,
            'offset': offsets[0], 'interleaved': planar == 1 and samples > 1}


def _read_tags(opened, order, at):
    opened.seek(at)
    count = struct.unpack(order + 'H', opened.read(2))[0]
    entries = opened.read(12 * count)
    tags = {}
    for entry in range(count):
        tag, kind, values = struct.unpack_from(order + 'HHI', entries, 12 * entry)
        if tag not in _TAGS or kind not in _KINDS:
            continue
        if values > _STRIPS_MAX:
            raise ValueError('too many values')
        layout = '%s%d%s' % (order, values, _KINDS[kind])
        size = struct.calcsize(layout)
        if size <= 4:
            tags[_TAGS[tag]] = list(struct.unpack_from(layout, entries, 12 * entry + 8))
        else:
            opened.seek(struct.unpack_from(order + 'I', entries, 12 * entry + 8)[0])
            tags[_TAGS[tag]] = list(struct.unpack(layout, opened.read(size)))
    return tags
