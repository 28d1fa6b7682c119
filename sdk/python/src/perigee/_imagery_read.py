"""Pixels of one asset: windows, boxes, overviews, other grids. numpy and rasterio come with the image."""
import contextlib
import math
import os

from perigee import _imagery_channel as channel
from perigee._compat import native
from perigee.errors import (
    AssetError, AssetInvalidError, BadRequestError, PerigeeError, TooLargeError, WindowError)

#: DLRun's and GDAL's names for rasterio's.
RESAMPLERS = {
    'near': 'nearest', 'nearest': 'nearest', 'bilinear': 'bilinear', 'cubic': 'cubic',
    'cubicsplice': 'cubic_spline', 'cubicspline': 'cubic_spline', 'cubic_spline': 'cubic_spline',
    'lanczos': 'lanczos', 'average': 'average', 'mode': 'mode', 'max': 'max', 'min': 'min',
    'med': 'med', 'q1': 'q1', 'q3': 'q3',
}
#: Of the group's memory, what one array may take: reading and the function itself need the rest.
_MEMORY_SHARE = 0.8
_GRID_TOLERANCE = 1e-6
#: Into how many parts an edge is cut to find a box in another coordinate system; as GDAL does by default.
_EDGE_STEPS = 22


def read(path, uri, bands, window, bounds, resolution, srs, resampler, may_map=True):
    """See `perigee.imagery.read`; `path` is the local file of `uri`."""
    where = describe_window(window, bounds, resolution, srs)
    check_choice(window, bounds, resolution, srs)
    with typed_errors(uri, where):
        if may_map and bounds is None and resolution is None:
            from perigee._imagery_map import find_view
            view = find_view(path, bands, window)
            if view is not None:
                return view
        with open_scene(path, uri) as scene:
            indexes = band_indexes(scene, bands, uri)
            if bounds is None:
                return _read_window(scene, indexes, window, resolution, resampler, uri)
            return _read_bounds(scene, path, indexes, bounds, resolution, srs, resampler, uri)


def describe_window(window, bounds, resolution, srs):
    """For error texts."""
    if bounds is not None:
        return 'bounds %r of %s at resolution %r' % (tuple(bounds), srs or 'its own srs', resolution)
    return 'the whole scene' if window is None else 'window %r' % (tuple(window),)


def check_choice(window, bounds, resolution, srs):
    """Refuses arguments that contradict each other."""
    if window is not None and bounds is not None:
        raise BadRequestError('Both window and bounds were given.', fix='give one of them')
    if srs is not None and bounds is None:
        raise BadRequestError('srs says what bounds are in, and there are no bounds.', fix='give bounds too')
    if resolution is not None and not resolution > 0:
        raise BadRequestError('The resolution %r is not above zero.' % (resolution,), fix='give units of the srs per pixel')


@contextlib.contextmanager
def typed_errors(uri, where):
    """Names scene and window in whatever goes wrong below."""
    try:
        yield
    except AssetError as caught:
        if where in caught.message:
            raise
        raise type(caught)('%s (%s, %s)' % (caught.message, uri, where), code=caught.code, fix=caught.fix)
    except PerigeeError:
        raise
    except MemoryError:
        raise
    except Exception as caught:
        if type(caught).__module__.split('.')[0] != 'rasterio':
            raise
        _raise_failure(uri, where)
        raise AssetInvalidError(
            '%s cannot be read at %s: %s' % (uri, where, native(str(caught))),
            fix='the file is truncated or damaged at its origin: check it with gdalinfo -checksum')


def _raise_failure(uri, where):
    """What the node knows of a read that failed: GDAL heard of an error of input only."""
    if not channel.is_inside() or uri.startswith('data:'):
        return
    try:
        channel.ask({'kind': 'failure', 'uri': uri})
    except AssetError as caught:
        raise type(caught)('%s (%s, %s)' % (caught.message, uri, where), code=caught.code, fix=caught.fix)


def open_scene(path, uri, **options):
    """A rasterio dataset.

    Raises
    ------
    AssetInvalidError
        It is no raster that GDAL can open.
    TooLargeError
        One of its blocks, which are decoded as a whole, does not fit the group's memory.
    """
    import rasterio
    try:
        # Shared, an overview would be the full resolution that is open already.
        scene = rasterio.open(path, sharing=False, **options)
    except rasterio.errors.RasterioIOError as caught:
        _raise_failure(uri, 'its header')
        raise AssetInvalidError('%s is not a raster that GDAL can open: %s' % (uri, native(str(caught))),
                                fix='check the file with gdalinfo; imagery.open gives the path of any file')
    try:
        _check_blocks(scene, uri)
    except TooLargeError:
        scene.close()
        raise
    return scene


def _check_blocks(scene, uri):
    together = scene.count if scene.profile.get('interleave') == 'pixel' else 1
    for rows, columns in set(scene.block_shapes):
        check_size(together, rows, columns, scene.dtypes, uri, 'one block of ')


def band_indexes(scene, bands, uri):
    """Numbers of bands from 1, for numbers or descriptions; all for None."""
    if bands is None:
        return list(range(1, scene.count + 1))
    if isinstance(bands, (int, str)) or not hasattr(bands, '__iter__'):
        bands = [bands]
    found = []
    names = [native(name or '') for name in scene.descriptions]
    for band in bands:
        index = band
        if hasattr(band, 'encode'):
            index = names.index(native(band)) + 1 if native(band) in names else None
        if not isinstance(index, int) or not 1 <= index <= scene.count:
            raise WindowError('%s has no band %r: it has %d%s.' % (
                uri, band, scene.count, ' (%s)' % ', '.join(names) if any(names) else ''),
                fix='bands are numbered from 1')
        found.append(index)
    return found


def check_window(window, width, height, uri):
    """Four whole numbers within the scene.

    Raises
    ------
    WindowError
        It reaches beyond the scene's edge, or is empty.
    """
    if window is None:
        return 0, 0, width, height
    try:
        column, row, columns, rows = [int(value) for value in window]
        whole = all(int(value) == value for value in window)
    except (TypeError, ValueError):
        raise WindowError('%r of %s is no window.' % (window, uri), fix='give (column, row, width, height)')
    if not whole or column < 0 or row < 0 or columns < 1 or rows < 1 or column + columns > width or row + rows > height:
        raise WindowError('window %r does not lie within the %d x %d pixels of %s'
                          % (tuple(window), width, height, uri),
                          fix='give (column, row, width, height) within the scene')
    return column, row, columns, rows


def check_size(bands, rows, columns, dtypes, uri, what=''):
    """Refuses an array that cannot fit, before anything is allocated.

    Raises
    ------
    TooLargeError
    """
    import numpy
    size = bands * rows * columns * max(numpy.dtype(dtype).itemsize for dtype in dtypes)
    limit = os.environ.get('PERIGEE_MEMORY_BYTES')
    if limit is not None and size > _MEMORY_SHARE * int(limit):
        raise TooLargeError(
            '%s%d x %d x %d pixels of %s are %d bytes, and the group has %s bytes of memory'
            % (what, bands, rows, columns, uri, size, limit),
            fix='read a smaller window or a coarser resolution, or create the function with more memory')
    return size


def metadata_of(array, transform, crs, nodata):
    """What `read` tells beside the pixels."""
    return {'shape': array.shape, 'dtype': str(array.dtype), 'geotransform': tuple(transform.to_gdal()),
            'crs': None if crs is None else native(crs.to_wkt() if not crs.is_epsg_code else crs.to_string()),
            'nodata': nodata}


def resampling_of(resampler):
    """rasterio's constant."""
    from rasterio.enums import Resampling
    name = RESAMPLERS.get(resampler)
    if name is None or not hasattr(Resampling, name):
        raise BadRequestError('There is no resampler %r.' % (resampler,),
                              fix='use one of %s' % ', '.join(sorted(RESAMPLERS)))
    return getattr(Resampling, name)


def _read_window(scene, indexes, window, resolution, resampler, uri):
    from rasterio.windows import Window
    column, row, columns, rows = check_window(window, scene.width, scene.height, uri)
    wide, high = columns, rows
    if resolution is not None:
        wide = max(1, int(round(columns * abs(scene.transform.a) / resolution)))
        high = max(1, int(round(rows * abs(scene.transform.e) / resolution)))
    check_size(len(indexes), high, wide, scene.dtypes, uri)
    area = Window(column, row, columns, rows)
    # GDAL takes the overview that is next finer by itself.
    array = scene.read(indexes, window=area, out_shape=(len(indexes), high, wide),
                       resampling=resampling_of(resampler))
    transform = scene.transform * scene.transform.translation(column, row)
    transform = transform * transform.scale(float(columns) / wide, float(rows) / high)
    return array, metadata_of(array, transform, scene.crs, scene.nodata)


def _read_bounds(scene, path, indexes, bounds, resolution, srs, resampler, uri):
    if scene.crs is None:
        raise AssetInvalidError('%s has no coordinate system.' % uri, fix='read it by window')
    grid = Grid.make(bounds, resolution, srs, scene)
    check_size(len(indexes), grid.height, grid.width, scene.dtypes, uri)
    window = grid.find_window(scene)
    if window is not None:
        return _read_window(scene, indexes, window, None, resampler, uri)
    array, _ = warp(scene, path, indexes, grid, resampler, uri, masked=False)
    return array, metadata_of(array, grid.transform, grid.crs, scene.nodata)


class Grid(object):
    """Pixels to be filled: a coordinate system, where the first one is, and how many."""

    def __init__(self, crs, transform, width, height):
        self.crs = crs
        self.transform = transform
        self.width = width
        self.height = height

    @classmethod
    def make(cls, bounds, resolution, srs, scene):
        """From what the caller gave; the scene's own coordinate system and resolution by default."""
        from rasterio.crs import CRS
        from rasterio.transform import from_origin
        crs = scene.crs if srs is None else parse_crs(srs, CRS)
        try:
            west, south, east, north = [float(value) for value in bounds]
        except (TypeError, ValueError):
            raise WindowError('%r are no bounds.' % (bounds,), fix='give (west, south, east, north)')
        if not (west < east and south < north) or max(map(abs, (west, south, east, north))) > 1e300:
            raise WindowError('The bounds %r are empty.' % (tuple(bounds),), fix='give (west, south, east, north)')
        if resolution is None:
            if crs != scene.crs:
                raise BadRequestError('Another srs needs a resolution.', fix='give resolution, in units of the srs')
            resolution = abs(scene.transform.a)
            height_resolution = abs(scene.transform.e)
        else:
            height_resolution = resolution
        width = max(1, int(round((east - west) / resolution)))
        height = max(1, int(round((north - south) / height_resolution)))
        return cls(crs, from_origin(west, north, resolution, height_resolution), width, height)

    def find_window(self, scene):
        """The window of the scene that is this very grid; None when pixels must be resampled."""
        if self.crs != scene.crs or scene.transform.b or scene.transform.d:
            return None
        if abs(self.transform.a - scene.transform.a) > _GRID_TOLERANCE * abs(scene.transform.a):
            return None
        if abs(self.transform.e - scene.transform.e) > _GRID_TOLERANCE * abs(scene.transform.e):
            return None
        column, row = ~scene.transform * (self.transform.c, self.transform.f)
        if abs(column - round(column)) > 1e-3 or abs(row - round(row)) > 1e-3:
            return None
        column, row = int(round(column)), int(round(row))
        if column < 0 or row < 0 or column + self.width > scene.width or row + self.height > scene.height:
            return None
        return column, row, self.width, self.height


def parse_crs(srs, crs_class):
    """A coordinate system from EPSG:n, WKT or proj4 text."""
    import rasterio
    try:
        return crs_class.from_user_input(srs)
    except (rasterio.errors.CRSError, ValueError) as caught:
        raise BadRequestError('%r is no coordinate system: %s' % (srs, native(str(caught))), fix='write EPSG:32622, WKT or a proj4 text')


def warp(scene, path, indexes, grid, resampler, uri, masked=True):
    """Pixels on another grid, by GDAL's warper, from the overview that gdalwarp would take.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        The pixels (band, row, column), and where they are valid (row, column), not 0; None unless `masked`.
    """
    from rasterio.vrt import WarpedVRT
    if not _meet(scene, grid, uri):
        raise WindowError('The bounds lie outside of %s.' % uri, fix='choose bounds that meet the scene')
    level = _overview_level(scene, grid, uri)
    source = scene if level is None else open_scene(path, uri, overview_level=level)
    # What has neither nodata nor alpha would count as valid beyond its own edge, too.
    options = {'add_alpha': True} if masked and not _tells_validity(scene) else {}
    pixels, masks = [], []
    try:
        for transform, width in _parts(scene, grid):
            with WarpedVRT(source, crs=grid.crs, transform=transform, width=width, height=grid.height,
                           resampling=resampling_of(resampler), **options) as warped:
                pixels.append(warped.read(indexes))
                if masked:
                    # The added band itself: GDAL takes one of floats for no mask.
                    masks.append(warped.read(scene.count + 1) if options else mask_of(warped))
        return _joined(pixels), _joined(masks) if masked else None
    finally:
        if source is not scene:
            source.close()


def mask_of(scene, window=None):
    """Where pixels are valid (row, column), not 0, of the scene or a window of it."""
    import numpy
    import rasterio
    from rasterio.enums import ColorInterp
    if window is None:
        mask = scene.dataset_mask()
    elif tuple(int(part) for part in rasterio.__version__.split('.')[:2]) >= (1, 1):
        mask = scene.dataset_mask(window=window)
    else:
        rows, columns = window.toslices()
        mask = scene.dataset_mask()[rows, columns]
    if ColorInterp.alpha in scene.colorinterp:
        alpha = scene.colorinterp.index(ColorInterp.alpha)
        # GDAL takes alpha of other types for no mask.
        if scene.dtypes[alpha] not in ('uint8', 'uint16'):
            mask = numpy.where(scene.read(alpha + 1, window=window) != 0, mask, 0)
    return mask


def _parts(scene, grid):
    """Transforms and widths of the grid's parts between antimeridians: older GDAL knows no longitude beyond."""
    import numpy
    if grid.crs == scene.crs or not grid.crs.is_geographic:
        return [(grid.transform, grid.width)]
    middles = grid.transform.c + (numpy.arange(grid.width) + 0.5) * grid.transform.a
    turns = -360 * numpy.floor((middles + 180) / 360)
    starts = [0] + [int(at) + 1 for at in numpy.flatnonzero(numpy.diff(turns))]
    transform_of = type(grid.transform).translation
    return [(transform_of(float(turns[start]), 0) * grid.transform * transform_of(start, 0), end - start)
            for start, end in zip(starts, starts[1:] + [grid.width])]


def _joined(parts):
    import numpy
    return parts[0] if len(parts) == 1 else numpy.concatenate(parts, axis=-1)


def _tells_validity(scene):
    """Whether pixels on another grid say by themselves which of them the scene has."""
    from rasterio.enums import ColorInterp
    return any(nodata is not None for nodata in scene.nodatavals) or ColorInterp.alpha in scene.colorinterp


def _meet(scene, grid, uri):
    west, north = grid.transform * (0, 0)
    east, south = grid.transform * (grid.width, grid.height)
    own, area = box_of(scene, grid.crs, uri), (west, south, east, north)
    turns = (0,)
    if grid.crs != scene.crs and (grid.crs.is_geographic or scene.crs.is_geographic):
        # Compared in degrees: what lies far away has no place in most projections, or a wrong one.
        if not grid.crs.is_geographic:
            own, area = box_of(scene, scene.crs, uri), transform_box(area, grid.crs, scene.crs)
        turns = (-360, 0, 360)
    if own is None or area is None or own[1] >= area[3] or own[3] <= area[1]:
        return False
    return any(own[0] + turn < area[2] and own[2] + turn > area[0] for turn in turns)


def box_of(scene, crs, uri):
    """As `transform_box`, of a scene whichever way up it is."""
    if scene.crs is None:
        raise AssetInvalidError('%s has no coordinate system.' % uri, fix='read it by window')
    # Not its `bounds`, whose top is below the bottom when the scene is south-up.
    corners = [scene.transform * (column, row) for column in (0, scene.width) for row in (0, scene.height)]
    xs, ys = zip(*corners)
    box = min(xs), min(ys), max(xs), max(ys)
    return box if scene.crs == crs else transform_box(box, scene.crs, crs)


def transform_box(box, crs, target):
    """West, south, east and north of a box in another coordinate system.

    Across the antimeridian east is above 180 degrees, where rasterio's `transform_bounds` gives a west above
    the east, or with older GDAL everything around the globe. None where the box has no place in `target`.
    """
    import numpy
    from rasterio.warp import transform
    west, south, east, north = [float(value) for value in box]
    if crs.is_geographic and west > east:
        east += 360
    along = numpy.arange(_EDGE_STEPS) / float(_EDGE_STEPS)
    across, up, still = (east - west) * along, (north - south) * along, 0 * along
    xs = numpy.concatenate([west + across, east + still, east - across, west + still, [west]])
    ys = numpy.concatenate([south + still, south + up, north + still, north - up, [south]])
    if crs.is_geographic and not target.is_geographic:
        # Older GDAL knows no longitude beyond.
        xs = numpy.where(abs(xs) > 180, (xs + 180) % 360 - 180, xs)
    xs, ys = [numpy.array(values) for values in transform(crs, target, xs.tolist(), ys.tolist())]
    found = numpy.isfinite(xs) & numpy.isfinite(ys)
    if not found.any():
        return None
    xs, ys = xs[found], ys[found]
    if target.is_geographic:
        # Each point within half a turn of the one before it.
        xs[1:] -= 360 * numpy.cumsum(numpy.round(numpy.diff(xs) / 360))
        if abs(xs[-1] - xs[0]) > 180:
            # Once around the globe: a pole is inside.
            pole = 90.0 if ys.mean() > 0 else -90.0
            return -180.0, float(min(pole, ys.min())), 180.0, float(max(pole, ys.max()))
        xs -= 360 * numpy.floor((xs.min() + 180) / 360)
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def _overview_level(scene, grid, uri):
    """The coarsest overview that is still as fine as the target; None for the full resolution."""
    factors = scene.overviews(1)
    if not factors:
        return None
    from rasterio.warp import calculate_default_transform
    resolution = scene.transform.a
    if grid.crs != scene.crs:
        box = box_of(scene, grid.crs, uri)
        if grid.crs.is_geographic and box[2] > 180:
            # GDAL would spread it around the globe. As it does elsewhere: one diagonal by the other.
            resolution = math.hypot(box[2] - box[0], box[3] - box[1]) / math.hypot(scene.width, scene.height)
        else:
            resolution = calculate_default_transform(
                scene.crs, grid.crs, scene.width, scene.height, *scene.bounds)[0].a
    ratio = abs(grid.transform.a) / abs(resolution)
    level = None
    for at, factor in enumerate(factors):
        if factor <= ratio * (1 + 1e-6):
            level = at
    return level
