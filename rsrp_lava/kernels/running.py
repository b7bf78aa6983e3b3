"""Mean and deviation of what was seen so far, one number at a time, and numbers as parts of a deviation."""

from __future__ import annotations

import numpy as np
from numba import njit

from .compiling import kernel

#: What a network sees of an observation: at most ± this many standard deviations. A flag that is on in 1 % of all steps is
#: still seen whole (z = 9.95), while a peak a million times the rest cannot drown all other inputs.
LARGEST_Z = 10.0
#: A deviation below this part of the mean is one of roundings: 16 units in the last place of a float64.
ROUNDING = 2.0**-48


@njit(inline="always")
def with_one_more(x, count, mean, squares):
    """Mean and Σ(x − mean)² with x, the `count`-th number, from those of the numbers before it (Welford 1962)."""
    away = x - mean
    mean += away / count
    return mean, squares + away * (x - mean)


@njit(inline="always")
def divisor(mean, deviation):
    """What numbers less their mean are divided by: their deviation, of at least ROUNDING · |mean|; ∞ if it is 0.

    What never changed is thus seen as 0, also when it first does; the deviation knows of that from the next update on.
    """
    return max(deviation, ROUNDING * abs(mean)) if deviation > 0 else np.inf


@njit(inline="always")
def clipped(z):
    """z within ± LARGEST_Z."""
    return min(max(z, -LARGEST_Z), LARGEST_Z)


@njit(inline="always")
def standardised(x, mean, inverse_std, limit):
    """z = (x − mean) · inverse_std within ± limit; 0 where inverse_std is.

    Mean 0 and deviation 1 are those of what nothing is known of. What is then beyond the limit shows little but its unit or
    offset, and is 0: ± limit at every step would drive all networks to their extremes (docs/learning.md).
    """
    z = (x - mean) * inverse_std if inverse_std > 0 else 0.0  # not ∞ · 0, of what is 1e308 away
    if abs(z) <= limit:
        return z
    return 0.0 if mean == 0 and inverse_std == 1 else min(max(z, -limit), limit)


@kernel
def inverse_deviations(means, deviations):
    """1 / `divisor` of every pair (float64, finite)."""
    inverse = np.empty_like(means)
    for d in range(means.shape[0]):
        inverse[d] = min(1.0 / divisor(means[d], deviations[d]), np.finfo(np.float64).max)
    return inverse


__all__ = ["LARGEST_Z", "ROUNDING", "clipped", "divisor", "inverse_deviations", "standardised", "with_one_more"]
