"""What a forked child must not share with its parent: locks, and connections that both would read."""
import os
import threading


class ForkGuard(object):
    """Notices that its owner has come into a forked child.

    Parameters
    ----------
    renew : callable
        Called once in each child, before any use there: makes new locks, since another thread of the
        parent may have held the old ones, and lets go of what is the parent's.
    """

    def __init__(self, renew):
        self._renew = renew
        self._pid = os.getpid()
        self._renewing = {}

    def enter(self):
        """To be called before the owner's locks or connections are used."""
        pid = os.getpid()
        if pid == self._pid:
            return
        # One step: all threads of the child get the same lock, and none of the parent's has held it.
        with self._renewing.setdefault(pid, threading.Lock()):
            if pid != self._pid:
                self._renew()
                self._pid = pid
