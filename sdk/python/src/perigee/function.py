"""`CloudFunction`: a function on the mesh, to be called as if it were here."""
import time

from perigee._compat import monotonic, native, zip_longest
from perigee._lost import TimedOut
from perigee._progress import Bar
from perigee._submission import submit, submit_one
from perigee._transport import UNBOUNDED, look_until
from perigee.errors import TimeoutError
from perigee.task_output import list_outputs

#: First and longest pause between two looks at the counters of a group.
LOOK_SECONDS = 0.05
LOOK_SECONDS_MAX = 1.0


class CloudFunction(object):
    """What `AsyncTasks.create_function` makes; the mesh calls it a group.

    Parameters
    ----------
    group_id : str
    name : str, optional
        Fetched when it is not given.
    client : AsyncTasks, optional
        By default one made from the environment, the same for the whole process.
    retry_count : int, optional
        Only kept to be looked at: the group holds what applies.
    """

    def __init__(self, group_id, name=None, client=None, retry_count=0):
        self.group_id = native(group_id)
        self.retry_count = retry_count
        self._name = native(name)
        self._client = client if client is not None else _default_client()
        if self._name is not None:
            self._client._names[self.group_id] = self._name

    @property
    def client(self):
        """The `AsyncTasks` that it speaks through."""
        return self._client

    @property
    def name(self):
        """Name of the group."""
        if self._name is None:
            self._name = native(self._document()['name'])
        return self._name

    def __call__(self, *args, **kwargs):
        """Puts one call on the mesh.

        Parameters
        ----------
        *args, **kwargs
            Any values that can be pickled, of any size.

        Returns
        -------
        FutureTask
            As soon as the call is on disk.

        Raises
        ------
        PicklingError
            An argument cannot be pickled; nothing was submitted.
        GroupTerminalException
            The group was terminated.
        """
        return submit_one(self._client, self.group_id, args, kwargs)

    def map(self, args, *iterargs, **options):
        """Puts one call for every element on the mesh.

        Each element is one positional argument, a tuple too. Several iterables are taken in step;
        shorter ones are filled up with None, as Python 2's own ``map`` did.

        Parameters
        ----------
        args : iterable
            The first arguments; consumed in batches as they are sent, so a generator of a million
            large arguments is never in memory as a whole.
        *iterargs : iterable
            The second arguments, and so on.
        assets : callable, optional
            Given the arguments of a call, it returns the URIs of the imagery that the call reads. By
            default they are found among the arguments: URIs, and the data assets of STAC items. Calls run beside a cache that has them, when
            there is one and it is worth it; it changes where a call runs, never its result.

        Returns
        -------
        list of FutureTask
            In the order of the elements, once all are on disk.

        Raises
        ------
        MapError
            A batch could not be submitted; its ``tasks`` are those that are on disk.
        PicklingError
            An argument cannot be pickled, and nothing had been submitted.
        """
        assets = options.pop('assets', None)
        if options:
            raise TypeError('map() got an unexpected keyword argument %r' % sorted(options)[0])
        together = zip_longest(args, *iterargs) if iterargs else ((arg,) for arg in args)
        calls = ((call, {}, None if assets is None else assets(*call)) for call in together)
        return submit(self._client, self.group_id, calls)

    def outputs(self):
        """The files that all tasks of the group have given out so far, in order of tasks. Does not wait.

        Yields
        ------
        TaskOutput
        """
        return list_outputs(self._client._transport, '/v1/groups/%s/outputs' % self.group_id)

    def wait_for_completion(self, show_progress=False, timeout=None):
        """Waits until no task of the group is queued or running, whoever submitted it.

        Parameters
        ----------
        show_progress : bool
            Draw a bar on stderr.
        timeout : float, optional
            Seconds.

        Raises
        ------
        TimeoutError
        """
        deadline = None if timeout is None else monotonic() + timeout
        counts = self._look(deadline, timeout)
        bar = Bar(sum(counts.values()), self.name) if show_progress and sum(counts.values()) else None
        shown = {'succeeded': 0, 'failed': 0}
        pause = LOOK_SECONDS
        try:
            while True:
                if bar is not None:
                    _count_up(bar, shown, counts)
                if counts['queued'] + counts['running'] == 0:
                    return
                if deadline is not None:
                    pause = min(pause, deadline - monotonic())
                    if pause <= 0:
                        raise self._not_done(timeout)
                time.sleep(pause)
                pause = min(pause * 1.5, LOOK_SECONDS_MAX)
                counts = self._look(deadline, timeout)
        finally:
            if bar is not None:
                bar.end()

    def terminate(self, drain=False):
        """Ends the group: it takes no more tasks, and queued ones end as ``cancelled``.

        Parameters
        ----------
        drain : bool
            Let the running tasks finish; otherwise they are killed.
        """
        path = '/v1/groups/%s?drain=%s' % (self.group_id, 'true' if drain else 'false')
        self._client._transport.request('DELETE', path)

    def __eq__(self, other):
        if not isinstance(other, CloudFunction):
            return NotImplemented
        return self.group_id == other.group_id

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self):
        return hash(self.group_id)

    def __repr__(self):
        return 'CloudFunction(%r, name=%r)' % (self.group_id, self._name)

    def __reduce__(self):
        return (type(self), (self.group_id, self._name, None, self.retry_count))

    def _look(self, deadline, timeout):
        """How many tasks are in which state, unless the coordinator is away for the rest of the wait."""
        try:
            return self._document(look_until(deadline))['tasks']
        except TimedOut:
            raise self._not_done(timeout)

    def _not_done(self, timeout):
        return TimeoutError('Group %s is not done after %g s.' % (self.group_id, timeout), fix='wait longer')

    def _document(self, bounds=UNBOUNDED):
        return self._client._transport.get_json('/v1/groups/%s' % self.group_id, bounds)


def _count_up(bar, shown, counts):
    for key in shown:
        for _ in range(counts[key] - shown[key]):
            bar.add(key == 'succeeded')
        shown[key] = max(shown[key], counts[key])


def _default_client():
    # The client makes functions: one of the two imports is late.
    from perigee.client import default_client
    return default_client()
