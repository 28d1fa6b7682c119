"""DLRun's own import paths."""
import json
import os
import pickle
import unittest

import support
from fake_mesh import Mesh

import perigee
from descarteslabs.client.services import tasks as later
from descarteslabs.ext import tasks as guide


def fails(x):
    raise ValueError(x)


class Paths(unittest.TestCase):
    def setUp(self):
        self.mesh = Mesh()
        self.addCleanup(self.mesh.close)

    def test_the_guides_names_are_perigees(self):
        for name in perigee.__all__:
            self.assertIs(getattr(guide, name), getattr(perigee, name), name)

    def test_a_failed_result_raises_as_the_guide_expects(self):
        at = guide.AsyncTasks(self.mesh.url, 'secret')
        self.addCleanup(at.close)
        task = at.create_function(fails)(1)
        with self.assertRaises(ValueError):
            task.result

    def test_a_failed_result_is_none_for_later_clients(self):
        at = later.Tasks(self.mesh.url, 'secret')
        self.addCleanup(at.close)
        task, good = at.create_function(fails)(1), at.create_function(len)('ab')
        self.assertIsInstance(task, later.FutureTask)
        self.assertIsNone(task.result)
        self.assertEqual((task.status, task.exception), ('FAILURE', 'ValueError'))
        self.assertIsNone(good.get_result(wait=True))
        self.assertEqual(good.result, 2)
        self.assertEqual([t.result for t in later.as_completed(at.create_function(len).map(['a']))], [1])
        self.assertTrue(issubclass(later.AsyncTasks, perigee.AsyncTasks))

    def test_functions_of_later_clients_stay_so_in_other_processes(self):
        at = later.Tasks(self.mesh.url, 'secret')
        self.addCleanup(at.close)
        made = at.create_function(fails)
        for function in (made, at.get_function_by_id(made.group_id)):
            self.assertIsInstance(function, later.CloudFunction)
            self.assertIs(function.client, at)
            said = support.run_python(
                'import json, pickle, sys\n'
                'sys.path[:0] = json.loads(sys.argv[1])\n'
                'function = pickle.loads(json.loads(sys.argv[2]).encode("ascii"))\n'
                'from descarteslabs.client.services import tasks\n'
                'task = function(1)\n'
                'many, = function.map([2])\n'
                'print(json.dumps([isinstance(function, tasks.CloudFunction),\n'
                '    type(function.client) is tasks.AsyncTasks, isinstance(task, tasks.FutureTask),\n'
                '    task.result, task.exception, many.result, function.name]))\n',
                json.dumps([support.SDK, support.DLRUN, support.HERE]),
                json.dumps(pickle.dumps(function, 0).decode('ascii')),
                environment={'PERIGEE_URL': self.mesh.url, 'PERIGEE_TOKEN': 'secret'})
            self.assertEqual(json.loads(said.decode('ascii')),
                             [True, True, True, None, 'ValueError', None, 'fails'])

    def test_functions_of_the_guide_are_perigees_own(self):
        at = guide.AsyncTasks(self.mesh.url, 'secret')
        self.addCleanup(at.close)
        made = at.create_function(fails)
        for function in (made, at.get_function_by_id(made.group_id)):
            self.assertIs(type(function), perigee.CloudFunction)
            self.assertEqual(function, made)

    def test_get_result_of_later_clients_does_not_wait(self):
        self.mesh.holds = True
        at = later.Tasks(self.mesh.url, 'secret')
        self.addCleanup(at.close)
        with self.assertRaises(later.TransientResultException):
            at.create_function(len)('ab').get_result()

    def test_other_distributions_may_add_to_the_same_name(self):
        import descarteslabs
        self.assertIn(os.path.join(support.DLRUN, 'descarteslabs'), list(descarteslabs.__path__))


if __name__ == '__main__':
    unittest.main()
