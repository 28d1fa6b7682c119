"""Arrays as Cloud Optimized GeoTIFF. numpy and rasterio come with the image."""
from __future__ import division

import os
import shutil
import tempfile

from perigee import _imagery_read as reading
from perigee._compat import native
from perigee._footprint import find_footprint
from perigee._stac_fields import asset_fields, time_fields
from perigee.errors import BadRequestError
from perigee.imagery import LIKES
from perigee.outputs import check_name, save_output

COG_MEDIA_TYPE = 'image/tiff; application=geotiff; profile=cloud-optimized'

_BLOCKS = (128, 256, 512)
#: What GDAL makes overviews with.
_OVERVIEW_RESAMPLERS = ('nearest', 'average', 'bilinear', 'cubic', 'cubic_spline', 'lanczos', 'mode')
_DTYPES = ('uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'uint64', 'int64', 'float32', 'float64',
           'complex64', 'complex128')


class Place(object):
    """Where an array's pixels lie."""

    def __init__(self, transform, crs, nodata, shape, order):
        self.transform = transform
        self.crs = crs
        self.nodata = nodata
        #: Rows and columns that must be met; None for any.
        self.shape = shape
        #: Of the axes, when it is known.
        self.order = order


def write(name, array, like, transform, crs, nodata, order, resampler, bands, datetime, properties):
    """See `perigee.imagery.write`."""
    name = check_name(name)
    place = _place(name, like, transform, crs)
    array, nodata = _pixels(name, array, order or place.order or 'gdal', place, nodata)
    resampler = reading.resampling_of(resampler or ('average' if array.dtype.kind in 'fc' else 'near')).name
    if resampler not in _OVERVIEW_RESAMPLERS:
        raise BadRequestError('GDAL makes no overviews by %r.' % resampler,
                              fix='use one of %s' % ', '.join(sorted(_OVERVIEW_RESAMPLERS)))
    if bands is not None and len(bands) != len(array):
        raise BadRequestError('%d names for the %d bands of %s.' % (len(bands), len(array), name),
                              fix='give one for each band')
    told = {'properties': dict(properties or {}, **time_fields(datetime))}
    told['asset'] = asset_fields(array, place, nodata, bands, resampler)
    told.update(find_footprint(place, array.shape[1:]))
    folder = tempfile.mkdtemp(prefix='perigee-cog-')
    try:
        path = write_cog(folder, array, place, nodata, resampler, bands)
        return save_output(name, path, media_type=COG_MEDIA_TYPE, metadata=told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_cog(folder, array, place, nodata, resampler, bands):
    """The path of a COG of the array (bands, rows, columns) in the folder."""
    import rasterio
    import rasterio.shutil
    from rasterio.enums import Resampling
    count, rows, columns = array.shape
    block = next((size for size in _BLOCKS if max(rows, columns) <= size), _BLOCKS[-1])
    factors = []
    while max(rows, columns) > block * 2 ** len(factors):
        factors.append(2 ** (len(factors) + 1))
    layout = {'tiled': True, 'blockxsize': block, 'blockysize': block, 'compress': 'deflate',
              'interleave': 'pixel', 'bigtiff': 'IF_SAFER'}
    predictor = _predictor(array.dtype)
    if predictor != 1:
        layout['predictor'] = predictor
    # Four bands of bytes would be taken for red, green, blue and alpha.
    layout['photometric'] = 'rgb' if count == 3 and array.dtype == 'uint8' else 'minisblack'
    source, made = os.path.join(folder, 'source.tif'), os.path.join(folder, 'cog.tif')
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=str(block), GDAL_TIFF_INTERNAL_MASK='YES'):
        with rasterio.open(source, 'w', driver='GTiff', width=columns, height=rows, count=count,
                           dtype=str(array.dtype), crs=place.crs, transform=place.transform, nodata=nodata,
                           **layout) as scene:
            for index in range(count):
                scene.write(array[index], index + 1)
            for index, band in enumerate(bands or ()):
                scene.set_band_description(index + 1, native(band))
            scene.update_tags(OVERVIEW_RESAMPLING=resampler)
        if factors:
            with rasterio.open(source, 'r+') as scene:
                scene.build_overviews(factors, getattr(Resampling, resampler))
        if _gdal_version() >= (3, 1):
            rasterio.shutil.copy(source, made, driver='COG', BLOCKSIZE=block, COMPRESS='DEFLATE',
                                 PREDICTOR='NO' if predictor == 1 else 'YES', BIGTIFF='IF_SAFER',
                                 OVERVIEWS='FORCE_USE_EXISTING' if factors else 'NONE')
        else:
            rasterio.shutil.copy(source, made, driver='GTiff', copy_src_overviews='YES', **layout)
    os.unlink(source)
    return made


def _predictor(dtype):
    if dtype.kind == 'f':
        return 3
    return 2 if dtype.kind in 'iu' and dtype.itemsize <= 4 else 1


def _gdal_version():
    import rasterio
    return tuple(int(part) for part in rasterio.__gdal_version__.split('.')[:2])


def _place(name, like, transform, crs):
    from rasterio.crs import CRS
    found = _place_of(like)
    if transform is not None:
        # Another grid than like's: its shape says nothing any more.
        found.transform, found.shape = _transform_of(transform), None
    if crs is not None:
        found.crs = crs
    if found.transform is None:
        raise BadRequestError('Nothing says where the pixels of output %s lie.' % name,
                              fix='give like= (what imagery.read told), or transform= and crs=')
    if found.crs is not None:
        found.crs = reading.parse_crs(found.crs, CRS)
    return found


def _place_of(like):
    if like is None:
        return Place(None, None, None, None, None)
    if hasattr(like, 'geotransform') and hasattr(like, 'srs'):
        # A tile.
        return Place(_transform_of(like.geotransform), like.srs, None, tuple(like.shape), None)
    if hasattr(like, 'transform') and hasattr(like, 'crs'):
        # A dataset of rasterio.
        return Place(like.transform, like.crs, like.nodata, (like.height, like.width), None)
    if not hasattr(like, 'get'):
        raise BadRequestError('like is a %s.' % type(like).__name__,
                              fix='give what imagery.read told, a dataset or profile of rasterio, or a tile')
    transform = like.get('geotransform', like.get('transform'))
    order = like.get('order')
    shape = like.get('shape')
    if shape is not None and len(shape) == 3:
        shape = shape[:2] if order == 'image' else shape[1:]
    elif shape is None and 'height' in like:
        shape = (like['height'], like['width'])
    return Place(None if transform is None else _transform_of(transform), like.get('crs'), like.get('nodata'),
                 None if shape is None else tuple(shape), order)


def _transform_of(transform):
    """An affine transform; six numbers are in GDAL's order, as `read` tells them."""
    from affine import Affine
    if isinstance(transform, Affine):
        return transform
    try:
        numbers = [float(number) for number in transform]
        return Affine.from_gdal(*numbers)
    except (TypeError, ValueError):
        raise BadRequestError('%r is no transform.' % (transform,), fix="give an Affine, or GDAL's six numbers")


def _pixels(name, array, order, place, nodata):
    """The pixels as (bands, rows, columns) of a type that GDAL writes, and their nodata value."""
    import numpy
    if order not in ('gdal', 'image'):
        raise BadRequestError('There is no order %r.' % (order,), fix="use 'gdal' or 'image'")
    mask = None
    if isinstance(array, numpy.ma.MaskedArray):
        mask, array = numpy.ma.getmaskarray(array), array.data
    array = numpy.asarray(array)
    if array.ndim == 2:
        array = array[numpy.newaxis]
        mask = None if mask is None else mask[numpy.newaxis]
    elif array.ndim == 3 and order == 'image':
        array = array.transpose(2, 0, 1)
        mask = None if mask is None else mask.transpose(2, 0, 1)
    if array.ndim != 3 or 0 in array.shape:
        raise BadRequestError('Output %s has the shape %r.' % (name, array.shape),
                              fix='give (rows, columns) or (bands, rows, columns)')
    if place.shape is not None and array.shape[1:] != tuple(place.shape):
        raise BadRequestError(
            'Output %s has %d x %d pixels (rows x columns), and like has %d x %d.'
            % ((name,) + array.shape[1:] + tuple(place.shape)),
            fix="give the array of like's grid, or transform= of its own; order='image' for (rows, columns, bands)")
    array = _writable(name, array)
    if nodata is LIKES:
        nodata = place.nodata
    _check_nodata(name, nodata, array.dtype)
    if mask is not None and mask.any():
        if nodata is None:
            raise BadRequestError('Output %s has masked pixels and no nodata value.' % name, fix='give nodata=')
        array = numpy.where(mask, numpy.asarray(nodata).astype(array.dtype), array)
    return array, nodata


def _writable(name, array):
    if array.dtype.kind == 'b':
        return array.astype('uint8')
    if str(array.dtype) == 'float16':
        return array.astype('float32')
    dtype = array.dtype.newbyteorder('=').name
    version = _gdal_version()
    since = {'int8': (3, 7), 'int64': (3, 5), 'uint64': (3, 5)}.get(dtype)
    if dtype not in _DTYPES or (since is not None and version < since):
        raise BadRequestError('GDAL %s writes no %s, which output %s is of.' % ('.'.join(map(str, version)), dtype, name),
                              fix="convert it first: array.astype('int32') or 'float64'")
    return array


def _check_nodata(name, nodata, dtype):
    import numpy
    if nodata is None or dtype.kind == 'c':
        return
    if dtype.kind == 'f':
        if isinstance(nodata, (int, float)) or numpy.isscalar(nodata):
            return
        fits = False
    else:
        info = numpy.iinfo(dtype)
        fits = nodata == nodata and int(nodata) == nodata and info.min <= nodata <= info.max
    if not fits:
        raise BadRequestError('The nodata value %r does not fit the %s of output %s.' % (nodata, dtype, name),
                              fix='give nodata= of its own, or nodata=None')
