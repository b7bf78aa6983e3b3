"""The generation loop: draw, play, rank, broadcast, update."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.durations import TimeLimit, to_seconds
from rsrp_lava.engines import open_engine
from rsrp_lava.engines.protocol import Engine, Normaliser, Outcome
from rsrp_lava.engines.threads import Threads
from rsrp_lava.errors import EngineError, ExperimentError, Interrupted, RunFolderError, counted
from rsrp_lava.experiment import Experiment
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Update, entropy_bits, histogram, release_credit, stored_credit
from rsrp_lava.learning.transforms import TRANSFORMS, mean_reward
from rsrp_lava.network import LayeredNetwork, Network, Projection, ReleaseProbabilities, release_sha256
from rsrp_lava.run_folder import TENSORBOARD, Checkpoint, RunFolder
from rsrp_lava.tasks import ClassifyTask

#: One generation's record: a line of metrics.jsonl.
Record = dict[str, Any]


@dataclass
class State:
    """All that learning changes. A checkpoint holds exactly this."""

    generation: int
    probabilities: ReleaseProbabilities
    optimizer: dict[str, OptimizerState]
    normaliser: Normaliser
    previous_mean: float | None = None
    sampled_return: float | None = None
    env_steps: int = 0
    substeps: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, experiment: Experiment) -> State:
        """Before the first generation: every probability one half, a reservoir drawn."""
        from rsrp_lava.mapping.release import reservoir_release

        network, rule = experiment.build_network(), experiment.build_rule()
        frozen = {p.name: reservoir_release(p, experiment.seed) for p in network.projections if not p.plastic}
        probabilities = network.initial_probabilities(frozen)
        optimizer = {p.name: rule.optimizer.start((p.n_pre, p.n_post)) for p in network.projections if p.plastic}
        return cls(0, probabilities, optimizer, Normaliser.start(network.n_observed))

    def to_checkpoint(self, experiment: Experiment) -> Checkpoint:
        """The state as arrays and numbers."""
        arrays = {f"release/{name}": rho for name, rho in self.probabilities.items()}
        for name, slots in self.optimizer.items():
            arrays |= {f"optimizer/{name}/{slot}": array for slot, array in slots.items()}
        arrays |= {"normaliser/mean": self.normaliser.mean, "normaliser/variance": self.normaliser.variance}
        numbers = {
            "normaliser_count": self.normaliser.count,
            "previous_mean": self.previous_mean,
            "sampled_return": self.sampled_return,
            "env_steps": self.env_steps,
            "substeps": self.substeps,
            "seconds": self.seconds,
        }
        return Checkpoint(experiment.fingerprint, self.generation, arrays, numbers)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, experiment: Experiment) -> State:
        """Inverse of `to_checkpoint`."""
        arrays, numbers = checkpoint.arrays, dict(checkpoint.numbers)
        optimizer: dict[str, OptimizerState] = {p.name: {} for p in experiment.build_network().projections if p.plastic}
        for key, array in arrays.items():
            if key.startswith("optimizer/"):
                _, name, slot = key.split("/")
                optimizer[name][slot] = array
        release = {key.removeprefix("release/"): rho for key, rho in arrays.items() if key.startswith("release/")}
        normaliser = Normaliser(numbers.pop("normaliser_count"), arrays["normaliser/mean"], arrays["normaliser/variance"])
        return cls(checkpoint.generation, release, optimizer, normaliser, **numbers)


@dataclass(frozen=True)
class Result:
    """What training ended with."""

    experiment: Experiment
    probabilities: ReleaseProbabilities
    metrics: list[Record] = field(repr=False)
    run: Path | None  #: the run folder, if there is one
    stopped_by: int | None  #: number of the signal that ended training early
    summary: dict[str, Any]  #: what `--json` prints


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

    Ctrl-C (SIGINT) and SIGTERM end training after the generation in flight, with everything saved; a second one at once.
    The Lava engine gives that generation up.

    Raises
    ------
    ExperimentError, RunFolderError, CheckpointError, EngineError
    """
    if not isinstance(experiment, Experiment):
        raise ExperimentError(f"experiment: {experiment!r} is no Experiment; write train(Experiment(task='cartpole'), …)")
    if until is not None and math.isnan(until):
        raise ExperimentError("until: nan is no return that could be reached; give a number")
    limit = TimeLimit(None if max_time is None else to_seconds("max_time", max_time))
    if tensorboard:
        from rsrp_lava.reporting.tensorboard import Scalars, require_tensorboard

        require_tensorboard(in_folder=out is not None or resume is not None)
    pool = Threads(threads)
    engine = open_engine(experiment, pool, workers=workers)
    folder: RunFolder | None = None
    close_progress: Callable[[], None] = _nothing
    close_scalars: Callable[[], None] = _nothing
    announce_stop: Callable[[str], None] = _nothing
    made = [] if out is None else [path for path in (Path(out), *Path(out).parents) if not os.path.exists(path)]
    try:
        folder, state = _open_run(experiment, out, resume)
        if progress is True:
            from rsrp_lava.reporting.progress import RunLine, TerminalProgress

            line = RunLine(experiment.generations, steps_of(experiment), limit.left)
            progress = TerminalProgress(experiment.title, line)
            close_progress, announce_stop = progress.close, progress.stopping
        played = folder.read_metrics() if folder else []
        metrics = [record for record in played if record["generation"] < state.generation]
        with _stop_requests(lambda: announce_stop(engine.stopping)) as stop:
            engine.stop = stop
            training = _Training(experiment, engine, pool, folder, state, metrics, progress or _nothing)
            with suppress(Interrupted):
                training.prepare(resume is not None, made)
                if folder and tensorboard:
                    with folder.writing(TENSORBOARD) as path:
                        training.scalars = Scalars(path, metrics, state.generation)
                    close_scalars = training.scalars.close
                training.run(stop, until, limit)
        engine.close()  # a graph would compete with the drawing for the processors
        if folder and metrics:
            _draw_curves(folder)
    finally:
        close_progress()
        close_scalars()
        engine.close()
        if folder:
            folder.close()
    summary = _summary(experiment, state, metrics, folder) | {"compile_seconds": round(training.compile_seconds, 3)}
    stopped_by = stop[0] if stop else None
    return Result(experiment, state.probabilities, metrics, folder.path if folder else None, stopped_by, summary)


@dataclass
class _Training:
    """A run in progress: `run` is the loop over generations."""

    experiment: Experiment
    engine: Engine
    pool: Threads
    folder: RunFolder | None
    state: State
    metrics: list[Record]
    report: Callable[[Record], None]
    scalars: Callable[[Record], None] | None = None
    compile_seconds: float = 0.0

    def prepare(self, resumed: bool, made: list[Path]) -> None:
        """Make the engine ready, then the folder of a resumed run: an engine that cannot start leaves the disk as it was."""
        try:
            self.compile_seconds = _compile(self.experiment, self.engine, self.state)
        except EngineError:
            if self.folder and not resumed:
                _take_back(self.folder, made)
            raise
        if self.folder and resumed:
            self.folder.save_experiment(self.experiment)
            self.folder.cut_metrics(self.state.generation)

    def run(self, stop: list[int], until: float | None, limit: TimeLimit) -> None:
        """Train until all generations are done, `until` is reached, the time is over, or `stop` holds a signal."""
        state, over = self.state, False
        limit.begin()
        while True:
            started = time.perf_counter()
            done = state.generation >= self.experiment.generations
            due = done or state.generation % self.experiment.evaluate_every == 0
            evaluation = self._evaluate() if due else None
            reached = until is not None and evaluation is not None and evaluation.valid.mean() >= until
            if done or reached or over or stop:
                break
            record = _generation(self.experiment, self.engine, self.pool, state, evaluation)
            state.seconds += time.perf_counter() - started
            record["seconds"] = state.seconds
            self._note(record)
            if self.folder:
                self.folder.save_checkpoint(state.to_checkpoint(self.experiment))
            self.report(record)
            over = limit.left() <= 0
        self._note(_final_record(self.experiment, state, evaluation or self._evaluate()))

    def _evaluate(self) -> Outcome:
        state = self.state
        samples = self.experiment.evaluation_episodes
        played = self.engine.play(state.probabilities, state.normaliser, state.generation, samples, deterministic=True)
        if len(played.valid) == 0:
            raise EngineError(
                f"{self.experiment.task}: every evaluation episode of generation {state.generation} failed "
                f"({played.shown_faults}); mend the environment"
            )
        return played

    def _note(self, record: Record) -> None:
        self.metrics.append(record)
        if self.folder:
            self.folder.append_metrics(record)
            if self.scalars:
                with self.folder.writing(TENSORBOARD):
                    self.scalars(record)


def _compile(experiment: Experiment, engine: Engine, state: State) -> float:
    """Compile (or load) all kernels before the clock starts; returns the seconds it took."""
    started = time.perf_counter()
    engine.prepare(state)
    if engine.learn is not None:
        return time.perf_counter() - started
    two_samples = TRANSFORMS["centered_rank"](np.array([0.0, 1.0]), None)
    half, synapse = np.full((1, 1), 0.5, np.float32), Projection("one synapse", 1, 1, "post")
    draw = experiment.build_draw()
    release_credit(half, draw.source(synapse, half), two_samples, draw.p_bits, (0, 0, 0), Threads(1).map_ranges)
    stored_credit(half, two_samples, draw.p_bits, np.zeros((2, 1), np.uint64))
    return time.perf_counter() - started


def _generation(experiment: Experiment, engine: Engine, pool: Threads, state: State, evaluation: Outcome | None) -> Record:
    """One generation of RSRP; `state` moves on by one. Returns its record."""
    entropy, shapes = {name: entropy_bits(rho) for name, rho in state.probabilities.items()}, _histograms(experiment, state)
    sampled = engine.play(state.probabilities, state.normaliser, state.generation, experiment.population)
    normaliser, mean = state.normaliser.update(sampled.observations), mean_reward(sampled.returns)
    if engine.learn is not None:
        updates = engine.learn(state.generation + 1, normaliser, mean)
    else:
        updates = _learn(experiment, engine.network, pool, state, sampled)
    for name, update in updates.items():
        state.probabilities[name], state.optimizer[name] = update.probability, update.optimizer
    state.normaliser, state.previous_mean = normaliser, mean
    state.sampled_return = mean
    state.env_steps += int(sampled.steps.sum())
    played = int(sampled.steps.sum()) + (int(evaluation.steps.sum()) if evaluation else 0)
    state.substeps += played * engine.network.substeps
    record = {
        "generation": state.generation,
        "sampled_return": state.sampled_return,
        "sampled_std": float(sampled.valid.std()) if len(sampled.valid) else 0.0,
        **(_evaluation_record(evaluation) if evaluation else {}),
        "entropy_bits": entropy,
        **shapes,
        "env_steps": state.env_steps,
        **_engine_record([sampled, evaluation] if evaluation else [sampled]),
    }
    profile = experiment.hardware
    if profile.arithmetic == "integer":
        events = sampled.events + (evaluation.events if evaluation else 0)
        record["events"] = dict(zip(EVENTS, events.tolist(), strict=True))
    if profile.learning_storage.p_bits is not None:
        record |= _storage_record(updates)
    state.generation += 1
    return record


def _storage_record(updates: dict[str, Update]) -> Record:
    """What few-bit probabilities do: the part of the updates that rounding took away, and of synapses stuck at 0 or 1."""
    asked, lost = (sum(getattr(update, field) for update in updates.values()) for field in ("asked", "lost"))
    plastic = [update.probability for update in updates.values()]
    stuck = sum(int(((rho == 0) | (rho == 1)).sum()) for rho in plastic)
    return {"lost_updates": lost / max(1, asked), "stuck": stuck / sum(rho.size for rho in plastic)}


def _learn(
    experiment: Experiment, network: Network | LayeredNetwork, pool: Threads, state: State, sampled: Outcome
) -> dict[str, Update]:
    """Rank, broadcast, update: what every plastic projection becomes."""
    rule, draw = experiment.build_rule(), experiment.build_draw()
    broadcast = TRANSFORMS[experiment.reward_transform](sampled.returns, state.previous_mean)
    updates = {}
    for index, projection in enumerate(network.projections):
        if projection.plastic:
            name = projection.name
            rows = projection.to_rows(state.probabilities[name])
            key = (experiment.seed, state.generation, index)
            if sampled.released is not None:
                credit = stored_credit(rows, broadcast, draw.p_bits, sampled.released[index], pool.map_ranges)
            else:
                source = draw.source(projection, state.probabilities[name])
                credit = release_credit(rows, source, broadcast, draw.p_bits, key, pool.map_ranges)
            by_synapse = projection.from_rows(credit)
            updates[name] = rule.update(state.probabilities[name], by_synapse, broadcast, state.optimizer[name], key)
    return updates


def _evaluation_record(evaluation: Outcome) -> Record:
    return {"evaluation_return": float(evaluation.valid.mean()), "evaluation_std": float(evaluation.valid.std())}


def _engine_record(played: list[Outcome]) -> Record:
    """What went wrong, and what other processes cost, if anything."""
    faults, traffic = sum((Counter(part.faults) for part in played), Counter()), sum(part.traffic_bytes for part in played)
    return {**({"faults": dict(faults)} if faults else {}), **({"traffic_bytes": traffic} if traffic else {})}


def _histograms(experiment: Experiment, state: State) -> Record:
    """Of the release probabilities there are, in the generations that were chosen for it."""
    if state.generation not in experiment.histograms_at:
        return {}
    return {"histogram": {name: histogram(rho).tolist() for name, rho in state.probabilities.items()}}


def _final_record(experiment: Experiment, state: State, evaluation: Outcome) -> Record:
    """The last evaluation, after the last update: a record of its own, without samples."""
    entropy = {name: entropy_bits(rho) for name, rho in state.probabilities.items()}
    return {
        "generation": state.generation,
        **_evaluation_record(evaluation),
        "entropy_bits": entropy,
        **_histograms(experiment, state),
        "env_steps": state.env_steps,
        "seconds": state.seconds,
    }


def _open_run(experiment: Experiment, out: str | Path | None, resume: str | Path | None) -> tuple[RunFolder | None, State]:
    if resume is None:
        state = State.start(experiment)
        folder = RunFolder.create(out, experiment, state.to_checkpoint(experiment)) if out is not None else None
        return folder, state
    if out is not None:
        raise RunFolderError(f"{resume}: a resumed run stays in its folder; leave out the other one, {out}")
    folder = RunFolder.open(resume)
    folder.lock()
    try:
        return folder, _take_up(folder, experiment)
    except BaseException:
        folder.close()
        raise


def _take_up(folder: RunFolder, experiment: Experiment) -> State:
    """The state a run was left in, and its folder made ready to go on from there."""
    if folder.experiment.fingerprint != experiment.fingerprint:
        changed = folder.experiment.differences(experiment)
        raise RunFolderError(f"{folder.path}: was started with other settings ({changed}); resume without changing them")
    checkpoint = folder.load_checkpoint()
    if checkpoint.generation > experiment.generations:
        raise RunFolderError(
            f"{folder.path}: has finished {counted(checkpoint.generation, 'generation')} already; "
            f"generations = {experiment.generations} would go back: give {checkpoint.generation} or more"
        )
    return State.from_checkpoint(checkpoint, experiment)


def _take_back(folder: RunFolder, made: list[Path]) -> None:
    """Remove a new run and the folders made for it; its own was empty or is among them."""
    with suppress(OSError):
        for file in folder.path.iterdir():
            file.unlink()
        for path in made:
            path.rmdir()


def steps_of(experiment: Experiment) -> str:
    """What its `env_steps` count."""
    return "images" if isinstance(experiment.build_task(), ClassifyTask) else "env steps"


def _nothing(*unheard: Any) -> None:
    """Nobody watches."""


@contextmanager
def _stop_requests(announce: Callable[[], None]) -> Iterator[list[int]]:
    """A list that holds the signal's number once SIGINT or SIGTERM has asked to stop; a second one acts as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        received.append(number)
        announce()
        signal.signal(number, previous[number] or signal.SIG_DFL)

    for number in previous:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _draw_curves(folder: RunFolder) -> None:
    from rsrp_lava.reporting.plots import draw_run

    experiment = folder.experiment
    title = f"{experiment.task}: {experiment.label}, seed {experiment.seed}"
    folder.save_picture(lambda buffer: draw_run(title, folder.read_metrics(), buffer))


def _summary(experiment: Experiment, state: State, metrics: list[Record], folder: RunFolder | None) -> dict[str, Any]:
    classifies = isinstance(experiment.build_task(), ClassifyTask)
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
        "network_substeps_per_second": round(state.substeps / state.seconds) if state.seconds else None,
        "release_sha256": release_sha256(state.probabilities),
        "run": str(folder.path) if folder else None,
        **({"final_test_accuracy": last.get("evaluation_return")} if classifies else {}),
    }
