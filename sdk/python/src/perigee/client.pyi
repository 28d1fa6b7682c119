import builtins
from os import PathLike
from types import ModuleType
from typing import Any, Callable, Literal, Mapping, Sequence, TypeVar, overload
from typing_extensions import ParamSpec

from .function import CloudFunction
from .task import FutureTask

P = ParamSpec('P')
R = TypeVar('R')

class AsyncTasks:
    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        auth: object = None,
        retries: object = None,
    ) -> None: ...
    @property
    def url(self) -> str: ...
    def create_namespace(self) -> bool: ...
    @overload
    def create_function(
        self,
        f: Callable[P, R],
        image: str | None = None,
        name: str | None = None,
        cpus: float = 1,
        memory: str | int = '2Gi',
        maximum_concurrency: int | None = None,
        task_timeout: float = 1800,
        retry_count: int = 0,
        network: bool = False,
        environment: Mapping[str, str] | None = None,
        priority: int = 0,
        queue_timeout: float | None = None,
        isolation: Literal['worker', 'task'] = 'worker',
        result_format: Literal['pickle', 'json'] = 'pickle',
        requirements: Sequence[str] | str | None = None,
        include_modules: Sequence[str | ModuleType] | str | ModuleType | None = None,
        include_data: Sequence[str | PathLike[str]] | str | PathLike[str] | None = None,
        build_timeout: float | None = None,
        *,
        gpus: int = 0,
        minimum_concurrency: int | None = None,
        minimum_seconds: int | None = None,
    ) -> CloudFunction[P, R]: ...
    @overload
    def create_function(
        self,
        f: str,
        image: str | None = None,
        name: str | None = None,
        cpus: float = 1,
        memory: str | int = '2Gi',
        maximum_concurrency: int | None = None,
        task_timeout: float = 1800,
        retry_count: int = 0,
        network: bool = False,
        environment: Mapping[str, str] | None = None,
        priority: int = 0,
        queue_timeout: float | None = None,
        isolation: Literal['worker', 'task'] = 'worker',
        result_format: Literal['pickle', 'json'] = 'pickle',
        requirements: Sequence[str] | str | None = None,
        include_modules: Sequence[str | ModuleType] | str | ModuleType | None = None,
        include_data: Sequence[str | PathLike[str]] | str | PathLike[str] | None = None,
        build_timeout: float | None = None,
        *,
        gpus: int = 0,
        minimum_concurrency: int | None = None,
        minimum_seconds: int | None = None,
    ) -> CloudFunction[..., Any]: ...
    def get_function_by_id(self, group_id: str) -> CloudFunction[..., Any]: ...
    def get_task(self, guid: str, tuid: str) -> FutureTask[Any]: ...
    def wait_for_completion(
        self, group_id: str, show_progress: bool = False, timeout: float | None = None
    ) -> None: ...
    def terminate_function(self, group_id: str, drain: bool = False) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> AsyncTasks: ...
    def __exit__(self, *exception: object) -> None: ...

Client = AsyncTasks

def default_client(client_class: builtins.type[AsyncTasks] = ...) -> AsyncTasks: ...
