"""How well finished runs stand noise, damage and another body: their evaluation under perturbations of growing strength.

The protocol is that of SVPG (Yang et al. 2022; docs/robustness.md), for any rule. A strength of 0 (of a constant of the
body: a factor of 1) is `evaluate` itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.experiment import distinct_labels
from rsrp_lava.learners.weights import WeightState, weights_sha256
from rsrp_lava.network import release_sha256
from rsrp_lava.rules import weights
from rsrp_lava.runs import Run, evaluate, load_run
from rsrp_lava.studies.perturbations import (
    OF_SYNAPSES,
    PERTURBATIONS,
    constants_of,
    perturbed,
    refusal,
    undisturbed,
)
from rsrp_lava.studies.runner import Cell, Row, checked_options

_Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Strengths = tuple[_Strength, ...]


class RobustnessOptions(BaseModel):
    """What is done to which runs, and how much of it. The unperturbed network is always measured too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: tuple[str, ...] = Field(min_length=1, description="run folders, all of one task")
    perturbations: tuple[str, ...] | None = Field(
        None, description=f"of {', '.join(PERTURBATIONS)} (body.NAME: one constant); by default all that there are"
    )
    input_noise: _Strengths = Field((0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), description="σ on observations, in their units")
    weight_noise: _Strengths = Field((0.1, 0.2, 0.3, 0.5, 0.7, 1.0), description="σ on weights, over their mean size")
    parameter_noise: _Strengths = Field((0.05, 0.1, 0.2, 0.3, 0.5, 1.0), description="σ on weights or probabilities")
    knock_out: _Strengths = Field((0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), description="parts of the synapses knocked out")
    body: _Strengths = Field((0.25, 0.5, 0.75, 1.5, 2.0, 4.0), description="factors of constants of the task's body")
    episodes: int | None = Field(None, ge=1, le=2**20, description="episodes an evaluation; by default as in training")
    labels: tuple[str, ...] | None = Field(
        None, description="names for the legend, of runs that differ in more than their seed; by default what differs"
    )
    draws: int = Field(5, ge=1, le=1000, description="networks perturbed alike, each by its own random numbers")

    @field_validator("*", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'0.1,0.2' from the command line, or any sequence; folders as text."""
        if isinstance(value, str | Path):
            return [part.strip() for part in str(value).split(",") if part.strip()]
        if isinstance(value, Sequence):
            return [str(part) if isinstance(part, Path) else part for part in value]
        return value

    @field_validator("runs")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("perturbations")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name not in PERTURBATIONS and not name.startswith("body."):
                raise ValueError(unknown_name("perturbation", name, [*PERTURBATIONS, "body.NAME"]))
        return None if value is None else tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _check(self) -> RobustnessOptions:
        for strength in self.knock_out:
            if strength > 1:
                raise ValueError(f"knock_out: {strength:g} is more than all synapses; give parts from 0 to 1")
        for strength in self.body:
            if strength == 0:
                raise ValueError("body: a constant of 0 is no body; give factors above 0")
        return self

    def strengths(self, name: str) -> list[float]:
        """Of a perturbation, ascending, with the one that changes nothing."""
        kind = name.partition(".")[0]
        return sorted({float(strength) for strength in getattr(self, kind)} | {neutral(name)})


def options(**given: Any) -> RobustnessOptions:
    """`RobustnessOptions`; mistakes as `ExperimentError`."""
    if not given.get("runs"):
        raise ExperimentError("study robustness: no runs given; name one or more folders: study robustness RUN … -o DIR")
    return checked_options(RobustnessOptions, given)


def neutral(name: str) -> float:
    """The strength that changes nothing."""
    return 1.0 if name.startswith("body") else 0.0


@dataclass(frozen=True)
class Plan:
    """What is measured of which runs."""

    task: str
    runs: list[tuple[str, Run]]  #: with what each is called: runs that differ in their seed only are called the same
    perturbations: list[str]  #: body.NAME for every constant
    left_out: list[str]  #: what is not measured, and why, for people
    units: dict[str, str]  #: usual values of constants of the body

    @classmethod
    def of(cls, o: RobustnessOptions, task: str | None, trust: bool = False) -> Plan:
        """Load the runs; `trust`: as in `load_run`. Raises `ExperimentError`, `RunFolderError`, `CheckpointError`."""
        loaded = [load_run(path, trust=trust) for path in o.runs]
        first = loaded[0]
        for run in loaded:
            if _played(run) != _played(first):
                raise ExperimentError(
                    f"robustness: {run.path} and {first.path} play different tasks ({_shown(run)}, {_shown(first)}), whose "
                    "returns cannot be compared; make a study of each"
                )
        if task not in (None, first.experiment.task):
            raise ExperimentError(f"robustness: the runs are of {first.experiment.task}, not {task}; leave the task out")
        names, left_out = _applicable(o, loaded)
        if not names:
            raise ExperimentError(
                f"robustness: nothing can be perturbed ({'; '.join(left_out)}); choose other perturbations"
            )
        _check_strengths(o, names, loaded)
        return cls(first.experiment.task, _called(_longest(loaded), o.labels), names, left_out, constants_of(first))


def _played(run: Run) -> tuple[Any, ...]:
    """What decides which returns can be earned."""
    environment = run.experiment.environment
    return run.experiment.task, environment.max_steps, environment.kwargs, environment.wrappers


def _shown(run: Run) -> str:
    steps = run.experiment.environment.max_steps
    return run.experiment.task if steps is None else f"{run.experiment.task} of {steps} steps"


def _longest(runs: list[Run]) -> list[Run]:
    """Of runs with the same settings and seed the one that was trained longest: they are the same run as far as they go."""
    best: dict[str, Run] = {}
    for run in runs:
        best[run.experiment.fingerprint] = max(best.get(run.experiment.fingerprint, run), run, key=lambda r: r.generation)
    return list(best.values())


def _called(runs: list[Run], given: tuple[str, ...] | None) -> list[tuple[str, Run]]:
    """Every run with a name for the legend: `given`, or its rule; where that is not enough the settings that differ."""
    groups: dict[str, Run] = {}
    for run in runs:
        groups.setdefault(_group(run), run)
    experiments = [run.experiment for run in groups.values()]
    rules = [experiment.rule for experiment in experiments]
    told = given is None and len(set(rules)) == len(rules)
    names = dict(zip(groups, rules if told else distinct_labels(experiments, given), strict=True))
    return [(names[_group(run)], run) for run in runs]


def _group(run: Run) -> str:
    return run.experiment.family


def _applicable(o: RobustnessOptions, runs: list[Run]) -> tuple[list[str], list[str]]:
    """The perturbations that all runs can be given, and of the others why not. Those asked for by name are refused."""
    names, left_out = [], []
    constants = constants_of(runs[0])
    for asked in o.perturbations or tuple(PERTURBATIONS):
        _, dot, constant = asked.partition(".")
        if dot and constants and constant not in constants:
            raise ExperimentError(f"robustness: {unknown_name('constant of the body', constant, constants)}")
        wanted = [f"body.{known}" for known in constants] if asked == "body" and constants else [asked]
        for name in wanted:
            why = next(((run, reason) for run in runs if (reason := refusal(run, name)) is not None), None)
            if why is None:
                names.append(name)
                continue
            said = f"{name} of {why[0].path}: {why[1]}"
            if o.perturbations is not None:
                raise ExperimentError(f"robustness: {said}; leave {name} out, or the run")
            left_out.append(said)
    return list(dict.fromkeys(names)), left_out


def _check_strengths(o: RobustnessOptions, names: list[str], runs: list[Run]) -> None:
    if (
        "weight_noise" in names
        and max(o.weight_noise, default=0) > 1
        and not all(isinstance(run.state, WeightState) for run in runs)
    ):
        raise ExperimentError(
            f"weight_noise: {max(o.weight_noise):g} is more than a release of 0 or 1 can vary; give at most 1, or leave "
            "runs with release probabilities out"
        )


def cells(o: RobustnessOptions, plan: Plan, threads: int | None) -> list[Cell]:
    """An evaluation, or as many as there are draws, of every run, perturbation and strength."""
    made = []
    for called, run in plan.runs:
        usual = undisturbed(run.experiment)
        episodes = usual.evaluation_episodes if o.episodes is None else o.episodes
        unperturbed = Run(run.path, usual, run.state)
        for name in plan.perturbations:
            for strength in o.strengths(name):
                draws = o.draws if name in OF_SYNAPSES and strength != neutral(name) else 1
                measure = functools.partial(_measure, unperturbed, name, strength, episodes, draws, threads)
                columns = {
                    "label": called,
                    "rule": usual.rule,
                    "seed": usual.seed,
                    "perturbation": name,
                    "strength": strength,
                }
                what = f"{name} {strength!r}" if strength != neutral(name) else "unperturbed"
                key = f"robustness {what} {episodes} {draws} {run.generation} {_digest(run)}"
                made.append(Cell(columns, usual, _never, key, compute=measure))
    return made


def _never(run: Run) -> Row:
    raise AssertionError("nothing is trained")


def _digest(run: Run) -> str:
    if isinstance(run.state, WeightState):
        return weights_sha256(weights(run.state.memory))
    return release_sha256(run.state.probabilities)


def _measure(run: Run, name: str, strength: float, episodes: int, draws: int, threads: int | None) -> Row:
    """Mean return over draws and episodes; of draws the deviation of their means."""
    if strength == neutral(name):
        found = [evaluate(run, episodes=episodes, threads=threads)]
    else:
        copies = (perturbed(run, name, strength, draw) for draw in range(draws))
        found = [evaluate(copy, episodes=episodes, threads=threads) for copy in copies]
    means = [one["mean_return"] for one in found]
    mean = math.fsum(means) / draws
    return {
        "final_return": mean,
        "std_of_draws": math.sqrt(math.fsum((one - mean) ** 2 for one in means) / draws) if draws > 1 else None,
        "std_of_episodes": math.fsum(one["std_return"] for one in found) / draws,
        "episodes": found[0]["episodes"],
        "draws": draws,
        "run": str(run.path),
    }
