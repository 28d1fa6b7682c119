from . import imagery as imagery
from ._version import __version__ as __version__
from .client import AsyncTasks as AsyncTasks, Client as Client
from .errors import (
    AuthError as AuthError,
    BadRequestError as BadRequestError,
    ConfigError as ConfigError,
    ConflictError as ConflictError,
    GroupTerminalException as GroupTerminalException,
    BuildError as BuildError,
    ImageUnknownError as ImageUnknownError,
    MapError as MapError,
    NotFoundError as NotFoundError,
    PerigeeError as PerigeeError,
    PicklingError as PicklingError,
    RateLimitError as RateLimitError,
    ResultError as ResultError,
    ResultExpiredError as ResultExpiredError,
    ServerError as ServerError,
    TaskFailed as TaskFailed,
    TimeoutError as TimeoutError,
    TooLargeError as TooLargeError,
    TransientResultError as TransientResultError,
    TransientResultException as TransientResultException,
    UnreachableError as UnreachableError,
    UnsatisfiableError as UnsatisfiableError,
    VersionMismatchError as VersionMismatchError,
)
from .function import CloudFunction as CloudFunction
from .task import FutureTask as FutureTask
from .waiting import (
    ALL_COMPLETED as ALL_COMPLETED,
    FIRST_COMPLETED as FIRST_COMPLETED,
    FIRST_EXCEPTION as FIRST_EXCEPTION,
    as_completed as as_completed,
    wait as wait,
)

Tasks = AsyncTasks

__all__ = [
    'ALL_COMPLETED', 'AsyncTasks', 'AuthError', 'BadRequestError', 'Client', 'CloudFunction',
    'ConfigError', 'ConflictError', 'FIRST_COMPLETED', 'FIRST_EXCEPTION', 'FutureTask',
    'GroupTerminalException', 'BuildError', 'ImageUnknownError', 'MapError', 'NotFoundError', 'PerigeeError',
    'PicklingError', 'RateLimitError', 'ResultError', 'ServerError', 'TaskFailed', 'Tasks',
    'TimeoutError', 'TooLargeError', 'TransientResultError', 'TransientResultException',
    'UnreachableError', 'UnsatisfiableError', 'VersionMismatchError', '__version__', 'as_completed',
    'imagery', 'wait',
]
