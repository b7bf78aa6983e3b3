"""What a study of robustness does to a trained network or to its task, and how much of it.

Numbers a synapse: ξ ~ N(0, 1), u ~ U[0, 1), functions of (the run's seed, draw, array) alone: the same for every strength σ.

    perturbation       weights w                                 release probabilities, played as θ = [ρ > ½]
    weight_noise       w + σ mean|w| ξ                           θ flips where u < p,  p = (1 − √(1 − σ²)) / 2
    parameter_noise    w + σ ξ                                   θ = [ρ + σ ξ > ½]
    knock_out          0 (`WeightRule.silent`) where u < σ       0 where u < σ

    input_noise        every observation plus σ times a normal number, in its own unit, anew at every step; of images, all
                       from 0 to 1, every pixel, within these limits
    body.NAME          a constant of the task's body times σ

A flip with probability p makes a weight s = ±1 one of mean √(1 − σ²) s and standard deviation √(4p (1 − p)) = σ = σ |s|. Of
a release, 0 or 1, the standard deviation is σ/2: σ times the mean of releases, ½ when half of them are on. At σ = 1 nothing
is left of what was learned. Weights come back to where their rule keeps them (`WeightRule.restore`). Synapses that do not
learn (a reservoir's) stay as they are. Means over an array are exact sums, rounded once: they have no order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from rsrp_lava.errors import ExperimentError
from rsrp_lava.experiment import Experiment
from rsrp_lava.kernels.exact_math import fill_normal
from rsrp_lava.kernels.random_bits import PERTURBATION, fill_uniform
from rsrp_lava.learners import State, WeightState
from rsrp_lava.network import LayeredNetwork
from rsrp_lava.rules.base import WEIGHTS
from rsrp_lava.runs import Run
from rsrp_lava.tasks import ClassifyTask, EpisodeTask

#: Perturbations by name, with what their strength is, as a picture says it.
PERTURBATIONS = {
    "input_noise": "noise on observations, σ in their units",
    "weight_noise": "noise on weights, σ / their mean size (releases flip)",
    "parameter_noise": "noise on weights or probabilities, σ",
    "knock_out": "part of the synapses knocked out",
    "body": "constant of the body, × its usual value",
}
#: What is done to synapses, and so in several draws.
OF_SYNAPSES = ("weight_noise", "parameter_noise", "knock_out")


def flip_probability(relative_std: float) -> float:
    """p = (1 − √(1 − σ²)) / 2: of a binary weight, so that it varies with σ times its size."""
    return (1.0 - math.sqrt(1.0 - relative_std * relative_std)) / 2.0


def refusal(run: Run, name: str) -> str | None:
    """Why the run cannot be perturbed so; None if it can. `name`: one of PERTURBATIONS, or body.CONSTANT."""
    experiment = run.experiment
    if name == "knock_out":
        network = None if experiment.weight_rule else experiment.build_network()
        signed = isinstance(network, LayeredNetwork) and network.signed
        return "its weights are ±1, and none can be 0" if signed else None
    if name in OF_SYNAPSES:
        return None
    task = experiment.build_task()
    if isinstance(task, ClassifyTask):
        return None if name == "input_noise" else "its task has images, and they have no body"
    if not isinstance(task, EpisodeTask):
        return "its task has no episodes that are compiled"
    if name == "body":
        return None if task.body else "its task has no constants that can be changed"
    try:
        perturbed(run, name, 0.5, 0)
    except ExperimentError as error:
        return str(error)
    return None


def constants_of(run: Run) -> dict[str, str]:
    """Constants of the task's body, each with its usual value."""
    task = run.experiment.build_task()
    return dict(task.body.usual) if isinstance(task, EpisodeTask) and task.body else {}


def undisturbed(experiment: Experiment) -> Experiment:
    """The experiment without noise on observations and with the usual body, whatever it was trained with."""
    if not experiment.environment.disturbed:
        return experiment
    return experiment.replace(environment=experiment.environment.undisturbed().model_dump())


def perturbed(run: Run, name: str, strength: float, draw: int) -> Run:
    """The run, perturbed; it is not changed itself."""
    if name in OF_SYNAPSES:
        return dataclasses.replace(run, state=_perturbed_state(run, name, strength, draw))
    constant = name.partition(".")[2]
    change = {"body": {constant: strength}} if constant else {"observation_noise": strength}
    environment = {**run.experiment.environment.undisturbed().model_dump(), **change}
    return dataclasses.replace(run, experiment=run.experiment.replace(environment=environment))


def _perturbed_state(run: Run, name: str, strength: float, draw: int) -> State | WeightState:
    """What was learned, with perturbed synapses."""
    seed = run.experiment.seed
    if isinstance(run.state, WeightState):
        memory = {array: values.copy() for array, values in run.state.memory.items()}
        rule = run.experiment.build_weight_rule()
        for index, array in enumerate(sorted(key for key in memory if key.startswith(WEIGHTS))):
            numbers = _Numbers(seed, draw, index, memory[array].shape)
            memory[array] = _perturbed_weights(name, memory[array], strength, numbers, rule.silent)
        rule.restore(memory)
        return dataclasses.replace(run.state, memory=memory)
    plastic = {projection.name for projection in run.experiment.build_network().projections if projection.plastic}
    probabilities = dict(run.state.probabilities)
    for index, (projection, rho) in enumerate(probabilities.items()):
        if projection in plastic:
            numbers = _Numbers(seed, draw, index, rho.shape)
            probabilities[projection] = _RELEASES[name](rho, strength, numbers).astype(np.float32)
    return dataclasses.replace(run.state, probabilities=probabilities)


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """A random number for every synapse of an array."""

    seed: int
    draw: int
    index: int  #: of the array
    shape: tuple[int, ...]

    def uniform(self) -> np.ndarray:
        """In [0, 1), float64."""
        numbers = np.empty(math.prod(self.shape))
        fill_uniform(self.seed, self.draw, self.index, PERTURBATION, numbers)
        return numbers.reshape(self.shape)

    def normal(self) -> np.ndarray:
        """Standard normal, float64."""
        numbers = np.empty(math.prod(self.shape))
        fill_normal(self.seed, self.draw, self.index, PERTURBATION, 0, numbers)
        return numbers.reshape(self.shape)


def _mean_size(weights: np.ndarray) -> float:
    return math.fsum(np.abs(weights).ravel().tolist()) / max(1, weights.size)


def _perturbed_weights(name: str, w: np.ndarray, strength: float, numbers: _Numbers, silent: float) -> np.ndarray:
    """Of the same type; `silent`: the weight of a synapse that transmits nothing."""
    if name == "knock_out":
        changed = np.where(numbers.uniform() < strength, silent, w)
    else:
        changed = w + strength * (_mean_size(w) if name == "weight_noise" else 1.0) * numbers.normal()
    return changed.astype(w.dtype)


_RELEASES: dict[str, Callable[[np.ndarray, float, _Numbers], np.ndarray]] = {
    "weight_noise": lambda rho, strength, numbers: (rho > 0.5) ^ (numbers.uniform() < flip_probability(strength)),
    "parameter_noise": lambda rho, strength, numbers: rho.astype(np.float64) + strength * numbers.normal() > 0.5,
    "knock_out": lambda rho, strength, numbers: (rho > 0.5) & (numbers.uniform() >= strength),
}
