"""Connections to the sockets that a node puts into a sandbox's ``/in``, and what is said on them."""
import json
import os
import socket
import struct

#: The longest path that the kernel takes for a socket, with the byte that ends it.
_PATH_BYTES_MAX = 107
_HEAD = struct.Struct('>I')
_ANSWER_BYTES_MAX = 1024 * 1024


def is_inside():
    """Whether this process runs in a sandbox of Perigee."""
    return os.environ.get('PERIGEE_SANDBOX') == '1'


def connect(name):
    """A connection to the socket of that name.

    Raises
    ------
    IOError, OSError
        With ``errno.ENOENT`` where the node offers none.
    """
    folder = os.environ.get('PERIGEE_IN', '/in')
    path = os.path.join(folder, name)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder_fd = None
    try:
        if len(path) > _PATH_BYTES_MAX:
            folder_fd = os.open(folder, os.O_RDONLY)
            path = '/proc/self/fd/%d/%s' % (folder_fd, name)
        made.connect(path)
    except (IOError, OSError):
        made.close()
        raise
    finally:
        if folder_fd is not None:
            os.close(folder_fd)
    return made


def encode(message):
    """JSON behind its length."""
    body = json.dumps(message).encode('utf-8')
    return _HEAD.pack(len(body)) + body


def read_answer(connection):
    """The next message of the node.

    Returns
    -------
    dict

    Raises
    ------
    EOFError
        Where the node closed the connection, or what it sent is longer than any answer.
    """
    size = _HEAD.unpack(_read(connection, _HEAD.size))[0]
    if size > _ANSWER_BYTES_MAX:
        raise EOFError('the node answered nonsense')
    return json.loads(_read(connection, size).decode('utf-8'))


def _read(connection, size):
    pieces = []
    while size > 0:
        piece = connection.recv(size)
        if not piece:
            raise EOFError('it closed the connection')
        pieces.append(piece)
        size -= len(piece)
    return b''.join(pieces)
