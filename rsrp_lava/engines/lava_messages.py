"""What the Lava engine and its graph say to each other. Imports no Lava: the engine reads it on every Python."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsrp_lava.engines.protocol import Normaliser
from rsrp_lava.experiment import Experiment
from rsrp_lava.learning.optimizers import OptimizerState


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
    mean: np.ndarray  #: float32, of the observations
    inverse_std: np.ndarray  #: float32
