"""The imagery that calls read, told with them so that a task runs beside a cache that has it."""
import hashlib
from itertools import islice

from perigee._asset_uri import canonical_uri
from perigee._compat import integer_types, string_types, text_type, to_bytes
from perigee._stac_item import Asset, Item, data_hrefs

#: As the coordinator looks at; what a call reads beyond is fetched where the call runs.
ASSETS_MAX = 32
#: How deep lists and dicts in arguments are looked through.
DEPTH_MAX = 4
#: Elements of one list or dict in arguments that are looked at.
ELEMENTS_MAX = 100
#: Values of one call that are looked at: a list that holds itself a hundred times has no end.
LOOKS_MAX = 100000

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
    items' rasters. Only a hint of where to run: no argument, whatever it does, makes it fail.

    Returns
    -------
    list of str
        Texts that `pack_assets` takes.
    """
    if not kwargs and len(args) == 1 and type(args[0]) in _WITHOUT_ASSETS:
        # What a map over numbers has; looking through them would cost more than pickling them.
        return ()
    search = _Search()
    search.look_at(args, 0)
    search.look_at(kwargs, 0)
    return search.found


class _Search(object):
    """Runs as little code of the arguments' own classes as can be, and believes none of it."""

    def __init__(self):
        self.found = []
        self.looks_left = LOOKS_MAX

    def look_at(self, value, depth):
        """Adds the URIs within `value`, which is so deep in the arguments."""
        self.looks_left -= 1
        try:
            if isinstance(value, (bytes, text_type)):
                self._look_at_text(value)
            elif depth > DEPTH_MAX or len(self.found) >= ASSETS_MAX:
                return
            elif isinstance(value, Item):
                self._add_all(data_hrefs(value.to_dict()))
            elif isinstance(value, Asset):
                self._add(value.href)
            elif isinstance(value, dict):
                self._look_at_dict(value, depth)
            elif isinstance(value, list):
                self._look_at_each(list.__iter__(value), depth)
            elif isinstance(value, tuple):
                self._look_at_each(tuple.__iter__(value), depth)
        except Exception:
            # Of an object that cannot be looked at nothing is known; the call goes on without.
            return

    def _look_at_dict(self, value, depth):
        kind = dict.get(value, 'type')
        # Text first: an array compared with a text is an array, whose truth cannot be told.
        if isinstance(kind, string_types) and kind == 'Feature' and isinstance(dict.get(value, 'assets'), dict):
            self._add_all(data_hrefs(value))
        else:
            # Of a mapping that runs code of its own nothing is asked but what a dict has.
            self._look_at_each(iter(dict.values(value)), depth)

    def _look_at_each(self, elements, depth):
        for element in islice(elements, ELEMENTS_MAX):
            if self.looks_left <= 0:
                return
            self.look_at(element, depth + 1)

    def _look_at_text(self, value):
        if not 5 < len(value) < 4096:
            return
        value = _plain_text(value)
        if value.startswith(_SCHEMES):
            self._add(value)
        elif value.startswith(_WEB_SCHEMES):
            path = value.split(u'#', 1)[0].split(u'?', 1)[0].lower()
            if path.endswith(_WEB_SUFFIXES):
                self._add(value)

    def _add_all(self, hrefs):
        for href in hrefs:
            if isinstance(href, (bytes, text_type)):
                self._add(href)

    def _add(self, uri):
        uri = _plain_text(uri)
        # A lone surrogate is a fine text but no UTF-8, and so the name of no file.
        to_bytes(uri)
        self.found.append(uri)


def _plain_text(value):
    """Text without what a class of its own may do."""
    return bytes.decode(value, 'utf-8') if isinstance(value, bytes) else u''.join((value,))
