"""What the Lava engine and its graphs say to each other. Imports no Lava: the engine reads it on every Python."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsrp_lava.experiment import Experiment
from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Rsrp, Update
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.rules.base import Memory
from rsrp_lava.rules.episodes import EpisodeRule


@dataclass(frozen=True)
class GraphStart:
    """What the graph starts from."""

    experiment: Experiment
    generation: int
    probabilities: dict[str, np.ndarray]
    optimizer: dict[str, OptimizerState]
    normaliser: Normaliser
    previous_mean: float | None
    playing: bool  #: do training samples play, or only the evaluation?


@dataclass(frozen=True)
class Order:
    """Answer to an episode's returns: learn, and play this generation next. Without one the graph waits."""

    generation: int
    playing: bool
    previous_mean: float
    mean: np.ndarray  #: float64, of the observations
    inverse_std: np.ndarray  #: float64


@dataclass(frozen=True)
class RuleStart:
    """What the graph of a rule that keeps weights starts from; it then waits for the first `RuleOrder`."""

    experiment: Experiment
    seed: int
    memory: Memory

    def rule(self) -> EpisodeRule:
        """The rule."""
        rule = self.experiment.build_weight_rule(self.seed)
        assert isinstance(rule, EpisodeRule)
        return rule


@dataclass(frozen=True)
class RuleOrder:
    """Play the training episodes of this generation."""

    generation: int
    episodes: int


def pack_update(update: Update) -> np.ndarray:
    """What a projection becomes as one float64 vector (exact): ρ, the optimizer's state, the numbers beside them."""
    slots = (slot.ravel() for slot in update.optimizer.values())
    return np.concatenate([update.probability.ravel().astype(np.float64), *slots, update[2:]])


def unpack_update(vector: np.ndarray, shape: tuple[int, int], rule: Rsrp) -> Update:
    """Inverse of `pack_update`."""
    size = shape[0] * shape[1]
    slots, first = {}, size
    for name, slot in rule.start(shape).items():
        slots[name] = vector[first : first + slot.size].reshape(slot.shape)
        first += slot.size
    asked, lost, *measured = vector[first:].tolist()
    return Update(vector[:size].reshape(shape).astype(np.float32), slots, int(asked), int(lost), *measured)
