"""Progress of training on the terminal: a live line where there is one, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

#: Seconds between plain lines when stderr is not a terminal.
_PLAIN_INTERVAL_S = 2.0
#: What a narrow terminal does without, in this order; generation and time left are always there.
_LEFT_OUT_FIRST = ("bar", "entropy", "speed", "sampled", "evaluation")


class TerminalProgress:
    """Callable with a generation's record; draws generation, sampled and evaluation mean, entropy, speed, time left."""

    def __init__(self, title: str, generations: int, console: Console | None = None, steps: str = "env steps") -> None:
        self._steps = steps
        self._console = console or Console(stderr=True)
        self._total = generations
        self._first: dict[str, Any] | None = None
        self._last_line = 0.0
        self._unprinted = ""
        self._evaluation = "not yet"
        self._live: Live | None = None
        self._console.print(
            f"training {title} (the first run compiles for some seconds)", highlight=False, markup=False, soft_wrap=True
        )

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a finished generation."""
        now = time.perf_counter()
        if self._first is None:
            self._first = {**record, "at": now}
        parts = self._describe(record, now)
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console)
                self._live.start()
            self._live.update(Text(_fit(parts, self._console.width), no_wrap=True, overflow="ellipsis"))
            return
        parts.pop("bar")
        self._unprinted = "  ".join(parts.values())
        if now - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = now
            self._print_line()

    def _describe(self, record: dict[str, Any], now: float) -> dict[str, str]:
        assert self._first is not None
        done = record["generation"] + 1
        filled = round(20 * done / self._total)
        if "evaluation_return" in record:
            self._evaluation = shown_return(record["evaluation_return"], record["evaluation_std"])
        parts = {
            "generation": f"generation {done}/{self._total}",
            "bar": "━" * filled + "·" * (20 - filled),
            "sampled": f"sampled {shown_return(record['sampled_return'])}",
            "evaluation": f"evaluation {self._evaluation}",
            "entropy": "entropy " + " ".join(f"{name} {bits:.2f}" for name, bits in record["entropy_bits"].items()),
        }
        played, elapsed = record["generation"] - self._first["generation"], now - self._first["at"]
        if played and elapsed > 0:
            speed = (record["env_steps"] - self._first["env_steps"]) / elapsed
            left = elapsed / played * (self._total - done)
            parts |= {"speed": f"{speed:,.0f} {self._steps}/s", "left": f"{_clock(left)} left"}
        return parts

    def _print_line(self) -> None:
        if self._unprinted:
            self._console.print(self._unprinted, highlight=False, soft_wrap=True)
        self._unprinted = ""

    def stopping(self, how: str) -> None:
        """Say that a request to stop was heard: a large generation can take a while to end."""
        self._console.print(how, highlight=False)

    def close(self) -> None:
        """Show the last generation, and leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
        self._print_line()


def shown_return(mean: float, std: float | None = None) -> str:
    """A return, or an accuracy or reward of at most 1 (of which a deviation over images says nothing)."""
    if abs(mean) <= 1:
        return f"{mean:.3f}"
    return f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:.1f}"


def _fit(parts: dict[str, str], width: int) -> str:
    """The parts in one line, without those that matter least if there is no room."""
    shown = dict(parts)
    for name in _LEFT_OUT_FIRST:
        if len("  ".join(shown.values())) < width:
            break
        shown.pop(name, None)
    return "  ".join(shown.values())


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callable with (done, of) that shows a bar and the time left, on stderr; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(what), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, of: bar.update(task, completed=done, total=of, visible=True)


class StudyProgress:
    """Callable with a `studies.runner.Done`: a line for every cell that was computed; on a terminal also where it is."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._console.print(title, highlight=False, markup=False, soft_wrap=True)
        self._began = time.perf_counter()
        self._computed = self._known = 0
        self._live: Live | None = None

    def __call__(self, done: Any) -> None:
        """Show where the study is."""
        if done.row is None:
            part = f"cell {done.cells + 1}/{done.of}  {done.cell.title}  generation {done.generation}/{done.generations}"
            self._show(f"{part}  {self._left(done.of)}")
            return
        self._known += not done.computed
        self._computed += done.computed
        if done.computed:
            error = done.row["error"]
            what = f"not computed: {error}" if error else f"return {done.row['final_return']:.1f}"
            line = f"{done.cells}/{done.of}  {done.cell.title}: {what} ({_clock(done.seconds)}; {self._left(done.of)})"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if done.cells == done.of and self._known:
            self._console.print(f"{self._known} of {done.of} cells were there already", highlight=False)

    def _left(self, of: int) -> str:
        if not self._computed:
            return "time left not known yet"
        each = (time.perf_counter() - self._began) / self._computed
        return f"about {_clock(each * (of - self._known - self._computed))} left"

    def _show(self, text: str) -> None:
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=True)
                self._live.start()
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
