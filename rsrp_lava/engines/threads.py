"""Run a kernel that releases the GIL on several threads, a range of its work at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rsrp_lava.errors import ExperimentError


def available_threads() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        ranges = [(first, min(first + piece, n)) for first in range(0, n, piece)]
        if self._pool is None:
            for first, last in ranges:
                work(first, last)
            return
        for done in [self._pool.submit(work, first, last) for first, last in ranges]:
            done.result()

    def close(self) -> None:
        """Wait for the threads to end."""
        if self._pool is not None:
            self._pool.shutdown()
