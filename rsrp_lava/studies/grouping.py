"""Rows of a study's table, put together for reports."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

import numpy as np

from rsrp_lava.errors import counted
from rsrp_lava.studies.runner import Row


def grouped(rows: Iterable[Row], columns: tuple[str, ...]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Rows that agree in `columns`, in the order of their first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(column) for column in columns), []).append(row)
    return list(groups.items())


def shown(value: Any) -> str:
    """A value in a table."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def seeds_shown(groups: Iterable[Sized], asked: int, what: str) -> str:
    """How many seeds were measured, of how many: '5 seeds per rule', '1 to 2 of 2 seeds per rule'."""
    counts = sorted({len(group) for group in groups}) or [0]
    if counts == [asked]:
        return f"{counted(asked, 'seed')} per {what}"
    measured = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{measured} of {counted(asked, 'seed')} per {what}"


def of_asked(text: str, group: Sized, asked: int) -> str:
    """A value, and of how many seeds it is, if that is not all of them."""
    return text if len(group) == asked else f"{text} [{len(group)} of {counted(asked, 'seed')}]"


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def fraction(values: Iterable[float | None]) -> str:
    """The mean of what is known."""
    mean = mean_of(values)
    return "–" if mean is None else f"{mean:.3f}"
