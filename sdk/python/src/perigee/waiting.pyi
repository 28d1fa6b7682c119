from typing import Any, Iterable, Iterator, Literal, NamedTuple, TypeVar

from .task import FutureTask

R = TypeVar('R')

FIRST_COMPLETED: Literal['FIRST_COMPLETED']
FIRST_EXCEPTION: Literal['FIRST_EXCEPTION']
ALL_COMPLETED: Literal['ALL_COMPLETED']

class DoneAndNotDone(NamedTuple):
    done: set[FutureTask[Any]]
    not_done: set[FutureTask[Any]]

def as_completed(
    tasks: Iterable[FutureTask[R]], show_progress: bool = False, timeout: float | None = None
) -> Iterator[FutureTask[R]]: ...
def wait(
    tasks: Iterable[FutureTask[Any]],
    timeout: float | None = None,
    return_when: Literal['FIRST_COMPLETED', 'FIRST_EXCEPTION', 'ALL_COMPLETED'] = 'ALL_COMPLETED',
) -> DoneAndNotDone: ...
