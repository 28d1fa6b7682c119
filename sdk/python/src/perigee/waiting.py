"""Waiting for many tasks at once."""
import sys
from collections import namedtuple
from operator import itemgetter

from perigee._compat import monotonic
from perigee._follower import Watch
from perigee._lost import TimedOut
from perigee._progress import Bar, Reason, is_shown, say_interrupted
from perigee._results import reading_ahead
from perigee._transport import look_until
from perigee.errors import TimeoutError
from perigee.function import CloudFunction
from perigee.task import FutureTask, check_known

FIRST_COMPLETED = 'FIRST_COMPLETED'
FIRST_EXCEPTION = 'FIRST_EXCEPTION'
ALL_COMPLETED = 'ALL_COMPLETED'

#: With tasks of several meshes each is looked at for so long in turn.
TURN_SECONDS = 0.05

DoneAndNotDone = namedtuple('DoneAndNotDone', 'done not_done')


def as_completed(tasks, show_progress=False, timeout=None):
    """Yields tasks as they are done: each once, in the order in which they ended.

    Tasks of several groups may be mixed. Closing the generator early leaves the tasks running.

    Parameters
    ----------
    tasks : iterable of FutureTask
    show_progress : bool
        Draw a bar on stderr; where that is no terminal, a line for every tenth.
    timeout : float, optional
        Seconds for all of them together, from the first one asked for.

    Raises
    ------
    NotFoundError
        One of the tasks does not exist; at once, before anything is yielded.
    TimeoutError
        Not all were done in time.

    Examples
    --------
    >>> for task in as_completed(f.map(range(20))):     # doctest: +SKIP
    ...     print(task.result)
    """
    tasks = _distinct(tasks)
    _check_known(tasks, timeout)
    return _completed(tasks, show_progress, timeout)


def wait(tasks, timeout=None, return_when=ALL_COMPLETED):
    """Waits for tasks, like `concurrent.futures.wait`.

    Parameters
    ----------
    tasks : iterable of FutureTask
    timeout : float, optional
        Seconds; when they have passed, what is done so far is returned.
    return_when : str
        ``ALL_COMPLETED``, ``FIRST_COMPLETED`` or ``FIRST_EXCEPTION``.

    Returns
    -------
    done, not_done : set of FutureTask
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError('return_when is %r; it is one of ALL_COMPLETED, FIRST_COMPLETED, '
                         'FIRST_EXCEPTION' % (return_when,))
    tasks = _distinct(tasks)
    deadline = None if timeout is None else monotonic() + timeout
    done = set()
    try:
        _check_known(tasks, timeout)
        timeout = None if timeout is None else max(deadline - monotonic(), 0)
        for task in _completed(tasks, False, timeout):
            done.add(task)
            if return_when == FIRST_COMPLETED:
                break
            if return_when == FIRST_EXCEPTION and not task.is_success:
                break
    except TimeoutError:
        # A wait that ends early is no failure here: the caller sees what is missing.
        done.update(task for task in tasks if task._find_outcome() is not None)
        return DoneAndNotDone(done, set(tasks) - done)
    # All that have ended by now, not only the one that ended the wait.
    done.update(task for task in tasks if task._find_outcome() is not None)
    return DoneAndNotDone(done, set(tasks) - done)


def _check_known(tasks, timeout):
    try:
        check_known(tasks, look_until(None if timeout is None else monotonic() + timeout))
    except TimedOut:
        raise TimeoutError('It is not known after %g s whether the tasks exist.' % timeout,
                           fix='wait longer, or see whether the mesh is well: `scripts/perigee status`')


def _completed(tasks, show_progress, timeout):
    deadline = None if timeout is None else monotonic() + timeout
    bar = Bar(len(tasks), _label(tasks)) if show_progress and tasks else None
    try:
        for task in _in_order(tasks, deadline, timeout, bar):
            if bar is not None:
                bar.add(task._find_outcome().is_success)
            yield task
    finally:
        if bar is not None:
            bar.end()


def _in_order(tasks, deadline, timeout, bar):
    known = []
    by_client = {}
    for task in tasks:
        outcome = task._find_outcome()
        if outcome is None:
            by_client.setdefault(id(task._client), []).append(task)
        else:
            known.append((outcome.number, task))
    for task in reading_ahead([task for _, task in sorted(known, key=itemgetter(0))]):
        yield task
    sources = [_Source(group) for group in by_client.values()]
    while sources:
        is_idle = True
        for source in sources:
            turn = deadline if len(sources) == 1 else monotonic() + TURN_SECONDS
            taken = _take(source, turn, bar)
            is_idle = is_idle and not taken
            for task in reading_ahead(taken):
                yield task
        sources = [source for source in sources if source.waiting]
        # Not before each has had its turn: what has ended by now is found.
        if is_idle and sources and deadline is not None and monotonic() >= deadline:
            count = sum(len(source.waiting) for source in sources)
            raise TimeoutError('%d of the tasks are not done after %g s.' % (count, timeout),
                               fix='wait longer, or ask `scripts/perigee task ID` why')


def _take(source, turn, bar):
    """What one source has ready, after waiting for it until the end of its turn."""
    try:
        return source.take(turn, explain=bar is None)
    except TimedOut:
        return []
    except KeyboardInterrupt:
        say_interrupted(list(source.waiting.values()))
        raise


class _Source(object):
    """The tasks of one client that are waited for."""

    def __init__(self, tasks):
        self._follower = tasks[0]._client._follower
        # In the order given, so that what is said to the user is about the first ones.
        self.waiting = {}
        for task in tasks:
            self.waiting[(task._batch.number, task._index)] = task
        self._watch = Watch([(task._batch, task._index) for task in tasks])
        self._first = tasks[0]

    def take(self, turn, explain):
        """The tasks that have ended since the last call; waits for one.

        Raises
        ------
        TimedOut
            None has by then.
        """
        reason = None
        if explain and not self._watch.ready and is_shown(sys.stderr):
            reason = Reason(self._first._explain)
        try:
            self._follower.wait(self._watch, turn, reason)
        finally:
            if reason is not None:
                reason.end()
        tasks = []
        while self._watch.ready:
            batch, index = self._watch.ready.popleft()
            tasks.append(self.waiting.pop((batch.number, index)))
        return tasks


def _distinct(tasks):
    """The tasks without repetitions, in order.

    Raises
    ------
    TypeError
        Something else is among them.
    """
    if isinstance(tasks, (FutureTask, CloudFunction)):
        raise TypeError('as_completed takes the list of tasks that map returns, not a %s'
                        % type(tasks).__name__)
    seen = set()
    distinct = []
    for task in tasks:
        if not isinstance(task, FutureTask):
            raise TypeError('%r is not a FutureTask' % (task,))
        # What makes two tasks equal, without a call of Python for each.
        key = (task._batch.number, task._index, task.guid)
        if key not in seen:
            seen.add(key)
            distinct.append(task)
    return distinct


def _label(tasks):
    groups = set(task.guid for task in tasks)
    if len(groups) != 1:
        return 'tasks'
    group_id = groups.pop()
    return tasks[0].client._names.get(group_id) or 'group %s' % group_id
