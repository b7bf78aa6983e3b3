"""Train and measure the cells of a study, so that an interrupted study goes on where it was.

One cell follows the other, but for trainings that keep one processor only: those run side by side, ahead of the rest.

A study's folder holds `study.yaml` (what was asked for), `runs/` (a run folder for every different training) and
`measured.jsonl` (what was measured on trained networks), beside the tables and pictures made of them. A training is known by
the fingerprint of its experiment, a measurement by that and its own key: whatever is there already is not computed again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import reprlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rsrp_lava.errors import BusyError, ExperimentError, RsrpError, RunFolderError, unknown_name
from rsrp_lava.experiment import Experiment, read_yaml
from rsrp_lava.files import append, open_regular, reason, remove_left_over, replace_file
from rsrp_lava.hardware_profiles.loader import dump_yaml
from rsrp_lava.lines import from_line, to_line
from rsrp_lava.run_folder import CONFIG, take_lock
from rsrp_lava.runs import Run, load_run
from rsrp_lava.threads import available_threads
from rsrp_lava.training import train

STUDY, MEASURED, RUNS, LOCK = "study.yaml", "measured.jsonl", "runs", "lock"

#: Bytes of a line of what was measured: a row, and perhaps a curve of a number a generation.
_LONGEST_LINE = 2**24

Options = TypeVar("Options", bound=BaseModel)
#: A row of the study's table: what tells a cell from others, then what was measured.
Row = dict[str, Any]
#: What is measured on a trained network: values by column.
Measure = Callable[[Run], Row]


@dataclass(frozen=True)
class Cell:
    """One row: a training, and what is measured on the trained network."""

    columns: Row  #: what tells this cell from others
    experiment: Experiment  #: cells with equal experiments share one training
    measure: Measure
    measure_key: str  #: says what `measure` or `compute` computes, apart from the training
    #: Instead of training and measuring: all values of the row, of something else than a run of this study.
    compute: Callable[[], Row] | None = None

    @property
    def title(self) -> str:
        """For progress: the columns that are set."""
        return ", ".join(f"{name} {value}" for name, value in self.columns.items() if value is not None)

    @property
    def key(self) -> str:
        """Of what is measured, in measured.jsonl."""
        length = f"{self.experiment.generations}"
        if self.experiment.max_env_steps is not None:
            length += f" {self.experiment.max_env_steps}"
        identity = f"{self.experiment.fingerprint} {length} {self.measure_key}"
        return hashlib.sha256(identity.encode()).hexdigest()

    @property
    def run_name(self) -> str:
        """Of the folder the training is kept in: readable, and different for different trainings."""
        seed = f"seed{self.experiment.seed}"
        words = re.sub(r"[^A-Za-z0-9.=]+", "-", f"{self.experiment.label.replace(' = ', '=')}").strip("-")
        return f"{words[:80]}-{seed}-{self.experiment.fingerprint[:8]}"


@dataclass(frozen=True)
class Done:
    """Progress of a study: called with this after every cell and every generation of a training."""

    cells: int
    of: int
    cell: Cell
    row: Row | None  #: of a finished cell
    generation: int = 0  #: of a training in progress
    generations: int = 0
    computed: bool = True  #: False: the row was there already
    seconds: float = 0.0  #: the cell took


Progress = Callable[[Done], None]


@dataclass
class StudyFolder:
    """A study on disk, locked while it is worked on."""

    path: Path
    measured: dict[str, Row] = field(default_factory=dict)
    _last_line: bytes = b""  #: of what was measured

    @classmethod
    @contextmanager
    def opened(cls, path: str | Path, about: dict[str, Any], resume: bool) -> Iterator[StudyFolder]:
        """The folder, new or resumed; `about` becomes its study.yaml. Raises `RunFolderError`."""
        folder = cls(Path(path))
        lock = None
        try:
            if not resume and folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
                raise RunFolderError(
                    f"{path}: exists and is not an empty folder; go on with --resume, or choose another -o DIR"
                )
            folder.path.mkdir(parents=True, exist_ok=True)
            lock = take_lock(folder.path / LOCK, "works on this study")
            for name in (STUDY, MEASURED):
                remove_left_over(folder.path / name)
            folder.measured = folder._read_measured()
            folder.write(STUDY, dump_yaml(about).encode())
            yield folder
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be written ({error.strerror}); make room, or choose another -o DIR"
            ) from None
        finally:
            if lock is not None:
                os.close(lock)

    def write(self, name: str, content: bytes) -> None:
        """Replace a file of the folder as a whole."""
        replace_file(self.path / name, content)

    def note(self, key: str, row: Row) -> None:
        """Keep what was measured."""
        self.measured[key] = row
        line = to_line({"key": key, "row": row}, self._last_line)
        append(self.path / MEASURED, line)
        self._last_line = line

    def _read_measured(self) -> dict[str, Row]:
        path, lines, measured, whole = self.path / MEASURED, list[bytes](), dict[str, Row](), True
        if not os.path.lexists(path):
            return {}
        way_out = "remove the file: it is measured again"
        try:
            with open_regular(path) as file:
                while whole and (line := file.readline(_LONGEST_LINE + 1)):
                    whole = line.endswith(b"\n")
                    if len(line) > _LONGEST_LINE:
                        raise ValueError(f"has more than {_LONGEST_LINE:,} bytes")
                    if whole:
                        entry = from_line(line, self._last_line)
                        if not isinstance(entry.get("key"), str) or not _is_row(entry.get("row")):
                            raise ValueError("is no record")
                        measured[entry["key"]] = entry["row"]
                        lines.append(line)
                        self._last_line = line
        except ValueError as error:
            raise RunFolderError(f"{path}: line {len(lines) + 1} {error}; {way_out}") from None
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({reason(error)}); {way_out}") from None
        if not whole:  # a line that was cut short would join the next one
            replace_file(path, b"".join(lines))
        return measured


def _is_row(row: Any) -> bool:
    """Whether this is what is measured of a cell: values by column, and perhaps a curve of numbers."""
    if not isinstance(row, dict) or row.get("error", 0) is not None or not isinstance(row.get("run"), str | None):
        return False
    return all(value is None or isinstance(value, bool | int | float | str | list) for value in row.values())


def study_file(path: str | Path) -> Path:
    """Where a study's folder says what it was asked for."""
    return Path(path) / STUDY


def read_study(path: str | Path) -> dict[str, Any]:
    """What a study's folder was asked for: study, task and options. `RunFolderError` if there is none, or if it says less or
    more: a key that nobody knows may be one that was meant."""
    file = study_file(path)
    if not file.is_file():
        raise RunFolderError(f"{path}: holds no study (no {STUDY}) to resume; leave out --resume, or give its folder")
    asked, known = read_yaml(file), {"study": str, "task": str, "options": dict}
    for key in asked:
        if key not in known:
            raise RunFolderError(f"{file}: {unknown_name('key', key, known)}; mend the file, then resume")
    for key, kind in known.items():
        if not isinstance(asked.get(key), kind):
            what = f"{key} is {reprlib.repr(asked[key])}" if key in asked else f"has no {key}"
            raise RunFolderError(f"{file}: {what}, which must be {_KINDS[kind]}; mend the file, then resume")
    return asked


_KINDS = {str: "a name", dict: "a mapping"}


def checked_options(model: type[Options], given: dict[str, Any]) -> Options:
    """A study's options; mistakes as `ExperimentError`."""
    try:
        return model(**given)
    except ValidationError as error:
        told = (_told(mistake, model) for mistake in error.errors())
        raise ExperimentError(f"study: {'; '.join(told)}") from None


def _told(mistake: Any, model: type[BaseModel]) -> str:
    where = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        return unknown_name("option", where, model.model_fields)
    if mistake["type"] == "value_error":
        return f"{where}: {mistake['ctx']['error']}" if where else str(mistake["ctx"]["error"])
    return f"{where}: {reprlib.repr(mistake['input'])} — {mistake['msg'][0].lower()}{mistake['msg'][1:]}"


class _Stopped(Exception):
    """A training ended early, because of a signal."""


def run_cells(
    folder: StudyFolder, cells: Sequence[Cell], *, threads: int | None = None, progress: Progress = lambda done: None
) -> tuple[list[Row], int | None]:
    """Train and measure every cell that is not there yet.

    A cell that cannot be computed (a mapping without codes, say) has its message in the column `error`; all others go on.
    So they do while another process trains one of them, which is then asked again at the end.

    Returns
    -------
    rows of the cells, in their order; number of the signal (SIGINT, SIGTERM) that ended the study before the last one
    """
    rows: dict[int, Row] = {}
    failed: dict[str, str] = {}
    stopped_by: int | None = None
    try:
        _train_side_by_side(folder, cells, threads or available_threads(), progress)
        last: list[int] = []  # cells that another process was training when it was their turn
        for number in _and_then(range(len(cells)), last):
            cell, started = cells[number], time.perf_counter()
            known = folder.measured.get(cell.key)
            computed = known is None

            def report(record: Row, cell: Cell = cell) -> None:
                progress(Done(len(rows), len(cells), cell, None, record["generation"] + 1, cell.experiment.generations))

            if known is None:
                try:
                    known = _compute(folder.path / RUNS / cell.run_name, cell, threads, report, failed)
                except BusyError as error:
                    if number not in last:
                        last.append(number)
                        continue
                    known = {"run": cell.run_name, "error": str(error)}
                if known["error"] is None:
                    folder.note(cell.key, known)
            rows[number] = {**cell.columns, **known}
            seconds = time.perf_counter() - started
            progress(Done(len(rows), len(cells), cell, rows[number], computed=computed, seconds=seconds))
    except KeyboardInterrupt:
        stopped_by = signal.SIGINT
    except _Stopped as stopped:
        stopped_by = stopped.args[0]
    return [rows[number] for number in sorted(rows)], stopped_by


def _and_then(first: Iterable[int], last: list[int]) -> Iterator[int]:
    """Those of `first`, then what is in `last` by then."""
    yield from first
    yield from tuple(last)


def _train_side_by_side(folder: StudyFolder, cells: Sequence[Cell], processors: int, progress: Progress) -> None:
    """Train the cells whose learners keep one processor each; what fails is left to `run_cells`, which meets it again."""
    waiting = {
        cell.run_name: (number, cell)
        for number, cell in enumerate(cells)
        if cell.compute is None and cell.key not in folder.measured and _is_sequential(cell.experiment)
    }
    if processors == 1 or len(waiting) < 2:
        return
    stopped = threading.Event()

    def work(number: int, cell: Cell) -> None:
        def report(record: Row) -> None:
            progress(Done(number, len(cells), cell, None, record["generation"] + 1, cell.experiment.generations))
            if stopped.is_set():
                raise _Stopped(signal.SIGINT)

        with suppress(RsrpError, _Stopped):
            if not stopped.is_set():
                _trained(folder.path / RUNS / cell.run_name, cell.experiment, 1, report)

    with ThreadPoolExecutor(processors) as pool:
        try:
            for future in [pool.submit(work, *one) for one in waiting.values()]:
                future.result()
        finally:
            stopped.set()


def _is_sequential(experiment: Experiment) -> bool:
    return experiment.weight_rule is not None and experiment.weight_rule.sequential


def _compute(path: Path, cell: Cell, threads: int | None, report: Callable[[Row], None], failed: dict[str, str]) -> Row:
    """Train and measure one cell. An error of the training goes into `failed`, for the cells that share it."""
    try:
        if cell.compute is not None:
            row = cell.compute()
            return {**row, "run": row.get("run"), "error": None}
        if path.name in failed:
            raise RsrpError(failed[path.name])
        run = _trained(path, cell.experiment, threads, report)
        return {**cell.measure(run), "run": path.name, "error": None}
    except RunFolderError:
        raise
    except RsrpError as error:
        if cell.compute is None and not (path / CONFIG).exists():
            failed[path.name] = str(error)
        return {"run": path.name, "error": str(error)}


def _trained(path: Path, experiment: Experiment, threads: int | None, report: Callable[[Row], None]) -> Run:
    """The run at `path`, trained to the end: from the start, or from where it was left."""
    if (path / CONFIG).exists():
        run = load_run(path)
        last = run.metrics[-1] if run.metrics else {"generation": -1, "env_steps": 0}
        if last["generation"] == run.generation and experiment.finished(run.generation, last["env_steps"]):
            return run
        result = train(experiment, resume=path, threads=threads, progress=report)
    else:
        result = train(experiment, out=path, threads=threads, progress=report)
    if result.stopped_by is not None:
        raise _Stopped(result.stopped_by)
    return load_run(path)


def to_csv(rows: Iterable[Row]) -> bytes:
    """Rows as CSV; columns in the order of their first appearance, None as an empty field."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")  # names of files need not be UTF-8


def to_markdown(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, aligned so that it can be read as it is."""
    table = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[k]) for row in table) for k in range(len(headings))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
