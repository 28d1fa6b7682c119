"""Imagery from inside a function: paths that GDAL and rasterio open, and arrays.

Inside a task the node fetches and keeps what is asked for; the sandbox needs no network and no
credentials. Outside of a task files of this machine work the same; other origins are refused.
"""
import os
import posixpath
import re
import sys

from perigee import _imagery_channel as channel
from perigee._compat import native
from perigee._stac_item import Asset, Item, ItemCollection  # noqa: F401
from perigee.errors import AssetNotFoundError, BadRequestError, NotFoundError, PerigeeError
from perigee.tiles import Tile, tile_from_key, tile_from_latlon, tiles_from_shape  # noqa: F401

#: Where a sandbox has its mounts.
MOUNT_ROOT = '/data'

#: For `nodata` of `write`: that of ``like``.
LIKES = object()

#: Paths of whole files that this process was given, by URI; as many as a task may open. They go with it.
_whole = {}
_whole_of = [0]
_WHOLE_MAX = 1000

_NAME = re.compile(r'^[A-Za-z0-9][A-Za-z0-9_.-]*$')


def open(uri):  # noqa: A001 - the name that the guide gives it
    """The local path of an asset, whole and unchanging until the task ends.

    Parameters
    ----------
    uri : str
        ``https:``, ``http:``, ``s3:``, ``gs:`` or ``file:`` URI of one file, which the node fetches
        through its cache. Or ``data:NAME/path/to/file.tif``: a file below the folder that the nodes
        mount as NAME; outside of a task the environment variable ``PERIGEE_MOUNT_NAME`` (in
        capitals, other characters than letters and digits as ``_``) says where that folder is.

    Returns
    -------
    str
        A path that exists.

    Raises
    ------
    AssetError
        Its subclass says what is wrong: AssetNotFoundError, AssetDeniedError,
        AssetUnreachableError, AssetInvalidError or AssetChangedError.
    PerigeeError
        The URI is not understood, or the mount is not known here.
    NotFoundError
        There is no such file in the mount.
    """
    return _open(uri)[0]


def search(collections=None, bbox=None, datetime=None, intersects=None, query=None, filter=None,  # noqa: A002
           ids=None, sortby=None, fields=None, max_items=None, limit=None, client=None):
    """Finds scenes in the catalogue of the mesh: STAC items that `map` takes as they are.

    Parameters have pystac-client's names and take what it takes. Not there inside a task.

    Parameters
    ----------
    collections, ids : str or list of str, optional
    bbox : sequence of float, optional
        West, south, east and north in degrees; west above east crosses the antimeridian.
    datetime : str, datetime.datetime or pair of these, optional
        ``'2001-07'``, ``'2001-07/2001-09'``, ``'2001-07/..'``; None in a pair is an open end. A time
        without zone is UTC.
    intersects : dict or object, optional
        GeoJSON, or what has a ``__geo_interface__``: shapely's shapes, tiles, items.
    query : dict, str or list of str, optional
        ``{'eo:cloud_cover': {'lt': 20}}``, or ``['eo:cloud_cover<20']``.
    filter : dict, optional
        CQL2 as JSON.
    sortby : str, list, optional
        ``'-properties.datetime,id'``; the latest first by default.
    fields : str, list or dict, optional
        Parts of the items to fetch.
    max_items : int, optional
        By default all that fit.
    limit : int, optional
        Items to fetch at once.
    client : AsyncTasks, optional
        By default one made from the environment.

    Returns
    -------
    ItemSearch
        Lazy: iterate over it, or call ``items()``, ``item_collection()`` or ``matched()``.

    Raises
    ------
    BadRequestError, NotFoundError
        As the items are read: a parameter is not valid; a collection is not there.

    Examples
    --------
    >>> for item in search(collections='landsat7', datetime='2001-07'):  # doctest: +SKIP
    ...     print(item.id, item.assets['B4'].href)
    """
    if channel.is_inside():
        raise BadRequestError('The catalogue is not there inside a task.',
                              fix='search before, and hand the items to map')
    # Late: a task, which never searches, should not pay for the client.
    from perigee._stac_search import ItemSearch, search_parameters
    from perigee.client import default_client
    parameters = search_parameters(collections, ids, bbox, intersects, datetime, query, filter, sortby, fields)
    return ItemSearch(client or default_client(), parameters, max_items, limit)


def prefetch(uris):
    """Asks the node to bring assets into its cache, and does not wait for them.

    Parameters
    ----------
    uris : list of str
        At most 256; files of a mount are there already.
    """
    wanted = [uri for uri in uris if not uri.startswith('data:')]
    if channel.is_inside() and wanted:
        channel.ask({'kind': 'prefetch', 'uris': wanted})


def read(uri, bands=None, window=None, bounds=None, resolution=None, srs=None, resampler='near'):
    """Pixels of an asset.

    Parameters
    ----------
    uri : str
        As for `open`.
    bands : int, str or list, optional
        Numbers from 1, or names; all by default.
    window : (int, int, int, int), optional
        Column, row, width and height in pixels of the scene.
    bounds : (float, float, float, float), optional
        West, south, east and north, in units of `srs`; across the antimeridian with the east above 180.
    resolution : float, optional
        Units of the coordinate system per pixel. Coarser ones come from overviews.
    srs : str, optional
        What `bounds` are in and the result is in: EPSG:n, WKT or proj4; the scene's own by default.
    resampler : str
        near, bilinear, cubic, cubicspline, lanczos, average, mode, max, min, med, q1 or q3.

    Returns
    -------
    (numpy.ndarray, dict)
        Pixels as (band, row, column), and ``shape``, ``dtype``, ``geotransform`` (in GDAL's order),
        ``crs``, ``nodata``. The array of an uncompressed file that the node has whole is a read-only
        map of it.

    Raises
    ------
    AssetError, WindowError, TooLargeError
        With scene and window in the text.
    """
    from perigee import _imagery_read
    uri = native(uri)
    with _imagery_read.typed_errors(uri, _imagery_read.describe_window(window, bounds, resolution, srs)):
        path, may_map = _open(uri)
    return _imagery_read.read(path, uri, bands, window, bounds, resolution, srs, resampler, may_map)


def ndarray(inputs, bands=None, scales=None, data_type=None, srs=None, resolution=None, dimensions=None,
            bounds=None, bounds_srs=None, resampler='near', order='image'):
    """A mosaic of several assets, the last on top; the parameters of DLRun's ``Raster.ndarray``.

    Parameters
    ----------
    inputs : str or list of str
    bands : list, optional
        Numbers or names; a last ``'alpha'`` adds where there are pixels (255) and where none (0).
    scales : list of tuple, optional
        For each band ``(low, high[, out_low, out_high])``, or None.
    data_type : str, optional
        Byte, UInt16, Int16, UInt32, Int32, Float32 or Float64; pixels are rounded and clamped to it.
        Byte by default with `scales`, else the inputs' own.
    srs, resolution, bounds, resampler
        As for `read`; those of the first input by default, the box around all of them.
    dimensions : (int, int), optional
        Width and height in pixels, in place of `resolution`.
    bounds_srs : str, optional
        What `bounds` are in, when not in `srs`.
    order : {'image', 'gdal'}
        (row, column, band), or (band, row, column).

    Returns
    -------
    (numpy.ndarray, dict)
        As for `read`; ``nodata`` is the first input's, or None where it does not fit the ``dtype``: what
        is missing is 0 then.
    """
    from perigee import _imagery_mosaic
    inputs = [native(uri) for uri in ([inputs] if hasattr(inputs, 'startswith') else inputs)]
    if not inputs:
        raise BadRequestError('There are no inputs.', fix='give at least one URI')
    prefetch(inputs)
    return _imagery_mosaic.mosaic([open(uri) for uri in inputs], inputs, bands, scales, data_type, srs,
                                  resolution, dimensions, bounds, bounds_srs, resampler, order)


def write(name, array, like=None, transform=None, crs=None, nodata=LIKES, order=None, resampler=None,
          bands=None, datetime=None, properties=None):
    """Gives out an array as a Cloud Optimized GeoTIFF: an output of the task (`perigee.outputs`).

    Tiled by 512 pixels, compressed without loss (deflate, with a predictor), with overviews by powers
    of two. What a catalogue wants to know of it (outline, coordinate system, statistics) goes along.

    Parameters
    ----------
    name : str
        Of the output, for example ``'ndvi'``.
    array : numpy.ndarray
        (row, column), or (band, row, column) as `read` gives it; see `order`. Masked pixels become
        nodata; bool is written as uint8.
    like : dict, dataset, profile or Tile, optional
        Whose place it has: what `read` or `ndarray` told, a dataset or profile of rasterio, or a tile.
        Gives transform, crs and nodata; rows and columns must be the same.
    transform : Affine or six numbers, optional
        In place of like's; numbers in GDAL's order, as `read` tells them.
    crs : str, optional
        In place of like's: EPSG:n, WKT or proj4.
    nodata : number or None, optional
        In place of like's.
    order : {'gdal', 'image'}, optional
        Of three axes: (band, row, column), or (row, column, band) as `ndarray` gives by default. By
        default what `like` says of itself, else ``'gdal'``.
    resampler : str, optional
        Of the overviews: near, average, bilinear, cubic, cubicspline, lanczos or mode; by default average
        for floats and near for whole numbers, which may be classes.
    bands : list of str, optional
        Names of the bands.
    datetime : str or datetime.datetime, or a pair of them, optional
        When the pixels were seen, in UTC; a pair is a beginning and an end. A catalogue takes the
        moment when the task was done otherwise.
    properties : dict, optional
        Further properties of the STAC item, for example ``{'eo:cloud_cover': 3}``.

    Returns
    -------
    dict
        As `perigee.outputs.save_output`.

    Raises
    ------
    BadRequestError
        Shape, place, nodata or type do not go together; the text says which and what to give.
    TooLargeError, DiskFullError
    """
    from perigee import _imagery_write
    return _imagery_write.write(name, array, like, transform, crs, nodata, order, resampler, bands, datetime, properties)


def _open(uri):
    """The path, and whether it may be mapped: a file that is filled as it is read can fail to be, and
    behind a map that is no error but the end of the process."""
    if uri.startswith('data:'):
        return _open_mounted(uri), True
    if channel.is_inside():
        # A whole file stays what it is and where it is until the task ends: nothing has to be asked.
        # The next task may begin before the node has taken it away.
        calls_ended = getattr(sys.modules.get('perigee_harness'), 'calls_ended', 0)
        if _whole_of[0] != calls_ended:
            _whole.clear()
            _whole_of[0] = calls_ended
        path = _whole.get(uri)
        if path is not None and os.path.exists(path):
            return path, True
        answer = channel.ask({'kind': 'open', 'uri': uri})
        path, is_whole = str(answer['path']), answer.get('way') != 'lazy'
        if is_whole:
            if len(_whole) >= _WHOLE_MAX:
                _whole.clear()
            _whole[uri] = path
        return path, is_whole
    path = _local_path(uri)
    if not os.path.exists(path):
        raise AssetNotFoundError('There is no file %s on this machine.' % path)
    return path, True


def _open_mounted(uri):
    name, path = _split(uri)
    folder = _folder_of(name)
    full = os.path.join(folder, *path.split('/')) if path else folder
    if not os.path.exists(full):
        raise NotFoundError('There is no %s in the mount %r (looked for %s).' % (path, name, full),
                            fix='check the path below the folder given by --mount %s=DIR' % name)
    return full


def _local_path(uri):
    if uri.startswith('file://'):
        return uri[len('file://'):]
    if re.match('^[A-Za-z][A-Za-z0-9+.-]+:', uri):
        raise BadRequestError('%s is only there inside a task.' % uri,
                              fix='call it in a function on the mesh; here, open it with rasterio itself')
    return uri


def _split(uri):
    if not uri.startswith('data:'):
        raise PerigeeError('%r is not an asset that can be opened.' % (uri,), code='invalid_request',
                           fix='write data:NAME/file.tif, with the NAME of a --mount NAME=DIR')
    name, _, path = uri[len('data:'):].partition('/')
    # The path stays below the mount, so that one meant for a file cannot name another.
    normal = posixpath.normpath(path) if path else ''
    if not _NAME.match(name) or normal.startswith('/') or normal.split('/')[0] == '..':
        raise PerigeeError('%r names no file of a mount.' % (uri,), code='invalid_request',
                           fix='write data:NAME/file.tif, with the NAME of a --mount NAME=DIR')
    return name, normal


def _folder_of(name):
    folders = _given_folders()
    if name in folders:
        return folders[name]
    if os.environ.get('PERIGEE_SANDBOX') == '1':
        folder = posixpath.join(MOUNT_ROOT, name)
        if not os.path.isdir(folder):
            raise PerigeeError('This node has no mount %r.' % name, code='not_found',
                               fix='start it with --mount %s=DIR' % name)
        return folder
    variable = 'PERIGEE_MOUNT_' + re.sub('[^A-Z0-9]', '_', name.upper())
    folder = os.environ.get(variable)
    if not folder:
        raise PerigeeError('The mount %r is only there inside a task.' % name, code='not_found',
                           fix='call it in a function on the mesh, or set %s to the folder' % variable)
    return folder


def _given_folders():
    """The mounts by name where a task runs without a file system of its own (isolation ``none``)."""
    entries = os.environ.get('PERIGEE_MOUNTS', '').split(':')
    return dict(entry.split('=', 1) for entry in entries if '=' in entry)
