"""The completion stream, without a network: which outcomes a batch may take as delivered."""
import struct
import unittest

from perigee._compat import monotonic
from perigee._follower import Follower, Watch
from perigee._lost import TimedOut


def record(number, batch, index):
    """An outcome of a task that returned ``None``, as the coordinator sends it."""
    body = struct.pack('>BQIHBHdQQ', 0, number, batch, index, 0, 1, 0.0, 0, 0)
    payload = b'Jnull'
    body += struct.pack('>I', 0) + struct.pack('>BI', 1, len(payload)) + payload
    return struct.pack('>I', len(body)) + body


class Stream(object):
    """A stream that says what it was given, once."""

    is_done = False
    path = None

    def __init__(self, data):
        self._data = data

    def read_some(self, deadline, waker=None):
        if not self._data:
            raise TimedOut()
        data, self._data = self._data, b''
        return data

    def finish(self, deadline):
        return self

    @property
    def connection(self):
        return self

    def close(self):
        pass


class Transport(object):
    """Opens streams that a test has prepared, and keeps the paths they were asked for with."""

    def __init__(self, *streams):
        self.paths = []
        self._streams = list(streams)

    def start_stream(self, path, deadline):
        self.paths.append(path)
        return self._streams.pop(0)

    def retrying(self):
        return None


class AStreamThatAnotherThreadOpened(unittest.TestCase):
    def test_does_not_count_as_having_delivered_what_came_before_it_began(self):
        transport = Transport(Stream(record(2, 2, 0)), Stream(record(1, 1, 0)))
        follower = Follower(transport)
        deadline = monotonic() + 1
        # Our task is done, as outcome 1, before the answer to its submission is here. Meanwhile
        # another thread's batch was taken, after outcome 1, and is waited for.
        follower.begin_submission()
        theirs = follower.get_batch(2)
        follower.describe_batch(theirs, 'g', 1)
        follower.wait(Watch([(theirs, 0)]), deadline)
        ours = follower.get_batch(1)
        follower.describe_batch(ours, 'g', 0, is_ours=True)
        follower.end_submission()
        watch = Watch([(ours, 0)])
        follower.wait(watch, deadline)
        self.assertEqual(list(watch.ready), [(ours, 0)])
        self.assertIn('after=1', transport.paths[0])
        self.assertIn('after=0', transport.paths[1])


if __name__ == '__main__':
    unittest.main()
