"""Puts calls on the mesh in batches: a small one first so that work starts, then large ones, two on
their way at a time. A batch carries its own id, so sending it again is harmless."""
import logging
import uuid
from collections import deque

from perigee._assets import find_assets, pack_assets
from perigee._compat import monotonic, native
from perigee._function_pickle import pickle_arguments
from perigee._payload import INLINE_BYTES_MAX, PICKLE, blob_reference, frame, sha256_of
from perigee._progress import say_submission_interrupted
from perigee.errors import MapError, PerigeeError

_log = logging.getLogger('perigee')

#: The first batch of a map: the nodes begin while the rest is still being pickled.
FIRST_BATCH_TASKS = 100
#: As the coordinator takes at most (docs/api.md).
BATCH_TASKS_MAX = 5000
#: A batch is sent once it is this long.
BATCH_BYTES = 1024 * 1024
#: A batch of a slow iterable is sent after this, though it is small.
BATCH_SECONDS = 0.5
#: Sent and not answered yet.
IN_FLIGHT_MAX = 2
#: Of blobs from this size on it is asked first whether the mesh has them: another process may have put them.
ASKED_BYTES_MIN = 1024 * 1024
#: Hashes of blobs that are known to be on the mesh.
KNOWN_BLOBS_MAX = 10000


class Blobs(object):
    """Puts blobs on the mesh, each once."""

    def __init__(self, transport):
        self._transport = transport
        self._known = set()

    def put(self, data):
        """Stores bytes; returns their hash."""
        return self._put(sha256_of(data), data, len(data) >= ASKED_BYTES_MIN)

    def put_archive(self, archive):
        """Stores what a function carries, read as it is sent; returns its hash."""
        return self._put(archive.sha256(), archive, True)

    def _put(self, sha256, body, is_large):
        if sha256 in self._known:
            return sha256
        path = '/v1/blobs/' + sha256
        if not (is_large and self._is_there(path)):
            self._transport.request('PUT', path, body,
                                    [('Content-Type', 'application/octet-stream')])
        self._note(sha256)
        return sha256

    def _is_there(self, path):
        try:
            self._transport.request('HEAD', path)
        except PerigeeError as error:
            # Without a body: the status is all that there is.
            if error.code not in ('not_found', 'http_404'):
                raise
            return False
        return True

    def _note(self, sha256):
        if len(self._known) >= KNOWN_BLOBS_MAX:
            self._known.clear()
        self._known.add(sha256)


def submit(client, group_id, calls):
    """Puts calls on disk.

    Parameters
    ----------
    client : AsyncTasks
    group_id : str
    calls : iterable of (tuple, dict, list or None)
        Positional and keyword arguments, and the URIs of what the call reads, None to find them among
        the arguments; consumed as batches are filled.

    Returns
    -------
    list of FutureTask
        In the order of the calls, once all are on disk.

    Raises
    ------
    MapError
        A batch was refused, or a later one could not be made; holds the tasks that are on disk.
    Exception
        The first batch could not be made: what pickling or the iterable raised.
    """
    tasks = []
    in_flight = deque()
    client._follower.begin_submission()
    try:
        for block, assets, count in _batches(client, group_id, calls):
            while len(in_flight) >= IN_FLIGHT_MAX:
                tasks.extend(in_flight.popleft().finish())
            in_flight.append(_SentBatch(client, group_id, block, assets, count))
        while in_flight:
            tasks.extend(in_flight.popleft().finish())
        return tasks
    except KeyboardInterrupt:
        for sent in in_flight:
            sent.abandon()
        if tasks or in_flight:
            say_submission_interrupted(group_id, len(tasks))
        raise
    except Exception as error:
        tasks.extend(_salvage(in_flight))
        if not tasks and not getattr(error, '_was_sent', False):
            raise
        raise _map_error(error, tasks)
    finally:
        client._follower.end_submission()


def submit_one(client, group_id, args, kwargs):
    """Puts one call on disk; returns its `FutureTask`."""
    payload = frame(_payload(client, group_id, args, kwargs))
    client._follower.begin_submission()
    try:
        assets = pack_assets(find_assets(args, kwargs))
        return _SentBatch(client, group_id, payload, assets, 1).finish()[0]
    finally:
        client._follower.end_submission()


class _SentBatch(object):
    """A batch on its way."""

    def __init__(self, client, group_id, block, assets, count):
        self._client = client
        self._group_id = group_id
        self._count = count
        path = '/v1/groups/%s/batches/%s' % (group_id, uuid.uuid4())
        headers = [('Content-Type', 'application/octet-stream'), ('X-Perigee-Count', str(count))]
        # A list of zeros says nothing.
        if len(assets) > count:
            headers.append(('X-Perigee-Asset-Bytes', str(len(assets))))
            block += assets
        self._exchange = client._transport.start('PUT', path, block, headers)

    def finish(self):
        """Waits for the answer; returns the tasks."""
        try:
            answer = self._exchange.finish().json()
        except PerigeeError as error:
            error._was_sent = True
            raise
        follower = self._client._follower
        batch = follower.get_batch(answer['batch'])
        follower.describe_batch(batch, self._group_id, answer['submittedAfter'], is_ours=True)
        make = self._client._future_class._submitted
        return [make(batch, index, self._client) for index in range(self._count)]

    def abandon(self):
        """Does not wait for the answer."""
        self._exchange.abandon()


def _batches(client, group_id, calls):
    """Cuts calls into blocks; yields each with its list of assets and the number of its payloads."""
    tasks_max = FIRST_BATCH_TASKS
    parts, lists, size, began_at = [], [], 0, monotonic()
    for args, kwargs, assets in calls:
        payload = frame(_payload(client, group_id, args, kwargs))
        parts.append(payload)
        lists.append(pack_assets(find_assets(args, kwargs) if assets is None else assets))
        size += len(payload)
        if len(parts) >= tasks_max or size >= BATCH_BYTES or monotonic() - began_at > BATCH_SECONDS:
            yield b''.join(parts), b''.join(lists), len(parts)
            tasks_max = BATCH_TASKS_MAX
            parts, lists, size, began_at = [], [], 0, monotonic()
    if parts:
        yield b''.join(parts), b''.join(lists), len(parts)


def _payload(client, group_id, args, kwargs):
    data = pickle_arguments(args, kwargs, client._carried.get(group_id, ()))
    if len(data) + 1 <= INLINE_BYTES_MAX:
        return PICKLE + data
    return blob_reference(PICKLE, client._blobs.put(data), len(data))


def _salvage(in_flight):
    """The tasks of the batches that were on their way when another failed."""
    tasks = []
    for sent in in_flight:
        try:
            tasks.extend(sent.finish())
        except PerigeeError as error:
            # The first failure is the one that is raised; this one most likely says the same.
            _log.warning('a batch was not taken either: %s', error)
    return tasks


def _map_error(error, tasks):
    message = getattr(error, 'message', None) or '%s: %s' % (type(error).__name__, error)
    result = MapError('The map was cut short, %d tasks are on disk and run: %s'
                      % (len(tasks), native(message)),
                      code=getattr(error, 'code', None) if isinstance(error, PerigeeError) else None,
                      fix=getattr(error, 'fix', None), tasks=tasks, cause=error)
    result.__cause__ = error
    return result
