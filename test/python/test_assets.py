# -*- coding: utf-8 -*-
"""Assets' ids, by the cases that the nodes' own spelling is held against too."""
import binascii
import json
import os
import unittest

import support

from perigee._asset_uri import canonical_uri
import perigee.function
from perigee._assets import pack_assets
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


if __name__ == '__main__':
    unittest.main()
