"""Reward transforms: from the rewards of a population to one broadcast scalar a sample.

The scalars are integers times a common scale, so that the credit Σ_i u_i θ_i of every synapse is an integer sum: exact, in
any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Resolution of transforms that are not ranks: units of the largest scalar's power of two times 2^-20.
_RESOLUTION_BITS = 20

#: Rewards beyond this are cut to it, and smaller than its inverse count as zero, so that scales stay finite.
_LARGEST = 1e100


@dataclass(frozen=True)
class Broadcast:
    """What the population is told: u_i = units[i] · scale."""

    units: np.ndarray  #: int32, shape (samples,)
    scale: float


def centered_rank(rewards: np.ndarray, previous_mean: float | None = None) -> Broadcast:
    """Centred rank transform: ranks scaled to [−½, ½], with average ranks for ties.

        u_i = rank_i / (N − 1) − ½,   rank_i = #{j : R_j < R_i} + ½ #{j ≠ i : R_j = R_i}

    so Σ u_i = 0 exactly, and equal rewards give exactly zero (Sun et al. 2025 §2.4, whose formula is not centred when
    rewards are equal; ordinal ranks, as in the released code, would inject noise). A NaN ranks worst.

    Parameters
    ----------
    rewards : float64, shape (N,)
    previous_mean : not used

    Returns
    -------
    Broadcast with units 2 · rank − (N − 1) and scale 1 / (2 (N − 1))
    """
    n = len(rewards)
    if n < 2:
        return Broadcast(np.zeros(n, np.int32), 1.0)
    _, position, ties = np.unique(_nan_worst(rewards), return_inverse=True, return_counts=True)
    below = np.cumsum(ties) - ties
    doubled_rank = 2 * below + ties - 1
    units = doubled_rank[position.reshape(n)] - (n - 1)
    return Broadcast(units.astype(np.int32), 1.0 / (2 * (n - 1)))


def normalized_rank(rewards: np.ndarray, previous_mean: float | None = None) -> Broadcast:
    """Centred ranks, scaled so that ties do not shorten the step: Σ u_i² is what it is without ties.

        u_i = c · centered_rank_i,   c = √(N (N² − 1) / 3 / Σ_i units_i²),   0 where all rewards are equal

    units are the integers of `centered_rank`; N (N² − 1) / 3 is the sum of their squares without ties (Kendall's correction
    for ties, the other way round). Few distinct rewards — most often 0, sometimes 1 — would otherwise move probabilities
    the less, the rarer the reward is: of one success among N the step is √(N / 3) times as long as with `centered_rank`.

    Parameters and result as of `centered_rank`; the units are the same, c is in the scale, one float64 of the host.
    """
    ranked = centered_rank(rewards)
    n, squares = len(rewards), int((ranked.units.astype(np.int64) ** 2).sum())
    if squares == 0:
        return ranked
    return Broadcast(ranked.units, ranked.scale * math.sqrt(n * (n * n - 1) // 3 / squares))


def zero_mean(rewards: np.ndarray, previous_mean: float | None = None) -> Broadcast:
    """Reward relative to history: u_i = R_i − (mean reward of the previous generation); in the first, of all others.

    ("zero-mean" in Sun et al. 2025 Fig. 9, "history" in the released code.) In the first generation the mean is that of
    the other N − 1 samples: with its own reward in the mean a sample would be compared with itself, and the expected step
    1 − 1/N of what it is later. A NaN counts as the worst finite reward; where there is none, nothing is learned.
    """
    values = _worst_for_nan(rewards)
    if not np.isfinite(rewards).any():
        return _in_units(np.zeros(len(rewards)))
    if previous_mean is not None:
        return _in_units(values - previous_mean)
    n = len(values)
    return _in_units((values - values.mean()) * (n / (n - 1)) if n > 1 else np.zeros(n))


def none(rewards: np.ndarray, previous_mean: float | None = None) -> Broadcast:
    """The reward itself, u_i = R_i. A NaN counts as the worst finite reward."""
    return _in_units(_worst_for_nan(rewards))


def mean_reward(rewards: np.ndarray) -> float | None:
    """Mean reward of a generation, the history `zero_mean` compares with; NaN counts as the worst finite reward.

    None where no reward is finite: nothing was measured.
    """
    return float(_worst_for_nan(rewards).mean()) if np.isfinite(rewards).any() else None


def _nan_worst(rewards: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(rewards), -np.inf, rewards)


def _worst_for_nan(rewards: np.ndarray) -> np.ndarray:
    finite = rewards[np.isfinite(rewards)]
    if len(finite) == 0:
        return np.zeros(len(rewards))
    low, high = np.clip((finite.min(), finite.max()), -_LARGEST, _LARGEST)
    return np.clip(np.where(np.isnan(rewards), low, rewards), low, high)


def _in_units(values: np.ndarray) -> Broadcast:
    largest = float(np.abs(values).max(initial=0.0))
    if largest < 1 / _LARGEST:
        return Broadcast(np.zeros(len(values), np.int32), 1.0)
    scale = math.ldexp(1.0, math.frexp(largest)[1] - _RESOLUTION_BITS)
    return Broadcast(np.rint(values / scale).astype(np.int32), scale)


Transform = Callable[[np.ndarray, "float | None"], Broadcast]

TRANSFORMS: dict[str, Transform] = {
    "normalized_rank": normalized_rank,
    "centered_rank": centered_rank,
    "zero_mean": zero_mean,
    "none": none,
}

#: Transforms whose scalars have the scale of the reward; their automatic learning rate is divided by it.
SCALED_BY_REWARD = ("zero_mean", "none")
