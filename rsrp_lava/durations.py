"""Lengths of time: as people write them, and a limit to keep. Measured by a clock that never jumps."""

from __future__ import annotations

import math
import re
import reprlib
import time

from rsrp_lava.errors import ExperimentError

_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_TEXT = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.IGNORECASE)


def to_seconds(what: str, value: float | str) -> float:
    """Seconds of a length of time above 0, given as a number of seconds or as text: 90, 90s, 30m, 1.5h, 1h30m.

    >>> to_seconds("max_time", "1h30m")
    5400.0

    Raises `ExperimentError` that calls the value `what`.
    """
    found = _TEXT.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
    try:
        if found and any(found.groups()):
            seconds = sum(float(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True))
        else:
            seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ExperimentError(
            f"{what}: {reprlib.repr(value)} is no length of time above 0; give seconds, or text such as 90s, 30m, 1.5h or "
            "1h30m, or leave it out"
        )
    return seconds


class TimeLimit:
    """So many seconds from `begin` on; None: for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._left = math.inf if seconds is None else seconds
        self._end: float | None = None

    def begin(self) -> None:
        """Let the time run."""
        self._end = time.perf_counter() + self._left

    def left(self) -> float:
        """Seconds that are left; of time that does not run yet, all."""
        return self._left if self._end is None else self._end - time.perf_counter()
