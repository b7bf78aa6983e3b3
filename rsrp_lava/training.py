"""The loop over generations: learn, note, save, report, stop in good order. What a generation is, learners/ say."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsrp_lava import diagnosis
from rsrp_lava.durations import TimeLimit, to_seconds
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.errors import DrawingError, EngineError, ExperimentError, Interrupted, RunFolderError, counted
from rsrp_lava.experiment import Experiment
from rsrp_lava.learners import Learner, Record, State, WeightState, open_learner, read_state
from rsrp_lava.learners.room import require_room
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.run_folder import CURVES, TENSORBOARD, RunFolder
from rsrp_lava.signals import stop_requests
from rsrp_lava.tasks.gym import remembered
from rsrp_lava.threads import Threads


@dataclass(frozen=True)
class Result:
    """What training ended with."""

    experiment: Experiment
    state: State | WeightState = field(repr=False)
    metrics: list[Record] = field(repr=False)
    run: Path | None  #: the run folder, if there is one
    stopped_by: int | None  #: number of the signal that ended training early
    summary: dict[str, Any]  #: what `--json` prints

    @property
    def notices(self) -> list[str]:
        """What was said about a run that does not learn: the cause, and the setting to change (docs/not-learning.md)."""
        return [record["notice"]["text"] for record in self.metrics if "notice" in record]

    @property
    def probabilities(self) -> ReleaseProbabilities:
        """Release probabilities by projection; `ExperimentError` of a rule that keeps weights."""
        return self.state.probabilities


def train(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    until: float | None = None,
    max_time: float | str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    progress: Callable[[Record], None] | bool | None = None,
    tensorboard: bool = False,
    trust: bool = False,
) -> Result:
    """Train a network from reward alone.

    Parameters
    ----------
    experiment : what to run; with `resume`, the run's own, perhaps with another number of generations or engine
    out : folder for the run (config, metrics, checkpoint, curves); without it nothing is written
    resume : folder of a run to continue, instead of `out`
    until : stop as soon as the evaluation mean reaches this return
    max_time : stop after the generation in which this call has trained for so long: seconds, or text (90s, 30m, 1.5h,
        1h30m). By the clock on the wall, without compiling and without the evaluation at the end
    threads : processors to use; all by default. The result does not depend on it
    workers : of engine ray; by default one each processor of the cluster, also of those that join later
    progress : called with every generation's record; True draws progress on the terminal
    tensorboard : also write scalars for TensorBoard, into RUN/tensorboard (needs the extra `tensorboard`)
    trust : code that only a file named may run: of an experiment that was read from a run folder (`load_run`)

    Ctrl-C (SIGINT) and SIGTERM end training after the generation in flight, with everything saved; a second one at once.
    A signal that this process was started to ignore (nohup, a job in a script's background) stays ignored.
    The Lava engine gives that generation up.

    Raises
    ------
    ExperimentError, RunFolderError, CheckpointError, EngineError
    """
    if not isinstance(experiment, Experiment):
        raise ExperimentError(f"experiment: {experiment!r} is no Experiment; write train(Experiment(task='cartpole'), …)")
    if until is not None and math.isnan(until):
        raise ExperimentError("until: nan is no return that could be reached; give a number")
    if trust:
        experiment.trusted()
    experiment.check()
    if resume is None:
        experiment.refuse_unused()
        if why := remembered(experiment.build_task()):
            raise ExperimentError(why)
    if workers is not None and experiment.engine != "ray":
        raise ExperimentError(
            f"workers (--workers): {workers} is for engine ray, not {experiment.engine}; leave it out: threads (--threads) "
            "says how many processors are used"
        )
    limit = TimeLimit(None if max_time is None else to_seconds("max_time", max_time))
    if tensorboard:
        from rsrp_lava.reporting.tensorboard import Scalars, require_tensorboard

        require_tensorboard(in_folder=out is not None or resume is not None)
    pool = Threads(threads)
    require_room(experiment, pool.count, learns=True)
    learner = open_learner(experiment, pool, workers=workers)
    folder: RunFolder | None = None
    close_progress: Callable[[], None] = _nothing
    close_scalars: Callable[[], None] = _nothing
    announce_stop: Callable[[str], None] = _nothing
    show_last: Callable[[Record], None] = _nothing
    try:
        folder = _open_run(experiment, learner, out, resume)
        if resume is not None and (why := remembered(experiment.build_task())):  # a new one was refused above
            logging.getLogger(__name__).warning("%s: %s", folder.path if folder else experiment.task, why)
        if progress is True:
            from rsrp_lava.reporting.progress import RunLine, TerminalProgress

            line = RunLine(experiment.generations, experiment.classifies, limit.left, experiment.max_env_steps)
            done = experiment.finished(learner.state.generation, learner.state.env_steps)
            progress = TerminalProgress(experiment.title, line, done=done)
            close_progress, announce_stop, show_last = progress.close, progress.stopping, progress.last
        played = folder.read_metrics(learner.state.generation) if folder else []
        metrics = [record for record in played if record["generation"] < learner.state.generation]
        with stop_requests(lambda: announce_stop(learner.stopping)) as stop:
            learner.stop = stop
            training = _Training(experiment, learner, folder, metrics, progress or _nothing)
            with suppress(Interrupted):
                training.prepare(resume is not None)
                if folder and tensorboard:
                    with folder.writing(TENSORBOARD) as path:
                        training.scalars = Scalars(path, metrics, learner.state.generation)
                    close_scalars = training.scalars.close
                training.run(stop, until, limit)
                show_last(metrics[-1])
        learner.close()  # a graph would compete with the drawing for the processors
        if folder and metrics:
            _draw_curves(folder)
    finally:
        close_progress()
        close_scalars()
        learner.close()
        if folder:
            folder.close()
    summary = _summary(experiment, learner, metrics, folder) | {"compile_seconds": round(training.compile_seconds, 3)}
    stopped_by = stop[0] if stop else None
    return Result(experiment, learner.state, metrics, folder.path if folder else None, stopped_by, summary)


@dataclass
class _Training:
    """A run in progress: `run` is the loop over generations."""

    experiment: Experiment
    learner: Learner
    folder: RunFolder | None
    metrics: list[Record]
    report: Callable[[Record], None]
    scalars: Callable[[Record], None] | None = None
    compile_seconds: float = 0.0

    def prepare(self, resumed: bool) -> None:
        """Make the learner ready, then the folder of a resumed run: one that cannot start leaves the disk as it was."""
        started = time.perf_counter()
        try:
            self.learner.prepare()
        except EngineError:
            if self.folder and not resumed:
                self.folder.take_back()
            raise
        self.compile_seconds = time.perf_counter() - started
        if self.folder and resumed:
            self.folder.save_experiment(self.experiment)
            self.folder.cut_metrics(self.learner.state.generation)

    def run(self, stop: list[int], until: float | None, limit: TimeLimit) -> None:
        """Train until all generations are done, `until` is reached, the time is over, or `stop` holds a signal."""
        state, over, facts = self.learner.state, False, diagnosis.Facts.of(self.experiment)
        limit.begin()
        while True:
            started = time.perf_counter()
            done = self.experiment.finished(state.generation, state.env_steps)
            due = done or state.generation % self.experiment.evaluate_every == 0
            evaluation = self._evaluate() if due else None
            mean = None if evaluation is None else evaluation.mean
            reached = until is not None and mean is not None and mean >= until
            if done or reached or over or stop:
                break
            record = self.learner.advance(evaluation, diagnosis.compare_due(self.metrics, facts))
            state.seconds += time.perf_counter() - started
            record["seconds"] = state.seconds
            if found := diagnosis.notice([*self.metrics, record], facts):
                record["notice"] = found._asdict()
            self._note(record)
            if self.folder:
                self.folder.save_checkpoint(state.to_checkpoint(self.experiment))
            self.report(record)
            over = limit.left() <= 0
        why = "length" if done else "until" if reached else "signal" if stop else "max_time"
        self._note(self.learner.final_record(evaluation or self._evaluate()) | {"ended_by": why})

    def _evaluate(self) -> Outcome:
        played = self.learner.evaluate(self.experiment.evaluation_episodes)
        if len(played.valid) == 0:
            raise EngineError(
                f"{self.experiment.task}: every evaluation episode of generation {self.learner.state.generation} failed "
                f"({played.shown_faults}); mend the environment"
            )
        return played

    def _note(self, record: Record) -> None:
        """Keep a record; what is not finite is no number of JSON, and nothing that was measured: null."""
        record.update(_finite(record))
        self.metrics.append(record)
        if self.folder:
            self.folder.append_metrics(record)
            if self.scalars:
                with self.folder.writing(TENSORBOARD):
                    self.scalars(record)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _open_run(
    experiment: Experiment, learner: Learner, out: str | Path | None, resume: str | Path | None
) -> RunFolder | None:
    """The run's folder, new or resumed; of a resumed one the learner takes up the state."""
    if resume is None:
        return RunFolder.create(out, experiment, learner.state.to_checkpoint(experiment)) if out is not None else None
    if out is not None:
        raise RunFolderError(f"{resume}: a resumed run stays in its folder; leave out the other one, {out}")
    folder = RunFolder.open(resume)
    folder.lock()
    try:
        learner.state = _state_to_go_on_from(folder, experiment)
    except BaseException:
        folder.close()
        raise
    return folder


def _state_to_go_on_from(folder: RunFolder, experiment: Experiment) -> State | WeightState:
    """Where a run was left; `RunFolderError` if the experiment cannot go on from there."""
    if folder.experiment.fingerprint not in experiment.goes_on_from:
        changed = folder.experiment.differences(experiment)
        raise RunFolderError(f"{folder.path}: was started with other settings ({changed}); resume without changing them")
    state = read_state(folder)
    if state.generation > experiment.generations:
        raise RunFolderError(
            f"{folder.path}: has finished {counted(state.generation, 'generation')} already; "
            f"generations = {experiment.generations} would go back: give {state.generation} or more"
        )
    return state


def _nothing(*unheard: Any) -> None:
    """Nobody watches."""


def _draw_curves(folder: RunFolder) -> None:
    """The run's picture. One that cannot be drawn is said, and is no reason to lose what was trained."""
    from rsrp_lava.reporting.plots import draw_run, drawing

    experiment = folder.experiment
    title = f"{experiment.task}: {experiment.label}, seed {experiment.seed}"
    classifies, episodes = experiment.classifies, experiment.evaluation_episodes
    try:
        with drawing():
            folder.save_picture(lambda buffer: draw_run(title, folder.read_metrics(), buffer, classifies, episodes))
    except DrawingError as error:
        logging.getLogger(__name__).warning("%s: %s; draw it later with rsrp-lava plot", folder.path / CURVES, error)


def _summary(experiment: Experiment, learner: Learner, metrics: list[Record], folder: RunFolder | None) -> dict[str, Any]:
    state = learner.state
    last = metrics[-1] if metrics and metrics[-1]["generation"] == state.generation else {}  # else not evaluated yet
    return {
        "task": experiment.task,
        "rule": experiment.rule,
        "engine": experiment.engine,
        "seed": experiment.seed,
        "generations": state.generation,
        "population": experiment.population,
        "final_sampled_return": state.sampled_return,
        "final_eval_return": last.get("evaluation_return"),
        "eval_std": last.get("evaluation_std"),
        "env_steps": state.env_steps,
        "seconds": round(state.seconds, 3),
        "notices": [record["notice"]["text"] for record in metrics if "notice" in record],
        **learner.summary(),
        "run": str(folder.path) if folder else None,
        **({"final_test_accuracy": last.get("evaluation_return")} if experiment.classifies else {}),
    }
