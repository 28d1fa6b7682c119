"""What is said while waiting: nothing, unless somebody reads it."""
import io
import os
import sys
import unittest

import support  # noqa: F401 - puts the SDK on the path
from fake_mesh import Mesh

import perigee
from perigee import _progress
from perigee._compat import monotonic
from perigee._progress import Bar, Reason


class Stream(object):
    """A stderr whose text is kept."""

    def __init__(self, is_terminal):
        self.text = ''
        self._is_terminal = is_terminal

    def write(self, text):
        self.text += text

    def flush(self):
        return None

    def isatty(self):
        return self._is_terminal


class Progress(unittest.TestCase):
    def setUp(self):
        environ = dict(os.environ)
        self.addCleanup(os.environ.update, environ)
        self.addCleanup(os.environ.clear)
        os.environ.pop('PERIGEE_PROGRESS', None)
        self.addCleanup(setattr, sys, 'stderr', sys.stderr)

    def show(self, is_terminal):
        sys.stderr = Stream(is_terminal)
        return sys.stderr

    def waiting_task(self, mesh=None):
        if mesh is None:
            mesh = Mesh()
            self.addCleanup(mesh.close)
        mesh.holds = True
        at = perigee.AsyncTasks(mesh.url, 'secret')
        self.addCleanup(at.close)
        self.addCleanup(setattr, _progress, 'EXPLAIN_AFTER_SECONDS', _progress.EXPLAIN_AFTER_SECONDS)
        _progress.EXPLAIN_AFTER_SECONDS = 0.05
        return at.create_function(len)('abc')

    def test_a_bar_off_a_terminal_is_a_line_for_every_tenth(self):
        stream = self.show(False)
        bar = Bar(200, 'ndvi')
        for index in range(200):
            bar.add(index % 50 != 0)
        bar.end()
        lines = stream.text.splitlines()
        self.assertEqual(len(lines), 10)
        self.assertTrue(lines[0].startswith('ndvi 10% 20/200 | 1 failed | '), lines[0])
        self.assertTrue(lines[-1].startswith('ndvi 100% 200/200 | 4 failed | '), lines[-1])
        self.assertNotIn('\r', stream.text)

    def test_a_bar_on_a_terminal_is_one_line_that_changes(self):
        stream = self.show(True)
        bar = Bar(4)
        for _ in range(4):
            bar.add(True)
        bar.end()
        self.assertEqual(stream.text.count('\n'), 1)
        self.assertIn('[########################] tasks 100% 4/4', stream.text)

    def test_a_wait_on_a_terminal_says_why_after_a_while_and_wipes_it(self):
        stream = self.show(True)
        with self.assertRaises(perigee.TimeoutError):
            self.waiting_task().get_result(timeout=0.5)
        self.assertEqual(stream.text, '\r\x1b[Kqueued: no node yet\r\x1b[K')

    def test_asking_for_the_reason_holds_up_no_timeout_when_the_mesh_is_away(self):
        self.show(True)
        mesh = Mesh()
        self.addCleanup(mesh.close)
        task = self.waiting_task(mesh)
        settings = task.client._transport.settings
        task.client._transport.settings = settings._replace(retry_seconds=20)
        mesh.close()
        began = monotonic()
        with self.assertRaises(perigee.TimeoutError):
            task.get_result(timeout=0.5)
        self.assertLess(monotonic() - began, 8)

    def test_a_wait_off_a_terminal_is_silent(self):
        stream = self.show(False)
        with self.assertRaises(perigee.TimeoutError):
            self.waiting_task().get_result(timeout=0.3)
        self.assertEqual(stream.text, '')

    def test_a_wait_off_a_terminal_speaks_when_it_was_asked_to(self):
        os.environ['PERIGEE_PROGRESS'] = '1'
        stream = self.show(False)
        with self.assertRaises(perigee.TimeoutError):
            self.waiting_task().get_result(timeout=0.3)
        self.assertEqual(stream.text, 'queued: no node yet\n')

    def test_as_completed_says_why_too_but_not_below_a_bar(self):
        os.environ['PERIGEE_PROGRESS'] = '1'
        stream = self.show(False)
        task = self.waiting_task()
        for show_progress, text in ((True, ''), (False, 'queued: no node yet\n')):
            stream.text = ''
            with self.assertRaises(perigee.TimeoutError):
                list(perigee.as_completed([task], show_progress=show_progress, timeout=0.3))
            self.assertEqual(stream.text, text)

    def test_a_reason_that_cannot_be_had_is_not_said(self):
        stream = self.show(True)

        def explain(bounds):
            raise perigee.ServerError('broken')
        reason = Reason(explain)
        reason.tick()
        reason.end()
        self.assertEqual(stream.text, '')

    def test_a_stderr_that_is_none_or_closed_is_no_terminal(self):
        closed = io.BytesIO()
        closed.close()
        for stream in (None, closed):
            self.assertFalse(_progress.is_shown(stream))


if __name__ == '__main__':
    unittest.main()
