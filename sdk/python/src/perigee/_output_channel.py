"""How a task hands a file to its node: announced as JSON, then its bytes, over a socket in ``/in``."""
import errno
import select

from perigee._compat import native
from perigee._task_socket import connect, encode, read_answer
from perigee.errors import OutputError, PerigeeError, error_of_asset

_PIECE_BYTES = 1024 * 1024


def send(announcement, opened):
    """Sends a file; returns its SHA-256 once the node has all of it.

    Parameters
    ----------
    announcement : dict
        ``name``, ``sizeBytes``, ``mediaType`` and ``metadata``.
    opened : file
        At the first of exactly that many bytes.

    Raises
    ------
    PerigeeError
        Its subclass for the code that the node answered with.
    """
    try:
        connection = connect('outputs.sock')
    except (IOError, OSError) as caught:
        if caught.errno == errno.ENOENT:
            raise OutputError('This node takes no outputs.', fix='update its agent')
        raise
    try:
        connection.sendall(encode(announcement))
        # Waits here while the node has no room.
        _read_answer(connection)
        _send_bytes(connection, opened, announcement)
        return native(_read_answer(connection)['sha256'])
    except (EOFError, IOError, OSError) as caught:
        if isinstance(caught, PerigeeError):
            raise
        raise OutputError('Output %s could not be handed to the node: %s' % (announcement['name'], caught),
                          fix='look at the log of its agent')
    finally:
        connection.close()


def _send_bytes(connection, opened, announcement):
    left = announcement['sizeBytes']
    while left > 0:
        piece = opened.read(min(left, _PIECE_BYTES))
        if not piece:
            raise OutputError('Output %s became shorter while it was sent.' % announcement['name'],
                              fix='finish writing the file first')
        left -= len(piece)
        try:
            connection.sendall(piece)
        except (IOError, OSError):
            # It said why before it closed.
            _read_answer(connection)
            raise
        if select.select([connection], [], [], 0)[0] and left > 0:
            _read_answer(connection)
            raise EOFError('the node answered before it had everything')


def _read_answer(connection):
    answer = read_answer(connection)
    error = answer.get('error')
    if error is not None:
        raise error_of_asset(native(error.get('code')), native(error.get('message')), native(error.get('fix')))
    return answer
