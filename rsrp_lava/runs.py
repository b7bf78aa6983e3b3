"""Finished (or running) runs: load them, evaluate them again, draw them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.errors import EngineError, ExperimentError, RunFolderError
from rsrp_lava.experiment import Experiment
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.learners import Record, State, WeightState, open_learner, read_state
from rsrp_lava.learners.room import require_room
from rsrp_lava.mapping import MappedNetwork, check, quantise
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.reporting.numbers import half_interval
from rsrp_lava.reporting.plots import draw_curves
from rsrp_lava.run_folder import RunFolder, replace_file
from rsrp_lava.threads import Threads


@dataclass(frozen=True)
class Run:
    """A run read from its folder."""

    path: Path
    experiment: Experiment
    state: State | WeightState = field(repr=False)
    metrics: list[Record] = field(repr=False)

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


def load_run(path: str | Path) -> Run:
    """Read a run's last checkpoint and metrics. Raises `RunFolderError` or `CheckpointError`."""
    folder = RunFolder.open(path)
    state = read_state(folder.load_checkpoint(), folder.experiment)
    return Run(folder.path, folder.experiment, state, folder.read_metrics())


def evaluate(
    run: Run | str | Path, *, episodes: int | None = None, seed: int | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Play deterministic episodes with a trained network, θ = [ρ > ½]; of a classifier, the accuracy on test images.

    Rules that keep weights play without exploring (docs/rules.md).

    Parameters
    ----------
    run : a run or its folder
    episodes : how many (test images: the first so many, all at most); by default as many as in training
    seed : of the starts; by default the run's own, which repeats its last evaluation exactly

    Returns
    -------
    dict: task, seed, episodes, mean_return, std_return, min_return, max_return, run, and of what was learned the digest, as
    in the summary of training (release_sha256)
    """
    run = run if isinstance(run, Run) else load_run(run)
    episodes = run.experiment.evaluation_episodes if episodes is None else episodes
    seed = run.experiment.seed if seed is None else seed
    if not 1 <= episodes <= 2**20:
        raise ExperimentError(f"episodes: {episodes} must be between 1 and {2**20}")
    if not 0 <= seed < 2**63:
        raise ExperimentError(f"seed: {seed} must be between 0 and {2**63 - 1}")
    experiment, pool = run.experiment.replace(engine="fused", lava_target="simulation"), Threads(threads)
    require_room(experiment, pool.count, learns=False)
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
        "mean_return": float(np.mean(returns)),
        "std_return": float(np.std(returns)),
        "min_return": float(np.min(returns)),
        "max_return": float(np.max(returns)),
        **{name: value for name, value in learner.summary().items() if name.endswith("_sha256")},
        "run": str(run.path),
        **({"faults": dict(played.faults)} if played.faults else {}),
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
    if profile is None:
        profile, overrides = run.experiment.profile, {**run.experiment.profile_overrides, **(overrides or {})}
    quantised = quantise(run.experiment.spiking_network("map"), load_profile(profile, overrides))
    return check(quantised, run.probabilities, strict=strict)


def plot(*runs: Run | str | Path, output: str | Path = "curves.png") -> Path:
    """Evaluation return against generation; runs that differ only in their seed become one curve, mean ± std over seeds. The
    band of a single one is the 95 % interval of the mean over its evaluation episodes.

    Of runs with the same settings and seed the longest counts. A run that ended early (`until`) keeps its last value to the
    end of the longest run beside it.

    Parameters
    ----------
    runs : runs or their folders
    output : file to write, as PNG, PDF or SVG by its suffix

    Returns
    -------
    path of the picture. Raises `RunFolderError` if a run has no metrics yet or the picture cannot be written.
    """
    output = Path(output)
    if output.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise RunFolderError(f"{output}: pictures are written as .png, .pdf or .svg; choose another name (-o)")
    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    if not loaded:
        raise RunFolderError("plot: no runs given; name one or more run folders")
    groups: dict[str, dict[int, Run]] = {}
    for run in loaded:
        if not run.metrics:
            raise RunFolderError(f"{run.path}: has no finished generation to draw yet; let it train first")
        seeds = groups.setdefault(run.experiment.replace(seed=0).fingerprint, {})
        seed = run.experiment.seed
        # Runs of one seed are the same run as far as they go.
        seeds[seed] = max(seeds.get(seed, run), run, key=lambda run: run.generation)
    curves = []
    for seeds in groups.values():
        members = list(seeds.values())
        first = members[0].experiment
        which = f"{len(members)} seeds" if len(members) > 1 else f"seed {first.seed}"
        curves.append((f"{first.label} ({which})", *_returns(members)))
    title = " and ".join(sorted({run.experiment.task for run in loaded}))
    picture = io.BytesIO()
    measured = "test accuracy" if all(run.experiment.classifies for run in loaded) else "evaluation return"
    draw_curves(title, measured, curves, picture, output.suffix[1:].lower(), _baselines(loaded))
    try:
        replace_file(output, picture.getvalue())
    except OSError as error:
        raise RunFolderError(f"{output}: cannot be written ({error.strerror}); choose another name (-o)") from None
    return output


def _baselines(runs: list[Run]) -> Mapping[str, Mapping[str, float]]:
    """What is earned without learning, of the first run that has measured it; nothing for runs of several environments."""
    played = [(run.experiment.task, run.experiment.environment) for run in runs]
    if any(other != played[0] for other in played):
        return {}
    return next((run.metrics[0]["baselines"] for run in runs if "baselines" in run.metrics[0]), {})


def _returns(runs: list[Run]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generations; evaluation returns and halves of the 95 % intervals of their means, shape (runs, generations)."""
    evaluated = [{record["generation"]: record for record in run.metrics if "evaluation_return" in record} for run in runs]
    generations = sorted(set().union(*evaluated))

    def curve(key: str) -> np.ndarray:
        return np.array([np.interp(generations, sorted(of), [of[at][key] for at in sorted(of)]) for of in evaluated])

    first = runs[0].experiment
    known = not first.classifies and first.evaluation_episodes > 1
    std = curve("evaluation_std")
    halves = half_interval(std, first.evaluation_episodes) if known else np.zeros_like(std)
    return np.array(generations), curve("evaluation_return"), halves
