"""Progress on the terminal: a live line where there is one, plain lines elsewhere; of training always on stderr."""

from __future__ import annotations

import math
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from rsrp_lava.reporting.numbers import shown_evaluation, shown_return, trend

#: Seconds between plain lines when stderr is not a terminal.
_PLAIN_INTERVAL_S = 2.0
#: What a narrow terminal does without, in this order, once words are short; generation and time left are always there.
_LEFT_OUT_FIRST = ("trend", "speed", "sampled", "evaluation")
#: Words of the line, and what a narrow terminal has instead.
_SHORT = (("generation ", "gen "), ("evaluation ", "eval "), ("env steps", "steps"))
#: Generations whose sampled returns make the trend.
_TREND = 20


class _Unfailing:
    """stderr, which a pager that was closed or a full disk may refuse: what is shown then is lost, the work goes on."""

    def write(self, text: str) -> int:
        """As far as that can be done."""
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """As far as that can be done."""
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def unfailing_console() -> Console:
    """Of all progress, on stderr; writing to it raises nothing (rich would end the program)."""
    return Console(file=_Unfailing())  # type: ignore[arg-type]


class RunLine:
    """What a run has come to, from its records: the line that training shows, and watching too."""

    def __init__(
        self,
        generations: int,
        classifies: bool,
        time_left: Callable[[], float] = lambda: math.inf,
        max_env_steps: int | None = None,
    ) -> None:
        self.generations, self.max_env_steps = generations, max_env_steps
        self._classifies, self._time_left = classifies, time_left
        self._first: tuple[dict[str, Any], float] | None = None
        self._last: tuple[dict[str, Any], float] | None = None
        self._evaluation: str | None = None
        self._evaluated = 0  #: the generation in which that was
        self._sampled: deque[float] = deque(maxlen=_TREND)

    def note(self, record: dict[str, Any], at: float) -> None:
        """Take in a generation's record; `at`: seconds on one clock for all of them."""
        if "evaluation_return" in record:
            self._evaluation = shown_evaluation(record["evaluation_return"], record["evaluation_std"], self._classifies)
            self._evaluated = record["generation"]
            if "entropy_bits" in record and record["generation"] == 0:
                self._evaluation += " (nothing releases)"
        if "sampled_return" in record:
            self._first = self._first or (record, at)
            self._last = (record, at)
            self._sampled.append(record["sampled_return"])

    def parts(self) -> dict[str, str]:
        """Generation, sampled and evaluation mean, trend of the sampled ones, speed and time left, each as text."""
        done = self._last[0]["generation"] + 1 if self._last else 0
        share = self._share(self._last[0]) if self._last else 0.0
        filled = round(20 * share)
        parts = {"generation": self._reached(done), "bar": "━" * filled + "·" * (20 - filled)}
        left = self._time_left()
        if self._first and self._last:
            (first, began), (last, now) = self._first, self._last
            parts |= {
                "sampled": f"sampled {shown_return(last['sampled_return'])}",
                "evaluation": f"evaluation {self._evaluation or 'not yet'}",
            }
            if self._evaluation and self._evaluated < last["generation"]:
                parts["evaluation"] += f" (of generation {self._evaluated})"
            if (rise := trend(self._sampled)) is not None:
                parts["trend"] = f"trend {rise:+.1f} σ"
            played, elapsed = last["generation"] - first["generation"], now - began
            if played and elapsed > 0:
                steps = "images" if self._classifies else "env steps"
                parts["speed"] = f"{(last['env_steps'] - first['env_steps']) / elapsed:,.0f} {steps}/s"
                left = min(left, elapsed / (share - self._share(first)) * (1 - share))
        elif self._evaluation:
            parts["evaluation"] = f"evaluation {self._evaluation}"
        if left < math.inf:
            parts["left"] = f"{_clock(max(0, left))} left"
        return parts

    def _share(self, record: dict[str, Any]) -> float:
        """The part of the run that is done after a record: of its generations or environment steps, whichever is more."""
        of_steps = record["env_steps"] / self.max_env_steps if self.max_env_steps else 0.0
        return min(1.0, max((record["generation"] + 1) / self.generations, of_steps))

    def _reached(self, done: int) -> str:
        """How far the run is, in what will end it."""
        last = self._last[0] if self._last else {"generation": -1, "env_steps": 0}
        if self.max_env_steps is None or self._share(last) > last["env_steps"] / self.max_env_steps:
            return f"generation {done}/{self.generations}"
        return f"generation {done}, {last['env_steps']:,}/{self.max_env_steps:,} env steps"


class LiveLine:
    """A line that changes: in place on a terminal; elsewhere printed when it is another, every two seconds at most."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = -math.inf
        self._text = self._unprinted = ""
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)

    def show(self, parts: dict[str, str]) -> None:
        """Put these parts of a line (`RunLine.parts`) in the place of the last ones."""
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console)
                self._live.start()
            self._live.update(Text(_fit(parts, self._console.width), no_wrap=True, overflow="ellipsis"))
            return
        text = "  ".join(text for name, text in parts.items() if name != "bar")
        if text != self._text:
            self._text = self._unprinted = text
        if time.perf_counter() - self._last_line >= _PLAIN_INTERVAL_S:
            self._print_line()

    def close(self) -> None:
        """Show the last line, and leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._print_line()

    def _print_line(self) -> None:
        if self._unprinted:
            self._last_line = time.perf_counter()
            self.say(self._unprinted)
        self._unprinted = ""


class TerminalProgress:
    """Callable with a generation's record; draws generation, sampled and evaluation mean, trend, speed, time left, and says
    once why a run does not learn. `done`: of a run that is trained already, and only evaluated."""

    def __init__(self, title: str, line: RunLine, console: Console | None = None, done: bool = False) -> None:
        self._line, self._display = line, LiveLine(console or unfailing_console())
        doing = f"trained already, evaluating: {title}"
        self._display.say(doing if done else f"training {title} (the first run compiles for some seconds)")

    def last(self, record: dict[str, Any]) -> None:
        """Show the evaluation after the last update."""
        self._line.note(record, time.perf_counter())
        self._display.show(self._line.parts())

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a finished generation."""
        self._line.note(record, time.perf_counter())
        if "notice" in record:
            self._display.say(shown_notice(record))
        self._display.show(self._line.parts())

    def stopping(self, how: str) -> None:
        """Say that a request to stop was heard: a large generation can take a while to end."""
        self._display.say(how)

    def close(self) -> None:
        """Show the last generation, and leave the terminal as it was."""
        self._display.close()


def shown_notice(record: dict[str, Any]) -> str:
    """What a record says about why a run does not learn."""
    return f"notice, generation {record['generation']}: {record['notice']['text']} (docs/not-learning.md)"


def _fit(parts: dict[str, str], width: int) -> str:
    """The parts in one line: without the bar, in short words, without the spread of the evaluation, and without the parts
    that matter least, as far as there is no room."""
    shown = dict(parts)

    def fits() -> bool:
        return len("  ".join(shown.values())) < width

    if not fits():
        shown.pop("bar", None)
    if not fits():
        for name, text in shown.items():
            for word, short in _SHORT:
                text = text.replace(word, short)
            shown[name] = re.sub(r",\d{3} (steps|images)/s", r"k \1/s", text)
    if not fits() and "evaluation" in shown:
        shown["evaluation"] = re.sub(r" ± [^ ]+", "", shown["evaluation"])
    for name in _LEFT_OUT_FIRST:
        if fits():
            break
        shown.pop(name, None)
    return "  ".join(shown.values())


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callable with (done, of) that shows a bar and the time left, on stderr; nothing where stderr is no terminal."""
    console = unfailing_console()
    columns = (TextColumn(what), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, of: bar.update(task, completed=done, total=of, visible=True)


class StudyProgress:
    """Callable with a `studies.runner.Done`: a line for every cell that was computed; on a terminal also where it is."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or unfailing_console()
        self._console.print(title, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)
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
            what = f"not computed: {error}" if error else f"return {shown_return(done.row['final_return'])}"
            line = f"{done.cells}/{done.of}  {done.cell.title}: {what} ({_clock(done.seconds)}; {self._left(done.of)})"
            self._console.print(line, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)
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
