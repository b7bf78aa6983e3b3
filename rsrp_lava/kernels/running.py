"""Mean and deviation of what was seen so far, one number at a time."""

from __future__ import annotations

from numba import njit


@njit(inline="always")
def with_one_more(x, count, mean, squares):
    """Mean and Σ(x − mean)² with x, the `count`-th number, from those of the numbers before it (Welford 1962)."""
    away = x - mean
    mean += away / count
    return mean, squares + away * (x - mean)


__all__ = ["with_one_more"]
