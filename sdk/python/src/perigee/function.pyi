from typing import Any, Callable, Generic, Iterable, Iterator, TypeVar
from typing_extensions import ParamSpec

from .client import AsyncTasks
from .task import FutureTask
from .task_output import TaskOutput

P = ParamSpec('P')
R = TypeVar('R')

class CloudFunction(Generic[P, R]):
    group_id: str
    retry_count: int
    def __init__(
        self,
        group_id: str,
        name: str | None = None,
        client: AsyncTasks | None = None,
        retry_count: int = 0,
    ) -> None: ...
    @property
    def client(self) -> AsyncTasks: ...
    @property
    def name(self) -> str: ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> FutureTask[R]: ...
    def map(
        self,
        args: Iterable[Any],
        *iterargs: Iterable[Any],
        assets: Callable[..., Iterable[str]] | None = None,
    ) -> list[FutureTask[R]]: ...
    def outputs(self) -> Iterator[TaskOutput]: ...
    def wait_for_completion(self, show_progress: bool = False, timeout: float | None = None) -> None: ...
    def terminate(self, drain: bool = False) -> None: ...
    def __eq__(self, other: object) -> bool: ...
    def __ne__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
