"""Sums of floating-point numbers whose order is fixed."""

from __future__ import annotations

from .compiling import kernel


@kernel
def add_in_order(values, start):
    """start + values[0] + values[1] + …, float64, one after the other."""
    total = start
    for k in range(values.shape[0]):
        total += values[k]
    return total
