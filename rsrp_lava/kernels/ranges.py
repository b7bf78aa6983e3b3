"""Work over ranges, which a caller may spread over threads (threads.py)."""

from __future__ import annotations

from collections.abc import Callable

#: Calls work(first, last) for ranges of `piece` items that cover 0 … n − 1, possibly on several threads: (work, n, piece).
MapRanges = Callable[[Callable[[int, int], None], int, int], None]

#: Synapses per piece of element-wise work: a few float64 arrays of so many stay in a second-level cache.
SYNAPSES_PER_PIECE = 2**15


def in_turn(work: Callable[[int, int], None], n: int, piece: int) -> None:
    """`MapRanges` on the calling thread."""
    for first in range(0, n, piece):
        work(first, min(first + piece, n))


def rows_per_piece(columns: int) -> int:
    """Rows of a matrix that are about `SYNAPSES_PER_PIECE`."""
    return max(1, SYNAPSES_PER_PIECE // max(1, columns))


__all__ = ["SYNAPSES_PER_PIECE", "MapRanges", "in_turn", "rows_per_piece"]
