"""Perigee: runs your Python where the pixels are.

>>> from perigee import AsyncTasks, as_completed
>>> at = AsyncTasks()                                                      # doctest: +SKIP
>>> square = at.create_function(lambda x: x * x)                           # doctest: +SKIP
>>> sorted(task.result for task in as_completed(square.map(range(4))))     # doctest: +SKIP
[0, 1, 4, 9]
"""
import logging

from perigee import imagery
from perigee._include import include_path
from perigee._version import __version__
from perigee.client import AsyncTasks, Client
from perigee.errors import (
    AuthError, BadRequestError, ConfigError, ConflictError, GroupTerminalException,
    BuildError, DiskFullError, ImageUnknownError, IncludeError, MapError, NotFoundError, OutputError, PerigeeError, PicklingError, RateLimitError,
    ResultError, ResultExpiredError, ServerError, TaskFailed, TimeoutError, TooLargeError, TransientResultError,
    TransientResultException, UnreachableError, UnsatisfiableError, VersionMismatchError)
from perigee.function import CloudFunction
from perigee.outputs import save_output
from perigee.task import FutureTask
from perigee.task_output import TaskOutput
from perigee.waiting import (
    ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait)

#: DLRun's later name for the same class.
Tasks = AsyncTasks

__all__ = [
    'ALL_COMPLETED', 'AsyncTasks', 'AuthError', 'BadRequestError', 'Client', 'CloudFunction',
    'ConfigError', 'ConflictError', 'FIRST_COMPLETED', 'FIRST_EXCEPTION', 'FutureTask',
    'GroupTerminalException', 'BuildError', 'ImageUnknownError', 'IncludeError', 'MapError', 'NotFoundError', 'PerigeeError',
    'DiskFullError', 'OutputError', 'PicklingError', 'RateLimitError', 'ResultError', 'ResultExpiredError', 'ServerError', 'TaskFailed', 'TaskOutput', 'Tasks',
    'TimeoutError', 'TooLargeError', 'TransientResultError', 'TransientResultException',
    'UnreachableError', 'UnsatisfiableError', 'VersionMismatchError', '__version__', 'as_completed',
    'imagery', 'include_path', 'save_output', 'wait',
]

logging.getLogger('perigee').addHandler(logging.NullHandler())
