"""`study`: what is asked of a study, its cells, and what becomes of its rows."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel

from rsrp_lava.errors import DrawingError, ExperimentError, RunFolderError, shortened, unknown_name
from rsrp_lava.reporting.plots import drawing
from rsrp_lava.studies import (
    classifying,
    classifying_report,
    comparison,
    comparison_report,
    quantization,
    quantization_report,
    robustness,
    robustness_report,
)
from rsrp_lava.studies.report import StudyReport
from rsrp_lava.studies.runner import RUNS, Cell, Progress, Row, StudyFolder, read_study, run_cells, study_file, to_csv
from rsrp_lava.studies.settings import require_consent, split_task

#: Studies by name, with the line that says what each is.
STUDIES = {
    "quantization": "what few-bit probabilities do to learning, and to a trained network on a chip",
    "samples": "what more samples and more images a generation bring",
    "rewards": "reward functions of a classifier, side by side",
    "transforms": "what becomes of rewards before they are broadcast",
    "ei": "weights of ±1 beside excitatory and inhibitory neurons",
    "compare": "learning rules side by side",
    "robustness": "how well finished runs stand noise, damage and another body",
}

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
    trust: bool = False,
    **options: Any,
) -> StudyResult:
    """Train and measure all cells of a study; write tables (CSV, Markdown) and pictures.

    Parameters
    ----------
    name : one of STUDIES
    task : what is learned; a resumed study knows it, and a study of robustness has it from its `runs`
    output : folder to write; must not exist or be empty, unless `resume`
    resume : go on with the study in `output`: what is finished there is not computed again. Options that are not given are
        those it was started with; others may widen or narrow it
    threads : processors to use; the numbers do not depend on it
    trust : code that only files name (the study's own, or of `runs`) may run: modules of environments and wrappers
    progress : called with a `runner.Done` after every generation and cell; True draws progress on the terminal
    options : of the study (`QuantizationOptions`, `ClassifyingOptions`, `ComparisonOptions`, `RobustnessOptions`), as
        lists or as '2,3,4'; None: not given

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
    given = {option: value for option, value in options.items() if value is not None}
    asked_for = task is not None
    task, settings = split_task(name, task or known.get("task"), given.get("settings"))
    if known:
        of_file = None if "settings" in given else known["options"].get("settings")
        require_consent(None if asked_for else task, of_file, str(study_file(output)), trust=trust)
    given = {**known.get("options", {}), **given, **({} if settings is None else {"settings": settings})}
    task, chosen, cells, report = _plan(name, task, given, threads, trust)
    close: Callable[[], None] = _nothing
    if progress is True:
        from rsrp_lava.reporting.progress import StudyProgress

        progress = StudyProgress(shortened(f"study {name} of {task}: {len(cells)} cells in {output}"))
        close = progress.close
    about = {"study": name, "task": task, "options": chosen.model_dump(exclude_unset=True)}
    with StudyFolder.opened(output, about, resume) as folder:
        try:
            rows, stopped_by = run_cells(folder, cells, threads=threads, progress=progress or _nothing)
        finally:
            close()
        made = report(rows, folder.path / RUNS)
        made.missing = [cell.title for cell in cells[len(rows) :]]
        return _write(folder, made, rows, stopped_by)


def _nothing(*unheard: Any) -> None:
    """Nobody watches."""


#: What makes a report of the rows there are and the folder of their runs.
MakeReport = Callable[[list[Row], Path], StudyReport]


def _plan(
    name: str, task: str | None, given: dict[str, Any], threads: int | None, trust: bool
) -> tuple[str, BaseModel, list[Cell], MakeReport]:
    """The task, what was chosen, the cells that follow, and what makes a report of them."""
    if name == "robustness":
        tested = robustness.options(**given)
        plan = robustness.Plan.of(tested, task, trust)
        of_plan = robustness.cells(tested, plan, threads)
        return plan.task, tested, of_plan, functools.partial(robustness_report.Report, tested, plan)
    if task is None:
        raise ExperimentError("study: no task given; name one (rsrp-lava tasks)")
    if name == "quantization":
        quantized = quantization.options(**given)
        made = quantization.cells(task, quantized, threads)
        return task, quantized, made, functools.partial(quantization_report.Report, task, quantized)
    if name == "compare":
        compared = comparison.options(**given)
        made = comparison.cells(task, compared)
        return task, compared, made, functools.partial(comparison_report.Report, task, compared)
    chosen = classifying.options(name, **given)
    made = classifying.cells(name, task, chosen, threads)
    return task, chosen, made, functools.partial(classifying_report.Report, name, task, chosen)


def _write(folder: StudyFolder, report: StudyReport, rows: list[Row], stopped_by: int | None) -> StudyResult:
    """Tables and pictures of the rows there are."""
    plain = [{name: value for name, value in row.items() if name != "curve"} for row in rows]  # a curve has its own table
    files = {RESULTS: to_csv(plain), CURVES: to_csv(report.curves())}
    if histograms := list(report.histograms()):
        files[HISTOGRAMS] = to_csv(histograms)
    for picture, draw in report.pictures().items():
        try:
            files[picture] = _drawn(draw)
        except DrawingError as error:  # the tables are what the study is for
            logging.getLogger(__name__).warning("%s: %s", folder.path / picture, error)
    text = report.text()
    pictures = "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in files if name.endswith(".png"))
    files[REPORT] = f"# {report.title}\n\n{text}\n{pictures}".encode(errors="backslashreplace")
    for name, content in files.items():
        folder.write(name, content)
    return StudyResult(folder.path, rows, text, list(files), stopped_by)


def _drawn(draw: Callable[[IO[bytes]], None]) -> bytes:
    buffer = io.BytesIO()
    with drawing():
        draw(buffer)
    return buffer.getvalue()
