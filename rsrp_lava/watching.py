"""Follow a run from another process, while it trains: nothing is written, and training does not notice."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from rsrp_lava.errors import RunFolderError, counted
from rsrp_lava.experiment import LARGEST_SETTINGS
from rsrp_lava.files import read_file
from rsrp_lava.reporting.numbers import shown_evaluation
from rsrp_lava.reporting.progress import LiveLine, RunLine, shown_notice
from rsrp_lava.run_folder import CONFIG, MetricsReader, RunFolder
from rsrp_lava.runs import Run
from rsrp_lava.training import Record

#: Seconds between two looks at the run.
_LOOK_S = 0.5


State = Literal["training", "ended", "finished", "unknown"]


@dataclass(frozen=True)
class Watched:
    """What a run was seen to have come to."""

    run: Path
    #: Whether a process trains it; if none does, whether all generations are trained. Unknown: the file system has no locks.
    state: State
    generation: int  #: generations finished
    generations: int  #: generations to train
    record: Record | None  #: the newest line of metrics
    classifies: bool  #: whether it tells images apart

    @property
    def description(self) -> str:
        """The state, and the way on."""
        done = f"after {counted(self.generation, 'generation')}"
        if self.state == "finished" and self.record is not None:
            reached = shown_evaluation(self.record["evaluation_return"], self.record["evaluation_std"], self.classifies)
            return f"finished: evaluation {reached} {done}"
        if self.state == "ended":
            go_on = f"continue with: rsrp-lava train --resume {shlex.quote(str(self.run))}"
            return f"ended {done} of {self.generations}; {go_on}"
        return f"{'training' if self.state == 'training' else 'training or ended (no locks here that would tell)'}, {done}"


def watch(run: Run | str | Path, *, once: bool = False, console: Console | None = None) -> Watched:
    """Show how far a run has come, as its own progress does, until nobody trains it any more.

    Reads the run's config and metrics only; `--until` and `--max-time`, which no run remembers, are not in the time left.
    Ctrl-C ends watching (`KeyboardInterrupt`), not training.

    Parameters
    ----------
    run : a run or its folder
    once : show the present state and return, instead of following the run to its end
    console : where to draw; by default standard output. A terminal shows one live line, anything else gets a line for a
        new generation, every two seconds at most

    Returns
    -------
    what was seen last: run, state, generation, generations, record. Raises `RunFolderError` if there is no run, or it is
    removed meanwhile.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    display = LiveLine(console or Console())
    seen = _Seen(path)
    try:
        display.say(f"{path}: {seen.folder.experiment.title}")
        while True:
            watched = seen.look()
            while seen.notices:
                display.say(seen.notices.pop(0))
            display.show(seen.line.parts())
            if once or watched.state in ("ended", "finished"):
                break
            time.sleep(_LOOK_S)
    finally:
        display.close()
    display.say(watched.description)
    return watched


class _Seen:
    """What is known of a run from its files."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder.open(path)
        self.line = self._new_line()
        self._config, self._metrics = b"", MetricsReader(path)
        self._last: Record | None = None
        self.notices: list[str] = []  #: that were not shown yet

    def look(self) -> Watched:
        """Read what is new."""
        free = self.folder.is_free()  # asked first: whoever gave the lock back had written all by then
        self._read_config()
        finished = self.folder.peek_generation() if free else None
        records = self._metrics.read()
        if self._metrics.cut:
            self.line = self._new_line()
            self._last = None
        for record in records:
            self.line.note(record, record["seconds"])
            if "notice" in record:
                self.notices.append(shown_notice(record))
            self._last = record
        if finished is not None:  # what nobody changes any more must go together
            self.folder.require_whole(self._last["generation"] if self._last else -1, finished)
        return self._state(free)

    def _new_line(self) -> RunLine:
        experiment = self.folder.experiment
        return RunLine(experiment.generations, experiment.classifies, max_env_steps=experiment.max_env_steps)

    def _read_config(self) -> None:
        """Resuming may change how long is trained."""
        path = self.folder.path
        try:
            config = read_file(path / CONFIG, LARGEST_SETTINGS)
        except OSError:
            way_out = "give its new place, or another run"
            raise RunFolderError(f"{path}: was removed or renamed while it was watched; {way_out}") from None
        if config != self._config:
            self.folder, self._config = RunFolder.open(path), config
            experiment = self.folder.experiment
            self.line.generations, self.line.max_env_steps = experiment.generations, experiment.max_env_steps

    def _state(self, free: bool | None) -> Watched:
        last = self._last
        played = last is not None and "sampled_return" in last  # not so the evaluation at the end
        generation = last["generation"] + played if last else 0
        experiment = self.folder.experiment
        finished = last is not None and not played and experiment.finished(generation, last["env_steps"])
        state: State
        if free is False:
            state = "training"
        elif finished:
            state = "finished"
        else:
            state = "ended" if free else "unknown"
        return Watched(self.folder.path, state, generation, experiment.generations, last, experiment.classifies)
