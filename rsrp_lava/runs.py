"""Finished (or running) runs: load them, evaluate them again, draw them."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.errors import DrawingError, EngineError, ExperimentError, RunFolderError
from rsrp_lava.experiment import Experiment, distinct_labels
from rsrp_lava.files import replace_file
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.learners import Record, State, WeightState, open_learner, read_state
from rsrp_lava.learners.room import require_room
from rsrp_lava.mapping import MappedNetwork, check, quantise
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.reporting.numbers import half_interval, shown_return
from rsrp_lava.reporting.plots import Curve, draw_curves, drawing
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.signals import interrupts_wait_for_compiling
from rsrp_lava.tasks.gym import remembered
from rsrp_lava.threads import Threads


@dataclass(frozen=True)
class Run:
    """A run read from its folder."""

    path: Path
    experiment: Experiment
    state: State | WeightState = field(repr=False)
    #: Of a run in memory; None: they are read when they are asked for.
    _metrics: list[Record] | None = field(default=None, repr=False)

    @functools.cached_property
    def metrics(self) -> list[Record]:
        """Records up to `generation`. Raises `RunFolderError`, for a line that is damaged."""
        if self._metrics is not None:
            return self._metrics
        return RunFolder(self.path, self.experiment).read_metrics(self.generation)

    @property
    def generation(self) -> int:
        """Generations finished."""
        return self.state.generation

    @property
    def probabilities(self) -> ReleaseProbabilities:
        """Release probabilities by projection; `ExperimentError` of a rule that keeps weights."""
        return self.state.probabilities

    @property
    def normaliser(self) -> Normaliser:
        """Of the observations of `probabilities`."""
        return self.state.normaliser


def load_run(path: str | Path, *, trust: bool = False) -> Run:
    """Read a run's last checkpoint; its metrics when they are asked for. Raises `RunFolderError` or `CheckpointError`.

    Nothing that the folder names is run. `trust`: code that it names (modules of environments and wrappers) may be;
    without it that raises `ExperimentError` (docs/runs.md).
    """
    folder = RunFolder.open(path)
    if trust:
        folder.experiment.trusted()
    return Run(folder.path, folder.experiment, read_state(folder))


@dataclass(frozen=True)
class Records:
    """What a run has written while it learned: all that is drawn of it. To read it makes no environment."""

    path: Path
    experiment: Experiment
    generation: int  #: generations finished
    metrics: list[Record] = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> Records:
        """From a run's folder. Raises `RunFolderError` or `CheckpointError`."""
        folder = RunFolder.open(path)
        generation = folder.load_checkpoint().generation
        return cls(folder.path, folder.experiment, generation, folder.read_metrics(generation))


@interrupts_wait_for_compiling()
def evaluate(
    run: Run | str | Path,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Play deterministic episodes with a trained network, θ = [ρ > ½]; of a classifier, the accuracy on test images.

    Rules that keep weights play without exploring (docs/rules.md).

    Parameters
    ----------
    run : a run or its folder
    episodes : how many (test images: the first so many, all at most); by default as many as in training
    seed : of the starts; by default the run's own, which repeats its last evaluation exactly
    trust : code that only the folder names may run (`load_run`)

    Returns
    -------
    dict: task, seed, episodes, mean_return, std_return, min_return, max_return, run, and of what was learned the digest, as
    in the summary of training (release_sha256)
    """
    run = run if isinstance(run, Run) else load_run(run, trust=trust)
    episodes = run.experiment.evaluation_episodes if episodes is None else episodes
    seed = run.experiment.seed if seed is None else seed
    if not 1 <= episodes <= 2**20:
        raise ExperimentError(f"episodes: {episodes} must be between 1 and {2**20}")
    if not 0 <= seed < 2**63:
        raise ExperimentError(f"seed: {seed} must be between 0 and {2**63 - 1}")
    experiment, pool = run.experiment.replace(engine="fused", lava_target="simulation"), Threads(threads)
    require_room(experiment, pool.count, learns=False)
    if why := remembered(experiment.build_task()):
        logging.getLogger(__name__).warning("%s: %s", run.path, why)
    learner = open_learner(experiment, pool, seed)
    learner.state = run.state
    try:
        learner.prepare()
        played = learner.evaluate(episodes)
    finally:
        learner.close()
    returns = played.valid
    if len(returns) == 0:
        raise EngineError(f"{run.experiment.task}: every episode failed ({played.shown_faults}); mend the environment")
    return {
        "task": run.experiment.task,
        "seed": seed,
        "episodes": len(returns),
        "mean_return": played.mean,
        "std_return": played.std,
        "min_return": float(np.min(returns)),
        "max_return": float(np.max(returns)),
        **{name: value for name, value in learner.summary().items() if name.endswith("_sha256")},
        "run": str(run.path),
        **({"faults": dict(played.all_faults)} if played.all_faults else {}),
    }


def map_run(
    run: Run | str | Path,
    *,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> MappedNetwork:
    """Put a run's network on a chip: quantise, place on cores, check every design rule (docs/hardware.md).

    Parameters
    ----------
    run : a run or its folder
    profile : name or YAML file; by default the run's own, with its overrides
    overrides : values that replace the profile's, by dotted path
    strict : raise `MappingError` where the chip would refuse the network, instead of only reporting it

    Returns
    -------
    the mapped network; `record()` gives it as JSON values. Raises `MappingError` if a constant has no code on the chip.
    """
    run = run if isinstance(run, Run) else load_run(run)
    chosen = run.experiment.hardware_with(overrides) if profile is None else load_profile(profile, overrides)
    quantised = quantise(run.experiment.spiking_network("map"), chosen)
    return check(quantised, run.probabilities, strict=strict)


def plot(*runs: Run | str | Path, output: str | Path = "curves.png", labels: Sequence[str] | None = None) -> Path:
    """Evaluation return against generation; runs that differ only in their seed become one curve, mean ± std over seeds. The
    band of a single one is the 95 % interval of the mean over its evaluation episodes.

    Of runs with the same settings and seed the longest counts. A run that reached its goal (`until`) keeps its last value to
    the end of the longest run beside it; one that ended early for another reason is a line of its own, which ends there,
    and is in no mean.

    Parameters
    ----------
    runs : runs or their folders
    output : file to write, as PNG, PDF or SVG by its suffix
    labels : of the curves, in the order in which the runs are given; by default the settings in which they differ

    Returns
    -------
    path of the picture. Raises `RunFolderError` if a run has no metrics yet or the picture cannot be written,
    `DrawingError` if it cannot be drawn.
    """
    output = Path(output)
    if output.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise RunFolderError(f"{output}: pictures are written as .png, .pdf or .svg; choose another name (-o)")
    loaded = [run if isinstance(run, Run) else Records.read(run) for run in runs]
    if not loaded:
        raise RunFolderError("plot: no runs given; name one or more run folders")
    groups: dict[str, dict[int, Run | Records]] = {}
    for run in loaded:
        if not any(record.get("evaluation_return") is not None for record in run.metrics):
            raise RunFolderError(f"{run.path}: has no finished generation to draw yet; let it train first")
        seeds = groups.setdefault(run.experiment.family, {})
        seed = run.experiment.seed
        # Runs of one seed are the same run as far as they go.
        seeds[seed] = max(seeds.get(seed, run), run, key=lambda run: run.generation)
    of_curves = [list(seeds.values()) for seeds in groups.values()]
    names = distinct_labels([members[0].experiment for members in of_curves], labels)
    curves = [_curve(name, members) for name, members in zip(names, of_curves, strict=True)]
    title = " and ".join(sorted({run.experiment.task for run in loaded}))
    picture = io.BytesIO()
    measured = "test accuracy" if all(run.experiment.classifies for run in loaded) else "evaluation return"
    try:
        with drawing():
            draw_curves(title, measured, curves, picture, output.suffix[1:].lower(), _baselines(loaded))
        replace_file(output, picture.getvalue())
    except DrawingError as error:
        raise DrawingError(f"{output}: {error}") from None
    except OSError as error:
        raise RunFolderError(f"{output}: cannot be written ({error.strerror}); choose another name (-o)") from None
    return output


def _baselines(runs: list[Run | Records]) -> Mapping[str, Mapping[str, float]]:
    """What is earned without learning, of the first run that has measured it; nothing for runs of several environments."""
    played = [(run.experiment.task, run.experiment.environment) for run in runs]
    if any(other != played[0] for other in played):
        return {}
    return next((run.metrics[0]["baselines"] for run in runs if "baselines" in run.metrics[0]), {})


def _curve(label: str, runs: list[Run | Records]) -> Curve:
    """Of runs that differ only in their seed; the label says how many there are, and which ended early, and where."""
    longest = max((run.experiment for run in runs), key=lambda experiment: experiment.generations)
    whole = [run for run in runs if _is_whole(run, longest)]
    early = [run for run in runs if not _is_whole(run, longest)]
    named = f"seed {whole[0].experiment.seed}" if len(whole) == 1 else f"{len(whole)} seeds"
    parts = [named] if whole else []
    for run in early[:_MOST_NAMED]:
        generation, value = _evaluations(run)[-1]["generation"], _evaluations(run)[-1]["evaluation_return"]
        end = f"seed {run.experiment.seed} ended early, at generation {generation} of {longest.generations}"
        parts.append(f"{end} with {shown_return(value)}" if not whole else end)
    if len(early) > _MOST_NAMED:
        parts.append(f"{len(early) - _MOST_NAMED} more ended early")
    lines = [(_values(run, "generation"), _values(run, "evaluation_return")) for run in early]
    return Curve(f"{label} ({'; '.join(parts)})", *_returns(whole), lines)


#: Runs that ended early which a legend names one by one.
_MOST_NAMED = 3


def _evaluations(run: Run | Records) -> list[Record]:
    return [record for record in run.metrics if record.get("evaluation_return") is not None]


def _values(run: Run | Records, key: str) -> np.ndarray:
    return np.array([record[key] for record in _evaluations(run)])


def _is_whole(run: Run | Records, longest: Experiment) -> bool:
    """Whether a run was trained as long as `longest` asks for, or until its goal (of which earlier versions say nothing)."""
    last = run.metrics[-1]
    return last.get("ended_by") == "until" or (
        "sampled_return" not in last and longest.finished(last["generation"], last["env_steps"])
    )


def _returns(runs: list[Run | Records]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generations; evaluation returns and halves of the 95 % intervals of their means, shape (runs, generations)."""
    evaluated = [{record["generation"]: record for record in _evaluations(run)} for run in runs]
    generations = sorted(set().union(*evaluated))
    if not runs:
        return np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0))

    def curve(key: str) -> np.ndarray:
        return np.array([np.interp(generations, sorted(of), [of[at][key] for at in sorted(of)]) for of in evaluated])

    first = runs[0].experiment
    known = not first.classifies and first.evaluation_episodes > 1
    std = curve("evaluation_std")
    halves = half_interval(std, first.evaluation_episodes) if known else np.zeros_like(std)
    return np.array(generations), curve("evaluation_return"), halves
