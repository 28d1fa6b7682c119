# -*- coding: utf-8 -*-
"""Items of the catalogue, and the parameters of a search in all the forms that pystac-client takes."""
import datetime
import json
import pickle
import unittest

import support  # noqa: F401

from perigee import imagery
from perigee._assets import find_assets
from perigee._stac_item import UTC, Item, ItemCollection, data_hrefs
from perigee._stac_search import format_interval, search_parameters
from perigee.errors import BadRequestError, NotFoundError

DOCUMENT = {
    'type': 'Feature', 'stac_version': '1.0.0', 'id': 'L7', 'collection': 'landsat',
    'geometry': {'type': 'Point', 'coordinates': [10, 50]}, 'bbox': [10, 50, 10, 50],
    'properties': {'datetime': '2001-07-10T14:00:00.25+02:00', 'eo:cloud_cover': 3}, 'links': [],
    'assets': {
        'B4': {'href': 'https://example.org/B4', 'roles': ['data'], 'type': 'image/tiff', 'title': 'Near infrared'},
        'B3': {'href': 's3://scenes/B3.tif', 'roles': ['data']},
        'small': {'href': 's3://scenes/small.tif', 'roles': ['thumbnail']},
    },
}
POINT = {'type': 'Point', 'coordinates': [10, 50]}


class Shape(object):

    def __init__(self, shape):
        self.__geo_interface__ = shape


class Items(unittest.TestCase):

    def test_they_give_what_the_document_says(self):
        item = Item(DOCUMENT)
        self.assertEqual((item.id, item.collection, item.bbox), ('L7', 'landsat', [10, 50, 10, 50]))
        self.assertEqual(item.datetime, datetime.datetime(2001, 7, 10, 12, 0, 0, 250000, UTC))
        self.assertEqual(item.assets['B4'].href, 'https://example.org/B4')
        self.assertEqual(item.assets['B4'].title, 'Near infrared')
        self.assertEqual(item.assets['B3'].roles, ['data'])
        self.assertIsInstance(item.assets['B3'].href, str)
        self.assertEqual(item.__geo_interface__, DOCUMENT)
        self.assertIsNone(Item(dict(DOCUMENT, properties={'datetime': None})).datetime)

    def test_they_travel_as_plain_data(self):
        for protocol in range(3):
            again = pickle.loads(pickle.dumps(Item(DOCUMENT), protocol))
            self.assertEqual(again, Item(DOCUMENT))
            self.assertEqual(again.to_dict(), DOCUMENT)
        collection = ItemCollection([Item(DOCUMENT)])
        self.assertEqual(collection.to_dict(), {'type': 'FeatureCollection', 'features': [DOCUMENT]})

    def test_their_data_are_assets_of_a_call(self):
        rasters = ['https://example.org/B4', 's3://scenes/B3.tif']
        for argument in (Item(DOCUMENT), DOCUMENT, [Item(DOCUMENT)], {'scene': Item(DOCUMENT)}):
            self.assertEqual(sorted(find_assets((argument,), {})), rasters)
        self.assertEqual(find_assets((), {'asset': Item(DOCUMENT).assets['B4']}), ['https://example.org/B4'])

    def test_without_the_role_of_data_they_are_what_looks_like_rasters(self):
        assets = {
            'a': {'href': 's3://b/a.tif'},
            'b': {'href': 's3://b/b', 'type': 'image/tiff; application=geotiff'},
            'c': {'href': 's3://b/c.json', 'type': 'application/json'},
            'd': {'href': 's3://b/d.tif', 'roles': ['overview']},
        }
        self.assertEqual(sorted(data_hrefs({'assets': assets})), ['s3://b/a.tif', 's3://b/b'])


class Parameters(unittest.TestCase):

    def test_times_are_texts_moments_or_pairs(self):
        moment = datetime.datetime(2001, 7, 10, 12)
        for value, text in (
                ('2001-07', '2001-07'),
                (moment, '2001-07-10T12:00:00.000000Z'),
                (moment.replace(tzinfo=UTC), '2001-07-10T12:00:00.000000Z'),
                (datetime.date(2001, 7, 10), '2001-07-10'),
                ((moment, None), '2001-07-10T12:00:00.000000Z/..'),
                (['2001', '2002'], '2001/2002'),
                ((None, '2002'), '../2002')):
            self.assertEqual(format_interval(value), text)
        for value in (7, ('a', 'b', 'c')):
            self.assertRaises(BadRequestError, format_interval, value)

    def test_places_are_geojson_or_shapes(self):
        feature = {'type': 'Feature', 'geometry': POINT, 'properties': {}}
        two = {'type': 'FeatureCollection', 'features': [feature, feature]}
        for value in (POINT, feature, Shape(POINT), Shape(feature), json.dumps(POINT), Item(DOCUMENT),
                      {'type': 'FeatureCollection', 'features': [feature]}):
            self.assertEqual(search_parameters(intersects=value)['intersects'], POINT)
        self.assertEqual(search_parameters(intersects=two)['intersects'],
                         {'type': 'GeometryCollection', 'geometries': [POINT, POINT]})
        tile = imagery.tile_from_latlon(50, 10, 10, 1024, 0)
        self.assertEqual(search_parameters(intersects=tile)['intersects']['type'], 'Polygon')
        self.assertRaises(BadRequestError, search_parameters, intersects={'type': 'FeatureCollection', 'features': []})
        for value in ([1, 2, 3, 4], (1, 2, 3, 4), '1,2,3,4', iter([1, 2, 3, 4])):
            self.assertEqual(search_parameters(bbox=value)['bbox'], [1, 2, 3, 4])
        self.assertRaises(BadRequestError, search_parameters, bbox=['a', 2, 3, 4])

    def test_names_are_texts_lists_or_what_has_an_id(self):
        for value in ('a,b', ['a', 'b'], ('a', 'b')):
            self.assertEqual(search_parameters(collections=value)['collections'], ['a', 'b'])
        self.assertEqual(search_parameters(ids=[Item(DOCUMENT)])['ids'], ['L7'])
        self.assertEqual(search_parameters(ids=Item(DOCUMENT))['ids'], ['L7'])

    def test_tests_of_properties_are_dicts_or_texts(self):
        query = {'eo:cloud_cover': {'lt': 20, 'gte': 1}, 'platform': {'eq': 'landsat-7'}}
        texts = ['eo:cloud_cover<20', 'eo:cloud_cover >= 1', 'platform=landsat-7']
        self.assertEqual(search_parameters(query=texts)['query'], query)
        self.assertEqual(search_parameters(query=query)['query'], query)
        self.assertEqual(search_parameters(query='daytime=true')['query'], {'daytime': {'eq': True}})
        self.assertRaises(BadRequestError, search_parameters, query=['eo:cloud_cover'])
        self.assertEqual(search_parameters(sortby='-datetime,id')['sortby'], ['-datetime', 'id'])
        self.assertEqual(search_parameters(fields=['id', '-assets'])['fields'],
                         {'include': ['id'], 'exclude': ['assets']})
        self.assertEqual(search_parameters(filter='{"op": "and"}')['filter'], {'op': 'and'})


class StandInTransport(object):
    """Answers searches from a list, two items a page."""

    def __init__(self, ids):
        self.ids = ids
        self.bodies = []

    def send_json(self, method, path, body):
        assert (method, path) == ('POST', '/v1/stac/search')
        self.bodies.append(dict(body))
        begin = body.get('token', 0)
        end = begin + min(2, body['limit'])
        links = [{'rel': 'next', 'body': {'token': end}}] if end < len(self.ids) else []
        return {'features': [dict(DOCUMENT, id=each) for each in self.ids[begin:end]], 'links': links,
                'numberMatched': len(self.ids)}

    def get_json(self, path):
        raise NotFoundError('There is no %s.' % path)


class StandInClient(object):

    def __init__(self, ids):
        self._transport = StandInTransport(ids)


class Searches(unittest.TestCase):

    def test_they_fetch_pages_as_they_are_read(self):
        client = StandInClient(['a', 'b', 'c', 'd', 'e'])
        search = imagery.search(datetime='2001', client=client)
        self.assertEqual(client._transport.bodies, [])
        self.assertEqual(search.matched(), 5)
        items = search.items()
        self.assertEqual(next(items).id, 'a')
        self.assertEqual(len(client._transport.bodies), 2)
        self.assertEqual([item.id for item in items], ['b', 'c', 'd', 'e'])
        self.assertEqual([body.get('token') for body in client._transport.bodies], [None, None, 2, 4])
        self.assertEqual(set(body['datetime'] for body in client._transport.bodies), set(['2001']))

    def test_they_end_at_max_items(self):
        client = StandInClient(['a', 'b', 'c', 'd', 'e'])
        self.assertEqual([each['id'] for each in imagery.search(max_items=3, client=client).items_as_dicts()],
                         ['a', 'b', 'c'])
        self.assertEqual([body['limit'] for body in client._transport.bodies], [3, 1])

    def test_they_tell_a_collection_that_is_not_there(self):
        client = StandInClient([])
        self.assertEqual(list(imagery.search(client=client)), [])
        self.assertRaises(NotFoundError, list, imagery.search(collections='none', client=client))


if __name__ == '__main__':
    unittest.main()
