"""The tile grid; where the client has pyproj (every one of set-up's does), against it."""
import doctest
import pickle
import random
import unittest

from perigee import tiles
from perigee._utm import to_latlon, to_utm
from perigee.errors import PerigeeError
from perigee.tiles import tile_from_key, tile_from_latlon, tiles_from_shape

try:
    import pyproj
except ImportError:
    pyproj = None

OLINDA = {'type': 'Polygon', 'coordinates': [
    [[-35.2, -8.2], [-34.6, -8.2], [-34.6, -7.6], [-35.2, -7.6], [-35.2, -8.2]]]}


def box(west, south, east, north):
    return {'type': 'Polygon', 'coordinates': [
        [[west, south], [east, south], [east, north], [west, north], [west, south]]]}


class Projection(unittest.TestCase):
    def test_is_that_of_proj_within_a_millimetre(self):
        chance = random.Random(7)
        for _ in range(300 if pyproj else 0):
            zone = chance.randint(1, 60)
            latitude, longitude = chance.uniform(-80, 84), zone * 6 - 183 + chance.uniform(-4, 4)
            proj = pyproj.Proj('+proj=utm +zone=%d +datum=WGS84 +units=m' % zone)
            x, y = to_utm(latitude, longitude, zone)
            other_x, other_y = proj(longitude, latitude)
            self.assertLess(abs(x - other_x) + abs(y - other_y), 0.001)

    def test_comes_back(self):
        chance = random.Random(8)
        for _ in range(300):
            zone = chance.randint(1, 60)
            latitude, longitude = chance.uniform(-80, 84), zone * 6 - 183 + chance.uniform(-3, 3)
            back = to_latlon(*to_utm(latitude, longitude, zone) + (zone,))
            self.assertLess(abs(back[0] - latitude) + abs(back[1] - longitude), 1e-9)


class Tiles(unittest.TestCase):
    def test_examples_in_the_documentation_hold(self):
        self.assertEqual(doctest.testmod(tiles).failed, 0)

    def test_key_gives_the_same_tile_again(self):
        tile = tile_from_latlon(-8.0, -34.9, 28.5, 256, 4)
        self.assertEqual(tile_from_key(tile.key), tile)
        self.assertEqual(pickle.loads(pickle.dumps(tile, 2)), tile)
        left, bottom, right, top = tile.bounds
        self.assertAlmostEqual(right - left, 28.5 * 264)
        self.assertEqual(tile.geotransform, (left, 28.5, 0.0, top, 0.0, -28.5))

    def test_shape_is_covered_without_gaps_or_strays(self):
        found = tiles_from_shape(OLINDA, 30.0, 256, 0)
        self.assertEqual(len(set(found)), len(found))
        chance = random.Random(9)
        for _ in range(500):
            place = chance.uniform(-8.2, -7.6), chance.uniform(-35.2, -34.6)
            self.assertIn(tile_from_latlon(place[0], place[1], 30.0, 256, 0), found)
        for tile in found:
            west, south, east, north = tile.bbox
            self.assertTrue(west < -34.6 and east > -35.2 and south < -7.6 and north > -8.2)

    def test_shape_over_two_zones_and_the_antimeridian(self):
        self.assertEqual(set(tile.zone for tile in tiles_from_shape(box(-36.1, 1, -35.9, 1.1), 30, 512, 0)),
                         set([24, 25]))
        self.assertEqual(set(tile.zone for tile in tiles_from_shape(box(179.9, 1, 180.1, 1.1), 30, 512, 0)),
                         set([60, 1]))
        self.assertEqual(set(tile.zone for tile in tiles_from_shape(box(-180, 1, -179.9, 1.1), 30, 512, 0)),
                         set([1]))

    def test_tile_over_the_antimeridian_claims_what_it_covers_alone(self):
        for latitude, longitude in ((10.0, -179.999), (-35.0, 179.999), (70.0, 180.0), (0.001, -180.0)):
            tile = tile_from_latlon(latitude, longitude, 30.0, 512, 4)
            west, south, east, north = tile.bbox
            self.assertIsInstance(tile.bbox, tuple)
            # As GeoJSON says of boxes: the west above the east.
            self.assertTrue(179 < west < 180 and -180 < east < -179, tile.bbox)
            self.assertTrue(south < latitude < north < south + 0.2, tile.bbox)
            self.assertEqual(tile.geometry['type'], 'MultiPolygon')
            (eastern,), (western,) = tile.geometry['coordinates']
            self.assertEqual((min(x for x, _ in eastern), max(x for x, _ in eastern)), (west, 180.0))
            self.assertEqual((min(x for x, _ in western), max(x for x, _ in western)), (-180.0, east))
            for ring in (eastern, western):
                self.assertEqual(ring[0], ring[-1])
                self.assertGreater(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, ring[1:])), 0)

    def test_tiles_over_the_antimeridian_are_those_of_both_sides(self):
        tile = tile_from_latlon(10.0, -179.999, 30.0, 512, 0)
        for shape in (tile, tile.geometry, tile.__geo_interface__):
            found = tiles_from_shape(shape, 30.0, 512, 0)
            self.assertTrue(tile in found)
            self.assertTrue(tile_from_latlon(10.05, 179.95, 30.0, 512, 0) in found)
            self.assertEqual(set(other.zone for other in found), set([1, 60]))
            self.assertTrue(all(abs(other.tj - tile.tj) <= 1 for other in found))
            # Its own column and, in the other zone, the two that its strip lies in.
            self.assertEqual(set((other.zone, other.ti) for other in found), set([(1, -22), (60, 20), (60, 21)]))

    def test_tile_elsewhere_is_one_polygon(self):
        for latitude, longitude in ((10.0, 3.01), (-8.0, -34.9), (45.0, 177.1), (45.0, -176.9)):
            tile = tile_from_latlon(latitude, longitude, 30.0, 512, 0)
            west, south, east, north = tile.bbox
            self.assertTrue(west < longitude < east < west + 0.5 and south < latitude < north, tile.bbox)
            left, bottom, right, top = tile.bounds
            ring, = tile.geometry['coordinates']
            self.assertEqual(len(ring), 5)
            for (x, y), place in zip(ring, [(left, bottom), (right, bottom), (right, top), (left, top)]):
                back = to_utm(y, x, tile.zone)
                self.assertLess(abs(back[0] - place[0]) + abs(back[1] - place[1]), 0.05)

    def test_hole_is_left_out(self):
        shape = box(-35.2, -8.2, -34.6, -7.6)
        hole = box(-35.0, -8.0, -34.8, -7.8)['coordinates'][0]
        whole = tiles_from_shape(shape, 30, 128, 0)
        shape['coordinates'].append(hole)
        rest = tiles_from_shape(shape, 30, 128, 0)
        self.assertLess(len(rest), len(whole))
        self.assertNotIn(tile_from_latlon(-7.9, -34.9, 30, 128, 0), rest)

    def test_refuses_what_is_no_tile(self):
        for key in ('', '1:2:3', '2048:16:30.0:61:3:74', '0:16:30.0:14:3:74', None):
            self.assertRaises(PerigeeError, tile_from_key, key)
        for shape in ({'type': 'Point', 'coordinates': [0, 0]}, box(0, 80, 1, 85),
                      {'type': 'Polygon', 'coordinates': []}, None):
            self.assertRaises(PerigeeError, tiles_from_shape, shape, 30, 512, 0)
        self.assertRaises(PerigeeError, tiles_from_shape, box(0, 0, 60, 60), 0.1, 8, 0)


if __name__ == '__main__':
    unittest.main()
