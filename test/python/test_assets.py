# -*- coding: utf-8 -*-
"""Assets' ids, by the cases that the nodes' own spelling is held against too."""
import binascii
import json
import os
import unittest

import support

from perigee._asset_uri import canonical_uri
from perigee._assets import pack_assets

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


if __name__ == '__main__':
    unittest.main()
