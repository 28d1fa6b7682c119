"""Files that a task gives out beside its result: kept with the task, there once it has succeeded.

`perigee.imagery.write` gives out an array as a Cloud Optimized GeoTIFF; `save_output` any file.
"""
import hashlib
import io
import mimetypes
import os
import re
import shutil
import sys

from perigee import _output_channel as channel
from perigee._compat import PY2, integer_types, native, string_types, text_type
from perigee._task_socket import is_inside
from perigee.errors import BadRequestError

_NAME = re.compile(r'^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$')
_NAME_RULE = 'use 1 to 100 letters, digits, dots, underscores and hyphens; the first is a letter or digit'
_COPY_BYTES = 1024 * 1024
#: What mimetypes does not know.
_MEDIA_TYPES = {
    '.geojson': 'application/geo+json', '.parquet': 'application/vnd.apache.parquet',
    '.gpkg': 'application/geopackage+sqlite3', '.csv': 'text/csv', '.json': 'application/json',
    '.tif': 'image/tiff', '.tiff': 'image/tiff', '.txt': 'text/plain', '.npy': 'application/octet-stream',
}
#: Of the arguments, what is told with an output.
_ITEMS_MAX = 50
_TEXT_CHARS_MAX = 500
_DEPTH_MAX = 4


def save_output(name, source=None, data=None, media_type=None, metadata=None):
    """Gives out a file of the running task.

    It is there for others (`FutureTask.outputs`) once the task has succeeded; a task that fails or is
    tried again leaves none. A second output of the same name takes the place of the first.

    Parameters
    ----------
    name : str
        Letters, digits, dots, underscores and hyphens, 100 at most.
    source : str or file, optional
        Path of a file, or a file that is open for reading bytes and can be sought; read from its
        beginning to its end, never whole in memory. On Python 3 bytes are taken as ``data``.
    data : bytes, optional
        The content itself.
    media_type : str, optional
        By default what the ending of the name says.
    metadata : dict, optional
        Plain values to be told with it, 32 KiB as JSON. ``geometry``, ``bbox``, ``properties`` and
        ``asset`` are taken over by ``group export --stac``.

    Returns
    -------
    dict
        ``name``, ``bytes`` (its size) and ``sha256``. Outside of a task the file is written below the
        folder that ``PERIGEE_OUTPUTS`` names (``outputs`` by default), and ``path`` is in there too.

    Raises
    ------
    BadRequestError
        Name, media type or metadata are not valid.
    TooLargeError
        It is larger, or one more, than the node takes; the text says how to change that.
    DiskFullError
        The node has no room.
    """
    name = check_name(name)
    if data is None and not PY2 and isinstance(source, (bytes, bytearray, memoryview)):
        source, data = None, source
    if (source is None) == (data is None):
        raise BadRequestError('Output %s: give a path, or data.' % name, fix='give exactly one of source and data')
    told = dict(metadata or {})
    if 'arguments' not in told:
        call = describe_call()
        if call is not None:
            told['arguments'] = call
    opened, is_own = _open(source, data)
    try:
        opened.seek(0, os.SEEK_END)
        size = opened.tell()
        opened.seek(0)
        kind = native(media_type) if media_type else _media_type_of(name)
        if is_inside():
            announcement = {'name': name, 'sizeBytes': size, 'mediaType': kind, 'metadata': told}
            return {'name': name, 'bytes': size, 'sha256': channel.send(announcement, opened)}
        return _keep_here(name, opened, size)
    finally:
        if is_own:
            opened.close()


def check_name(name):
    """The name as ``str``.

    Raises
    ------
    BadRequestError
    """
    if not isinstance(name, string_types) or not _NAME.match(native(name)):
        raise BadRequestError('%r cannot be the name of an output.' % (name,), fix=_NAME_RULE)
    return native(name)


def describe_call():
    """What the running task was called with, as plain values, long ones cut; None outside of one."""
    harness = sys.modules.get('perigee_harness')
    call = getattr(harness, 'current_call', None)
    if call is None:
        return None
    arguments, keywords = call
    return {'args': [_plain(value, 0) for value in list(arguments)[:_ITEMS_MAX]],
            'kwargs': dict((native(key), _plain(value, 0)) for key, value in sorted(keywords.items())[:_ITEMS_MAX])}


def _plain(value, depth):
    if value is None or isinstance(value, (bool,) + integer_types):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)
    if isinstance(value, text_type) or (PY2 and isinstance(value, str)):
        text = value.decode('utf-8', 'replace') if PY2 and isinstance(value, str) else value
        return text if len(text) <= _TEXT_CHARS_MAX else text[:_TEXT_CHARS_MAX] + u'\u2026'
    if isinstance(value, (list, tuple)) and depth < _DEPTH_MAX and len(value) <= _ITEMS_MAX:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict) and depth < _DEPTH_MAX and len(value) <= _ITEMS_MAX:
        return dict((_key(key), _plain(item, depth + 1)) for key, item in value.items())
    key = getattr(value, 'key', None)
    if isinstance(key, string_types):
        # A tile of `perigee.imagery`.
        return native(key)[:_TEXT_CHARS_MAX]
    return '<%s>' % type(value).__name__


def _key(key):
    plain = _plain(key, _DEPTH_MAX)
    return plain if isinstance(plain, string_types) else repr(plain)


def _open(source, data):
    if data is not None:
        return io.BytesIO(bytes(data)), True
    if hasattr(source, 'read'):
        return source, False
    return open(source, 'rb'), True


def _media_type_of(name):
    ending = os.path.splitext(name)[1].lower()
    # Python's own table: the system's files may not be there to be read.
    found = _MEDIA_TYPES.get(ending) or mimetypes.types_map.get(ending)
    return found or 'application/octet-stream'


def _keep_here(name, opened, size):
    folder = os.environ.get('PERIGEE_OUTPUTS') or 'outputs'
    if not os.path.isdir(folder):
        os.makedirs(folder)
    path = os.path.join(folder, name)
    digest = hashlib.sha256()
    with open(path, 'wb') as kept:
        shutil.copyfileobj(opened, kept, _COPY_BYTES)
    with open(path, 'rb') as kept:
        for piece in iter(lambda: kept.read(_COPY_BYTES), b''):
            digest.update(piece)
    return {'name': name, 'bytes': size, 'sha256': native(digest.hexdigest()), 'path': path}
