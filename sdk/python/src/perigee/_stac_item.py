"""Items of the catalogue: light, plain data inside, the same on every Python."""
import datetime as _datetime
import re

from perigee._compat import PY2, native

if PY2:
    class _Utc(_datetime.tzinfo):
        def utcoffset(self, moment):
            return _datetime.timedelta(0)

        dst = utcoffset

        def tzname(self, moment):
            return 'UTC'

    UTC = _Utc()
else:
    UTC = _datetime.timezone.utc

_TIME = re.compile(r'^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$')
_RASTER_TYPES = ('image/tiff', 'image/jp2', 'image/vnd.stac.geotiff', 'application/x-hdf', 'application/netcdf',
                 'application/x-netcdf')
_RASTER_SUFFIXES = ('.tif', '.tiff', '.jp2', '.vrt', '.nc', '.h5', '.hdf')


class Asset(object):
    """A file of an item.

    Attributes
    ----------
    href : str
        Its URI: what `perigee.imagery.open` and `read` take.
    title, media_type : str or None
    roles : list of str
    """

    __slots__ = ('_document',)

    def __init__(self, document):
        self._document = document

    @property
    def href(self):
        """Its URI, as the interpreter's own ``str``."""
        return native(self._document['href'])

    @href.setter
    def href(self, value):
        self._document['href'] = value

    @property
    def title(self):
        """What people call it."""
        return native(self._document.get('title'))

    @property
    def media_type(self):
        """For example ``image/tiff; application=geotiff``."""
        return native(self._document.get('type'))

    @property
    def roles(self):
        """What it is for: ``data``, ``thumbnail``, ``metadata``."""
        return [native(role) for role in self._document.get('roles') or []]

    def to_dict(self):
        """The plain data."""
        return self._document

    def __repr__(self):
        return 'Asset(%r)' % self.href

    def __reduce__(self):
        return (Asset, (self._document,))


class Item(object):
    """One scene, or what else stands in a place at a time.

    Attributes
    ----------
    id, collection : str
    geometry : dict or None
        GeoJSON.
    bbox : list of float or None
        West, south, east, north.
    datetime : datetime.datetime or None
        With its time zone, UTC; None for an item with an interval.
    properties : dict
    assets : dict of str to Asset
    """

    def __init__(self, document):
        self._document = document
        self._assets = None

    @property
    def id(self):
        """Unique within its collection."""
        return native(self._document['id'])

    @property
    def collection(self):
        """Id of its collection."""
        return native(self._document.get('collection'))

    @property
    def geometry(self):
        """GeoJSON."""
        return self._document.get('geometry')

    @property
    def bbox(self):
        """West, south, east, north."""
        return self._document.get('bbox')

    @property
    def properties(self):
        """All that is said of it, by STAC's names."""
        return self._document['properties']

    @property
    def datetime(self):
        """When it was, or None."""
        return _parse_time(self.properties.get('datetime'))

    @property
    def assets(self):
        """Its files by their keys."""
        if self._assets is None:
            self._assets = dict((native(key), Asset(asset)) for key, asset in self._document.get('assets', {}).items())
        return self._assets

    @property
    def __geo_interface__(self):
        return self._document

    def to_dict(self):
        """The STAC item as plain data."""
        return self._document

    def __repr__(self):
        return 'Item(%r, collection=%r)' % (self.id, self.collection)

    def __eq__(self, other):
        if not isinstance(other, Item):
            return NotImplemented
        return self._document == other._document

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self):
        return hash((self.collection, self.id))

    def __reduce__(self):
        return (Item, (self._document,))


class ItemCollection(list):
    """Items that were found, as a list."""

    def to_dict(self):
        """A GeoJSON FeatureCollection as plain data."""
        return {'type': 'FeatureCollection', 'features': [item.to_dict() for item in self]}

    @property
    def __geo_interface__(self):
        return self.to_dict()

    @property
    def items(self):
        """The items, as pystac's ItemCollection calls them."""
        return list(self)


def data_hrefs(document):
    """URIs of an item's rasters: the assets of role ``data``, else those that look like rasters.

    Parameters
    ----------
    document : dict
        A STAC item as plain data.
    """
    assets = [asset for asset in document.get('assets', {}).values()
              if isinstance(asset, dict) and asset.get('href')]
    chosen = [asset for asset in assets if 'data' in (asset.get('roles') or [])]
    if not chosen:
        chosen = [asset for asset in assets if _is_raster(asset)]
    return [asset['href'] for asset in chosen]


def _is_raster(asset):
    if set(asset.get('roles') or []) & set(['thumbnail', 'overview', 'metadata']):
        return False
    kind = (asset.get('type') or '').lower()
    path = asset['href'].split('#', 1)[0].split('?', 1)[0].lower()
    return kind.startswith(_RASTER_TYPES) or path.endswith(_RASTER_SUFFIXES)


def _parse_time(text):
    match = _TIME.match(text or '')
    if match is None:
        return None
    parts = [int(part) for part in match.groups()[:6]]
    parts[5] = min(parts[5], 59)
    micro = int((match.group(7) or '0').ljust(6, '0')[:6])
    moment = _datetime.datetime(*(parts + [micro, UTC]))
    if match.group(8) is None:
        return moment
    offset = _datetime.timedelta(hours=int(match.group(9)), minutes=int(match.group(10)))
    return moment + offset if match.group(8) == '-' else moment - offset
