"""The entry point of DLRun's later clients (0.10 to 0.28), called Tasks by then.

Where it differs from ``descarteslabs.ext.tasks``: ``result`` of a failed task is None instead of an
exception, and ``get_result`` does not wait unless it is told to, and returns nothing.
"""
from perigee import *  # noqa: F401,F403
from perigee import __all__  # noqa: F401
from perigee import AsyncTasks as _AsyncTasks
from perigee import CloudFunction as _CloudFunction
from perigee import FutureTask as _FutureTask
from perigee.client import default_client as _default_client


class FutureTask(_FutureTask):
    """A task whose failure shows in ``status`` and ``exception``, not by raising."""

    __slots__ = ()

    def __init__(self, guid, tuid, client=None):
        super(FutureTask, self).__init__(guid, tuid, client or _default_client(AsyncTasks))

    @property
    def result(self):
        """What the function returned; None when it failed. Waits."""
        return super(FutureTask, self).get_result() if self.is_success else None

    def get_result(self, wait=False, timeout=None):
        """Makes sure that the task is done; its values are then there without waiting.

        Raises
        ------
        TransientResultException
            It is not done, and ``wait`` is False.
        TimeoutError
            It is not done after ``timeout`` seconds.
        """
        self._settle(wait, timeout)


class CloudFunction(_CloudFunction):
    """`perigee.CloudFunction`; in another process, too, it speaks through a client of this module."""

    def __init__(self, group_id, name=None, client=None, retry_count=0):
        super(CloudFunction, self).__init__(
            group_id, name, client or _default_client(AsyncTasks), retry_count)


class AsyncTasks(_AsyncTasks):
    """`perigee.AsyncTasks`, with the functions and tasks of DLRun's later clients."""

    _function_class = CloudFunction
    _future_class = FutureTask


Tasks = Client = AsyncTasks
