"""Outlines of rasters in degrees, as GeoJSON wants them: counterclockwise, cut at the antimeridian."""
from __future__ import division

#: Pieces of an edge that are projected: a straight line of metres is none in degrees.
_EDGE_PIECES = 16
_DIGITS = 7
#: Of an edge's length, how far it may bend and be told as straight.
_BEND_MAX = 1e-4


def find_footprint(place, shape):
    """``geometry`` and ``bbox`` of a raster in WGS 84; nothing where that is not known.

    Parameters
    ----------
    place : perigee._imagery_write.Place
    shape : (int, int)
        Rows and columns.
    """
    if place.crs is None:
        return {}
    edges = _edges(place.transform, shape)
    ring = []
    for edge in edges:
        points = _project(place.crs, edge)
        if points is None:
            return {}
        ring.extend(points[:-1])
    return outline(ring)


def outline(ring):
    """``geometry`` and ``bbox`` of a ring of longitudes and latitudes, open or closed."""
    points, turns = _unwrap(ring)
    latitudes = [y for _, y in points]
    if turns != 0:
        # Around a pole: everything from the lowest latitude to it.
        north = sum(latitudes) > 0
        south, top = (min(latitudes), 90.0) if north else (-90.0, max(latitudes))
        box = [(-180.0, south), (180.0, south), (180.0, top), (-180.0, top)]
        return {'geometry': {'type': 'Polygon', 'coordinates': [_closed(box)]},
                'bbox': _rounded([-180.0, south, 180.0, top])}
    if _area(points) < 0:
        points = points[::-1]
    longitudes = [x for x, _ in points]
    west, east = min(longitudes), max(longitudes)
    if -180.0 <= west and east <= 180.0:
        return {'geometry': {'type': 'Polygon', 'coordinates': [_closed(points)]},
                'bbox': _rounded([west, min(latitudes), east, max(latitudes)])}
    # Whole turns, so that the western part lies within -180 to 180 and the other beyond 180.
    shift = -360.0 if west > 180.0 else 360.0 if west < -180.0 else 0.0
    points = [(x + shift, y) for x, y in points]
    west, east = west + shift, east + shift
    if east <= 180.0:
        return {'geometry': {'type': 'Polygon', 'coordinates': [_closed(points)]},
                'bbox': _rounded([west, min(latitudes), east, max(latitudes)])}
    parts = [_cut(points, True), [(x - 360.0, y) for x, y in _cut(points, False)]]
    return {'geometry': {'type': 'MultiPolygon', 'coordinates': [[_closed(part)] for part in parts]},
            'bbox': _rounded([west, min(latitudes), east - 360.0, max(latitudes)])}


def _edges(transform, shape):
    rows, columns = shape
    corners = [(0, 0), (0, rows), (columns, rows), (columns, 0), (0, 0)]
    edges = []
    for (left, top), (right, bottom) in zip(corners, corners[1:]):
        edges.append([transform * (left + (right - left) * step / _EDGE_PIECES,
                                   top + (bottom - top) * step / _EDGE_PIECES)
                      for step in range(_EDGE_PIECES + 1)])
    return edges


def _project(crs, edge):
    """The points of an edge in degrees, its ends alone when it is straight; None beyond the projection."""
    from rasterio.warp import transform
    xs, ys = transform(crs, 'EPSG:4326', [x for x, _ in edge], [y for _, y in edge])
    points = list(zip(xs, ys))
    if any(x - x != 0 or y - y != 0 or abs(y) > 90.0 for x, y in points):
        return None
    flat, _ = _unwrap(points)
    (left, top), (right, bottom) = flat[0], flat[-1]
    length = ((right - left) ** 2 + (bottom - top) ** 2) ** 0.5
    steps = len(flat) - 1
    bend = max(abs(x - (left + (right - left) * step / steps)) + abs(y - (top + (bottom - top) * step / steps))
               for step, (x, y) in enumerate(flat))
    return [points[0], points[-1]] if bend <= _BEND_MAX * length else points


def _unwrap(ring):
    """The ring without jumps of a whole turn, and how many turns it makes around the globe."""
    points = [ring[0]]
    for x, y in ring[1:]:
        last = points[-1][0]
        points.append((x - 360.0 * round((x - last) / 360.0), y))
    last, first = points[-1][0], points[0][0]
    # The way back to the first point: a ring around a pole comes back a turn off.
    turns = round((last - first) / 360.0) if abs(last - first) > 180.0 else 0
    return points, turns


def _area(points):
    """Twice the signed area: above zero counterclockwise."""
    total = 0.0
    for (left, top), (right, bottom) in zip(points, points[1:] + points[:1]):
        total += left * bottom - right * top
    return total


def _cut(points, west):
    """The part of a polygon on one side of the 180th meridian (Sutherland and Hodgman)."""
    def inside(point):
        return point[0] <= 180.0 if west else point[0] >= 180.0
    kept = []
    for start, end in zip(points, points[1:] + points[:1]):
        if inside(start):
            kept.append(start)
        if inside(start) != inside(end):
            share = (180.0 - start[0]) / (end[0] - start[0])
            kept.append((180.0, start[1] + share * (end[1] - start[1])))
    return kept


def _closed(points):
    ring = [_rounded(point) for point in points]
    return ring if ring[0] == ring[-1] else ring + ring[:1]


def _rounded(values):
    return [round(value, _DIGITS) for value in values]
