"""A run's records, one a generation: `metrics.jsonl`, read as it grows, without trusting it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsrp_lava.errors import RunFolderError
from rsrp_lava.files import open_regular, reason
from rsrp_lava.lines import from_line

METRICS = "metrics.jsonl"
#: Bytes of a line: a record has some numbers a projection, and histograms of the probabilities; the longest have 60 kB.
LONGEST_LINE = 2**20


class MetricsReader:
    """Reads a run's metrics as they grow, from its folder."""

    def __init__(self, path: Path) -> None:
        self._path = path / METRICS
        self._start_over()
        #: Whether the last `read` began at the first line again, as a resume had cut off what was read before.
        self.cut = False

    def _start_over(self) -> None:
        self._read, self.last, self._number = 0, b"", 0  # bytes and lines read, and the last line
        self._file: tuple[int, int] | None = None  # which file that was

    def read(self) -> list[dict[str, Any]]:
        """Records since the last call; a last line that is not whole yet is left for the next one. No file: no records.

        Raises `RunFolderError` for a line that is no record, or not as it was written.
        """
        records = []
        try:
            with open_regular(self._path) as file:  # one state of it: a resume puts another file in its place
                status = os.fstat(file.fileno())
                opened = (status.st_dev, status.st_ino)
                file.seek(self._read - len(self.last))
                self.cut = self._file not in (None, opened) or file.read(len(self.last)) != self.last
                if self.cut:
                    self._start_over()
                    file.seek(0)
                self._file = opened
                while line := file.readline(LONGEST_LINE + 1):
                    if len(line) > LONGEST_LINE:
                        raise self._damaged(f"has more than {LONGEST_LINE:,} bytes")
                    if not line.endswith(b"\n"):
                        break
                    records.append(self._parse(line))
                    self._read, self.last, self._number = self._read + len(line), line, self._number + 1
        except FileNotFoundError:
            self.cut = self._read > 0
            self._start_over()
        except OSError as error:
            problem = f"cannot be read ({reason(error)}); restore it or start a new run"
            raise RunFolderError(f"{self._path}: {problem}") from None
        return records

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            record = from_line(line, self.last)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        if not _is_record(record):
            raise self._damaged("is no record")
        return record

    def _damaged(self, problem: str) -> RunFolderError:
        return RunFolderError(
            f"{self._path}: line {self._number + 1} {problem}; restore the file, remove it (the run goes on, without the "
            "records so far), or start a new run"
        )


# --- what a record holds -----------------------------------------------------------------------------------------------


def _real(value: Any) -> bool:
    return isinstance(value, float) or _whole(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _natural(value: Any) -> bool:
    return _whole(value) and value >= 0


def _positive(value: Any) -> bool:
    return _real(value) and math.isfinite(value) and value >= 0


def _or_none(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kind(value)


def _each(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """An object whose values are all of a kind."""
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _has(**kinds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """An object that has these values, and perhaps others."""
    return lambda value: isinstance(value, dict) and all(name in value and kind(value[name]) for name, kind in kinds.items())


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_natural, value))


#: What is read of a record by name; of lines without a check nothing is sure.
_KINDS: dict[str, Callable[[Any], bool]] = {
    "generation": _natural,
    "seconds": _positive,
    "env_steps": _natural,
    "updates": _natural,
    "traffic_bytes": _natural,
    **{f"{whose}_{what}": _real for whose in ("sampled", "evaluation") for what in ("return", "std")},
    **{f"{whose}_outputs": _each(_real) for whose in ("sampled", "evaluation")},
    **{name: _real for name in ("tied_returns", "lost_updates", "stuck")},
    **{name: _or_none(_real) for name in ("update_ratio_in_all", "network_share")},
    **{name: _each(_real) for name in ("entropy_bits", "measures", "events")},
    "faults": _each(_natural),
    "update_ratio": _each(_or_none(_real)),
    "histogram": _each(_counts),
    "baselines": _each(_has(**{"return": _real, "std": _real, "episodes": _natural})),
    "notice": _has(cause=_text, text=_text),
}


def _is_record(record: dict[str, Any]) -> bool:
    """Whether what readers look for is there, and of the kind they expect."""
    returns = [whose for whose in ("sampled", "evaluation") if f"{whose}_return" in record]
    needed = {"generation", "seconds", "env_steps", *(f"{whose}_std" for whose in returns)}
    known = record.keys() & _KINDS.keys()
    return bool(returns) and needed <= record.keys() and all(_KINDS[name](record[name]) for name in known)


__all__ = ["LONGEST_LINE", "METRICS", "MetricsReader"]
