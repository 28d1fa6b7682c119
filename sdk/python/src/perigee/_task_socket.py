"""Connections to the sockets that a node puts into a sandbox's ``/in``."""
import os
import socket

#: The longest path that the kernel takes for a socket, with the byte that ends it.
_PATH_BYTES_MAX = 107


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
