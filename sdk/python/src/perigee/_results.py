"""Results that do not come with the completion stream: fetched when they are read, and the next ones of
an `as_completed` ahead of that, so that the coordinator sends one while another is decoded here."""
import os

#: Results asked for ahead of the one that is read. What they hold is in the kernel until they are read.
AHEAD_MAX = 3


class Results(object):
    """The results of a client's tasks. Safe to share between threads.

    Parameters
    ----------
    transport : perigee._transport.Transport
    """

    def __init__(self, transport):
        self._transport = transport
        self._started = {}
        self.fetched = 0

    def fetch(self, number, index):
        """The payload of a task that succeeded.

        Raises
        ------
        PerigeeError
        """
        # One thread gets it; another that wants the same asks for itself.
        pid, exchange = self._started.pop((number, index), (None, None))
        # A forked child must not read what its parent is sent.
        if pid != os.getpid():
            exchange = self._ask(number, index)
        self.fetched += 1
        return exchange.finish().body

    def start(self, number, index):
        """Asks for a payload that `fetch` is about to want."""
        self._started[(number, index)] = (os.getpid(), self._ask(number, index))

    def drop(self, number, index):
        """Lets go of one that was asked for and not read."""
        pid, exchange = self._started.pop((number, index), (None, None))
        if pid == os.getpid():
            exchange.abandon()

    def _ask(self, number, index):
        return self._transport.start('GET', '/v1/tasks/%d-%d/result' % (number, index))


def reading_ahead(tasks):
    """Yields tasks that are done. While their results are fetched by who takes them, the next ones' are
    asked for already; who does not read results causes no request."""
    started = set()
    try:
        for position, task in enumerate(tasks):
            results = task._client._results
            before = results.fetched
            yield task
            if position in started:
                started.discard(position)
                results.drop(task._batch.number, task._index)
            if results.fetched != before:
                _start_next(tasks, position + 1, started)
    finally:
        for position in started:
            task = tasks[position]
            task._client._results.drop(task._batch.number, task._index)


def _start_next(tasks, first, started):
    for position in range(first, min(first + AHEAD_MAX, len(tasks))):
        task = tasks[position]
        if position not in started and task._needs_fetch():
            started.add(position)
            task._client._results.start(task._batch.number, task._index)
