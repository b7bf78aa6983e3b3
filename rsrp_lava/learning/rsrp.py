"""RSRP: reward-optimized stochastic release plasticity (Sun et al. 2025 §2.3; Wang et al. 2023, "Evolving Connectivity")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rsrp_lava.kernels.credit import BLOCK_WORDS, sum_credit, sum_stored_credit
from rsrp_lava.kernels.random_bits import RELEASE
from rsrp_lava.kernels.release import thresholds
from rsrp_lava.learning.optimizers import OPTIMIZERS, Optimizer, OptimizerState
from rsrp_lava.learning.storage import FLOAT32, Storage
from rsrp_lava.learning.transforms import Broadcast

#: Calls work(first, last) for ranges that cover 0 … n − 1, possibly on several threads: (work, n, piece).
MapRanges = Callable[[Callable[[int, int], None], int, int], None]


def in_one_piece(work: Callable[[int, int], None], n: int, piece: int) -> None:
    """`MapRanges` of one call."""
    work(0, n)


def release_credit(
    rows: np.ndarray, source: Any, broadcast: Broadcast, p_bits: int, key: tuple[int, int, int], map_ranges: MapRanges
) -> np.ndarray:
    """Credit of every synapse of a projection, from releases drawn again: Σ_i units_i (θ_i − p), θ_i ~ Bernoulli(p).

    Parameters
    ----------
    rows : float32, shape (rows, columns)   release probabilities; p is their value in the comparator's p_bits
    source : what the samples drew from: bit planes, or another generator (kernels/generators.py)
    broadcast : units of the N samples
    key : (seed, generation, index of the projection)

    Returns
    -------
    float64, shape (rows, columns): exact as long as the integers are below 2^53, then rounded once
    """
    words = rows.shape[0] * -(-rows.shape[1] // 64)
    credit = np.empty(64 * words, np.int64)
    seed, generation, projection = key

    def work(first: int, last: int) -> None:
        sum_credit(source, broadcast.units, seed, generation, RELEASE + projection, first, last, credit)

    map_ranges(work, words, 2 * BLOCK_WORDS)
    return _centred(credit, rows, broadcast, p_bits)


def stored_credit(
    rows: np.ndarray, broadcast: Broadcast, p_bits: int, released: np.ndarray, map_ranges: MapRanges = in_one_piece
) -> np.ndarray:
    """`release_credit` where the releases were kept: released (uint64, shape (samples, words)). The same bits."""
    words = released.shape[1]
    credit = np.empty(64 * words, np.int64)

    def work(first: int, last: int) -> None:
        sum_stored_credit(released, broadcast.units, first, last, credit)

    map_ranges(work, words, BLOCK_WORDS)
    return _centred(credit, rows, broadcast, p_bits)


def _centred(credit: np.ndarray, rows: np.ndarray, broadcast: Broadcast, p_bits: int) -> np.ndarray:
    """Σ u (θ − p) from Σ u θ, without the padding."""
    released = credit.reshape(rows.shape[0], -1)[:, : rows.shape[1]]
    total = int(broadcast.units.sum(dtype=np.int64))
    if total == 0:
        return released.astype(np.float64)
    return released - total * (thresholds(rows, p_bits) / 2.0**p_bits)


class Update(NamedTuple):
    """What one projection becomes."""

    probability: np.ndarray  #: float32, shape (n_pre, n_post)
    optimizer: OptimizerState
    asked: int  #: synapses whose probability was to change (0 where storage is float32: nothing is lost)
    lost: int  #: … and did not, because the change was rounded away


@dataclass(frozen=True)
class Rsrp:
    """The rule. For a synapse with release probability ρ, sampled releases θ_i and broadcast scalars u_i (i = 1 … N):

        ∇J = E[u (θ − ρ)] / (ρ (1 − ρ)),   Fisher information F = 1 / (ρ (1 − ρ))
        natural gradient g = F⁻¹ ∇J = E[u (θ − ρ)] ≈ 1/N Σ_i u_i (θ_i − ρ)                       (eq. 2)
        ρ ← ρ + η · step(g) + λ (½ − ρ),   clipped to [ε, 1 − ε], then stored (storage.py)

    F⁻¹ cancels the score's 1/(ρ (1 − ρ)): the update needs what a synapse has locally (ρ, θ) and one scalar per sample.

    At the ends the clip turns noise into drift: of a synapse at ρ = ε that no reward depends on, releases are rare, those
    in samples below the mean cannot lower ρ, and the others raise it, per generation by

        E[ρ' − ε] ≈ ε η · 1/N Σ_i max(u_i, 0)          (about ε η / 8 with ranks)

    so neutral synapses do not stay at the ends. It is what keeps a network that has become sure trying other synapses.
    """

    #: The automatic learning rate is the optimizer's times this.
    automatic_factor: ClassVar[float] = 1.0
    #: Optimizers it goes with.
    optimizers: ClassVar[tuple[str, ...]] = tuple(OPTIMIZERS)

    optimizer: Optimizer
    learning_rate: float
    epsilon: float
    decay: float
    storage: Storage = FLOAT32

    def start(self, shape: tuple[int, ...]) -> OptimizerState:
        """What `step` remembers of one projection of this shape (n_pre, n_post), before the first generation."""
        return self.optimizer.start(shape)

    def step(
        self, rho: np.ndarray, gradient: np.ndarray, broadcast: Broadcast, state: OptimizerState
    ) -> tuple[np.ndarray, OptimizerState]:
        """step(g), to be multiplied by η, and the next state; ρ and g are float64, of the projection's shape."""
        return self.optimizer.step(gradient, state)

    def moved(self, rho: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Where the step leads from ρ, before clipping and storing; all float64, of one shape."""
        return rho + self.learning_rate * direction + self.decay * (0.5 - rho)

    def update(
        self,
        probability: np.ndarray,
        credit: np.ndarray,
        broadcast: Broadcast,
        state: OptimizerState,
        key: tuple[int, int, int] = (0, 0, 0),
    ) -> Update:
        """New release probabilities of one projection and the optimizer's new state.

        Parameters
        ----------
        probability : float32, shape (n_pre, n_post)
        credit : float64, same shape, in the broadcast's integer units (`release_credit`)
        key : (seed, generation, index of the projection), for stochastic rounding

        Equal rewards under `centered_rank` leave `probability` unchanged, bit for bit (plain gradient, no decay).
        """
        gradient = credit * (broadcast.scale / len(broadcast.units))
        rho = probability.astype(np.float64)
        direction, state = self.step(rho, gradient, broadcast, state)
        rho = self.moved(rho, direction)
        epsilon = np.float32(self.epsilon)
        if self.storage.p_bits is None:
            new = np.clip(rho.astype(np.float32), epsilon, np.float32(1) - epsilon)
            return Update(new, state, 0, 0)
        # A code may be nearer to 0 or 1 than ε: it is not drawn back, or rounding would move what no reward asked to move.
        rho = np.clip(rho, np.minimum(self.epsilon, probability), np.maximum(1 - self.epsilon, probability))
        new = self.storage.store(rho, key)
        asked = rho != probability
        return Update(new, state, int(asked.sum()), int((asked & (new == probability)).sum()))


#: Bins of a histogram of ρ: their centres are k / 32, so that codes of up to 5 bits fall on centres.
HISTOGRAM_BINS = 33


def histogram(probability: np.ndarray) -> np.ndarray:
    """How many synapses of a projection have a release probability nearest to k / 32, k = 0 … 32; int64, shape (33,)."""
    return np.bincount(np.rint(probability.ravel() * (HISTOGRAM_BINS - 1)).astype(np.int64), minlength=HISTOGRAM_BINS)


def entropy_bits(probability: np.ndarray) -> float:
    """Mean entropy of the releases of a projection, −ρ log₂ ρ − (1 − ρ) log₂(1 − ρ), in bits a synapse; 0 at ρ = 0 or 1."""
    p = probability.astype(np.float64)
    inside = p[(p > 0) & (p < 1)]
    bits = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    return float(bits.sum() / max(p.size, 1))
