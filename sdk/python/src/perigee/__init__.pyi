from . import imagery as imagery
from ._include import include_path as include_path
from ._version import __version__ as __version__
from .client import AsyncTasks as AsyncTasks, Client as Client
from .errors import (
    AuthError as AuthError,
    BadRequestError as BadRequestError,
    ConfigError as ConfigError,
    ConflictError as ConflictError,
    GroupTerminalException as GroupTerminalException,
    BuildError as BuildError,
    DiskFullError as DiskFullError,
    ImageUnknownError as ImageUnknownError,
    IncludeError as IncludeError,
    MapError as MapError,
    NotFoundError as NotFoundError,
    OutputError as OutputError,
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
from .outputs import save_output as save_output
from .task import FutureTask as FutureTask
from .task_output import TaskOutput as TaskOutput
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
    'GroupTerminalException', 'BuildError', 'ImageUnknownError', 'IncludeError', 'MapError', 'NotFoundError', 'PerigeeError',
    'DiskFullError', 'OutputError', 'PicklingError', 'RateLimitError', 'ResultError', 'ServerError', 'TaskFailed', 'TaskOutput', 'Tasks',
    'TimeoutError', 'TooLargeError', 'TransientResultError', 'TransientResultException',
    'UnreachableError', 'UnsatisfiableError', 'VersionMismatchError', '__version__', 'as_completed',
    'imagery', 'include_path', 'save_output', 'wait',
]
