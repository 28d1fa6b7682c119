"""How a task asks its node for imagery: length-prefixed JSON over the socket in ``/in``."""
import errno
import os
import threading

from perigee._compat import native
from perigee._task_socket import connect, encode, is_inside, read_answer  # noqa: F401
from perigee.errors import AssetUnreachableError, error_of_asset

_local = threading.local()


def ask(request):
    """The node's answer to one request.

    Parameters
    ----------
    request : dict
        ``kind`` and what belongs to it.

    Returns
    -------
    dict

    Raises
    ------
    PerigeeError
        Its subclass for the code that the node answered with.
    """
    message = encode(request)
    try:
        answer = _exchange(_connection(), message)
    except (EOFError, IOError, OSError):  # socket.error is one of them on both Pythons
        # A connection of an earlier task, of the process that this one was forked from, or closed.
        _forget()
        answer = _exchange_afresh(message)
    error = answer.get('error')
    if error is not None:
        raise error_of_asset(native(error.get('code')), native(error.get('message')),
                             native(error.get('fix')))
    return answer


def _exchange_afresh(message):
    try:
        return _exchange(_connection(), message)
    except (EOFError, IOError, OSError) as caught:
        _forget()
        raise AssetUnreachableError(
            'The node does not answer a request for imagery: %s' % caught,
            fix='run the task on a node whose agent offers imagery (scripts/perigee nodes)')


def _exchange(connection, message):
    connection.sendall(message)
    return read_answer(connection)


def _connection():
    """This thread's own; a forked child makes one of its own, for answers would get mixed up."""
    pid = os.getpid()
    if getattr(_local, 'pid', None) != pid:
        _local.connection = _connect()
        _local.pid = pid
    return _local.connection


def _forget():
    connection = getattr(_local, 'connection', None)
    _local.pid = None
    _local.connection = None
    if connection is not None:
        connection.close()


def _connect():
    try:
        return connect('imagery.sock')
    except (IOError, OSError) as caught:
        if caught.errno == errno.ENOENT:
            raise AssetUnreachableError(
                'This node offers no imagery.',
                fix='update its agent, or use a file of a mount (data:NAME/file.tif)')
        raise
