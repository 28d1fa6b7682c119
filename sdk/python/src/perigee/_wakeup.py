"""Waiting on sockets so that Ctrl-C, a deadline and another thread can all end the wait at once.

Python 2.7's ``Condition.wait(timeout)`` polls (a hand-off costs a millisecond) and without a timeout
is deaf to Ctrl-C. So a thread that waits reads the socket itself, or sleeps on a socket pair.
"""
import errno
import os
import select
import socket
import threading

_RETRY_ERRNOS = (errno.EINTR,)
_local = threading.local()

if hasattr(select, 'poll'):
    def wait_for(readable, writable, seconds):
        """Waits until a descriptor is ready; returns the ready ones, none on a timeout.

        Parameters
        ----------
        readable, writable : sequence of int
            File descriptors.
        seconds : float or None
            None waits for ever.
        """
        poller = select.poll()
        for descriptor in readable:
            poller.register(descriptor, select.POLLIN)
        for descriptor in writable:
            poller.register(descriptor, select.POLLOUT)
        if seconds is None:
            milliseconds = None
        else:
            # Rounded up: a wait that ends just before its deadline would spin until it is there. A look is none.
            milliseconds = int(seconds * 1000) + 1 if seconds > 0 else 0
        try:
            return [descriptor for descriptor, _ in poller.poll(milliseconds)]
        except (OSError, select.error) as error:
            if error.args[0] in _RETRY_ERRNOS:
                return []
            raise
else:
    def wait_for(readable, writable, seconds):
        """Waits until a descriptor is ready; returns the ready ones, none on a timeout."""
        try:
            ready_to_read, ready_to_write, _ = select.select(readable, writable, [], seconds)
        except (OSError, select.error) as error:
            if error.args[0] in _RETRY_ERRNOS:
                return []
            raise
        return ready_to_read + ready_to_write


class Waker(object):
    """Ends another thread's `wait_for`. Each waiting thread has its own."""

    def __init__(self):
        self.pid = os.getpid()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __del__(self):
        # The thread has ended.
        self._reader.close()
        self._writer.close()

    def fileno(self):
        """The descriptor to wait on."""
        return self._reader.fileno()

    def wake(self):
        """Makes the descriptor readable."""
        try:
            self._writer.send(b'!')
        except (socket.error, OSError):
            # Full: it is readable already. Closed: nobody waits.
            return

    def clear(self):
        """Takes back all wakes so far."""
        try:
            while self._reader.recv(512):
                pass
        except (socket.error, OSError):
            return


def thread_waker():
    """The calling thread's own `Waker`."""
    waker = getattr(_local, 'waker', None)
    # A forked child must not share its parent's pair.
    if waker is None or waker.pid != os.getpid():
        waker = _local.waker = Waker()
    return waker
