"""Progress of training on the terminal: a live line where there is one, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between plain lines when stderr is not a terminal.
_PLAIN_INTERVAL_S = 2.0


class TerminalProgress:
    """Callable with a generation's record; draws generation, sampled and evaluation mean, entropy, speed, time left."""

    def __init__(self, title: str, generations: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = generations
        self._started = time.perf_counter()
        self._first: dict[str, Any] | None = None
        self._last_line = 0.0
        self._bar: Progress | None = None
        self._console.print(
            f"training {title} (the first run compiles for some seconds)", highlight=False, markup=False, soft_wrap=True
        )

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a finished generation."""
        now = time.perf_counter()
        if self._first is None:
            self._first = {**record, "at": now}
        done = record["generation"] + 1
        text = self._describe(record, now)
        if self._console.is_terminal:
            if self._bar is None:
                columns = (
                    TextColumn("generation"),
                    MofNCompleteColumn(),
                    BarColumn(20),
                    TextColumn("{task.description}"),
                )
                self._bar = Progress(*columns, console=self._console)
                self._bar.add_task("", total=self._total)
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], completed=done, description=text)
        elif done == self._total or now - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = now
            self._console.print(f"generation {done}/{self._total}  {text}", highlight=False, soft_wrap=True)

    def _describe(self, record: dict[str, Any], now: float) -> str:
        assert self._first is not None
        entropy = " ".join(f"{name} {bits:.2f}" for name, bits in record["entropy_bits"].items())
        text = (
            f"sampled {record['sampled_return']:.1f}  evaluation {record['evaluation_return']:.1f} ± "
            f"{record['evaluation_std']:.1f}  entropy {entropy}"
        )
        played, elapsed = record["generation"] - self._first["generation"], now - self._first["at"]
        if played and elapsed > 0:
            speed = (record["env_steps"] - self._first["env_steps"]) / elapsed
            left = elapsed / played * (self._total - record["generation"] - 1)
            text += f"  {speed:,.0f} env steps/s  {_clock(left)} left"
        return text

    def stopping(self, how: str) -> None:
        """Say that a request to stop was heard: a large generation can take a while to end."""
        self._console.print(how, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callable with (done, of) that shows a bar and the time left, on stderr; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(what), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, of: bar.update(task, completed=done, total=of, visible=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
