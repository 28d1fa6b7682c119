"""Several assets on one grid, the last on top."""
from perigee import _imagery_read as reading
from perigee.errors import BadRequestError

_DTYPES = {'Byte': 'uint8', 'UInt16': 'uint16', 'Int16': 'int16', 'UInt32': 'uint32', 'Int32': 'int32',
           'Float32': 'float32', 'Float64': 'float64'}


def mosaic(paths, inputs, bands, scales, data_type, srs, resolution, dimensions, bounds, bounds_srs,
           resampler, order):
    """See `perigee.imagery.ndarray`; `paths` are the local files of `inputs`."""
    import numpy
    if order not in ('image', 'gdal'):
        raise BadRequestError('There is no order %r.' % (order,), fix="use 'image' or 'gdal'")
    if data_type is not None and data_type not in _DTYPES:
        raise BadRequestError('There is no data type %r.' % (data_type,), fix='use one of %s' % ', '.join(sorted(_DTYPES)))
    where = reading.describe_window(None, bounds, resolution, srs)
    grid, array, valid, nodata = None, None, None, None
    for path, uri in zip(paths, inputs):
        with reading.typed_errors(uri, where), reading.open_scene(path, uri) as scene:
            if grid is None:
                grid = _grid(scene, paths, inputs, srs, resolution, dimensions, bounds, bounds_srs)
                nodata, first_dtype = scene.nodata, scene.dtypes[0]
            names, wants_alpha = _split_alpha(bands, scene)
            indexes = reading.band_indexes(scene, names, uri)
            reading.check_size(len(indexes), grid.height, grid.width, scene.dtypes, uri)
            pixels, mask = _pixels(scene, path, indexes, grid, resampler, uri)
        if pixels is None:
            continue
        if array is None:
            # Wide enough for the first one's nodata, also when that one has no pixels here.
            dtype = numpy.promote_types(pixels.dtype, first_dtype)
            array = numpy.zeros((len(indexes), grid.height, grid.width), dtype)
            if _fits(nodata, dtype):
                array[...] = nodata
            valid = numpy.zeros((grid.height, grid.width), numpy.uint8)
        if len(indexes) != len(array):
            raise BadRequestError('%s has %d bands, the others have %d.' % (uri, len(indexes), len(array)), fix='name the bands')
        array = _lay_over(array, pixels, mask != 0)
        valid[mask != 0] = 255
    if array is None:
        raise reading.WindowError('None of %d inputs lies within %s.' % (len(inputs), where), fix='choose bounds that meet them')
    if scales is not None or data_type is not None:
        array = _convert(array, valid, nodata, scales, _DTYPES[data_type or 'Byte'])
    if not _fits(nodata, array.dtype):
        nodata = None
    if wants_alpha:
        array = numpy.concatenate([array, valid[numpy.newaxis].astype(array.dtype)])
    if order == 'image':
        array = array.transpose(1, 2, 0)
    # So that `imagery.write` knows which axis is which.
    return array, dict(reading.metadata_of(array, grid.transform, grid.crs, nodata), order=order)


def _lay_over(array, pixels, valid):
    import numpy
    if pixels.dtype != array.dtype:
        wider = numpy.promote_types(pixels.dtype, array.dtype)
        array, pixels = array.astype(wider), pixels.astype(wider)
    array[:, valid] = pixels[:, valid]
    return array


def _split_alpha(bands, scene):
    """The bands without a last ``alpha``, and whether there was one that is not the scene's own."""
    if bands is None or isinstance(bands, (int, str)) or not list(bands) or list(bands)[-1] != 'alpha':
        return bands, False
    return list(bands)[:-1], True


def _grid(scene, paths, inputs, srs, resolution, dimensions, bounds, bounds_srs):
    from rasterio.crs import CRS
    if scene.crs is None:
        raise reading.AssetInvalidError('%s has no coordinate system.' % inputs[0], fix='mosaics need one')
    crs = scene.crs if srs is None else reading.parse_crs(srs, CRS)
    if bounds is None:
        bounds = _box_around(paths, inputs, crs)
    elif bounds_srs is not None:
        given = reading.parse_crs(bounds_srs, CRS)
        if given != crs:
            bounds = reading.transform_box(bounds, given, crs)
    if bounds is None:
        raise reading.WindowError('The bounds have no place in the srs.', fix='choose another srs')
    if dimensions is not None:
        if resolution is not None:
            raise BadRequestError('Both resolution and dimensions were given.', fix='give one of them')
        from rasterio.transform import from_bounds
        width, height = dimensions
        return reading.Grid(crs, from_bounds(*(tuple(bounds) + (width, height))), width, height)
    return reading.Grid.make(bounds, resolution, crs, scene)


def _box_around(paths, inputs, crs):
    """The box around all inputs; None when they have no place in the coordinate system."""
    fixed, turning = [], []
    for path, uri in zip(paths, inputs):
        with reading.open_scene(path, uri) as scene:
            box = reading.box_of(scene, crs, uri)
            # Only the warper takes a longitude for the same one a turn further.
            (turning if crs.is_geographic and scene.crs != crs else fixed).append(box)
    boxes = [box for box in fixed + turning if box is not None]
    if not boxes:
        return None
    middle = (boxes[0][0] + boxes[0][2]) / 2.0
    for at in range(len([box for box in fixed if box is not None]), len(boxes)):
        west, south, east, north = boxes[at]
        turn = 360 * round((middle - (west + east) / 2.0) / 360)
        boxes[at] = west + turn, south, east + turn, north
    return (min(box[0] for box in boxes), min(box[1] for box in boxes),
            max(box[2] for box in boxes), max(box[3] for box in boxes))


def _pixels(scene, path, indexes, grid, resampler, uri):
    """The scene on the grid and where it is valid; `(None, None)` when it does not meet the grid."""
    import numpy
    from rasterio.windows import Window
    part = _find_part(scene, grid)
    if part is None:
        try:
            return reading.warp(scene, path, indexes, grid, resampler, uri)
        except reading.WindowError:
            return None, None
    column, row, columns, rows = part
    left, top = max(0, column), max(0, row)
    right, bottom = min(scene.width, column + columns), min(scene.height, row + rows)
    if left >= right or top >= bottom:
        return None, None
    area = Window(left, top, right - left, bottom - top)
    pixels = numpy.zeros((len(indexes), rows, columns), scene.dtypes[0])
    valid = numpy.zeros((rows, columns), numpy.uint8)
    at = (slice(top - row, bottom - row), slice(left - column, right - column))
    pixels[(slice(None),) + at] = scene.read(indexes, window=area)
    valid[at] = reading.mask_of(scene, area)
    return pixels, valid


def _find_part(scene, grid):
    """The grid as a window of the scene, which may reach beyond it; None when pixels must be resampled."""
    own = scene.transform
    if grid.crs != scene.crs or own.b or own.d:
        return None
    for mine, other in ((grid.transform.a, own.a), (grid.transform.e, own.e)):
        if abs(mine - other) > 1e-6 * abs(other):
            return None
    column, row = ~own * (grid.transform.c, grid.transform.f)
    if abs(column - round(column)) > 1e-3 or abs(row - round(row)) > 1e-3:
        return None
    return int(round(column)), int(round(row)), grid.width, grid.height


def _fits(nodata, dtype):
    """Whether there is a nodata value that pixels of the type can have."""
    import numpy
    if nodata is None:
        return False
    dtype = numpy.dtype(dtype)
    if dtype.kind in 'iu':
        info = numpy.iinfo(dtype)
        return info.min <= nodata <= info.max and int(nodata) == nodata
    with numpy.errstate(over='ignore'):
        return bool(numpy.isfinite(dtype.type(nodata)) or not numpy.isfinite(nodata))


def _convert(array, valid, nodata, scales, dtype):
    """Scaled pixels of another type, rounded and clamped to it; what is missing gets nodata, or 0 where that does not fit."""
    import numpy
    missing = numpy.broadcast_to(valid == 0, array.shape)
    if nodata is not None:
        missing = missing | (numpy.isnan(array) if nodata != nodata else array == nodata)
    result = _scale(array, [None] * len(array) if scales is None else scales, dtype)
    result[missing] = nodata if _fits(nodata, dtype) else 0
    return result


def _scale(array, scales, dtype):
    import numpy
    if len(scales) != len(array):
        raise BadRequestError('%d scales for %d bands.' % (len(scales), len(array)), fix='give one for each, None to leave it')
    info = numpy.iinfo(dtype) if numpy.dtype(dtype).kind in 'iu' else None
    result = numpy.empty(array.shape, dtype)
    for at, scale in enumerate(scales):
        values = array[at].astype('float64')
        if scale is not None:
            low, high = scale[:2]
            out_low, out_high = scale[2:] if len(scale) == 4 else (0, 255)
            values = out_low + (values - low) * (float(out_high - out_low) / (high - low))
            values = numpy.clip(values, out_low, out_high)
        if info is not None:
            values = numpy.clip(numpy.floor(values + 0.5), info.min, info.max)
            values[numpy.isnan(values)] = 0
        # Float64 that no Float32 can have is infinite there.
        with numpy.errstate(over='ignore'):
            result[at] = values
    return result
