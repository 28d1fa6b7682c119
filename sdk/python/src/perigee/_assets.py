"""The imagery that calls read, told with them so that a task runs beside a cache that has it."""
import hashlib

from perigee._asset_uri import canonical_uri
from perigee._compat import integer_types, text_type, to_bytes
from perigee._stac_item import Asset, Item, data_hrefs

#: As the coordinator looks at; what a call reads beyond is fetched where the call runs.
ASSETS_MAX = 32
#: How deep lists and dicts in arguments are looked through.
DEPTH_MAX = 4
#: Elements of one list or dict in arguments that are looked at.
ELEMENTS_MAX = 100

#: Types of arguments that cannot hold the name of an asset.
_WITHOUT_ASSETS = frozenset([type(None), bool, float, complex]) | frozenset(integer_types)

_SCHEMES = (u's3://', u'gs://', u'file:')
_WEB_SCHEMES = (u'https://', u'http://')
_WEB_SUFFIXES = (u'.tif', u'.tiff', u'.jp2', u'.vrt', u'.nc')
#: The list of a call that reads nothing.
_NO_ASSETS = b'\0'


def pack_assets(uris):
    """The assets of one call as they are sent: their number, then 8 bytes for each.

    Parameters
    ----------
    uris : iterable of str
        Asset URIs in any spelling; doubles count once, and what no cache keeps (``data:``) not at all.

    Raises
    ------
    TypeError
        One of them is not text.
    """
    if isinstance(uris, (list, tuple)) and not uris:
        return _NO_ASSETS
    ids = []
    for uri in uris:
        if isinstance(uri, bytes):
            uri = uri.decode('utf-8')
        if not isinstance(uri, text_type):
            raise TypeError('assets must be URIs, not %s: %r' % (type(uri).__name__, uri))
        uri = canonical_uri(uri)
        if uri is None:
            continue
        asset = hashlib.sha256(to_bytes(uri)).digest()[:8]
        if asset not in ids:
            ids.append(asset)
    ids = ids[:ASSETS_MAX]
    return bytes(bytearray([len(ids)])) + b''.join(ids)


def find_assets(args, kwargs):
    """Asset URIs among arguments: `s3://`, `gs://` and `file:`, web addresses of rasters, and STAC
    items' rasters."""
    if not kwargs and len(args) == 1 and type(args[0]) in _WITHOUT_ASSETS:
        # What a map over numbers has; looking through them would cost more than pickling them.
        return ()
    found = []
    _search(args, found, 0)
    _search(kwargs, found, 0)
    return found


def _search(value, found, depth):
    if isinstance(value, (bytes, text_type)):
        _look_at(value, found)
    elif depth > DEPTH_MAX or len(found) >= ASSETS_MAX:
        return
    elif isinstance(value, Item):
        found.extend(data_hrefs(value.to_dict()))
    elif isinstance(value, Asset):
        found.append(value.href)
    elif isinstance(value, dict) and value.get('type') == 'Feature' and isinstance(value.get('assets'), dict):
        found.extend(data_hrefs(value))
    elif isinstance(value, dict):
        # Of a mapping that runs code of its own nothing is asked but what a dict has.
        for key in list(value)[:ELEMENTS_MAX]:
            _search(value[key], found, depth + 1)
    elif isinstance(value, (list, tuple)):
        for element in value[:ELEMENTS_MAX]:
            _search(element, found, depth + 1)


def _look_at(value, found):
    if not 5 < len(value) < 4096:
        return
    if isinstance(value, bytes):
        try:
            value = value.decode('utf-8')
        except UnicodeDecodeError:
            return
    if value.startswith(_SCHEMES):
        found.append(value)
    elif value.startswith(_WEB_SCHEMES):
        path = value.split(u'#', 1)[0].split(u'?', 1)[0].lower()
        if path.endswith(_WEB_SUFFIXES):
            found.append(value)
