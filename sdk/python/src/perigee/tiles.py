"""A grid of UTM tiles: an area as pieces of work.

The keys are DLRun's, ``tilesize:pad:resolution:zone:ti:tj``: pixels, pixels, metres, UTM zone, and the
tile's column and row, counted from where the zone's central meridian meets the equator. South of it
rows are negative; the projection is the northern one everywhere, so that a zone is one grid.

>>> tile = tile_from_key('2048:16:30.0:14:3:74')
>>> tile.srs, tile.shape
('EPSG:32614', (2080, 2080))
>>> tile.geotransform
(683840.0, 30.0, 0.0, 4608480.0, 0.0, -30.0)
"""
from __future__ import division

import math

from perigee._footprint import outline
from perigee._utm import to_latlon, to_utm
from perigee.errors import PerigeeError

#: Tiles of one call: more is a slip of the resolution.
TILES_MAX = 1000000
_CENTRAL_EASTING = 500000.0
#: UTM is defined between these.
_LATITUDE_MIN, _LATITUDE_MAX = -80.0, 84.0
#: Edges are cut to this before they are projected: a straight line of degrees is none in metres.
_EDGE_DEGREES_MAX = 0.05


class Tile(object):
    """One tile; equal to another of the same key.

    Attributes
    ----------
    key : str
    tilesize, pad : int
        Pixels of a side, and those added on every side.
    resolution : float
        Metres.
    zone, ti, tj : int
    srs : str
        ``EPSG:326`` and the zone.
    bounds : (float, float, float, float)
        Left, bottom, right, top in metres, the pad included.
    geotransform : tuple
        GDAL's six numbers, of the padded tile.
    shape : (int, int)
        Rows and columns, the pad included.
    """

    def __init__(self, tilesize, pad, resolution, zone, ti, tj):
        self.tilesize, self.pad, self.resolution = tilesize, pad, float(resolution)
        self.zone, self.ti, self.tj = zone, ti, tj

    @property
    def key(self):
        return '%d:%d:%r:%d:%d:%d' % (
            self.tilesize, self.pad, self.resolution, self.zone, self.ti, self.tj)

    @property
    def srs(self):
        return 'EPSG:326%02d' % self.zone

    @property
    def bounds(self):
        side, margin = self.tilesize * self.resolution, self.pad * self.resolution
        left, bottom = _CENTRAL_EASTING + self.ti * side, self.tj * side
        return left - margin, bottom - margin, left + side + margin, bottom + side + margin

    @property
    def geotransform(self):
        left, _, _, top = self.bounds
        return left, self.resolution, 0.0, top, 0.0, -self.resolution

    @property
    def shape(self):
        side = self.tilesize + 2 * self.pad
        return side, side

    @property
    def geometry(self):
        """The padded outline as GeoJSON, in degrees: in two parts where it crosses the antimeridian."""
        return self._outline()['geometry']

    @property
    def bbox(self):
        """West, south, east, north of `geometry`: what a search takes.

        Across the antimeridian the west is above the east, as in GeoJSON.
        """
        return tuple(self._outline()['bbox'])

    @property
    def __geo_interface__(self):
        return {'type': 'Feature', 'id': self.key, 'geometry': self.geometry,
                'properties': {'key': self.key, 'srs': self.srs}}

    def _outline(self):
        left, bottom, right, top = self.bounds
        corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
        return outline([to_latlon(x, y, self.zone)[::-1] for x, y in corners])

    def __repr__(self):
        return 'Tile(%r)' % self.key

    def __eq__(self, other):
        return isinstance(other, Tile) and other.key == self.key

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self.key)


def tile_from_key(key):
    """The tile of a key, for example ``'2048:16:30.0:14:3:74'``.

    Raises
    ------
    PerigeeError
        It is no key of a tile.
    """
    try:
        tilesize, pad, resolution, zone, ti, tj = key.split(':')
        tile = Tile(int(tilesize), int(pad), float(resolution), int(zone), int(ti), int(tj))
        _check(tile.tilesize, tile.pad, tile.resolution)
        if 1 <= tile.zone <= 60:
            return tile
    except (AttributeError, ValueError):
        pass
    raise PerigeeError('%r is no key of a tile.' % (key,), code='invalid_request',
                       fix='write tilesize:pad:resolution:zone:ti:tj, as 2048:16:30.0:14:3:74')


def tile_from_latlon(lat, lon, resolution, tilesize, pad):
    """The tile that holds a place.

    Parameters
    ----------
    lat, lon : float
        Degrees (WGS 84).
    resolution : float
        Metres.
    tilesize, pad : int
        Pixels.
    """
    _check(tilesize, pad, resolution)
    if not _LATITUDE_MIN <= lat <= _LATITUDE_MAX:
        raise _refused('There is no UTM at latitude %r.' % lat, 'take -80 to 84')
    zone = _zone_index(lon) % 60 + 1
    x, y = to_utm(lat, lon, zone)
    side = tilesize * float(resolution)
    return Tile(tilesize, pad, resolution, zone,
                int(math.floor((x - _CENTRAL_EASTING) / side)), int(math.floor(y / side)))


def tiles_from_shape(shape, resolution, tilesize, pad):
    """The tiles that cover a polygon, zone by zone, from south to north and west to east.

    Parameters
    ----------
    shape : dict or object
        GeoJSON Polygon, MultiPolygon, Feature or FeatureCollection in degrees (WGS 84), or what
        has a ``__geo_interface__``. Across the antimeridian: cut in two, as GeoJSON says, or with
        longitudes beyond 180.
    resolution : float
        Metres.
    tilesize, pad : int
        Pixels. The pad overlaps the neighbours; a tile is chosen by what it covers without it.

    Returns
    -------
    list of Tile

    Raises
    ------
    PerigeeError
        The shape is no polygon, lies where UTM is not defined, or needs over a million tiles.

    Examples
    --------
    >>> square = {'type': 'Polygon', 'coordinates': [[[-35, -8], [-34.9, -8], [-34.9, -7.9], [-35, -8]]]}
    >>> [tile.key for tile in tiles_from_shape(square, 30, 512, 0)]
    ['512:0:30.0:25:-15:-58', '512:0:30.0:25:-14:-58', '512:0:30.0:25:-14:-57']
    """
    _check(tilesize, pad, resolution)
    found = {}
    for rings in _polygons(shape):
        longitudes = [x for ring in rings for x, _ in ring]
        latitudes = [y for ring in rings for _, y in ring]
        if min(latitudes) < _LATITUDE_MIN or max(latitudes) > _LATITUDE_MAX:
            raise _refused('The shape leaves the latitudes of UTM.', 'keep it within -80 to 84')
        last = _zone_index(max(longitudes))
        for index in range(_zone_index(min(longitudes)), last + 1):
            for tile in _tiles_in_zone(rings, index, (resolution, tilesize, pad)):
                found.setdefault((tile.zone, tile.tj, tile.ti), tile)
                _spent(TILES_MAX, len(found))
    return [found[place] for place in sorted(found)]


def _tiles_in_zone(rings, index, grid):
    resolution, tilesize, pad = grid
    west = index * 6.0 - 180.0
    zone = index % 60 + 1
    # Longitudes count from the zone's own meridian, so that 181 and -179 are one place.
    shift = (zone - 1) * 6.0 - 180.0 - west
    side = tilesize * float(resolution)
    projected = []
    for ring in rings:
        cut = _cut(_cut(ring, west, 1), west + 6.0, -1)
        points = [to_utm(y, x + shift, zone) for x, y in _densified(cut)]
        if points:
            projected.append([((x - _CENTRAL_EASTING) / side, y / side) for x, y in points])
    if not projected:
        return
    rows = _covered_rows(projected)
    for tj in sorted(rows):
        for ti in sorted(rows[tj]):
            yield Tile(tilesize, pad, resolution, zone, ti, tj)


def _covered_rows(rings):
    """Columns by row of the unit squares that rings (even-odd) touch with more than an edge."""
    rows = {}
    left = TILES_MAX
    edges = [edge for ring in rings for edge in zip(ring, ring[1:] + ring[:1])]
    for (x0, y0), (x1, y1) in edges:
        for tj in range(int(math.floor(min(y0, y1))), int(math.floor(max(y0, y1))) + 1):
            low, high = max(min(y0, y1), tj), min(max(y0, y1), tj + 1)
            if y0 == y1:
                ends = (x0, x1)
            else:
                ends = [x0 + (y - y0) * (x1 - x0) / (y1 - y0) for y in (low, high)]
            first, last = int(math.floor(min(ends))), int(math.floor(max(ends)))
            left = _spent(left, last + 1 - first)
            rows.setdefault(tj, set()).update(range(first, last + 1))
    left = TILES_MAX
    # Between the edges: squares whose middle lies inside.
    for tj in rows:
        middle = tj + 0.5
        crossings = sorted(x0 + (middle - y0) * (x1 - x0) / (y1 - y0)
                           for (x0, y0), (x1, y1) in edges if (y0 <= middle) != (y1 <= middle))
        for start, end in zip(crossings[::2], crossings[1::2]):
            first, last = int(math.ceil(start - 0.5)), int(math.floor(end - 0.5))
            left = _spent(left, max(0, last + 1 - first))
            rows[tj].update(range(first, last + 1))
    return rows


def _spent(left, count):
    """What is left of the tiles allowed; looked at before they are made."""
    if count > left:
        raise _refused('The shape needs more than %d tiles.' % TILES_MAX,
                       'take larger tiles or a smaller shape')
    return left - count


def _cut(ring, longitude, side):
    """The part of a ring east (side 1) or west (-1) of a meridian (Sutherland and Hodgman)."""
    kept = []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1]):
        is_in, will_be_in = (x0 - longitude) * side >= 0, (x1 - longitude) * side >= 0
        if is_in:
            kept.append((x0, y0))
        if is_in != will_be_in:
            kept.append((longitude, y0 + (longitude - x0) * (y1 - y0) / (x1 - x0)))
    return kept


def _densified(ring):
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1]):
        count = int(math.ceil(max(abs(x1 - x0), abs(y1 - y0)) / _EDGE_DEGREES_MAX)) or 1
        for step in range(count):
            yield x0 + (x1 - x0) * step / count, y0 + (y1 - y0) * step / count


def _polygons(shape):
    """Each polygon of a shape as rings of points, without the point that closes them."""
    shape = getattr(shape, '__geo_interface__', shape)
    kind = shape.get('type') if isinstance(shape, dict) else None
    if kind == 'FeatureCollection':
        return [rings for feature in shape['features'] for rings in _polygons(feature)]
    if kind == 'Feature':
        return _polygons(shape['geometry'])
    if kind == 'GeometryCollection':
        return [rings for geometry in shape['geometries'] for rings in _polygons(geometry)]
    if kind not in ('Polygon', 'MultiPolygon'):
        raise _refused('%r is no polygon.' % (kind,), 'give a GeoJSON Polygon or MultiPolygon')
    try:
        several = [shape['coordinates']] if kind == 'Polygon' else shape['coordinates']
        polygons = [[_open_ring(ring) for ring in rings] for rings in several]
    except (KeyError, IndexError, TypeError, ValueError):
        raise _refused('The coordinates of the %s cannot be read.' % kind, 'give GeoJSON')
    if not polygons or not all(rings and min(len(ring) for ring in rings) >= 3 for rings in polygons):
        raise _refused('The %s has too few points.' % kind, 'give every ring three or more')
    return polygons


def _open_ring(ring):
    points = [(float(point[0]), float(point[1])) for point in ring]
    return points[:-1] if points[0] == points[-1] else points


def _zone_index(longitude):
    # 180 degrees east belongs to the last zone, not to one after it.
    return 59 if longitude == 180.0 else int(math.floor((longitude + 180.0) / 6.0))


def _check(tilesize, pad, resolution):
    if not (tilesize == int(tilesize) and tilesize > 0 and pad == int(pad) and pad >= 0
            and 0 < float(resolution) < float('inf')):
        raise _refused('tilesize=%r, pad=%r, resolution=%r make no tile.' % (tilesize, pad, resolution),
                       'give whole pixels above 0, a pad of 0 or more, and metres above 0')


def _refused(message, fix):
    return PerigeeError(message, code='invalid_request', fix=fix)
