"""`FutureTask`: one call of a group's function, now or later."""
import sys
from operator import attrgetter

from perigee._compat import monotonic, native
from perigee._follower import Watch
from perigee._lost import TimedOut
from perigee._outcome import outcome_of_document
from perigee._payload import decode
from perigee._progress import Reason, is_shown, say_interrupted
from perigee._transport import UNBOUNDED, look_until
from perigee.errors import (
    BadRequestError, NotFoundError, TimeoutError, TransientResultException, task_failed)
from perigee.task_output import list_outputs

_MISSING = object()


class FutureTask(object):
    """A task, by the ids of its group and its own.

    It can be rebuilt from the two ids in any process that has a token of the same namespace.
    Two are equal when their ids are, and it can be a key of a dict.

    Parameters
    ----------
    guid : str
        Id of the group.
    tuid : str
        Id of the task, ``<batch>-<index>``.
    client : AsyncTasks, optional
        By default one made from the environment, the same for the whole process.

    Raises
    ------
    BadRequestError
        ``tuid`` is not the id of a task.
    """

    __slots__ = ('guid', '_batch', '_index', '_client', '_value', '_checked', '__weakref__')

    def __init__(self, guid, tuid, client=None):
        number, index = parse_task_id(tuid)
        self._client = client if client is not None else _default_client()
        self.guid = native(guid)
        self._batch = self._client._follower.get_batch(number)
        self._index = index
        self._value = _MISSING
        self._checked = False

    @classmethod
    def _submitted(cls, batch, index, client):
        """A future of a task that the coordinator has just taken; nothing of it needs checking."""
        task = cls.__new__(cls)
        task.guid = batch.group_id
        task._client = client
        task._batch = batch
        task._index = index
        task._value = _MISSING
        task._checked = True
        return task

    @property
    def tuid(self):
        """Id of the task."""
        return '%d-%d' % (self._batch.number, self._index)

    @property
    def client(self):
        """The `AsyncTasks` that it speaks through."""
        return self._client

    # The value

    @property
    def result(self):
        """What the function returned. Waits for it.

        Raises
        ------
        TaskFailed
            The task failed; also an instance of the remote class where that is a builtin one.
        ResultError
            The value cannot be decoded here.
        """
        return self.get_result()

    def get_result(self, wait=True, timeout=None):
        """What the function returned.

        Parameters
        ----------
        wait : bool
            False: raise `TransientResultException` when the task is not done.
        timeout : float, optional
            Seconds to wait at most.

        Raises
        ------
        TransientResultException, TimeoutError, TaskFailed, ResultError
        """
        outcome = self._find_outcome()
        if outcome is None:
            self._settle(wait, timeout)
            outcome = self._find_outcome()
        if outcome.code != 'success':
            raise self.error
        return self._decoded(outcome)

    def wait(self, timeout=None):
        """Waits until the task is done, whatever its end; returns itself.

        Raises
        ------
        TimeoutError
            It takes longer than ``timeout`` seconds.
        """
        self._settle(True, timeout)
        return self

    # The end

    @property
    def status(self):
        """``SUCCESS`` or ``FAILURE``. Waits."""
        return 'SUCCESS' if self._settled().is_success else 'FAILURE'

    @property
    def is_success(self):
        """Whether the function returned. Waits."""
        return self._settled().is_success

    @property
    def exception(self):
        """Class name of the remote exception; None on success. Waits."""
        outcome = self._settled()
        return None if outcome.is_success else outcome.exception

    exception_name = exception

    @property
    def exception_message(self):
        """Message of the remote exception; None on success. Waits."""
        outcome = self._settled()
        return None if outcome.is_success else outcome.message

    @property
    def traceback(self):
        """The remote traceback as text; None on success. Waits."""
        outcome = self._settled()
        return None if outcome.is_success else outcome.traceback

    stacktrace = traceback

    @property
    def error(self):
        """The `TaskFailed` that `result` raises; None on success. Waits."""
        outcome = self._settled()
        if outcome.is_success:
            return None
        return task_failed({
            'code': outcome.code,
            'name': outcome.exception or outcome.code,
            'message': outcome.message or '',
            'traceback': outcome.traceback or '',
            'log_tail': outcome.log_tail or '',
            'attempts': outcome.attempt,
            'guid': self.guid,
            'tuid': self.tuid,
            'node': outcome.node,
        })

    @property
    def failure_type(self):
        """``exception``, ``oom``, ``timeout``, ``crash``, ``cancelled``, ``version_mismatch`` or
        ``lost``; None on success. Waits."""
        outcome = self._settled()
        return None if outcome.is_success else outcome.code

    code = failure_type

    @property
    def runtime(self):
        """Seconds in the function, by the node's clock. Waits."""
        return self._settled().runtime_seconds

    @property
    def peak_memory_usage(self):
        """Bytes; 0 when it is not known. Waits."""
        return self._settled().peak_memory_bytes

    @property
    def log(self):
        """Everything the function printed, as ``str``. Waits.

        Bytes that are not UTF-8 are replaced; `log_bytes` has them as they are.
        """
        data = self.log_bytes
        return native(data.decode('utf-8', 'replace'))

    @property
    def log_bytes(self):
        """Everything the function printed, as bytes; at most 8 MiB, a cut is said. Waits."""
        if not self._settled().log_bytes:
            return b''
        return self._client._transport.request('GET', self._path('/log')).body

    @property
    def node(self):
        """Id of the node that the recorded attempt ran on; None when it never ran. Waits."""
        outcome = self._settled()
        if outcome.node is None:
            outcome.node = native(self._document().get('node'))
        return outcome.node

    @property
    def outputs(self):
        """The files that it gave out (`perigee.outputs`, `perigee.imagery.write`), a list of
        `TaskOutput` by name; empty for a task that failed. Waits."""
        if not self._settled().is_success:
            return []
        return list(list_outputs(self._client._transport, self._path('/outputs')))

    # What can be asked at any time

    @property
    def state(self):
        """``queued``, ``running`` or ``done``. Does not wait."""
        if self._find_outcome() is not None:
            return 'done'
        return native(self._look()['state'])

    @property
    def ready(self):
        """Whether the task is done. Does not wait."""
        return self.state == 'done'

    @property
    def attempts(self):
        """Every try, as a list of dicts: ``attempt``, ``node``, ``granted_at``, ``end``,
        ``charged``, ``message``, ``ended_at``. Does not wait."""
        return [_attempt_of(entry) for entry in self._document().get('attempts') or []]

    @property
    def args(self):
        """The positional arguments, fetched from the mesh. Does not wait."""
        return self._arguments()[0]

    @property
    def kwargs(self):
        """The keyword arguments, fetched from the mesh. Does not wait."""
        return self._arguments()[1]

    def cancel(self):
        """Ends the task as ``cancelled``; one that runs is killed within a second.

        Returns
        -------
        bool
            False when it was done already.
        """
        answer = self._client._transport.send_json('POST', self._path('/cancel'), {})
        return answer['state'] != 'done'

    def explain(self):
        """One sentence: why the task waits, or how it ended. Does not wait."""
        return self._explain()

    # Identity

    def __eq__(self, other):
        if self is other:
            return True
        if not isinstance(other, FutureTask):
            return NotImplemented
        return self._identity() == other._identity()

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self):
        # Of the task alone: batches are numbered for the whole mesh, so that it is as good, and cheaper.
        return hash((self._batch.number, self._index))

    def __reduce__(self):
        return (type(self), (self.guid, self.tuid))

    def __repr__(self):
        outcome = self._find_outcome()
        if outcome is None:
            return 'Task %s of group %s\n  Status: Pending' % (self.tuid, self.guid)
        status = 'SUCCESS' if outcome.is_success else 'FAILURE (%s)' % outcome.code
        return ('Task %s of group %s\n  Status: %s\n  Memory usage (MiB): %.2f\n  Runtime (s): %.3f'
                % (self.tuid, self.guid, status, outcome.peak_memory_bytes / 1048576.0,
                   outcome.runtime_seconds))

    def _identity(self):
        return (self.guid, self._batch.number, self._index)

    # How the above is had

    def _explain(self, bounds=UNBOUNDED):
        return native(self._client._transport.get_json(self._path('/explain'), bounds)['sentence'])

    def _find_outcome(self):
        return self._batch.find_outcome(self._index)

    def _settled(self):
        outcome = self._find_outcome()
        if outcome is None:
            self._settle(True, None)
            outcome = self._find_outcome()
        return outcome

    def _settle(self, wait, timeout):
        """Returns once the outcome is known here."""
        if self._find_outcome() is not None:
            return
        deadline = None if timeout is None else monotonic() + timeout
        reason = Reason(self._explain) if is_shown(sys.stderr) else None
        try:
            if not wait or not self._checked:
                self._look(look_until(deadline))
                if self._find_outcome() is not None:
                    return
            if not wait:
                raise TransientResultException('Task %s is not done yet.' % self.tuid,
                                               fix='wait for it, or ask again later')
            self._client._follower.wait(Watch([(self._batch, self._index)]), deadline, reason)
        except TimedOut:
            raise TimeoutError('Task %s is not done after %g s.' % (self.tuid, timeout),
                               fix='wait longer, or ask `scripts/perigee task %s` why' % self.tuid)
        except KeyboardInterrupt:
            say_interrupted([self])
            raise
        finally:
            if reason is not None:
                reason.end()

    def _look(self, bounds=UNBOUNDED):
        """Asks for the task's document and learns from it.

        Raises
        ------
        NotFoundError
            There is no such task, or it is of another group.
        TimedOut
        """
        document = self._document(bounds)
        group_id = native(document['group'])
        if not group_id.startswith(self.guid) or not self.guid:
            raise NotFoundError('Task %s is not of group %s but of %s.'
                                % (self.tuid, self.guid, group_id),
                                fix='use the ids as the future printed them')
        self._checked = True
        self._client._follower.describe_batch(
            self._batch, group_id, document.get('submittedAfter') or 0)
        if document['state'] == 'done':
            self._client._follower.keep_outcome(
                self._batch, self._index, outcome_of_document(document))
        return document

    def _decoded(self, outcome):
        if self._value is _MISSING:
            payload = outcome.payload
            if payload is None:
                payload = self._client._results.fetch(self._batch.number, self._index)
            self._value = decode(payload)
            # The bytes are of no more use: the value is kept.
            outcome.payload = None
        return self._value

    def _needs_fetch(self):
        """Whether the task has a result that has not come here."""
        outcome = self._find_outcome()
        return (self._value is _MISSING and outcome is not None and outcome.is_success
                and outcome.payload is None)

    def _arguments(self):
        return decode(self._client._transport.request('GET', self._path('/arguments')).body)

    def _document(self, bounds=UNBOUNDED):
        return self._client._transport.get_json(self._path(''), bounds)

    def _path(self, rest):
        return '/v1/tasks/%s%s' % (self.tuid, rest)


def parse_task_id(tuid):
    """The batch's number and the index of a task's id.

    Raises
    ------
    BadRequestError
        The text is not the id of a task.
    """
    number, _, index = native(tuid).partition('-') if tuid else ('', '', '')
    if not (number.isdigit() and index.isdigit()):
        raise BadRequestError('%r is not the id of a task.' % (tuid,),
                              fix='ids of tasks look like 17-3')
    return int(number), int(index)


def check_known(tasks, bounds=UNBOUNDED):
    """Makes sure that rebuilt futures are of tasks that exist, with few requests.

    Indexes of a batch have no holes: when the highest exists, so do the lower ones.

    Raises
    ------
    NotFoundError
        One of them does not exist.
    TimedOut
    """
    unchecked = {}
    for task in tasks:
        if task._checked or task._find_outcome() is not None:
            continue
        unchecked.setdefault((id(task._client), task._batch.number, task.guid), []).append(task)
    for group in unchecked.values():
        max(group, key=attrgetter('_index'))._look(bounds)
        # At once: who comes back after a timeout goes on behind it.
        for task in group:
            task._checked = True


def _attempt_of(entry):
    return {
        'attempt': entry.get('attempt'),
        'node': native(entry.get('node')),
        'granted_at': native(entry.get('grantedAt')),
        'end': native(entry.get('end')),
        'charged': entry.get('charged'),
        'message': native(entry.get('message')),
        'ended_at': native(entry.get('endedAt')),
    }


def _default_client():
    # The client makes futures and futures may make a client: one of the two imports is late.
    from perigee.client import default_client
    return default_client()
