# -*- coding: utf-8 -*-
"""Functions and arguments travel by value: a process without the user's modules can run them."""
import hashlib
import mmap
import os
import pickle
import shutil
import socket
import sqlite3
import ssl
import sys
import tempfile
import threading
import unittest

import support

import ndvi
import perigee
from perigee import _by_value, _modules
from perigee._function_pickle import cloudpickle_zip, pickle_arguments, pickle_function

SESSION = threading.Lock()

RUN = '''
import pickle, sys
sys.path.insert(0, sys.argv[1])
for name in ("ndvi", "landsat", "perigee"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name + " is importable here: the test would prove nothing")
with open(sys.argv[2], "rb") as opened:
    function = pickle.load(opened)
with open(sys.argv[3], "rb") as opened:
    args, kwargs = pickle.load(opened)
try:
    import cloudpickle as by_value
except ImportError:
    by_value = pickle
result = by_value.dumps(function(*args, **kwargs), 2)
getattr(sys.stdout, "buffer", sys.stdout).write(result)
'''


class Holder(object):
    def __init__(self, held):
        self.held = held


class OverThere(unittest.TestCase):
    """Calls functions in a fresh interpreter that has cloudpickle's zip and nothing of ours."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def call(self, function, *args, **kwargs):
        names = []
        for name, data in (('cloudpickle.zip', cloudpickle_zip()[1]),
                           ('function', pickle_function(function, 'f')),
                           ('arguments', pickle_arguments(args, kwargs))):
            path = os.path.join(self.folder, name)
            with open(path, 'wb') as opened:
                opened.write(data)
            names.append(path)
        return pickle.loads(support.run_python(RUN, *names))

    def test_a_function_of_the_users_own_module_with_helpers_classes_and_submodules(self):
        self.assertEqual(self.call(ndvi.compute, 1, 3), [0.5, 0.5, 4, 1])

    def test_a_lambda_that_refers_to_a_users_module(self):
        self.assertEqual(self.call(lambda red: ndvi.ratio(red, 3), 1), 0.5)

    def test_a_method_of_an_instance_of_a_users_class(self):
        self.assertEqual(self.call(ndvi.Masked(1, 3).index), 0.5)

    def test_an_argument_that_is_an_instance_of_a_users_class(self):
        self.assertEqual(self.call(lambda scene: scene.index(), ndvi.Scene(1, 3)), 0.5)

    def test_an_argument_inside_of_other_values(self):
        self.assertEqual(self.call(lambda **k: k['scenes'][0]['a'].red, scenes=[{'a': ndvi.Scene(7, 8)}]), 7)

    def test_a_users_namedtuple_comes_back(self):
        self.assertEqual(self.call(lambda w: w, ndvi.Window(2, 5)), (2, 5))

    def test_a_users_function_as_argument(self):
        self.assertEqual(self.call(lambda f: f(1, 3), ndvi.ratio), 0.5)

    def test_a_closure_over_a_local_function(self):
        factor = 3

        def inner(x):
            return x * factor

        def outer(x):
            return inner(x) + 1
        self.assertEqual(self.call(outer, 2), 7)

    def test_a_function_that_calls_itself(self):
        def factorial(n):
            return 1 if n < 2 else n * factorial(n - 1)
        self.assertEqual(self.call(factorial, 5), 120)

    def test_text_outside_of_ascii(self):
        self.assertEqual(self.call(lambda x: x + u'é', u'東'), u'東é')

    def test_a_large_argument(self):
        self.assertEqual(self.call(len, b'x' * 3000000), 3000000)


class Culprits(unittest.TestCase):
    def refusal(self, call, *args):
        with self.assertRaises(perigee.PicklingError) as caught:
            call(*args)
        self.assertIsInstance(caught.exception, perigee.PerigeeError)
        self.assertTrue(caught.exception.fix)
        return caught.exception

    def test_names_the_global_of_a_function(self):
        def uses_it():
            return SESSION
        error = self.refusal(pickle_function, uses_it, 'uses_it')
        self.assertEqual(error.path, "uses_it -> global 'SESSION'")
        self.assertIn('lock', str(error))

    def test_names_the_enclosed_variable_and_its_attribute(self):
        session = Holder(threading.Lock())

        def uses_it():
            return session
        error = self.refusal(pickle_function, uses_it, 'uses_it')
        self.assertEqual(error.path, "uses_it -> enclosed variable 'session' -> .held")

    def test_names_the_argument_and_the_place_in_it(self):
        error = self.refusal(pickle_arguments, (1, {'scenes': [3, threading.Lock()]}), {})
        self.assertEqual(error.path, "argument 1 -> ['scenes'] -> [1]")

    def test_names_the_keyword_argument(self):
        error = self.refusal(pickle_arguments, (), {'lock': threading.Lock()})
        self.assertEqual(error.path, "argument 'lock'")

    def test_names_a_generator(self):
        error = self.refusal(pickle_arguments, ((n for n in ()),), {})
        self.assertEqual(error.path, 'argument 0')
        self.assertIn('generator', str(error))

    def test_refuses_what_would_arrive_without_its_content(self):
        connection = sqlite3.connect(':memory:')
        self.addCleanup(connection.close)
        client = socket.socket()
        self.addCleanup(client.close)
        for value in (client, connection, connection.cursor(), threading.local(),
                      ssl.create_default_context(), mmap.mmap(-1, 1)):
            name = type(value).__name__
            error = self.refusal(pickle_arguments, (1, {'held': [value]}), {})
            self.assertTrue(error.path.startswith("argument 1 -> ['held'] -> [0]"), (name, error.path))
            error = self.refusal(pickle_function, lambda: value, name)
            self.assertTrue(error.path.startswith("%s -> enclosed variable 'value'" % name), error.path)

    def test_takes_a_users_class_on_top_of_a_builtin_one(self):
        class Bands(list):
            pass

        class Names(dict):
            pass

        class Pair(tuple):
            pass

        class Slotted(object):
            __slots__ = ('red',)
        slotted = Slotted()
        slotted.red = 3
        values = [Bands([1]), Names(a=1), Pair((1, 2)), slotted, object()]
        back = pickle.loads(_by_value.dumps(values))
        self.assertEqual([list(back[0]), dict(back[1]), tuple(back[2]), back[3].red],
                         [[1], {'a': 1}, (1, 2), 3])

    def test_names_the_users_function_that_needs_a_lock(self):
        error = self.refusal(pickle_function, ndvi.locked, 'locked')
        self.assertEqual(error.path, "locked -> global 'LOCK'")

    def test_a_value_nested_too_deep_is_refused_and_not_a_crash(self):
        value = []
        for _ in range(100000):
            value = [value]
        try:
            self.refusal(pickle_arguments, (value,), {})
        finally:
            # Freed from the inside: the interpreter's own recursion would be as deep.
            while value:
                value = value.pop()

    def test_an_exception_of_the_values_own_is_named(self):
        class Stubborn(object):
            def __reduce__(self):
                raise KeyError('I stay here')
        self.assertIn('I stay here', str(self.refusal(pickle_arguments, (Stubborn(),), {})))


class Modules(unittest.TestCase):
    def test_tells_the_users_modules_from_all_others(self):
        self.assertTrue(_modules.is_users('ndvi'))
        self.assertTrue(_modules.is_users('landsat'))
        self.assertTrue(_modules.is_users('landsat.bands'))
        for name in ('os', 'os.path', 'unittest.case', 'json', 'perigee.client', 'cloudpickle', 'sys',
                     'threading', '__main__', 'not.there'):
            self.assertFalse(_modules.is_users(name), name)

    def test_a_module_beside_installed_metadata_is_installed(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.mkdir(os.path.join(folder, 'installed_thing-1.0.dist-info'))
        with open(os.path.join(folder, 'installed_thing.py'), 'w') as opened:
            opened.write('def f():\n    return 1\n')
        sys.path.insert(0, folder)
        self.addCleanup(sys.path.remove, folder)
        import installed_thing
        self.addCleanup(sys.modules.pop, 'installed_thing')
        self.assertFalse(_modules.is_users('installed_thing'))
        self.assertLess(len(pickle_function(installed_thing.f, 'f')), 60)

    def test_plain_arguments_take_the_fast_path(self):
        self.addCleanup(setattr, _by_value, 'dumps', _by_value.dumps)
        _by_value.dumps = None
        self.assertEqual(pickle.loads(pickle_arguments((1, u'é', [2.5]), {'k': None})),
                         ((1, u'é', [2.5]), {'k': None}))

    def test_the_registry_of_cloudpickle_is_left_as_it_was(self):
        import cloudpickle
        if not hasattr(cloudpickle, 'list_registry_pickle_by_value'):
            return
        before = cloudpickle.list_registry_pickle_by_value()
        pickle_function(ndvi.compute, 'compute')
        self.assertEqual(cloudpickle.list_registry_pickle_by_value(), before)


class TheZip(unittest.TestCase):
    def test_is_the_same_bytes_every_time_and_importable(self):
        from perigee import _function_pickle
        version, first = cloudpickle_zip()
        _function_pickle._zips.clear()
        self.assertEqual(hashlib.sha256(cloudpickle_zip()[1]).digest(), hashlib.sha256(first).digest())
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, 'c.zip')
        with open(path, 'wb') as opened:
            opened.write(first)
        said = support.run_python(
            'import sys; sys.path.insert(0, sys.argv[1]); import cloudpickle; '
            'print(cloudpickle.__version__ + " " + cloudpickle.__file__)', path)
        self.assertTrue(said.decode('ascii').startswith(version + ' ' + path), said)


if __name__ == '__main__':
    unittest.main()
