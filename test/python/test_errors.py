# -*- coding: utf-8 -*-
"""What users catch, and what they read."""
import copy
import os
import pickle
import shutil
import sys
import tempfile
import unittest

import support  # noqa: F401 - puts the SDK on the path

import perigee
from perigee import errors
from perigee.settings import load_settings

FIELDS = {'code': 'exception', 'name': 'KeyError', 'message': "'red'", 'traceback': 'Traceback: x',
          'log_tail': 'so far', 'attempts': 2, 'guid': 'abc', 'tuid': '1-2', 'node': 'n'}


def failed(**changes):
    return errors.task_failed(dict(FIELDS, **changes))


class Failures(unittest.TestCase):
    def test_is_an_instance_of_the_remote_builtin_class_too(self):
        for name in ('KeyError', 'ValueError', 'ZeroDivisionError', 'IOError', 'OSError', 'UnicodeDecodeError',
                     'UnicodeEncodeError', 'SyntaxError', 'MemoryError', 'ImportError', 'AssertionError',
                     'AttributeError', 'RuntimeError', 'NotImplementedError', 'EnvironmentError'):
            error = failed(name=name)
            remote = getattr(errors._builtin_module, name)
            self.assertIsInstance(error, remote)
            self.assertIsInstance(error, perigee.TaskFailed)
            self.assertIn(name, str(error))
            self.assertTrue(repr(error))

    def test_is_nothing_more_where_that_would_do_harm(self):
        for name in ('StopIteration', 'KeyboardInterrupt', 'SystemExit', 'GeneratorExit', 'TooCloudy', 'print',
                     'Exception', '__name__', 'ExceptionGroup', 'BaseExceptionGroup', u'Gr\xf6\xdfe', u'\ud800', ''):
            self.assertIs(type(failed(name=name)), perigee.TaskFailed, name)

    def test_can_be_made_of_every_builtin_class(self):
        for name in dir(errors._builtin_module):
            error = failed(name=name)
            self.assertEqual((error.name, error.fields()), (name, dict(FIELDS, name=name)))
            self.assertIn(name, str(error))
            again = pickle.loads(pickle.dumps(error, 2))
            self.assertEqual((type(again), again.fields()), (type(error), error.fields()))

    def test_is_nothing_more_where_the_class_cannot_be_combined_or_made(self):
        class Choosy(Exception):
            def __new__(cls, one, two):
                return Exception.__new__(cls)

        class Sealed(type):
            def __new__(mcs, name, bases, members):
                if len(bases) > 1:
                    raise TypeError('nothing may be made of it')
                return type.__new__(mcs, name, bases, members)

        for name, remote in (('Choosy', Choosy), ('Sealed', Sealed('Sealed', (Exception,), {}))):
            setattr(errors._builtin_module, name, remote)
            self.addCleanup(delattr, errors._builtin_module, name)
            self.addCleanup(errors._combined_classes.pop, name, None)
            error = failed(name=name)
            self.assertIs(type(error), perigee.TaskFailed)
            self.assertEqual(error.fields(), dict(FIELDS, name=name))

    def test_a_timeout_is_no_remote_exception(self):
        self.assertIs(type(failed(code='timeout', name='TimeoutError')), perigee.TaskFailed)

    def test_says_what_happened_where_and_how_often(self):
        text = str(failed())
        self.assertIn("KeyError: 'red' (task 1-2, exception, 2 attempts)", text)

    def test_the_remote_traceback_is_a_note_or_in_the_text(self):
        error = failed()
        where = '\n'.join(error.__notes__) if sys.version_info >= (3, 11) else str(error)
        self.assertIn('Traceback: x', where)

    def test_survives_pickle_and_copy(self):
        for again in (pickle.loads(pickle.dumps(failed(), 2)), copy.copy(failed())):
            self.assertIsInstance(again, KeyError)
            self.assertEqual(again.fields(), FIELDS)

    def test_text_outside_of_ascii_can_be_printed(self):
        error = failed(message=errors.native(u'café'), name='ValueError')
        self.assertIn(errors.native(u'café'), str(error))

    def test_all_errors_survive_pickle(self):
        error = pickle.loads(pickle.dumps(perigee.NotFoundError('no task', fix='look'), 2))
        self.assertEqual((type(error), error.code, error.fix, error.message),
                         (perigee.NotFoundError, 'not_found', 'look', 'no task'))


class Problems(unittest.TestCase):
    def test_become_the_class_of_their_code_with_the_servers_own_fix(self):
        error = errors.error_of_problem(422, {'code': 'version_mismatch', 'detail': u'made by CPython 3.8',
                                              'fix': 'run it with 2.7'})
        self.assertIsInstance(error, perigee.VersionMismatchError)
        self.assertEqual(str(error), 'made by CPython 3.8\n  fix: run it with 2.7')

    def test_of_an_unknown_code_are_server_errors(self):
        error = errors.error_of_problem(500, {'code': 'brand_new'})
        self.assertIsInstance(error, perigee.ServerError)
        self.assertEqual(error.code, 'brand_new')

    def test_without_a_body_name_the_status(self):
        self.assertIn('418', str(errors.error_of_problem(418, {})))

    def test_a_timeout_is_the_builtin_one_on_python_3(self):
        if sys.version_info[0] > 2:
            import builtins
            self.assertTrue(issubclass(perigee.TimeoutError, builtins.TimeoutError))
        self.assertTrue(issubclass(perigee.TimeoutError, perigee.PerigeeError))


class Settings(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, 'config.json')

    def write(self, text, mode=0o600):
        with open(self.path, 'w') as opened:
            opened.write(text)
        os.chmod(self.path, mode)

    def load(self, **environ):
        return load_settings(environ=dict(environ, PERIGEE_CONFIG=self.path))

    def test_come_from_the_environment(self):
        settings = self.load(PERIGEE_URL='http://a:1/', PERIGEE_TOKEN='t', PERIGEE_RETRY_SECONDS='2.5')
        self.assertEqual((settings.url, settings.token, settings.retry_seconds), ('http://a:1', 't', 2.5))
        self.assertNotIn("'t'", repr(settings))

    def test_come_from_the_config_file(self):
        self.write('{"url": "http://b:2", "token": "u", "peerId": "p"}')
        settings = self.load()
        self.assertEqual((settings.url, settings.token), ('http://b:2', 'u'))

    def test_the_files_place_follows_xdg(self):
        os.makedirs(os.path.join(self.folder, 'perigee'))
        self.write('{"url": "http://b:2", "token": "u"}')
        os.rename(self.path, os.path.join(self.folder, 'perigee', 'config.json'))
        self.assertEqual(load_settings(environ={'XDG_CONFIG_HOME': self.folder}).url, 'http://b:2')

    def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(self):
        self.write('{"url": "http://b:2", "token": "u"}', 0o644)
        with self.assertRaises(perigee.ConfigError) as caught:
            self.load()
        self.assertEqual(caught.exception.fix, 'chmod 600 ' + self.path)

    def test_the_files_token_is_not_sent_to_another_mesh(self):
        self.write('{"url": "http://b:2", "token": "u"}')
        with self.assertRaises(perigee.ConfigError) as caught:
            self.load(PERIGEE_URL='http://evil:3')
        self.assertEqual(caught.exception.code, 'token_missing')
        self.assertEqual(self.load(PERIGEE_URL='http://b:2/').token, 'u')

    def test_nothing_at_all_says_how_to_begin(self):
        with self.assertRaises(perigee.ConfigError) as caught:
            self.load()
        self.assertIn('scripts/perigee up', caught.exception.fix)

    def test_what_is_not_json_is_refused(self):
        for text in ('{', '[]'):
            self.write(text)
            with self.assertRaises(perigee.ConfigError):
                self.load()

    def test_a_wrong_number_of_seconds_is_refused(self):
        for text in ('soon', '-1', 'inf', 'nan'):
            with self.assertRaises(perigee.ConfigError):
                self.load(PERIGEE_URL='http://a:1', PERIGEE_TOKEN='t', PERIGEE_RETRY_SECONDS=text)


class Imagery(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        with open(os.path.join(self.folder, 'scene.tif'), 'wb') as opened:
            opened.write(b'II')
        environ = dict(os.environ)
        self.addCleanup(os.environ.update, environ)
        self.addCleanup(os.environ.clear)
        os.environ.pop('PERIGEE_SANDBOX', None)

    def test_finds_a_file_through_the_environment(self):
        os.environ['PERIGEE_MOUNT_LANDSAT_7'] = self.folder
        self.assertEqual(perigee.imagery.open('data:landsat-7/scene.tif'),
                         os.path.join(self.folder, 'scene.tif'))

    def test_finds_a_file_where_the_node_says_it_is(self):
        os.environ['PERIGEE_SANDBOX'] = '1'
        os.environ['PERIGEE_MOUNTS'] = 'other=/nowhere:landsat=' + self.folder
        self.assertEqual(perigee.imagery.open('data:landsat/scene.tif'), os.path.join(self.folder, 'scene.tif'))

    def test_names_the_variable_outside_of_a_task(self):
        with self.assertRaises(perigee.PerigeeError) as caught:
            perigee.imagery.open('data:landsat/scene.tif')
        self.assertIn('PERIGEE_MOUNT_LANDSAT', caught.exception.fix)

    def test_says_which_mount_a_node_lacks(self):
        os.environ['PERIGEE_SANDBOX'] = '1'
        with self.assertRaises(perigee.PerigeeError) as caught:
            perigee.imagery.open('data:no-such-mount-here/scene.tif')
        self.assertIn('--mount no-such-mount-here=DIR', caught.exception.fix)

    def test_a_missing_file_is_not_found(self):
        os.environ['PERIGEE_MOUNT_L'] = self.folder
        with self.assertRaises(perigee.NotFoundError):
            perigee.imagery.open('data:l/other.tif')

    def test_a_path_stays_below_the_mount(self):
        os.environ['PERIGEE_MOUNT_L'] = self.folder
        for uri in ('data:l/../x', 'data:l/a/../../x', 'data:../l/x', 'data:l//etc/passwd', 'file:///x', 'data:/x'):
            with self.assertRaises(perigee.PerigeeError):
                perigee.imagery.open(uri)


if __name__ == '__main__':
    unittest.main()
