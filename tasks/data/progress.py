"""Reading can take a while: who shows it is told here, as this room draws nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

#: Called with (done, of).
Report = Callable[[int, int], None]
#: Reading that ends sooner is not shown.
_PATIENCE_S = 1.0


def _nothing(done: int, of: int) -> None:
    """Nobody watches."""


def _show_nothing(what: str) -> AbstractContextManager[Report]:
    return nullcontext(_nothing)


_show: Callable[[str], AbstractContextManager[Report]] = _show_nothing


def show_reading(how: Callable[[str], AbstractContextManager[Report]]) -> None:
    """From now on long reading is shown by `how`, as `reporting.progress.counting`."""
    global _show
    _show = how


@contextmanager
def reading(what: str, of: int) -> Iterator[Callable[[int], None]]:
    """A callable with how much of it is read."""
    began = time.perf_counter()
    with _show(what) as report:
        yield lambda done: report(done, of) if time.perf_counter() - began > _PATIENCE_S else None
