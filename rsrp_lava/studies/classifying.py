"""Studies of classifiers that learn from reward: the figures of Sun et al. 2025 §3.2 and §3.3, from runs of this program.

    samples     networks a generation × images a network, each network with images of its own     Fig. 7A, 7B, 8
    rewards     reward functions side by side                                                      Fig. 6A
    transforms  from rewards to broadcast scalars                                                  Fig. 9A
    ei          weights of ±1 beside excitatory and inhibitory neurons, with and without [x, −x]   Fig. 9C

Everything else is the task's recipe. A reference trained by backpropagation on the same batches stands beside the curves if
torch is there (`rsrp-lava[baselines]`); without it the report says so.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.experiment import Experiment
from rsrp_lava.kernels.rewards import REWARDS
from rsrp_lava.learning.transforms import SCALED_BY_REWARD, TRANSFORMS
from rsrp_lava.runs import Run
from rsrp_lava.studies.grouping import mean_of
from rsrp_lava.studies.runner import Cell, Row, checked_options
from rsrp_lava.tasks import ClassifyTask, get_task
from rsrp_lava.tasks.data import is_own

#: Nets of Fig. 9C: signs of the weights, and whether the input is mirrored.
EI = ("none", "1:1", "1:1 mirrored", "2:1 mirrored", "3:1 mirrored")
#: Parts of the training at which histograms of the probabilities are kept.
_HISTOGRAMS_AT = (0.0, 0.05, 0.25, 1.0)


class ClassifyingOptions(BaseModel):
    """What to study. Lists are axes; `settings` are those of an `Experiment` and hold for every training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    populations: tuple[int, ...] = Field((128, 512, 2048), description="networks a generation")
    batches: tuple[int, ...] = Field((16, 64, 256), description="images a network sees a generation")
    rewards: tuple[str, ...] = Field(tuple(REWARDS), description="reward functions")
    transforms: tuple[str, ...] = Field(tuple(TRANSFORMS), description="from rewards to broadcast scalars")
    reward_spread: float = Field(
        0.02,
        gt=0,
        description="standard deviation of a generation's rewards; transforms that keep the rewards' scale learn at the "
        "learning rate times 1/√12 (the deviation of ranks) over this",
    )
    ei: tuple[str, ...] = Field(EI, description="excitatory to inhibitory neurons, and mirrored input")
    seeds: int = Field(3, ge=1, le=1000, description="seeds of every training: 0, 1, …")
    baseline: bool = Field(True, description="train the same networks by backpropagation too (needs torch)")
    settings: dict[str, Any] = Field(default_factory=dict, description="of all trainings, as in a --config file")

    @field_validator("populations", "batches", "rewards", "transforms", "ei", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'128,512' from the command line, a single value, or any sequence."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return [value] if isinstance(value, int) else value

    @field_validator("rewards", "transforms", "ei")
    @classmethod
    def _known(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = {"rewards": tuple(REWARDS), "transforms": tuple(TRANSFORMS), "ei": EI}[info.field_name]
        for name in value:
            if name not in known:
                raise ValueError(unknown_name(info.field_name, name, known))
        return value


#: Of each study, the options that are its axes.
AXES = {
    "samples": ("populations", "batches"),
    "rewards": ("rewards",),
    "transforms": ("transforms", "reward_spread"),
    "ei": ("ei",),
}


def options(name: str, **given: Any) -> ClassifyingOptions:
    """`ClassifyingOptions`; mistakes, and axes of other studies, as `ExperimentError`."""
    for axis in {axis for axes in AXES.values() for axis in axes} - set(AXES[name]):
        if axis in given:
            raise ExperimentError(f"study {name}: {axis} is no axis of it; leave it out (its axes: {', '.join(AXES[name])})")
    return checked_options(ClassifyingOptions, given)


def variants(name: str, o: ClassifyingOptions) -> list[tuple[Row, Row]]:
    """What tells each variant from the others, and the settings that make it."""
    if name == "samples":
        grid = [(population, batch) for population in o.populations for batch in o.batches]
        own = {"data_sampling": "independent"}
        return [({"population": n, "batch": b}, {"population": n, "batch": b, **own}) for n, b in grid]
    if name == "rewards":
        return [({"reward": reward}, {"reward": reward}) for reward in o.rewards]
    if name == "transforms":
        rates = {name: 1 / (math.sqrt(12) * o.reward_spread) if name in SCALED_BY_REWARD else 1.0 for name in TRANSFORMS}
        return [({"transform": name}, {"reward_transform": name, "rate": rates[name]}) for name in o.transforms]
    made: list[tuple[Row, Row]] = []
    for ei in o.ei:
        ratio, _, mirrored = ei.partition(" ")
        made.append(({"ei": ei}, {"layers": {"ei": ratio, "mirror_input": bool(mirrored)}}))
    return made


def cells(name: str, task: str, o: ClassifyingOptions, threads: int | None = None) -> list[Cell]:
    """All cells of the study, seeds innermost; then the references. Raises `ExperimentError` before anything is trained."""
    if not is_own(task) and not isinstance(get_task(task), ClassifyTask):
        raise ExperimentError(f"study {name}: {task} classifies no images; choose a task that does (rsrp-lava tasks)")
    made = []
    for columns, changes in variants(name, o):
        for experiment in _experiments(task, o, changes):
            made.append(Cell({"seed": experiment.seed, **columns}, experiment, values, "classifier"))
    if o.baseline:
        for experiment in _experiments(task, o, {}):
            columns = {"seed": experiment.seed, "rule": "backprop"}
            made.append(Cell(columns, experiment, values, "backprop", functools.partial(_backprop, experiment, threads)))
    return made


def _experiments(task: str, o: ClassifyingOptions, changes: Row) -> list[Experiment]:
    made = []
    for seed in range(o.seeds):
        plain = Experiment(**{**o.settings, "task": task, "seed": seed})
        layers = plain.layers.model_dump() | changes.get("layers", {})
        rate = {"learning_rate": plain.resolved_learning_rate * changes["rate"]} if "rate" in changes else {}
        at = sorted({round(part * plain.generations) for part in _HISTOGRAMS_AT})
        settings = {name: value for name, value in changes.items() if name != "rate"}
        made.append(plain.replace(**{**settings, **rate, "layers": layers, "histograms_at": at}))
    return made


def values(run: Run) -> Row:
    """What a training became: `final_return` is the accuracy on the test images, entropies are in bits a synapse."""
    played = [record for record in run.metrics if "sampled_return" in record]
    last, experiment = run.metrics[-1], run.experiment
    return {
        "learning_rate": experiment.resolved_learning_rate,
        "generations": run.generation,
        "images": experiment.population * experiment.batch * run.generation,
        "final_return": last["evaluation_return"],
        "sampled_return": mean_of(record["sampled_return"] for record in played[-20:]),
        **{f"entropy_{name}": entropy for name, entropy in last["entropy_bits"].items()},
    }


def _backprop(experiment: Experiment, threads: int | None) -> Row:
    from rsrp_lava.baselines.backprop import train_backprop

    result = train_backprop(experiment, threads=threads)
    curve = [[step, accuracy] for step, accuracy in result.accuracies]
    images = experiment.batch * experiment.generations
    return {
        "learning_rate": result.learning_rate,
        "generations": experiment.generations,
        "images": images,
        "final_return": curve[-1][1],
        "curve": json.dumps(curve),
    }
