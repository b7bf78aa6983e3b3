"""Run a kernel that releases the GIL on several threads, a range of its work at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from rsrp_lava.errors import ExperimentError


def available_threads() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


T = TypeVar("T")


class Spares(Generic[T]):
    """Things of which every thread needs one to itself for a while: as many are made as are in use at once."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.made: list[T] = []
        self._make, self._free = make, list[T]()

    @contextmanager
    def one(self) -> Iterator[T]:
        """One that nobody uses."""
        try:
            thing = self._free.pop()  # in one go: whoever asks first whether there is one may be overtaken
        except IndexError:
            thing = self._make()
            self.made.append(thing)
        try:
            yield thing
        finally:
            self._free.append(thing)


class Threads:
    """A pool that splits `range(n)` into small pieces, so that uneven pieces keep all threads busy to the end."""

    def __init__(self, count: int | None = None) -> None:
        limit = available_threads()
        if count is not None and not 1 <= count <= limit:
            raise ExperimentError(
                f"threads: {count} is not possible; this machine gives this process {limit} "
                f"processor{'s' if limit > 1 else ''}: choose 1 to {limit}, or leave the option out to use all"
            )
        self.count = count or limit
        self._pool = ThreadPoolExecutor(self.count) if self.count > 1 else None

    def map_ranges(self, work: Callable[[int, int], None], n: int, piece: int) -> None:
        """Call `work(first, last)` for ranges of `piece` items that cover 0 … n − 1; the first error is raised."""
        starts = iter(range(0, n, piece))  # shared: each thread takes the next piece when it is free
        stopped = threading.Event()

        def run() -> None:
            try:
                for first in starts:
                    if stopped.is_set():
                        return
                    work(first, min(first + piece, n))
            except BaseException:
                stopped.set()
                raise

        if self._pool is None:
            run()
            return
        try:
            for runner in [self._pool.submit(run) for _ in range(self.count)]:
                runner.result()
        finally:  # after an error or a second Ctrl-C, no further piece is begun
            stopped.set()

    def call(self, work: Callable[[], None]) -> None:
        """Call `work` on a thread of the pool, if there is one: the calling thread goes on hearing signals meanwhile."""
        self.map_ranges(lambda first, last: work(), 1, 1)

    def close(self) -> None:
        """Wait for the threads to end."""
        if self._pool is not None:
            self._pool.shutdown()
