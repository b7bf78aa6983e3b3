"""Running mean and standard deviation of observations, by which they are scaled, and the sums it learns them from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsrp_lava.kernels.rollout import STATISTIC_UNIT


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
    """Sums over observations z, in standard deviations of the normaliser they were scaled with.

    Integers, so that parts of a population add up to the same whole in any order.
    """

    count: int
    sums: np.ndarray  #: int64, shape (2, n_inputs): Σ z and Σ z² in kernels/rollout.STATISTIC_UNIT

    @classmethod
    def none(cls, n_inputs: int) -> Observations:
        """Nothing was seen."""
        return cls(0, np.zeros((2, n_inputs), np.int64))

    @property
    def mean(self) -> np.ndarray:
        """Of z, float64."""
        return self.sums[0] * STATISTIC_UNIT / self.count

    @property
    def mean_square(self) -> np.ndarray:
        """Of z, float64."""
        return self.sums[1] * STATISTIC_UNIT / self.count
