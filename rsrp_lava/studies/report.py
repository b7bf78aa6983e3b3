"""What every study's report is: rows that were computed or failed, the trainings behind them, and what is made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rsrp_lava.errors import counted
from rsrp_lava.runs import Run, load_run
from rsrp_lava.studies.runner import Row

#: Cells that were not reached which a report names.
_MOST_NAMED = 20


class StudyReport(ABC):
    """Of the rows there are, and the folder of their trainings."""

    def __init__(self, rows: list[Row], runs: Path) -> None:
        self.rows = [row for row in rows if row["error"] is None]
        self.failed = [row for row in rows if row["error"] is not None]
        self._runs = runs
        self._loaded: dict[str, Run] = {}
        self.missing: list[str] = []  #: cells that were not reached, as the study was stopped

    def run(self, row: Row) -> Run:
        """The training behind a row."""
        if row["run"] not in self._loaded:
            self._loaded[row["run"]] = load_run(self._runs / row["run"])
        return self._loaded[row["run"]]

    @property
    @abstractmethod
    def title(self) -> str:
        """Of the report."""

    @abstractmethod
    def parts(self) -> list[str]:
        """Paragraphs and tables of what was computed, as Markdown."""

    @abstractmethod
    def describe(self, row: Row) -> str:
        """What tells a row apart, for the list of those that failed."""

    def text(self) -> str:
        """All parts, and what was not computed."""
        parts = self.parts()
        if self.failed:
            lines = sorted({f"- {self.describe(row)}: {row['error']}" for row in self.failed})
            parts.append("## Not computed\n\n" + "\n".join(lines))
        if self.missing:
            named = [f"- {title}" for title in self.missing[:_MOST_NAMED]]
            if len(self.missing) > _MOST_NAMED:
                named.append(f"- and {len(self.missing) - _MOST_NAMED} more")
            many = counted(len(self.missing), "cell")
            parts.append(f"## Not reached\n\nThe study was stopped before {many}:\n\n" + "\n".join(named))
        return "\n\n".join(parts)

    @abstractmethod
    def curves(self) -> Iterator[Row]:
        """Rows of the table behind the curves."""

    def histograms(self) -> Iterator[Row]:
        """Rows of the table behind the histograms. Here: none are kept."""
        yield from ()

    @abstractmethod
    def pictures(self) -> dict[str, Callable[[IO[bytes]], None]]:
        """Names of the pictures, and what draws each as PNG."""
