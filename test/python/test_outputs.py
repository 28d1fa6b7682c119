# -*- coding: utf-8 -*-
"""Outputs outside of a task, what they tell of a call, and outlines in degrees."""
import datetime
import io
import os
import shutil
import sys
import tempfile
import types
import unittest

from perigee import _footprint, _stac_fields, errors, outputs
from perigee.task_output import TaskOutput
from perigee.tiles import tile_from_key


class OutsideOfATask(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        os.environ['PERIGEE_OUTPUTS'] = os.path.join(self.folder, 'kept')
        self.addCleanup(os.environ.pop, 'PERIGEE_OUTPUTS')

    def test_the_file_is_kept_in_a_folder(self):
        told = outputs.save_output('a.csv', data=b'x,y')
        self.assertEqual((told['name'], told['bytes']), ('a.csv', 3))
        with io.open(told['path'], 'rb') as opened:
            self.assertEqual(opened.read(), b'x,y')
        again = outputs.save_output('b.csv', told['path'])
        self.assertEqual(again['sha256'], told['sha256'])
        with io.open(told['path'], 'rb') as opened:
            self.assertEqual(outputs.save_output('c', opened)['sha256'], told['sha256'])

    def test_names_and_sources_that_make_no_sense_are_refused(self):
        for name in ('', '.x', 'a/b', '-x', u'\xfc', 'x' * 101, None, 3):
            with self.assertRaises(errors.BadRequestError) as caught:
                outputs.save_output(name, data=b'')
            self.assertTrue(caught.exception.fix)
        for given in ({}, {'source': 'x', 'data': b''}):
            with self.assertRaises(errors.BadRequestError):
                outputs.save_output('x', **given)

    def test_what_a_call_was_made_with_is_told_as_plain_values(self):
        harness = types.ModuleType('perigee_harness')
        tile = tile_from_key('2048:16:30.0:14:3:74')
        harness.current_call = ((1, u'\xfc', [1.5, None, True], {'a': (2,)}, float('nan'), 'x' * 600, object(), tile), {'key': 'b'})
        sys.modules['perigee_harness'] = harness
        self.addCleanup(sys.modules.pop, 'perigee_harness')
        told = outputs.describe_call()
        self.assertEqual(told['args'][:5], [1, u'\xfc', [1.5, None, True], {'a': [2]}, 'nan'])
        self.assertEqual(len(told['args'][5]), 501)
        self.assertEqual(told['args'][6:], ['<object>', tile.key])
        self.assertEqual(told['kwargs'], {'key': 'b'})


class Outlines(unittest.TestCase):
    def outline(self, *ring):
        found = _footprint.outline(list(ring))
        return found['geometry'], found['bbox']

    def test_a_box_is_told_counterclockwise_and_closed(self):
        geometry, bbox = self.outline((1, 2), (1, 5), (4, 5), (4, 2))
        self.assertEqual(bbox, [1, 2, 4, 5])
        self.assertEqual(geometry, {'type': 'Polygon', 'coordinates': [[[4, 2], [4, 5], [1, 5], [1, 2], [4, 2]]]})

    def test_one_across_the_antimeridian_is_cut_there(self):
        for turn in (0, 360):
            geometry, bbox = self.outline((178, -1), (182 - 360 + turn, -1), (182 - 360, 3), (178, 3))
            self.assertEqual(bbox, [178, -1, -178, 3])
            self.assertEqual(geometry['type'], 'MultiPolygon')
            west, east = [part[0] for part in geometry['coordinates']]
            self.assertEqual((min(x for x, _ in west), max(x for x, _ in west)), (178, 180))
            self.assertEqual((min(x for x, _ in east), max(x for x, _ in east)), (-180, -178))
            for ring in (west, east):
                self.assertEqual(ring[0], ring[-1])
                self.assertGreater(_footprint._area([tuple(point) for point in ring[:-1]]), 0)

    def test_one_that_only_touches_it_is_whole(self):
        geometry, bbox = self.outline((170, 0), (180, 0), (180, 5), (170, 5))
        self.assertEqual((geometry['type'], bbox), ('Polygon', [170, 0, 180, 5]))

    def test_one_around_a_pole_reaches_it(self):
        geometry, bbox = self.outline((0, 80), (90, 75), (180, 80), (-90, 75))
        self.assertEqual(bbox, [-180, 75, 180, 90])
        _, bbox = self.outline((0, -80), (-90, -75), (180, -80), (90, -75))
        self.assertEqual(bbox, [-180, -90, 180, -75])


class Times(unittest.TestCase):
    def test_moments_and_spans(self):
        fields = _stac_fields.time_fields
        self.assertEqual(fields(None), {})
        self.assertEqual(fields('2001-07-10'), {'datetime': '2001-07-10T00:00:00Z'})
        self.assertEqual(fields(datetime.datetime(2001, 7, 10, 1, 2, 3)), {'datetime': '2001-07-10T01:02:03Z'})
        self.assertEqual(fields(datetime.date(2001, 7, 10)), {'datetime': '2001-07-10T00:00:00Z'})
        self.assertEqual(fields(('2001-07-01', '2001-08-01T00:00:00Z')), {
            'datetime': None, 'start_datetime': '2001-07-01T00:00:00Z', 'end_datetime': '2001-08-01T00:00:00Z'})
        for wrong in ('yesterday', 7, ('2001-07-01',)):
            with self.assertRaises(errors.BadRequestError):
                fields(wrong)


class Fetched(unittest.TestCase):
    """Against a transport that answers parts, wrongly when told to."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.content = bytes(bytearray(range(256))) * 40

    def output(self, **changes):
        import hashlib
        case = self

        class Transport(object):
            settings = types.ModuleType('settings')

            def request(self, method, path, body=b'', headers=()):
                case.asked.append(dict(headers)['Range'])
                start, end = [int(part) for part in dict(headers)['Range'][len('bytes='):].split('-')]
                answer = types.ModuleType('answer')
                answer.status, answer.body = 206, case.content[start:end + 1]
                return answer
        self.asked = []
        Transport.settings.url = 'http://127.0.0.1:1/'
        document = {'task': '1-2', 'name': 'x.bin', 'sizeBytes': len(self.content), 'mediaType': 'text/plain',
                    'sha256': hashlib.sha256(self.content).hexdigest(), 'metadata': {'a': 1}}
        return TaskOutput(dict(document, **changes), Transport())

    def test_goes_on_where_it_was_and_is_not_fetched_twice(self):
        output = self.output()
        with io.open(os.path.join(self.folder, 'x.bin.part'), 'wb') as opened:
            opened.write(self.content[:1000])
        path = output.download(self.folder)
        self.assertEqual(self.asked, ['bytes=1000-%d' % (len(self.content) - 1)])
        with io.open(path, 'rb') as opened:
            self.assertEqual(opened.read(), self.content)
        self.assertEqual(output.download(self.folder), path)
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(output.href, 'http://127.0.0.1:1/v1/tasks/1-2/outputs/x.bin')

    def test_other_bytes_than_were_given_out_are_not_kept(self):
        output = self.output(sha256='0' * 64)
        with self.assertRaises(errors.OutputError):
            output.download(self.folder)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_name_that_leads_out_of_the_folder_is_refused(self):
        with self.assertRaises(errors.BadRequestError):
            self.output(name='../x').download(self.folder)

    def test_is_read_in_parts_and_sought(self):
        with self.output().open() as opened:
            opened.seek(-3, os.SEEK_END)
            self.assertEqual(opened.read(), self.content[-3:])
            opened.seek(5)
            self.assertEqual(opened.read(4), self.content[5:9])
            self.assertEqual(opened.tell(), 9)


if __name__ == '__main__':
    unittest.main()
