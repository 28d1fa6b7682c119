"""Follows the completion stream for all futures of a client.

One stream serves all threads that wait. The thread that finds nobody reading reads, and hands the
others what is theirs; when it has what it waited for, another takes over. There is no thread of our
own: a wait is a read of the socket by the thread that waits, so Ctrl-C ends it at once.

The stream resumes: it is asked for everything above the lowest number that some wait still needs.
A record that comes twice changes nothing.
"""
import struct
import threading
import weakref
from collections import deque, namedtuple

from perigee._batch import Batch
from perigee._compat import monotonic
from perigee._fork import ForkGuard
from perigee._lost import ConnectionLost, TimedOut
from perigee._outcome import RECORD_HEAD
from perigee._payload import INLINE_BYTES_MAX
from perigee._transport import look_until
from perigee._wakeup import thread_waker, wait_for
from perigee.errors import PerigeeError

#: The coordinator sends a heartbeat every 5 s: after four missed ones the stream is dead.
STREAM_SILENCE_SECONDS = 20.0
#: More groups than this are not named in the request; the whole namespace is followed instead.
GROUPS_NAMED_MAX = 200
#: Outcomes kept for batches whose answer has not come yet.
EARLY_BYTES_MAX = 64 * 1024 * 1024
#: A longer record than this is not of our protocol.
RECORD_BYTES_MAX = 32 * 1024 * 1024

_LENGTH = struct.Struct('>I')
_KIND_OUTCOME = 0

# Until when one step of a wait may read, open the stream, and pause after a loss; None is without end.
_Limits = namedtuple('_Limits', 'read open pause')


class Watch(object):
    """What one caller waits for: some tasks, each of which becomes ready once.

    Attributes
    ----------
    ready : collections.deque
        The ``(batch, index)`` that have ended, in completion order, for the caller to take.
    """

    def __init__(self, tasks):
        """``tasks``: pairs of `Batch` and index, none of which has ended."""
        self.ready = deque()
        self.waker = None
        self._pending = {}
        self.batches = {}
        self.pending_count = 0
        # Deliveries of the follower that it has seen, or whose records it has looked for.
        self.deliveries = None
        # Since the stream was lost while this one waited for it, and how often it had been opened until then.
        # Of each wait's own: losses that an earlier wait saw, and its end, say nothing of the mesh now.
        self.retry = None
        self.retry_openings = 0
        for batch, index in tasks:
            indexes = self._pending.setdefault(batch.number, set())
            if index not in indexes:
                indexes.add(index)
                self.pending_count += 1
            self.batches[batch.number] = batch

    def offer(self, number, index):
        """Notes that a task has ended; answers whether it is one of ours, for the first time."""
        indexes = self._pending.get(number)
        if indexes is None or index not in indexes:
            return False
        indexes.remove(index)
        self.pending_count -= 1
        self.ready.append((self.batches[number], index))
        if not indexes:
            # Nothing of the batch is waited for any more: the cursor may pass it.
            del self._pending[number]
        return True

    def unfinished_batches(self):
        """The batches of which something is still waited for."""
        return [self.batches[number] for number in list(self._pending)]


class Follower(object):
    """The completion stream of one client.

    Parameters
    ----------
    transport : perigee._transport.Transport
    silence_seconds : float
        After so long without a byte the stream is asked for anew.
    """

    def __init__(self, transport, silence_seconds=STREAM_SILENCE_SECONDS):
        self._transport = transport
        self._silence_seconds = silence_seconds
        self._batches = weakref.WeakValueDictionary()
        self._deliveries = 0
        self._stream = None
        # Everything of `_groups` up to this number has been delivered.
        self._position = 0
        # Where the present stream began; what came before it may never have been delivered.
        self._origin = 0
        self._groups = frozenset()
        # How often a stream was opened.
        self._openings = 0
        # A stream that was asked for and has not answered yet.
        self._awaited = None
        self._fork_guard = ForkGuard(self._start_anew)
        self._start_anew()

    def _start_anew(self):
        # Held by the thread that reads the stream, while it does.
        self._reading = threading.Lock()
        # Guards what follows; never held while waiting for anything.
        self._lock = threading.Lock()
        self._watches = []
        self._must_restart = True
        self._submissions = 0
        self._early = {}
        self._early_bytes = 0
        # In a forked child: the stream is the parent's, which goes on reading it. Only our copy is closed.
        self._drop_stream()
        self._drop_awaited()
        # The parent may have been amid a look through them, or a delivery.
        batches = list(self._batches.values())
        self._batches = weakref.WeakValueDictionary((batch.number, batch) for batch in batches)
        self._deliveries += 1
        for batch in batches:
            batch.is_covered = False

    def get_batch(self, number):
        """The `Batch` of that number; the same one as long as somebody holds it."""
        self._fork_guard.enter()
        with self._lock:
            batch = self._batches.get(number)
            if batch is None:
                batch = self._batches[number] = Batch(number)
            return batch

    def describe_batch(self, batch, group_id, submitted_after, is_ours=False):
        """Completes a batch with what the coordinator says of it.

        ``is_ours``: between `begin_submission` and `end_submission`, for a batch sent there; what
        the stream has brought of it since has been kept.
        """
        self._fork_guard.enter()
        with self._lock:
            if batch.submitted_after is not None:
                return
            batch.group_id = group_id
            batch.submitted_after = submitted_after
            followed = not self._groups or group_id in self._groups
            followed = followed and self._stream is not None
            early = self._early.pop(batch.number, None)
            # A stream that another thread opened meanwhile may have begun behind our outcomes.
            kept = is_ours and self._keeps_early() and self._origin <= submitted_after
            if kept or self._position <= submitted_after:
                batch.is_covered = followed
            if early is not None:
                batch.records.update(early)
                self._deliveries += 1

    def keep_outcome(self, batch, index, outcome):
        """Keeps an outcome that was had in another way than by the stream."""
        self._fork_guard.enter()
        with self._lock:
            batch.records.setdefault(index, outcome)
            self._deliveries += 1

    def begin_submission(self):
        """From now on outcomes of batches not known yet are kept: they may overtake the answer."""
        self._fork_guard.enter()
        with self._lock:
            self._submissions += 1

    def end_submission(self):
        """The other end of `begin_submission`."""
        self._fork_guard.enter()
        with self._lock:
            # One that was begun in the parent may be ended in a forked child.
            self._submissions = max(self._submissions - 1, 0)
            if self._submissions == 0:
                self._early = {}
                self._early_bytes = 0

    def wait(self, watch, deadline, notice=None):
        """Waits until something of the watch is ready.

        Parameters
        ----------
        watch : Watch
        deadline : float or None
            By `monotonic`. What has ended by now is found all the same when it has passed.
        notice : object, optional
            Has ``next_at`` (by `monotonic`) and ``tick(deadline)``, called about then while the wait lasts.

        Raises
        ------
        TimedOut
            The deadline has passed first.
        PerigeeError
            The stream cannot be had.
        """
        if watch.ready or watch.pending_count == 0:
            return
        self._fork_guard.enter()
        watch.waker = thread_waker()
        opens_until = look_until(deadline).deadline
        self._add(watch)
        try:
            while not watch.ready:
                ends_at = deadline if self._is_abreast() else opens_until
                ticks_at = notice.next_at if notice is not None else None
                try:
                    self._read_or_sleep(watch, _Limits(
                        _sooner(ends_at, ticks_at), opens_until, _sooner(deadline, ticks_at)))
                except TimedOut:
                    if deadline is not None and monotonic() >= deadline and (
                            self._stream is None or monotonic() >= ends_at):
                        raise
                if notice is not None and not watch.ready and monotonic() >= notice.next_at:
                    notice.tick(deadline)
        finally:
            self._remove(watch)

    def close(self):
        """Ends the stream; the next wait opens it again where it was."""
        self._fork_guard.enter()
        with self._lock:
            self._drop_stream()
            self._drop_awaited()

    def _is_abreast(self):
        """Whether the stream brings what ends, and has brought what had ended before it was opened."""
        stream = self._stream
        return stream is not None and stream.is_abreast and not self._must_restart

    def _add(self, watch):
        with self._lock:
            # Between two waits of a large watch mostly nothing has come: then it need not be looked through.
            if watch.deliveries != self._deliveries:
                for batch in watch.unfinished_batches():
                    for index in [index for index in watch._pending[batch.number]
                                  if index in batch.records]:
                        watch.offer(batch.number, index)
            self._watches.append(watch)
            if any(not batch.is_covered for batch in watch.unfinished_batches()):
                self._must_restart = True
            others = list(self._watches)
        if self._must_restart:
            _wake(others, watch)

    def _remove(self, watch):
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)
                watch.deliveries = self._deliveries
            others = list(self._watches)
        _wake(others, watch)

    def _read_or_sleep(self, watch, limits):
        has_it = False
        try:
            has_it = self._reading.acquire(False)
            if has_it:
                # It may have come between the caller's look and this.
                if not watch.ready:
                    self._read(watch, limits)
                return
        finally:
            if has_it:
                self._reading.release()
                with self._lock:
                    others = list(self._watches)
                _wake(others, watch)
        if watch.ready:
            return
        seconds = None if limits.read is None else limits.read - monotonic()
        if seconds is not None and seconds <= 0:
            raise TimedOut()
        if wait_for([watch.waker.fileno()], [], seconds):
            watch.waker.clear()

    def _read(self, watch, limits):
        """One read of the stream, which is opened first if need be."""
        if self._must_restart or self._stream is None:
            self._restart(watch, limits)
        stream = self._stream
        if stream is None:
            return
        silent_at = stream.heard_at + self._silence_seconds
        try:
            data = stream.response.read_some(_sooner(limits.read, silent_at), watch.waker)
            if data:
                stream.heard_at = monotonic()
                self._deliver(stream, data, watch)
            if stream.response.is_done:
                raise ConnectionLost('the coordinator ended the stream')
        except TimedOut:
            # First of all: who only ever looks would otherwise never see that the stream is dead.
            if monotonic() < silent_at:
                raise
            with self._lock:
                self._drop_stream()
        except ConnectionLost:
            with self._lock:
                self._drop_stream()
        except BaseException:
            # Ctrl-C, maybe amid a delivery: what was not delivered is asked for again.
            with self._lock:
                self._drop_stream()
            raise

    def _restart(self, watch, limits):
        with_cursor = True
        if watch.retry_openings != self._openings:
            watch.retry = None
        if watch.retry is not None:
            watch.retry.pause(limits.pause)
        while True:
            with self._lock:
                self._drop_stream()
                groups, after = self._plan()
            if groups is None:
                return
            try:
                connection, response = self._open(
                    _path(groups, after if with_cursor else None), limits.open)
                break
            except ConnectionLost as error:
                self._after_loss(watch, error, limits)
            except PerigeeError as error:
                if error.code == 'cursor_expired' and with_cursor:
                    with_cursor = False
                elif error.code in ('draining', 'queue_full', 'rate_limited'):
                    self._after_loss(watch, error, limits)
                else:
                    raise
        self._openings += 1
        with self._lock:
            for batch in self._batches.values():
                if batch.submitted_after is not None:
                    followed = not groups or batch.group_id in groups
                    reached = batch.submitted_after if not batch.is_covered else self._position
                    batch.is_covered = followed and after <= reached
            self._groups = groups
            self._position = after
            self._origin = after
            self._stream = _Stream(connection, response)
            self._must_restart = any(not batch.is_covered for watch in self._watches
                                     for batch in watch.unfinished_batches())

    def _open(self, path, deadline):
        """A stream's connection and answer. One that is not there in time is waited for the next time."""
        awaited = self._awaited
        if awaited is None or awaited.path != path:
            self._drop_awaited()
            awaited = self._transport.start_stream(path, deadline)
        self._awaited = None
        try:
            response = awaited.finish(deadline)
        except TimedOut:
            self._awaited = awaited
            raise
        return awaited.connection, response

    def _after_loss(self, watch, error, limits):
        if watch.retry is None:
            watch.retry, watch.retry_openings = self._transport.retrying(), self._openings
        watch.retry.after_loss(error, limits.pause)

    def _plan(self):
        """The groups to follow and the number to follow them from; ``None, 0`` for none."""
        needed = [batch for watch in self._watches for batch in watch.unfinished_batches()]
        if not needed:
            return None, 0
        after = min(self._position if batch.is_covered else batch.submitted_after
                    for batch in needed)
        # The groups of all live batches, so that the next wait need not restart the stream.
        groups = frozenset(batch.group_id for batch in self._batches.values()
                           if batch.group_id is not None)
        return (groups if len(groups) <= GROUPS_NAMED_MAX else frozenset()), after

    def _deliver(self, stream, data, reader):
        """Hands out the whole records in what has arrived; keeps an unfinished one."""
        buffered = stream.unread + data if stream.unread else data
        position, end = 0, len(buffered)
        with self._lock:
            watches = self._watches
            self._deliveries += 1
            woken = set()
            number = self._position
            while end - position >= 4:
                length, = _LENGTH.unpack_from(buffered, position)
                if length > RECORD_BYTES_MAX or length < 9:
                    raise ConnectionLost('the stream is not of our protocol')
                if end - position - 4 < length:
                    break
                position += 4
                kind = ord(buffered[position:position + 1])
                if kind == _KIND_OUTCOME:
                    _, number, batch, index = RECORD_HEAD.unpack_from(buffered, position)
                    self._keep(batch, index, buffered[position:position + length])
                    for watch in watches:
                        if watch.offer(batch, index):
                            woken.add(watch)
                else:
                    # Everything that was recorded before it has been sent.
                    number, = struct.unpack_from('>Q', buffered, position + 1)
                    stream.is_abreast = True
                position += length
            self._position = max(self._position, number)
            stream.unread = buffered[position:]
        _wake(woken, reader)

    def _keep(self, number, index, record):
        batch = self._batches.get(number)
        if batch is not None:
            batch.records.setdefault(index, record)
        elif self._keeps_early():
            self._early.setdefault(number, {})[index] = record
            self._early_bytes += len(record)

    def _keeps_early(self):
        return self._submissions > 0 and self._early_bytes <= EARLY_BYTES_MAX

    def _drop_stream(self):
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.connection.close()

    def _drop_awaited(self):
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.connection.close()


class _Stream(object):
    def __init__(self, connection, response):
        self.connection = connection
        self.response = response
        self.heard_at = monotonic()
        # The beginning of a record whose end has not arrived.
        self.unread = b''
        self.is_abreast = False


def _path(groups, after):
    path = '/v1/outcomes?follow=true&inline=%d' % INLINE_BYTES_MAX
    if after is not None:
        path += '&after=%d' % after
    if groups:
        path += '&groups=' + ','.join(sorted(groups))
    return path


def _wake(watches, but):
    for watch in watches:
        if watch is not but and watch.waker is not None:
            watch.waker.wake()


def _sooner(one, other):
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
