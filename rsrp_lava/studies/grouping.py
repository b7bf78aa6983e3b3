"""Rows of a study's table, put together for reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

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


def fraction(values: Iterable[float | None]) -> str:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f}" if known else "–"
