# -*- coding: utf-8 -*-
"""Assets' ids, by the cases that the nodes' own spelling is held against too."""
import binascii
import collections
import json
import os
import unittest

import support
from fake_mesh import Mesh

from perigee._asset_uri import canonical_uri
import perigee
import perigee.function
from perigee._assets import find_assets, pack_assets
from perigee._stac_item import Asset, Item
from perigee._submission import _batches

with open(os.path.join(os.path.dirname(support.CASES), 'asset-ids.json'), 'rb') as _opened:
    CASES = json.loads(_opened.read().decode('utf-8'))


class AssetIds(unittest.TestCase):

    def test_they_are_those_of_the_nodes(self):
        for case in CASES:
            self.assertEqual(canonical_uri(case['uri']), case['canonical'], case['uri'])
            expected = b'\0'
            if case['id'] is not None:
                expected = b'\x01' + binascii.unhexlify(case['id'])
            self.assertEqual(pack_assets([case['uri'], case['uri']]), expected, case['uri'])


with open(os.path.join(os.path.dirname(support.CASES), 'asset-calls.json'), 'rb') as _opened:
    CALLS = json.loads(_opened.read().decode('utf-8'))

GROUP = '0123456789ab'


class _Client(object):
    """What cutting calls into batches needs of a client: no group carries modules of its own."""
    _carried = {}


class AssetsOfCalls(unittest.TestCase):

    def test_they_are_sent_as_the_contract_says(self):
        for case in CALLS:
            told = iter(case.get('assets', []))
            options = {'assets': lambda *args: next(told)} if 'assets' in case else {}
            calls = self.calls_of(case['map'], options)
            lists = [list_of for _, list_of, _ in _batches(_Client, GROUP, calls)]
            sent = binascii.hexlify(b''.join(lists)).decode('ascii')
            self.assertEqual(sent, ''.join(case['expect']), case['name'])

    def calls_of(self, iterables, options):
        """What a map hands on to be submitted."""
        kept = []
        submit = perigee.function.submit
        perigee.function.submit = lambda client, group_id, calls: kept.append(calls)
        try:
            perigee.function.CloudFunction(GROUP, client=object()).map(*iterables, **options)
        finally:
            perigee.function.submit = submit
        return kept[0]


def raise_error(*args, **kwargs):
    raise ValueError('the truth of this is ambiguous')


class Ambiguous(object):
    """As an array: no comparison of it has a truth."""
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self

    __ne__ = __eq__
    __bool__ = __nonzero__ = __len__ = raise_error


class Incomparable(object):
    """A key of the same hash as another, and no telling whether it is that."""
    __eq__ = __ne__ = raise_error

    def __hash__(self):
        return hash('type')


class WithoutClass(object):
    """A proxy of what is not there."""
    __class__ = property(raise_error)


class Closed(object):
    __getattribute__ = raise_error


class ClosedDict(dict):
    get = keys = values = items = __iter__ = __getitem__ = __len__ = __contains__ = raise_error


class ClosedList(list):
    __iter__ = __getitem__ = __len__ = raise_error
    __getslice__ = raise_error


class ClosedTuple(tuple):
    __iter__ = __getitem__ = __len__ = raise_error
    __getslice__ = raise_error


class ClosedText(type(u'')):
    startswith = split = strip = lower = __len__ = __eq__ = raise_error
    __hash__ = type(u'').__hash__


class LongText(type(u'')):
    startswith = split = strip = lower = encode = raise_error


class ClosedBytes(bytes):
    startswith = split = decode = raise_error


def endless():
    """A list that holds itself, a hundred times."""
    value = []
    value.extend([value] * 100)
    return value


def feature(**asset):
    return {'type': 'Feature', 'assets': {'a': asset}}


HOSTILE = [
    Ambiguous(), WithoutClass(), Closed(), ClosedDict(type='Feature', assets={}), ClosedList([1]), ClosedTuple([1]),
    ClosedText(u's3://b/c.tif'), LongText(u's3://b/c.tif'), ClosedBytes(b's3://b/c.tif'), endless(),
    {'type': Ambiguous()}, {'type': Ambiguous(), 'assets': {}}, {'type': ClosedText(u'Feature'), 'assets': {}},
    {'type': b'Feature\xff', 'assets': {}}, {Incomparable(): 1}, {Ambiguous(): Ambiguous()},
    {'type': 'Feature', 'assets': Ambiguous()}, {'type': 'Feature', 'assets': ClosedDict(a=1)},
    {'type': 'Feature', 'assets': {'a': Ambiguous()}},
    feature(href=Ambiguous()), feature(href=7, roles=['data']), feature(href=[u's3://b'], roles=['data']),
    feature(href=u's3://b/c', roles=7), feature(href=u's3://b/c', type=7), feature(href=b'\xff', roles=['data']),
    feature(href=u's3://b/\ud800.tif', roles=['data']), Item(None), Item({}), Item({'assets': [1]}), Item(Ambiguous()),
    Asset({}), Asset(None), Asset({'href': 7}), Asset({'href': Ambiguous()}), Item(feature(href=7, roles=['data'])),
    u's3://b/\ud800.tif', u'https://h/\udfff.tif', b's3://b/\xff', 's3://', 'file:\0', 'http://[::1.tif',
    'http://h:x/a.tif', 'http://\r\n/a.tif', u'http://\u2100.tif/x.tif', 'https://h/%zz.tif', 's3://b\n/../../..',
    collections.defaultdict(raise_error, type=1), collections.OrderedDict(type=Ambiguous()), object, raise_error,
]


class SearchForAssets(unittest.TestCase):

    def test_fails_for_no_arguments_and_finds_what_stands_beside_them(self):
        beside = pack_assets([u's3://beside/it.tif'])[1:]
        for number, hostile in enumerate(HOSTILE):
            for args, kwargs in (((hostile,), {}), ((), {'a': hostile}), (([{'a': hostile}],), {})):
                pack_assets(find_assets(args, kwargs))
                packed = pack_assets(find_assets((u's3://beside/it.tif',) + args, kwargs))
                self.assertIn(beside, packed, 'hostile argument %d' % number)

    def test_reads_texts_of_classes_of_their_own(self):
        expected = pack_assets([u's3://b/c.tif'])
        for text in (LongText(u's3://b/c.tif'), ClosedBytes(b's3://b/c.tif')):
            self.assertEqual(pack_assets(find_assets((text,), {})), expected)

    def test_leaves_a_default_dict_as_it_was(self):
        value = collections.defaultdict(list, a=u's3://b/c.tif')
        self.assertEqual(find_assets((value,), {}), [u's3://b/c.tif'])
        self.assertEqual(list(value), ['a'])

    def test_errors_in_what_the_user_gave_count(self):
        for assets in ([7], [None], [u's3://b/a.tif', Ambiguous()]):
            self.assertRaises(TypeError, pack_assets, assets)
        self.assertRaises(ValueError, pack_assets, [b's3://b/\xff'])

    def test_calls_with_such_arguments_run(self):
        mesh = Mesh()
        self.addCleanup(mesh.close)
        client = perigee.AsyncTasks(mesh.url, 'secret')
        self.addCleanup(client.close)
        function = client.create_function(lambda value: sorted(value))
        self.assertEqual(function({'type': Ambiguous()}).result, ['type'])
        tasks = function.map([{'type': Ambiguous()}, [u's3://b/\ud800.tif']])
        self.assertEqual([task.result for task in tasks], [['type'], [u's3://b/\ud800.tif']])


if __name__ == '__main__':
    unittest.main()
