# -*- coding: utf-8 -*-
"""Futures, map, as_completed and wait, against a mesh that breaks on purpose."""
import hashlib
import os
import pickle
import signal
import sys
import threading
import time
import unittest

import support
from fake_mesh import Mesh, await_that

import perigee
from perigee import AsyncTasks, CloudFunction, FutureTask, _submission, _transport, as_completed
from perigee._wakeup import wait_for

os.environ['PERIGEE_PROGRESS'] = '0'


def square(x):
    return x * x


def large(x):
    return b'%d,' % x * 50000


def fails(x):
    if x % 2:
        raise KeyError('odd')
    return x


class WithMesh(unittest.TestCase):
    def setUp(self):
        self.mesh = Mesh()
        self.addCleanup(self.mesh.close)
        self.at = AsyncTasks(self.mesh.url, 'secret')
        self.addCleanup(self.at.close)

    def make(self, function=square, **options):
        return self.at.create_function(function, **options)


class Values(WithMesh):
    def test_a_call_gives_its_result(self):
        task = self.make()(7)
        self.assertEqual(task.result, 49)
        self.assertEqual(task.result, 49)
        self.assertEqual((task.status, task.is_success, task.state, task.ready), ('SUCCESS', True, 'done', True))
        self.assertEqual((task.exception, task.exception_name, task.exception_message, task.traceback,
                          task.stacktrace, task.error, task.failure_type, task.code), (None,) * 8)
        self.assertEqual((task.runtime, task.peak_memory_usage, task.log, task.log_bytes), (0.25, 1048576, '', b''))
        self.assertEqual((task.node, task.attempts[0]['attempt'], task.args, task.kwargs), ('node-1', 1, (7,), {}))

    def test_a_failure_is_raised_as_its_own_class(self):
        task = self.make(fails)(1)
        with self.assertRaises(KeyError) as caught:
            task.result
        self.assertIsInstance(caught.exception, perigee.TaskFailed)
        self.assertEqual((caught.exception.code, caught.exception.name, caught.exception.log_tail,
                          caught.exception.attempts, caught.exception.tuid),
                         ('exception', 'KeyError', 'tail', 1, task.tuid))
        self.assertEqual((task.status, task.exception, task.exception_message, task.failure_type),
                         ('FAILURE', 'KeyError', "'odd'", 'exception'))
        self.assertIn('KeyError', task.traceback)
        self.assertIs(type(task.exception), str)
        self.assertIsInstance(task.error, KeyError)

    def test_payloads_over_the_inline_bound_travel_as_blobs(self):
        big = b'\x00\xff' * 100000
        task = self.make(lambda data: data + b'!')(big)
        self.assertEqual(task.result, big + b'!')
        self.assertEqual(len(self.mesh.find_requests('PUT /v1/blobs')), 2)

    def test_a_large_blob_that_another_process_put_is_not_sent_again(self):
        big = b'\x00\xff' * 1000000
        for _ in range(2):
            # A client knows nothing of what the one before it has put.
            client = AsyncTasks(self.mesh.url, 'secret')
            self.addCleanup(client.close)
            self.assertEqual(client.create_function(len)(big).result, len(big))
        large_blobs = [name for name, data in self.mesh.blobs.items() if len(data) > len(big)]
        self.assertEqual(len(large_blobs), 1)
        self.assertEqual(len(self.mesh.find_requests('PUT /v1/blobs/' + large_blobs[0])), 1)

    def test_the_inline_bound_itself(self):
        same = self.make(lambda x: x)
        for size in (65000, 65500, 65520, 65530, 65536, 65537):
            self.assertEqual(len(same(b'x' * size).result), size)

    def test_a_rebuilt_future_knows_the_result(self):
        task = self.make()(5)
        self.mesh_done(1)
        again = FutureTask(task.guid, task.tuid, client=AsyncTasks(self.mesh.url, 'secret'))
        self.assertEqual(again, task)
        self.assertEqual(hash(again), hash(task))
        self.assertEqual(again.result, 25)

    def test_a_rebuilt_future_waits_too(self):
        self.mesh.holds = True
        task = self.make()(5)
        other = AsyncTasks(self.mesh.url, 'secret')
        self.addCleanup(other.close)
        again = FutureTask(task.guid, task.tuid, client=other)
        thread = threading.Thread(target=self.mesh.release)
        thread.start()
        self.assertEqual(again.get_result(timeout=10), 25)
        thread.join()

    def test_an_unknown_task_is_not_found(self):
        function = self.make()
        function(1)
        for guid, tuid in ((function.group_id, '1-1'), (function.group_id, '9-0'), ('ffff', '1-0')):
            with self.assertRaises(perigee.NotFoundError):
                FutureTask(guid, tuid, client=self.at).result
        for tuid in ('', 'x', '1', '1-x', '-1', None):
            with self.assertRaises(perigee.BadRequestError):
                FutureTask(function.group_id, tuid, client=self.at)

    def test_get_result_without_waiting(self):
        self.mesh.holds = True
        task = self.make()(5)
        with self.assertRaises(perigee.TransientResultException):
            task.get_result(wait=False)
        self.assertEqual((task.state, task.ready), ('queued', False))
        self.mesh.release()
        self.assertEqual(task.get_result(wait=False), 25)

    def test_a_timeout_leaves_the_task_waiting_and_it_can_be_waited_for_again(self):
        self.mesh.holds = True
        task = self.make()(5)
        began = time.time()
        with self.assertRaises(perigee.TimeoutError):
            task.get_result(timeout=0.1)
        with self.assertRaises(perigee.TimeoutError):
            task.wait(timeout=0.05)
        self.assertLess(time.time() - began, 5)
        self.mesh.release()
        self.assertEqual(task.wait(10).result, 25)

    def test_cancel(self):
        self.mesh.holds = True
        task = self.make()(5)
        self.assertTrue(task.cancel())
        self.assertEqual((task.status, task.failure_type), ('FAILURE', 'cancelled'))
        self.assertFalse(task.cancel())
        with self.assertRaises(perigee.TaskFailed):
            task.result

    def test_repr_says_much_and_asks_nobody(self):
        self.mesh.holds = True
        task = self.make()(5)
        before = len(self.mesh.requests)
        self.assertIn('Pending', repr(task))
        self.mesh.release()
        task.wait()
        self.assertIn('SUCCESS', repr(task))
        self.assertIn('Memory usage (MiB): 1.00', repr(task))
        self.assertLessEqual(len(self.mesh.requests) - before, 1)

    def test_futures_travel_between_processes_by_pickle(self):
        task = self.make()(5)
        from perigee import client
        self.addCleanup(client._default.clear)
        client._default[AsyncTasks] = self.at
        again = pickle.loads(pickle.dumps(task, 2))
        self.assertEqual((again, again.result), (task, 25))

    def test_a_result_that_cannot_be_decoded_here_says_so(self):
        task = self.make()(5)
        task.wait()
        task._batch.find_outcome(0).payload = b'Pcno_such_module\nthing\n.'
        with self.assertRaises(perigee.ResultError) as caught:
            task.result
        self.assertIn('no_such_module', str(caught.exception))

    def mesh_done(self, count):
        await_that(lambda: len(self.mesh.outcomes) >= count)


class Mapping(WithMesh):
    def test_results_are_in_the_order_of_the_arguments(self):
        tasks = self.make().map(range(1234))
        self.assertIsInstance(tasks, list)
        self.assertEqual([task.result for task in tasks], [x * x for x in range(1234)])

    def test_shorter_iterables_are_padded_with_none_and_a_tuple_is_one_argument(self):
        pair = self.make(lambda *args: args)
        self.assertEqual([task.result for task in pair.map([1, 2], iter('a'))], [(1, 'a'), (2, None)])
        self.assertEqual([task.result for task in pair.map([(1, 2)])], [((1, 2),)])

    def test_nothing_makes_no_request(self):
        function = self.make()
        before = len(self.mesh.requests)
        self.assertEqual(function.map([]), [])
        self.assertEqual(len(self.mesh.requests), before)

    def test_a_generator_is_consumed_as_batches_are_sent(self):
        seen = []

        def numbers():
            for number in range(300):
                seen.append((number, len(self.mesh.batches)))
                yield number
        self.make().map(numbers())
        # The first batch was on the mesh before the last element was made.
        await_that(lambda: len(self.mesh.batches) == 2)
        self.assertEqual(len(seen), 300)
        self.assertEqual([batch[1] for batch in sorted(self.mesh.batches.values(), key=lambda b: b[1])], [100, 200])

    def test_a_slow_generator_gets_its_first_tasks_out_before_it_ends(self):
        function = self.make()

        def slow():
            yield 1
            deadline = time.time() + 10
            while not self.mesh.batches:
                yield 2
                time.sleep(0.01)
                self.assertLess(time.time(), deadline)
        tasks = function.map(slow())
        self.assertGreater(len(tasks), 1)

    def test_large_maps_are_cut_by_count_and_by_size(self):
        # A busy machine must not make an iterable look slow.
        self.addCleanup(setattr, _submission, 'BATCH_SECONDS', _submission.BATCH_SECONDS)
        _submission.BATCH_SECONDS = 60.0
        self.make().map(range(100 + 5000 + 1))
        self.assertEqual(sorted(batch[1] for batch in self.mesh.batches.values()), [1, 100, 5000])
        self.make(len).map(b'x' * 30000 for _ in range(100))
        self.assertEqual(sum(batch[1] for batch in self.mesh.batches.values()), 5201)
        self.assertGreater(len(self.mesh.batches), 5)

    def test_a_map_tells_what_its_calls_read(self):
        def of(uri):
            return hashlib.sha256(uri).digest()[:8]
        function = self.make()
        function.map([u's3://bucket/a.tif', [{'scene': 'https://Host:443/b.TIF?sign=1'}], 'https://host/page', 3])
        function.map([u'x', u'y'], assets=lambda name: ['file:/data/%s.tif' % name, 'file:/data/%s.tif' % name])
        function.map([1, 2])
        function.map([u's3://bucket/a.tif'], assets=lambda name: [])
        self.assertEqual(self.mesh.asset_lists, [
            b'\x01' + of(b's3://bucket/a.tif') + b'\x01' + of(b'https://host/b.TIF?sign=1') + b'\0\0',
            b'\x01' + of(b'file:///data/x.tif') + b'\x01' + of(b'file:///data/y.tif'), b'', b''])
        with self.assertRaises(TypeError):
            function.map([1], assets=lambda name: [7])
        with self.assertRaises(TypeError):
            function.map([1], asets=len)

    def test_when_a_batch_fails_those_on_disk_are_not_lost(self):
        function = self.make()
        self.mesh.fail('PUT .*batches', (500, {'code': 'internal', 'detail': 'broken', 'fix': 'report it'}))
        with self.assertRaises(perigee.MapError) as caught:
            function.map(range(300))
        self.assertEqual((caught.exception.code, caught.exception.fix), ('internal', 'report it'))
        # Two are on their way at a time: either may meet the fault, the other one's tasks are kept.
        self.assertIn([task.result for task in caught.exception.tasks],
                      ([x * x for x in range(100, 300)], [x * x for x in range(100)]))
        self.assertIsInstance(caught.exception.cause, perigee.ServerError)

    def test_when_the_first_batch_is_refused_the_map_says_so_too(self):
        function = self.make()
        function.terminate()
        with self.assertRaises(perigee.MapError) as caught:
            function.map(range(3))
        self.assertEqual((caught.exception.code, caught.exception.tasks), ('group_terminated', []))
        with self.assertRaises(perigee.GroupTerminalException):
            function(1)

    def test_an_argument_that_cannot_be_pickled_submits_nothing(self):
        function = self.make()
        with self.assertRaises(perigee.PicklingError):
            function.map([1, threading.Lock()])
        with self.assertRaises(perigee.PicklingError):
            function(threading.Lock())
        self.assertEqual(self.mesh.batches, {})

    def test_an_error_of_the_generator_keeps_what_was_sent(self):
        function = self.make()

        def numbers():
            for number in range(150):
                yield number
            raise ValueError('out of scenes')
        with self.assertRaises(perigee.MapError) as caught:
            function.map(numbers())
        self.assertEqual(len(caught.exception.tasks), 100)
        self.assertIsInstance(caught.exception.cause, ValueError)


class Completing(WithMesh):
    def test_yields_each_once_in_the_order_in_which_they_end(self):
        self.mesh.holds = True
        tasks = self.make().map(range(5))
        self.mesh.held.reverse()
        completed = as_completed(tasks + tasks[:2], timeout=10)
        order = []
        for _ in range(5):
            self.mesh.run_one()
            order.append(next(completed).result)
        self.assertEqual(order, [16, 9, 4, 1, 0])
        self.assertEqual(list(completed), [])

    def test_those_done_before_come_first(self):
        tasks = self.make().map(range(3))
        for task in tasks:
            task.wait()
        self.assertEqual(list(as_completed(tasks)), tasks)
        self.assertEqual(list(as_completed([])), [])

    def test_mixes_groups_and_meshes(self):
        other_mesh = Mesh()
        self.addCleanup(other_mesh.close)
        other = AsyncTasks(other_mesh.url, 'secret')
        self.addCleanup(other.close)
        tasks = self.make().map(range(3)) + self.make(fails).map([0, 2]) + \
            other.create_function(square).map([10, 11])
        self.assertEqual(sorted(task.result for task in as_completed(tasks, timeout=20)), [0, 0, 1, 2, 4, 100, 121])

    def test_an_unknown_task_raises_at_once_before_anything_is_yielded(self):
        function = self.make()
        tasks = function.map(range(2))
        with self.assertRaises(perigee.NotFoundError):
            as_completed(tasks + [FutureTask(function.group_id, '1-7', client=self.at)])

    def test_many_rebuilt_futures_cost_few_requests(self):
        tasks = self.make().map(range(200))
        other = AsyncTasks(self.mesh.url, 'secret')
        self.addCleanup(other.close)
        rebuilt = [FutureTask(task.guid, task.tuid, client=other) for task in tasks]
        self.assertEqual(sorted(task.result for task in as_completed(rebuilt, timeout=10)),
                         sorted(x * x for x in range(200)))
        # One look for each of the two batches, and the results of those two.
        self.assertLessEqual(len(self.mesh.find_requests('GET /v1/tasks')), 4)

    def test_a_timeout_says_how_many_are_missing(self):
        self.mesh.holds = True
        tasks = self.make().map(range(3))
        self.mesh.run_one()
        completed = as_completed(tasks, timeout=0.2)
        self.assertEqual(next(completed).result, 0)
        with self.assertRaises(perigee.TimeoutError) as caught:
            next(completed)
        self.assertIn('2 of the tasks', str(caught.exception))

    def test_closing_early_leaves_the_tasks_and_the_client_well(self):
        tasks = self.make().map(range(10))
        completed = as_completed(tasks)
        next(completed)
        completed.close()
        self.assertEqual([task.result for task in tasks], [x * x for x in range(10)])
        self.assertEqual(self.at._follower._watches, [])

    def find_fetches(self):
        return self.mesh.find_requests('GET /v1/tasks/.*/result')

    def map_large(self, count):
        """Tasks that are done, whose results do not come along with the stream."""
        tasks = self.make(large).map(range(count))
        perigee.wait(tasks)
        return tasks

    def test_while_results_are_read_the_next_ones_are_asked_for_each_once(self):
        tasks = self.map_large(9)
        values = []
        for place, task in enumerate(as_completed(tasks)):
            if place == 1:
                # Those behind the one that was read.
                await_that(lambda: len(self.find_fetches()) == 4)
            values.append(task.result)
        self.assertEqual(values, [large(value) for value in range(9)])
        self.assertEqual(len(self.find_fetches()), 9)

    def test_results_that_nobody_reads_are_not_asked_for(self):
        tasks = self.map_large(9)
        self.assertEqual(len([task for task in as_completed(tasks) if task.is_success]), 9)
        self.assertEqual(self.find_fetches(), [])

    def test_results_asked_for_in_vain_can_still_be_read(self):
        tasks = self.map_large(9)
        completed = as_completed(tasks)
        self.assertEqual(next(completed).result, large(0))
        # Three were asked for; one is passed over, two are left with the generator.
        next(completed)
        next(completed)
        completed.close()
        self.assertEqual([task.result for task in tasks], [large(value) for value in range(9)])

    def test_takes_tasks_and_nothing_else(self):
        function = self.make()
        for wrong in (function(1), function, [1]):
            with self.assertRaises(TypeError):
                as_completed(wrong)

    def test_wait_returns_what_is_done_and_what_is_not(self):
        self.mesh.holds = True
        tasks = self.make().map(range(3))
        self.mesh.run_one()
        done, not_done = perigee.wait(tasks, return_when=perigee.FIRST_COMPLETED)
        self.assertEqual((done, not_done), (set(tasks[:1]), set(tasks[1:])))
        done, not_done = perigee.wait(tasks, timeout=0.1)
        self.assertEqual((done, not_done), (set(tasks[:1]), set(tasks[1:])))
        self.mesh.release()
        self.assertEqual(perigee.wait(tasks, timeout=10), (set(tasks), set()))
        with self.assertRaises(ValueError):
            perigee.wait(tasks, return_when='SOMETIME')

    def test_wait_can_end_with_the_first_failure(self):
        self.mesh.holds = True
        tasks = self.make(fails).map([0, 1, 2])
        self.mesh.run_one()
        self.mesh.run_one()
        done, not_done = perigee.wait(tasks, timeout=10, return_when=perigee.FIRST_EXCEPTION)
        self.assertEqual((done, not_done), (set(tasks[:2]), set(tasks[2:])))

    def test_wait_for_completion_sees_the_whole_group(self):
        self.mesh.holds = True
        function = self.make()
        tasks = function.map(range(3))
        with self.assertRaises(perigee.TimeoutError):
            function.wait_for_completion(timeout=0.1)
        self.mesh.release()
        function.wait_for_completion(timeout=10)
        self.assertEqual([task.state for task in tasks], ['done'] * 3)


class Waiting(unittest.TestCase):
    def test_a_look_takes_no_time_and_a_wait_its_own(self):
        reader, writer = os.pipe()
        try:
            # The quickest of some: a busy machine may hold up any one of them.
            looks, waits = [], []
            for seconds, taken in [(0, looks), (0.02, waits)]:
                for _ in range(20):
                    began = time.time()
                    self.assertEqual(wait_for([reader], [], seconds), [])
                    taken.append(time.time() - began)
            self.assertLess(min(looks), 0.0008)
            self.assertGreaterEqual(min(waits), 0.0199)
            os.write(writer, b'!')
            self.assertEqual(wait_for([reader], [], 0), [reader])
        finally:
            os.close(reader)
            os.close(writer)


class ShortTimeouts(WithMesh):
    def look_for(self, seconds):
        self.addCleanup(setattr, _transport, 'LOOK_SECONDS', _transport.LOOK_SECONDS)
        _transport.LOOK_SECONDS = seconds

    def poll(self, look, seconds=20):
        """Looks without waiting until there is something; returns it."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            found = look()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError('nothing within %d s' % seconds)

    def test_a_look_finds_what_has_ended(self):
        self.mesh.delay_seconds = 0.06
        tasks = self.make().map(range(300))
        self.assertEqual(perigee.wait(tasks, timeout=0), (set(tasks), set()))
        for timeout in (0, 0.01):
            client = AsyncTasks(self.mesh.url, 'secret')
            self.addCleanup(client.close)
            self.assertEqual(client.create_function(square)(5).get_result(timeout=timeout), 25)

    def test_looks_for_longer_than_the_mesh_may_be_away_are_no_failure(self):
        self.at._transport.settings = self.at._transport.settings._replace(retry_seconds=0.2)
        self.mesh.holds = True
        task = self.make()(5)
        until = time.time() + 0.6
        while time.time() < until:
            self.assertEqual(perigee.wait([task], timeout=0), (set(), set([task])))
            with self.assertRaises(perigee.TimeoutError):
                task.get_result(timeout=0)
        self.mesh.release()
        self.assertEqual(self.poll(lambda: perigee.wait([task], timeout=0).done), set([task]))
        self.assertEqual(len(self.mesh.find_requests('/v1/outcomes')), 1)

    def test_looks_at_a_mesh_that_was_away_find_it_again(self):
        self.at._transport.settings = self.at._transport.settings._replace(retry_seconds=0.2)
        self.mesh.holds = True
        task = self.make()(5)
        self.mesh.fail('outcomes', 'drop', 30)
        for _ in range(20):
            self.assertEqual(perigee.wait([task], timeout=0), (set(), set([task])))
            time.sleep(0.02)
        self.mesh.release()
        self.assertEqual(self.poll(lambda: perigee.wait([task], timeout=0).done), set([task]))

    def test_a_stream_that_is_slow_to_open_is_not_begun_anew_by_each_look(self):
        self.look_for(0.05)
        task = self.make()(5)
        self.mesh.delay_seconds = 0.5
        self.poll(lambda: perigee.wait([task], timeout=0).done)
        self.assertEqual(task.result, 25)
        self.assertEqual(len(self.mesh.find_requests('/v1/outcomes')), 1)

    def test_several_meshes_that_are_far_away(self):
        clients = [self.at]
        other_mesh = Mesh()
        self.addCleanup(other_mesh.close)
        clients.append(AsyncTasks(other_mesh.url, 'secret'))
        self.addCleanup(clients[1].close)
        tasks = [client.create_function(square)(5) for client in clients]
        for mesh in (self.mesh, other_mesh):
            mesh.delay_seconds = 0.1
        self.assertEqual(perigee.wait(tasks, timeout=0), (set(tasks), set()))
        tasks = [client.create_function(square)(6) for client in clients]
        self.assertEqual(len(list(as_completed(tasks, timeout=20))), 2)

    def test_one_of_several_meshes_that_is_gone_is_said(self):
        other_mesh = Mesh()
        self.addCleanup(other_mesh.close)
        other = AsyncTasks(other_mesh.url, 'secret')
        self.addCleanup(other.close)
        self.mesh.holds = other_mesh.holds = True
        tasks = [self.make()(5), other.create_function(square)(5)]
        other._transport.settings = other._transport.settings._replace(retry_seconds=0.5)
        other_mesh.close()
        with self.assertRaises(perigee.UnreachableError):
            list(as_completed(tasks, timeout=30))

    def test_a_stream_that_fell_silent_is_given_up_by_looks_too(self):
        self.at._follower._silence_seconds = 0.2
        self.mesh.heartbeat_seconds = 60
        self.mesh.holds = True
        task = self.make()(5)
        self.poll(lambda: perigee.wait([task], timeout=0).done
                  or len(self.mesh.find_requests('/v1/outcomes')) > 1)

    def test_hold_while_the_mesh_is_away(self):
        self.look_for(0.2)
        self.mesh.holds = True
        function = self.make()
        task = function(5)
        self.at._transport.settings = self.at._transport.settings._replace(retry_seconds=20)
        self.mesh.close()
        began = time.time()
        # A new client's futures have all to learn, and share nothing that is known here.
        for wait in (lambda again: again.get_result(timeout=0.2), lambda again: again.wait(timeout=0.2),
                     lambda again: next(as_completed([again], timeout=0.2))):
            with self.assertRaises(perigee.TimeoutError):
                wait(FutureTask(task.guid, task.tuid, client=self.at))
        again = FutureTask(task.guid, task.tuid, client=self.at)
        self.assertEqual(perigee.wait([again], timeout=0.2), (set(), set([again])))
        with self.assertRaises(perigee.TimeoutError):
            function.wait_for_completion(timeout=0.2)
        self.assertLess(time.time() - began, 10)

    def test_a_look_at_a_mesh_that_does_not_answer_is_short(self):
        self.look_for(0.2)
        task = self.make()(5)
        self.mesh.delay_seconds = 20
        began = time.time()
        with self.assertRaises(perigee.TimeoutError):
            task.get_result(timeout=0)
        self.assertLess(time.time() - began, 10)


class Threads(WithMesh):
    def test_many_threads_share_one_stream(self):
        self.mesh.holds = True
        functions = [self.make(), self.make(fails)]
        tasks = functions[0].map(range(40)) + functions[1].map(range(0, 80, 2))
        results = {}

        def collect(task, index):
            results[index] = task.get_result(timeout=30)
        threads = [threading.Thread(target=collect, args=(task, index)) for index, task in enumerate(tasks)]
        for thread in threads:
            thread.start()
        await_that(lambda: len(self.at._follower._watches) == 80)
        opened = len(self.mesh.find_requests('/v1/outcomes'))
        self.mesh.release()
        for thread in threads:
            thread.join(30)
        self.assertEqual(results, dict(enumerate([x * x for x in range(40)] + list(range(0, 80, 2)))))
        self.assertLessEqual(len(self.mesh.find_requests('/v1/outcomes')) - opened, 1)

    def test_threads_that_submit_and_wait_at_once(self):
        function = self.make()
        failures = []

        def work(start):
            try:
                for x in range(start, start + 25):
                    if function(x).get_result(timeout=30) != x * x:
                        failures.append(x)
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=work, args=(start * 100,)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])
        self.assertEqual(self.at._follower._early, {})

    def fork(self, work):
        """Starts a child that does the work, and ends well when that is true."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # One that hangs ends, too.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(60)
                status = 0 if work() else 2
            finally:
                os._exit(status)
        return child

    def assert_ended_well(self, children):
        self.assertEqual([os.waitpid(child, 0)[1] for child in children], [0] * len(children))

    def test_forked_children_have_connections_of_their_own_and_leave_the_parents_alone(self):
        function = self.make()
        self.assertEqual(function(3).result, 9)
        self.mesh.holds = True
        shared = function(6)
        with self.assertRaises(perigee.TimeoutError):
            shared.get_result(timeout=0.1)
        self.mesh.release()
        stream = self.at._follower._stream

        def call(first):
            values = [function(x).get_result(timeout=20) for x in range(first, first + 10)]
            return values == [x * x for x in range(first, first + 10)] and shared.get_result(timeout=20) == 36
        children = [self.fork(lambda: call(first)) for first in (100, 200, 300, 400)]
        self.assertTrue(call(500))
        self.assert_ended_well(children)
        self.assertTrue(call(600))
        self.assertIs(self.at._follower._stream, stream)

    def test_a_child_forked_while_another_thread_holds_the_locks_is_not_held_up(self):
        function = self.make()
        self.assertEqual(function(3).result, 9)
        follower, transport = self.at._follower, self.at._transport
        held = [follower._lock, follower._reading, transport._lock]
        for lock in held:
            lock.acquire()
        child = self.fork(lambda: function(4).get_result(timeout=20) == 16)
        for lock in held:
            lock.release()
        self.assert_ended_well([child])
        self.assertEqual(function(5).get_result(timeout=20), 25)

    def test_many_threads_of_a_forked_child_wait_at_once(self):
        function = self.make()
        self.assertEqual(function(3).result, 9)

        def work():
            values = {}
            threads = [threading.Thread(target=lambda x=x: values.update({x: function(x).get_result(timeout=20)}))
                       for x in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return values == dict((x, x * x) for x in range(8))
        self.assert_ended_well([self.fork(work)])


class Faults(WithMesh):
    def setUp(self):
        super(Faults, self).setUp()
        self.at = AsyncTasks(self.mesh.url, 'secret')
        self.function = self.make()

    def test_a_batch_whose_answer_was_lost_is_not_submitted_twice(self):
        for action in ('drop', 'drop-after', 'cut'):
            before = len(self.mesh.batches)
            self.mesh.fail('PUT .*batches', action)
            tasks = self.function.map(range(10))
            self.assertEqual([task.result for task in tasks], [x * x for x in range(10)])
            self.assertEqual(len(self.mesh.batches), before + 1)

    def test_busy_answers_are_tried_again(self):
        for status, code in ((503, 'draining'), (429, 'queue_full'), (502, 'x'), (504, 'y')):
            self.mesh.fail('PUT .*batches', (status, {'code': code, 'detail': '', 'fix': ''}, [('Retry-After', '0')]), 2)
            self.assertEqual(self.function(3).result, 9)

    def test_refusals_are_not_tried_again(self):
        self.mesh.fail('PUT .*batches', (507, {'code': 'disk_full', 'detail': 'full', 'fix': 'free some'}))
        with self.assertRaises(perigee.ServerError) as caught:
            self.function(3)
        self.assertEqual((caught.exception.code, caught.exception.fix), ('disk_full', 'free some'))

    def test_a_wrong_token_is_said_with_its_fix(self):
        with self.assertRaises(perigee.AuthError) as caught:
            AsyncTasks(self.mesh.url, 'wrong').create_namespace()
        self.assertEqual(caught.exception.fix, 'set it right')

    def test_a_stream_that_breaks_in_a_record_resumes_without_loss_or_repetition(self):
        self.mesh.fail('outcomes', 'half', 3)
        tasks = self.function.map(range(2000))
        values = [task.result for task in as_completed(tasks, timeout=30)]
        self.assertEqual(sorted(values), sorted(x * x for x in range(2000)))
        self.assertGreaterEqual(len(self.mesh.find_requests('/v1/outcomes')), 4)

    def test_a_stream_that_says_everything_twice_changes_nothing(self):
        self.mesh.fail('outcomes', 'twice')
        tasks = self.function.map(range(500))
        self.assertEqual(len(list(as_completed(tasks, timeout=30))), 500)

    def test_a_stream_that_is_refused_for_a_while_is_asked_again(self):
        self.mesh.fail('outcomes', 'drop', 2)
        self.mesh.fail('outcomes', (503, {'code': 'draining', 'detail': 'soon', 'fix': ''}))
        self.assertEqual(self.function(4).get_result(timeout=30), 16)

    def test_a_cursor_that_has_expired_starts_without_one(self):
        self.mesh.fail('outcomes', (410, {'code': 'cursor_expired', 'detail': 'old', 'fix': ''}))
        self.assertEqual(self.function(4).get_result(timeout=30), 16)

    def test_a_stream_that_falls_silent_is_given_up(self):
        self.at._follower._silence_seconds = 0.2
        self.mesh.heartbeat_seconds = 60
        self.mesh.holds = True
        task = self.function(4)
        threading.Timer(0.5, self.mesh.release).start()
        self.assertEqual(task.get_result(timeout=30), 16)
        self.assertGreaterEqual(len(self.mesh.find_requests('/v1/outcomes')), 2)

    def test_a_lost_stream_resumes_above_the_last_number(self):
        self.assertEqual([t.result for t in self.function.map(range(50))], [x * x for x in range(50)])
        self.mesh.drop_streams()
        self.assertEqual(self.function(9).get_result(timeout=30), 81)
        self.assertIn('after=50', self.mesh.find_requests('/v1/outcomes')[-1])

    def test_kept_connections_that_were_closed_meanwhile_are_no_failure(self):
        self.assertEqual(self.function(2).result, 4)
        for connection in self.at._transport._idle:
            connection._socket.shutdown(2)
        self.assertEqual(self.function(3).result, 9)

    def test_a_mesh_that_is_gone_is_said_after_the_time_of_the_settings(self):
        gone = Mesh()
        gone.close()
        at = AsyncTasks(gone.url, 'secret')
        at._transport.settings = at._transport.settings._replace(retry_seconds=0.2, first_retry_seconds=0.2)
        began = time.time()
        with self.assertRaises(perigee.UnreachableError) as caught:
            at.create_namespace()
        self.assertLess(time.time() - began, 5)
        self.assertIn('PERIGEE_URL', caught.exception.fix)

    def test_a_wait_gives_up_on_a_mesh_that_is_gone_and_a_timeout_holds_meanwhile(self):
        self.mesh.holds = True
        task = self.function(2)
        self.at._transport.settings = self.at._transport.settings._replace(retry_seconds=0.5)
        self.mesh.close()
        with self.assertRaises(perigee.TimeoutError):
            task.get_result(timeout=0.1)
        with self.assertRaises(perigee.UnreachableError):
            task.get_result(timeout=60)


class Creating(WithMesh):
    def test_sends_what_was_asked_for(self):
        self.make(name='n', image='i', cpus=2, memory=1000, maximum_concurrency=3, task_timeout=9.5, retry_count=1,
                  network=True, environment={'A': 'b'}, priority=4, queue_timeout=7, isolation='task',
                  result_format='json', gpus=0)
        group = self.mesh.groups[self.mesh.last_group]
        self.assertEqual(
            [group[key] for key in ('name', 'image', 'cpus', 'memoryBytes', 'maximumConcurrency', 'taskTimeoutSeconds',
                                    'retryCount', 'network', 'environment', 'priority', 'queueTimeoutSeconds',
                                    'isolation', 'resultFormat')],
            ['n', 'i', 2, 1000, 3, 9.5, 1, True, {'A': 'b'}, 4, 7, 'task', 'json'])
        self.assertEqual(group['python']['version'], '.'.join(map(str, sys.version_info[:3])))
        import cloudpickle
        self.assertEqual(group['cloudpickle']['version'], cloudpickle.__version__)
        self.assertIn(group['cloudpickle']['blob'], self.mesh.blobs)

    def test_defaults(self):
        self.make()
        group = self.mesh.groups[self.mesh.last_group]
        self.assertEqual([group.get(key) for key in ('name', 'image', 'memory', 'cpus', 'taskTimeoutSeconds')],
                         ['square', None, '2Gi', 1, 1800])
        self.assertEqual(self.make(lambda: 1).name, 'lambda')

    def test_an_unknown_parameter_is_a_type_error_with_a_hint(self):
        with self.assertRaises(TypeError) as caught:
            self.make(memmory='4Gi')
        self.assertIn("did you mean 'memory'", str(caught.exception))

    def test_what_is_not_there_yet_says_what_to_do_instead(self):
        for options in ({'include_modules': ['a']}, {'include_data': ['b']}, {'gpus': 1}):
            with self.assertRaises(perigee.PerigeeError) as caught:
                self.make(**options)
            self.assertTrue(caught.exception.fix)
        self.assertEqual(self.mesh.groups, {})

    def test_takes_a_dotted_name(self):
        import ndvi
        self.assertEqual(self.make('ndvi.ratio')(1, 3).result, ndvi.ratio(1, 3))
        for wrong in ('ndvi.nothing', 'no_such_module.f', 'ratio'):
            with self.assertRaises(NameError):
                self.make(wrong)
        with self.assertRaises(TypeError):
            self.make(7)

    def test_an_unpicklable_function_submits_nothing(self):
        lock = threading.Lock()
        with self.assertRaises(perigee.PicklingError):
            self.make(lambda: lock)
        self.assertEqual(self.mesh.groups, {})

    def test_a_large_function_goes_as_a_blob(self):
        data = os.urandom(300000)
        self.assertEqual(self.make(lambda: len(data))().result, 300000)

    def test_a_refusal_keeps_the_servers_fix(self):
        self.mesh.fail('POST /v1/groups', (422, {'code': 'image_unknown', 'detail': 'no such image',
                                                 'fix': 'use one of a, b'}))
        with self.assertRaises(perigee.ImageUnknownError) as caught:
            self.make(image='nope')
        self.assertEqual(caught.exception.fix, 'use one of a, b')

    def test_create_namespace_can_be_repeated(self):
        self.assertIs(self.at.create_namespace(), True)
        self.assertIs(self.at.create_namespace(), True)

    def test_get_function_by_id(self):
        function = self.at.get_function_by_id(self.make(name='n').group_id)
        self.assertEqual((function.name, function(3).result), ('n', 9))
        self.assertEqual(function, CloudFunction(function.group_id, client=self.at))
        with self.assertRaises(perigee.NotFoundError):
            self.at.get_function_by_id('ffffffffffff')


class Interrupting(WithMesh):
    def interrupt(self, call):
        """SIGINT 0.3 s into a call; answers how long it took from there, and what stderr was told."""
        import io
        said = io.BytesIO() if sys.version_info[0] == 2 else io.StringIO()
        sent = []

        def send():
            sent.append(time.time())
            os.kill(os.getpid(), signal.SIGINT)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        stderr, sys.stderr = sys.stderr, said
        timer = threading.Timer(0.3, send)
        try:
            timer.start()
            with self.assertRaises(KeyboardInterrupt):
                call()
            return time.time() - sent[0], said.getvalue()
        finally:
            sys.stderr = stderr
            timer.join()
            signal.signal(signal.SIGINT, before)

    def test_ends_a_result_at_once_and_says_how_to_go_on(self):
        self.mesh.holds = True
        task = self.make()(5)
        seconds, said = self.interrupt(lambda: task.result)
        self.assertLess(seconds, 1)
        self.assertIn("FutureTask('%s', '%s')" % (task.guid, task.tuid), said)
        self.assertIn('cancel %s' % task.tuid, said)
        self.mesh.release()
        self.assertEqual(task.get_result(timeout=10), 25)

    def test_ends_as_completed_at_once(self):
        self.mesh.holds = True
        tasks = self.make().map(range(3))
        seconds, said = self.interrupt(lambda: list(as_completed(tasks)))
        self.assertLess(seconds, 1)
        self.assertIn('3 tasks go on', said)
        self.assertIn('cancel %s' % tasks[0].guid, said)
        self.mesh.release()
        self.assertEqual(len(list(as_completed(tasks, timeout=10))), 3)

    def test_ends_a_wait_for_the_group_and_for_a_mesh_that_is_gone(self):
        self.mesh.holds = True
        function = self.make()
        task = function(1)
        self.assertLess(self.interrupt(function.wait_for_completion)[0], 1)
        self.mesh.close()
        self.assertLess(self.interrupt(lambda: task.result)[0], 1)

    def test_ends_a_map_and_says_what_runs(self):
        function = self.make()

        def slow():
            for number in range(1000000):
                yield number
                if number > 200:
                    time.sleep(0.02)
        seconds, said = self.interrupt(lambda: function.map(slow()))
        self.assertLess(seconds, 1)
        self.assertIn('cancel %s' % function.group_id, said)


if __name__ == '__main__':
    unittest.main()
