"""Imagery from inside a function: paths that GDAL and rasterio open.

More comes with the imagery cache; for now the folders that nodes mount can be read.
"""
import os
import posixpath
import re

from perigee.errors import NotFoundError, PerigeeError
from perigee.tiles import Tile, tile_from_key, tile_from_latlon, tiles_from_shape  # noqa: F401

#: Where a sandbox has its mounts.
MOUNT_ROOT = '/data'

_NAME = re.compile(r'^[A-Za-z0-9][A-Za-z0-9_.-]*$')


def open(uri):  # noqa: A001 - the name that the guide gives it
    """The local path of an asset.

    Parameters
    ----------
    uri : str
        ``data:NAME/path/to/file.tif``: a file below the folder that the nodes mount as NAME. Outside
        of a task the environment variable ``PERIGEE_MOUNT_NAME`` (in capitals, other characters
        than letters and digits as ``_``) says where that folder is.

    Returns
    -------
    str
        A path that exists.

    Raises
    ------
    PerigeeError
        The URI is not understood, or the mount is not known here.
    NotFoundError
        There is no such file in the mount.
    """
    name, path = _split(uri)
    folder = _folder_of(name)
    full = os.path.join(folder, *path.split('/')) if path else folder
    if not os.path.exists(full):
        raise NotFoundError('There is no %s in the mount %r (looked for %s).' % (path, name, full),
                            fix='check the path below the folder given by --mount %s=DIR' % name)
    return full


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
