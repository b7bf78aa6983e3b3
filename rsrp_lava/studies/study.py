"""`study`: what is asked of a study, its cells, and what becomes of its rows."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rsrp_lava.errors import ExperimentError, RunFolderError, unknown_name
from rsrp_lava.studies import quantization, quantization_report
from rsrp_lava.studies.runner import RUNS, Progress, Row, StudyFolder, read_study, run_cells, to_csv
from rsrp_lava.tasks import get_episode_task

#: Studies by name, with the line that says what each is.
STUDIES = {"quantization": "what few-bit probabilities do to learning, and to a trained network on a chip"}

RESULTS, CURVES, HISTOGRAMS, REPORT = "results.csv", "curves.csv", "histograms.csv", "report.md"


@dataclass(frozen=True)
class StudyResult:
    """What a study found."""

    output: Path
    rows: list[Row] = field(repr=False)  #: as in results.csv
    report: str = field(repr=False)  #: its tables, Markdown; report.md adds the pictures
    files: list[str]  #: tables and pictures in `output`
    stopped_by: int | None  #: number of the signal that ended it early


def study(
    name: str,
    task: str | None = None,
    output: str | Path = "study",
    *,
    resume: bool = False,
    threads: int | None = None,
    progress: Progress | bool | None = None,
    **options: Any,
) -> StudyResult:
    """Train and measure all cells of a study; write tables (CSV, Markdown) and pictures.

    Parameters
    ----------
    name : one of STUDIES
    task : what is learned; a resumed study knows it
    output : folder to write; must not exist or be empty, unless `resume`
    resume : go on with the study in `output`: what is finished there is not computed again. Options that are not given are
        those it was started with; others may widen or narrow it
    threads : processors to use; the numbers do not depend on it
    progress : called with a `runner.Done` after every generation and cell; True draws progress on the terminal
    options : of the study (`QuantizationOptions`), as lists or as '2,3,4'; None: not given

    Returns
    -------
    StudyResult. SIGINT and SIGTERM end it after the generation in flight, with the tables of what is finished.

    Raises `ExperimentError`, `RunFolderError`
    """
    if name not in STUDIES:
        raise ExperimentError(unknown_name("study", name, STUDIES))
    known = read_study(output) if resume else {}
    if known and (known.get("study") != name or task not in (None, known.get("task"))):
        there = f"{known.get('study')} of task {known.get('task')}"
        raise RunFolderError(f"{output}: holds a study {there}; go on with that, or choose another -o DIR")
    task = task or known.get("task")
    if task is None:
        raise ExperimentError("study: no task given; name one (rsrp-lava tasks)")
    get_episode_task(task, f"study {name}")
    given = {**known.get("options", {}), **{option: value for option, value in options.items() if value is not None}}
    chosen = quantization.options(**given)
    cells = quantization.cells(task, chosen, threads)
    close: Callable[[], None] = _nothing
    if progress is True:
        from rsrp_lava.reporting.progress import StudyProgress

        progress = StudyProgress(f"study {name} of {task}: {len(cells)} cells in {output}")
        close = progress.close
    about = {"study": name, "task": task, "options": chosen.model_dump(mode="json", exclude_unset=True)}
    with StudyFolder.opened(output, about, resume) as folder:
        try:
            rows, stopped_by = run_cells(folder, cells, threads=threads, progress=progress or _nothing)
        finally:
            close()
        return _write(folder, task, chosen, rows, stopped_by)


def _nothing(*unheard: Any) -> None:
    """Nobody watches."""


def _write(
    folder: StudyFolder, task: str, o: quantization.QuantizationOptions, rows: list[Row], stopped_by: int | None
) -> StudyResult:
    """Tables and pictures of the rows there are."""
    report = quantization_report.Report(task, o, rows, folder.path / RUNS)
    files = {RESULTS: to_csv(rows), CURVES: to_csv(report.curves()), HISTOGRAMS: to_csv(report.histograms())}
    for picture, draw in report.pictures().items():
        files[picture] = _drawn(draw)
    text = report.tables()
    pictures = "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in files if name.endswith(".png"))
    files[REPORT] = f"# Quantization of release probabilities: {task}\n\n{text}\n{pictures}".encode()
    for name, content in files.items():
        folder.write(name, content)
    return StudyResult(folder.path, rows, text, list(files), stopped_by)


def _drawn(draw: Callable[[IO[bytes]], None]) -> bytes:
    buffer = io.BytesIO()
    draw(buffer)
    return buffer.getvalue()
