# -*- coding: utf-8 -*-
"""The contract table of both SDKs, and a few cases of Python's own, on a real mesh.

Needs PERIGEE_URL and PERIGEE_TOKEN of a mesh that has an image for this interpreter.
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import types
import unittest

import support

import ndvi
import perigee
from perigee import errors
from perigee._compat import text_type

WAIT_SECONDS = 120
HAS_MESH = bool(os.environ.get('PERIGEE_URL'))

with open(support.CASES, 'rb') as _opened:
    TABLE = json.loads(_opened.read().decode('utf-8'))['cases']


_modules = []


def value_of(written):
    """The value that a table's JSON stands for; see test/contract/sdk-cases.md."""
    if isinstance(written, list):
        return [value_of(item) for item in written]
    if not isinstance(written, dict):
        return written
    if len(written) == 1:
        key, inner = list(written.items())[0]
        if key == '$bytes':
            return base64.b64decode(inner)
        if key == '$tuple':
            return tuple(value_of(item) for item in inner)
        if key == '$set':
            return set(value_of(item) for item in inner)
        if key == '$int':
            return int(inner)
        if key == '$float':
            return float(inner)
        if key == '$soon':
            return time.time() + inner
        if key == '$repeat':
            return inner[0] * inner[1]
    return dict((key, value_of(item)) for key, item in written.items())


def options_of(group):
    """A group request's fields as parameters of create_function."""
    names = {'taskTimeoutSeconds': 'task_timeout', 'retryCount': 'retry_count', 'resultFormat': 'result_format',
             'maximumConcurrency': 'maximum_concurrency'}
    return dict((names.get(key, key), value) for key, value in group.items())


def function_of(case):
    """The function that the source defines, in a module that is nowhere to be imported."""
    module = types.ModuleType('contract_case')
    # Python 2 takes text with a coding line only as bytes.
    exec(compile(case['source'].encode('utf-8'), '<contract>', 'exec'), module.__dict__)
    # Python 2 empties the globals of a module that nobody holds.
    _modules.append(module)
    return getattr(module, case['entry'])


@unittest.skipUnless(HAS_MESH, 'PERIGEE_URL names no mesh')
class Contract(unittest.TestCase):
    maxDiff = 1000

    @classmethod
    def setUpClass(cls):
        cls.at = perigee.AsyncTasks()

    @classmethod
    def tearDownClass(cls):
        cls.at.close()

    def run_case(self, case):
        expected = case['expect']
        if 'refused' in expected:
            with self.assertRaises(perigee.PerigeeError) as caught:
                self.at.create_function(function_of(case), **self.options_of(case))
            self.assertEqual(caught.exception.code, expected['refused']['code'])
            self.assertTrue(caught.exception.fix)
            return
        function = self.at.create_function(function_of(case), **self.options_of(case))
        if 'map' in case:
            options = {}
            if 'assets' in case:
                told = iter(case['assets'])
                options['assets'] = lambda *args: next(told)
            tasks = function.map(*[value_of(items) for items in case['map']], **options)
            values = [task.get_result(timeout=WAIT_SECONDS) for task in tasks]
            self.assertEqual(values, value_of(expected['values']))
            return
        kwargs = dict((str(key), value) for key, value in value_of(case['call']['kwargs']).items())
        task = function(*value_of(case['call']['args']), **kwargs)
        if case.get('act') == 'cancel':
            self.cancel(task)
        task.wait(WAIT_SECONDS)
        if 'failure' in expected:
            self.check_failure(task, expected['failure'])
        else:
            self.check_value(task, value_of(expected['value']))
        self.check_log(task, expected.get('log', {}))
        if 'outputs' in expected:
            self.check_outputs(task, expected['outputs'])

    def options_of(self, case):
        options = options_of(case.get('group', {}))
        include = case.get('include')
        if include is None:
            return options
        folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        for path, text in include['files'].items():
            whole = os.path.join(folder, path)
            if not os.path.isdir(os.path.dirname(whole)):
                os.makedirs(os.path.dirname(whole))
            with open(whole, 'wb') as opened:
                opened.write(text.encode('utf-8'))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        sys.path.insert(0, folder)
        self.addCleanup(sys.path.remove, folder)
        return dict(options, include_modules=include.get('modules'), include_data=include.get('data'))

    def cancel(self, task):
        deadline = time.time() + WAIT_SECONDS
        while task.state != 'running':
            self.assertLess(time.time(), deadline, task.explain())
            time.sleep(0.02)
        self.assertTrue(task.cancel())

    def check_value(self, task, value):
        self.assertIsNone(task.error)
        result = task.result
        self.assertEqual(result, value)
        # 1 and True, 1 and 1.0, a list and a tuple are equal or alike, and not the same.
        if not isinstance(value, (text_type, bytes)):
            self.assertIs(type(result), type(value))
        self.assertEqual((task.status, task.exception, task.traceback), ('SUCCESS', None, None))

    def check_failure(self, task, expected):
        with self.assertRaises(perigee.TaskFailed) as caught:
            task.result
        error = caught.exception
        self.assertEqual((task.status, task.failure_type, error.code), ('FAILURE', expected['code'], expected['code']))
        if 'exception' in expected:
            self.assertEqual((task.exception, error.name), (expected['exception'],) * 2)
        self.assertIn(expected.get('messageContains', ''), task.exception_message)
        self.assertIn(expected.get('tracebackContains', ''), task.traceback)
        self.assertIn(expected.get('logTailContains', ''), error.log_tail)
        for name in expected.get('remoteIs', []):
            self.assertIsInstance(error, getattr(errors._builtin_module, name))
        if 'attempts' in expected:
            self.assertEqual((error.attempts, len(task.attempts)), (expected['attempts'],) * 2)

    def check_outputs(self, task, expected):
        found = [(output.name, output.media_type, output.read()) for output in task.outputs]
        self.assertEqual(found, [(one['name'], one['mediaType'], value_of(one['content'])) for one in expected])

    def check_log(self, task, expected):
        log = task.log_bytes.decode('utf-8')
        if 'equals' in expected:
            self.assertEqual(log, expected['equals'])
        for part in expected.get('contains', []):
            self.assertIn(part, log)
        self.assertIs(type(task.log), str)


def _add_cases():
    for number, case in enumerate(TABLE):
        if 'python' not in case['sdks']:
            continue

        def test(self, case=case):
            self.run_case(case)
        test.__name__ = str('test_%02d_%s' % (number, case['name'].replace(' ', '_')))
        setattr(Contract, test.__name__, test)


_add_cases()


@unittest.skipUnless(HAS_MESH, 'PERIGEE_URL names no mesh')
class OnARealMesh(unittest.TestCase):
    def setUp(self):
        self.at = perigee.AsyncTasks()
        self.addCleanup(self.at.close)

    def test_the_users_own_module_travels(self):
        task = self.at.create_function(ndvi.compute)(1, 3)
        self.assertEqual(task.get_result(timeout=WAIT_SECONDS), [0.5, 0.5, 4, 1])

    def test_an_instance_of_a_users_class_goes_and_comes_back_as_that_class(self):
        def brighten(scene):
            scene.red += 1
            return scene
        scene = self.at.create_function(brighten)(ndvi.Scene(1, 3)).get_result(timeout=WAIT_SECONDS)
        self.assertEqual((scene.red, scene.nir), (2, 3))
        self.assertEqual(scene.index(), 0.2)

    def test_a_thousand_tasks_come_back_once_each(self):
        function = self.at.create_function(lambda x: x + 1)
        tasks = function.map(range(1000))
        done = list(perigee.as_completed(tasks, timeout=WAIT_SECONDS))
        self.assertEqual(set(done), set(tasks))
        self.assertEqual(len(done), 1000)
        self.assertEqual([task.result for task in tasks], list(range(1, 1001)))
        function.wait_for_completion(timeout=WAIT_SECONDS)

    def test_a_rebuilt_future_in_another_process(self):
        task = self.at.create_function(lambda: 'seen elsewhere')()
        code = ('import sys; sys.path.insert(0, sys.argv[1])\n'
                'from perigee import FutureTask\n'
                'print(FutureTask(sys.argv[2], sys.argv[3]).get_result(timeout=%d))' % WAIT_SECONDS)
        said = subprocess.check_output([sys.executable, '-c', code, support.SDK, task.guid, task.tuid])
        self.assertEqual(said.decode('ascii').strip(), 'seen elsewhere')

    def test_an_unknown_task_is_not_found_at_once(self):
        function = self.at.create_function(lambda: 1)
        task = perigee.FutureTask(function.group_id, '999999-0', client=self.at)
        with self.assertRaises(perigee.NotFoundError):
            perigee.as_completed([task])

    def test_a_terminated_group_takes_no_more(self):
        function = self.at.create_function(lambda: 1)
        self.assertEqual(function().get_result(timeout=WAIT_SECONDS), 1)
        function.terminate()
        with self.assertRaises(perigee.GroupTerminalException):
            function()
        with self.assertRaises(perigee.MapError):
            function.map([1])

    def test_an_image_of_another_python_is_refused_with_the_fix(self):
        other = 'perigee/python:py3.11' if sys.version_info[0] == 2 else 'perigee/geospatial:py2.7'
        with self.assertRaises(perigee.VersionMismatchError) as caught:
            self.at.create_function(lambda: 1, image=other)
        self.assertTrue(caught.exception.fix)

    def test_perigee_is_there_inside_a_task(self):
        def inside():
            import os
            import perigee
            try:
                perigee.imagery.open('data:no-such-mount/x.tif')
            except perigee.PerigeeError as error:
                return os.environ.get('PERIGEE_SANDBOX'), error.fix
        sandbox, fix = self.at.create_function(inside)().get_result(timeout=WAIT_SECONDS)
        self.assertEqual(sandbox, '1')
        self.assertIn('--mount no-such-mount=DIR', fix)

    def test_included_modules_can_be_imported_and_are_referred_to(self):
        def inside(scene):
            import landsat.bands
            import ndvi
            scene.red += 1
            return [type(scene) is ndvi.Scene, landsat.bands.__file__, ndvi.ratio(1, 3), scene]
        function = self.at.create_function(inside, include_modules=['landsat', ndvi])
        tasks = function.map([ndvi.Scene(1, 3), ndvi.Scene(2, 3)])
        for number, task in enumerate(tasks):
            is_same, path, ratio, scene = task.get_result(timeout=WAIT_SECONDS)
            self.assertEqual((is_same, ratio, scene.red), (True, 0.5, number + 2))
            self.assertTrue(path.startswith('/perigee/include/landsat/bands.py'), path)
            self.assertIs(type(scene), ndvi.Scene)
        # A function of an included module goes as its name; so do arguments of a found function.
        by_name = self.at.create_function('ndvi.compute', include_modules=['ndvi', 'landsat'])
        self.assertEqual(by_name(1, 3).get_result(timeout=WAIT_SECONDS), [0.5, 0.5, 4, 1])
        found = perigee.AsyncTasks().get_function_by_id(function.group_id)
        self.assertTrue(found(ndvi.Scene(1, 3)).get_result(timeout=WAIT_SECONDS)[0])

    def test_included_data_is_at_its_relative_path(self):
        def inside():
            import io
            import os
            import perigee
            path = perigee.include_path('users_code/landsat/bands.py')
            with open('users_code/landsat/bands.py') as near, io.open(path) as far:
                same = near.read() == far.read()
            return same, sorted(os.listdir(os.path.dirname(path))), os.getcwd()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(support.HERE)
        function = self.at.create_function(inside, include_data=['users_code/landsat/*.py'], isolation='task')
        for _ in range(2):
            self.assertEqual(function().get_result(timeout=WAIT_SECONDS),
                             (True, ['__init__.py', 'bands.py'], '/tmp'))

    def test_data_of_megabytes_is_sent_once_and_never_as_a_whole(self):
        import resource
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, 'model.bin')
        size = 192 * 1024 * 1024
        with open(path, 'wb') as opened:
            opened.write(os.urandom(1024))
            opened.truncate(size)

        def inside():
            import os
            return os.path.getsize('model.bin')
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        function = self.at.create_function(inside, include_data=[path])
        self.assertEqual(function().get_result(timeout=WAIT_SECONDS), size)
        self.assertLess(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, 64 * 1024)
        # The same set again: found there, whoever asks.
        again = perigee.AsyncTasks()
        puts = []
        start = again._transport.start

        def note(method, path, body=b'', *rest):
            puts.append((method, len(body)))
            return start(method, path, body, *rest)
        again._transport.start = note
        again.create_function(inside, include_data=[path])
        self.assertLess(max(length for _, length in puts), 1024 * 1024)

    def test_the_arguments_of_a_task_can_be_read_back(self):
        task = self.at.create_function(lambda *a, **k: None)(1, 'two', big=b'x' * 100000)
        self.assertEqual((task.args, task.kwargs), ((1, 'two'), {'big': b'x' * 100000}))


if __name__ == '__main__':
    unittest.main()
