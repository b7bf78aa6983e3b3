"""What every engine does, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Update
from rsrp_lava.network import LayeredNetwork, Network, ReleaseProbabilities


@dataclass(frozen=True)
class Normaliser:
    """Running mean and standard deviation of the observations, shared by all samples (float64, shape (n_inputs,))."""

    count: float
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def start(cls, n_inputs: int) -> Normaliser:
        """Mean 0 and standard deviation 1, until the first generation has been seen."""
        return cls(0.0, np.zeros(n_inputs), np.ones(n_inputs))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation, kept within [1e-6, 1e6]."""
        return np.clip(np.sqrt(self.variance), 1e-6, 1e6)

    def update(self, seen: Observations) -> Normaliser:
        """Mean and variance of all observations so far (Chan, Golub, LeVeque 1983, eq. 2.1)."""
        if seen.count == 0:
            return self
        mean = self.mean + self.std * seen.mean
        variance = self.variance_of(seen)
        if self.count == 0:
            return Normaliser(seen.count, mean, variance)
        total = self.count + seen.count
        shift = mean - self.mean
        merged = self.variance * self.count + variance * seen.count + shift * shift * (self.count * seen.count / total)
        return Normaliser(total, self.mean + shift * (seen.count / total), merged / total)

    def variance_of(self, seen: Observations) -> np.ndarray:
        """Variance of standardised observations, in the units of the observations."""
        return self.std * self.std * np.maximum(seen.mean_square - seen.mean * seen.mean, 0.0)


@dataclass(frozen=True)
class Observations:
    """Moments of the observations of one generation, in standard deviations of the normaliser they were scaled with."""

    count: float
    mean: np.ndarray
    mean_square: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What a population of samples earned."""

    returns: np.ndarray  #: float64, shape (samples,)
    steps: np.ndarray  #: int64, shape (samples,): environment steps played
    observations: Observations
    events: np.ndarray  #: int64, shape (3,): what integer arithmetic lost (kernels/arithmetic.EVENTS)
    #: Releases of each projection, uint64, shape (samples, words), until the next `play`; None: they are drawn again.
    released: Sequence[np.ndarray] | None = None


#: Next generation, its normaliser, mean reward of this one → what every plastic projection has become.
Learn = Callable[[int, Normaliser, float], dict[str, Update]]


class StartingState(Protocol):
    """The part of `training.State` that an engine which learns starts from."""

    generation: int
    probabilities: ReleaseProbabilities
    optimizer: dict[str, OptimizerState]
    normaliser: Normaliser
    previous_mean: float | None


class Engine(Protocol):
    """Evaluates samples of a network. `play` has no side effects: the same arguments give the same bits."""

    name: str
    #: Holds the signal's number once someone asked to stop; an engine may then give up a `play` with `Interrupted`.
    stop: Sequence[int]
    stopping: str  #: what to tell the user who asked to stop

    @property
    def network(self) -> Network | LayeredNetwork:
        """What it evaluates."""
        ...

    def prepare(self, state: StartingState | None) -> None:
        """Compile kernels (or load them from the cache), so that `play` is timed without it. Call before `play`.

        An engine that learns starts from `state`.
        """
        ...

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Normaliser,
        generation: int,
        samples: int,
        deterministic: bool = False,
    ) -> Outcome:
        """Play one episode with each of `samples` networks drawn from `probabilities`.

        `deterministic`: θ = [ρ > ½] in every sample, which then differ in their start only (evaluation).
        """
        ...

    @property
    def learn(self) -> Learn | None:
        """None, or how the engine learns by itself after `play` of the samples (`engines.lava.LavaEngine.learn`)."""
        ...

    def close(self) -> None:
        """Release threads, processes and shared memory."""
        ...
