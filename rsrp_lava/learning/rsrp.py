"""RSRP: reward-optimized stochastic release plasticity (Sun et al. 2025 §2.3; Wang et al. 2023, "Evolving Connectivity")."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rsrp_lava.kernels.credit import BLOCK_WORDS, squared_lengths, sum_credit, sum_stored_credit
from rsrp_lava.kernels.plasticity import clip, move
from rsrp_lava.kernels.random_bits import RELEASE
from rsrp_lava.kernels.ranges import SYNAPSES_PER_PIECE, MapRanges, in_turn, rows_per_piece
from rsrp_lava.kernels.release import thresholds
from rsrp_lava.learning.optimizers import OPTIMIZERS, Optimizer, OptimizerState
from rsrp_lava.learning.storage import FLOAT32, Storage
from rsrp_lava.learning.transforms import Broadcast


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
    seed, generation, projection = key

    def sum_words(first: int, last: int, credit: np.ndarray) -> None:
        sum_credit(source, broadcast.units, seed, generation, RELEASE + projection, first, last, credit)

    return _centred(sum_words, words, rows, broadcast, p_bits, map_ranges)


def stored_credit(
    rows: np.ndarray, broadcast: Broadcast, p_bits: int, released: np.ndarray, map_ranges: MapRanges = in_turn
) -> np.ndarray:
    """`release_credit` where the releases were kept: released (uint64, shape (samples, words)). The same bits."""

    def sum_words(first: int, last: int, credit: np.ndarray) -> None:
        sum_stored_credit(released, broadcast.units, first, last, credit)

    return _centred(sum_words, released.shape[1], rows, broadcast, p_bits, map_ranges)


def _centred(
    sum_words: Callable[[int, int, np.ndarray], None],
    words: int,
    rows: np.ndarray,
    broadcast: Broadcast,
    p_bits: int,
    map_ranges: MapRanges,
) -> np.ndarray:
    """Σ u (θ − p), without the padding; sum_words(first, last, credit) writes the integers Σ u θ of a range of words."""
    whole = np.empty(64 * words)

    def add_up(first: int, last: int) -> None:
        sum_words(first, last, whole.view(np.int64))
        here = slice(64 * first, 64 * last)
        whole[here] = whole.view(np.int64)[here].copy()  # in place: no second array of 8 bytes per synapse

    map_ranges(add_up, words, 2 * BLOCK_WORDS)
    credit = whole.reshape(rows.shape[0], -1)[:, : rows.shape[1]]
    total = int(broadcast.units.sum(dtype=np.int64))

    def centre(first: int, last: int) -> None:
        credit[first:last] -= total * (thresholds(rows[first:last], p_bits) / 2.0**p_bits)

    if total != 0:
        map_ranges(centre, rows.shape[0], rows_per_piece(rows.shape[1]))
    return credit


class Update(NamedTuple):
    """What one projection becomes."""

    probability: np.ndarray  #: float32, shape (n_pre, n_post)
    optimizer: OptimizerState
    asked: int  #: synapses whose probability was to change (0 where storage is float32: nothing is lost)
    lost: int  #: … and did not, because the change was rounded away
    #: Squared length of the credit, and what it is on average if no reward depends on a release (`update_ratio`).
    squared: float = 0.0
    noise_squared: float = 0.0


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

    def measure(self, probability: np.ndarray, credit: np.ndarray, broadcast: Broadcast, state: OptimizerState) -> Any:
        """What `step` needs to know of the projection as a whole: here nothing."""
        return None

    def step(self, gradient: np.ndarray, state: OptimizerState, measured: Any) -> tuple[np.ndarray, OptimizerState]:
        """step(g), to be multiplied by η, and the next state, for some synapses of the projection.

        Parameters
        ----------
        gradient : float64, of these synapses
        state : arrays of the projection's shape, their part that belongs to these synapses; others, whole
        measured : what `measure` found
        """
        return self.optimizer.step(gradient, state)

    def moved(self, rho: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Where the step leads from ρ, before clipping and storing; all float64, of one shape."""
        moved = np.empty_like(rho)
        move(rho.ravel(), direction.ravel(), float(self.learning_rate), float(self.decay), moved.reshape(-1))
        return moved

    def update(
        self,
        probability: np.ndarray,
        credit: np.ndarray,
        broadcast: Broadcast,
        state: OptimizerState,
        key: tuple[int, int, int] = (0, 0, 0),
        map_ranges: MapRanges = in_turn,
    ) -> Update:
        """New release probabilities of one projection and the optimizer's new state.

        Parameters
        ----------
        probability : float32, shape (n_pre, n_post)
        credit : float64, same shape, in the broadcast's integer units (`release_credit`)
        key : (seed, generation, index of the projection), for stochastic rounding

        Equal rewards under `centered_rank` leave `probability` unchanged, bit for bit (plain gradient, no decay).

        Every synapse is computed by itself, a piece of them at a time, so that what is in between stays in the cache.
        """
        shape, factor = probability.shape, gradient_scale(broadcast)
        measured = self.measure(probability, credit, broadcast, state)
        old, credits = probability.ravel(), credit.ravel()
        own = {name: array.ravel() for name, array in state.items() if array.shape == shape}
        new, next_state = np.empty_like(old), {name: np.empty_like(array) for name, array in state.items()}
        counted: list[tuple[int, int]] = []

        def work(first: int, last: int) -> None:
            here = slice(first, last)
            part = {**state, **{name: array[here] for name, array in own.items()}}
            direction, part = self.step(credits[here] * factor, part, measured)
            for name, array in part.items():
                into = next_state[name].reshape(-1)[here] if name in own else next_state[name]
                into[:] = array
            new[here], asked, lost = self._stored(self.moved(old[here].astype(np.float64), direction), old[here], key, first)
            counted.append((asked, lost))

        map_ranges(work, old.size, SYNAPSES_PER_PIECE)
        asked, lost = (sum(column) for column in zip(*counted, strict=True))
        return Update(new.reshape(shape), next_state, asked, lost, *_lengths(credits, old, broadcast))

    def _stored(
        self, rho: np.ndarray, before: np.ndarray, key: tuple[int, int, int], first: int
    ) -> tuple[np.ndarray, int, int]:
        """ρ (float64, of the synapses `first` …) clipped and as it is kept; changes asked for, and lost (`Update`)."""
        epsilon = np.float32(self.epsilon)
        if self.storage.p_bits is None:
            new = np.empty_like(before)
            clip(rho, epsilon, np.float32(1) - epsilon, new)
            return new, 0, 0
        # A code may be nearer to 0 or 1 than ε: it is not drawn back, or rounding would move what no reward asked to move.
        rho = np.clip(rho, np.minimum(self.epsilon, before), np.maximum(1 - self.epsilon, before))
        new = self.storage.store(rho, key, first)
        asked = rho != before
        return new, int(asked.sum()), int((asked & (new == before)).sum())


def gradient_scale(broadcast: Broadcast) -> float:
    """What credit is multiplied by to be the natural gradient: the broadcast's scale over N."""
    return broadcast.scale / len(broadcast.units)


def _lengths(credit: np.ndarray, rho: np.ndarray, broadcast: Broadcast) -> tuple[float, float]:
    """Squared length of the credits c_j = Σ_i u_i (θ_ij − ρ_j), and what it is on average if no reward depends on a release.

    Releases are then independent of the u_i and of each other, with means ρ_j:   E Σ_j c_j² = Σ_i u_i² Σ_j ρ_j (1 − ρ_j)
    """
    units = broadcast.units.astype(np.int64)
    squared, variance = squared_lengths(credit, rho)
    return squared, float((units * units).sum()) * variance


def update_ratio(updates: Iterable[Update]) -> float | None:
    """Squared length of the credit against what noise alone gives: 1 on average without a signal, 1 + f N / K with one that
    explains f of the variance of the broadcast scalars by K synapses. None: no reward differed."""
    squared, noise = (math.fsum(values) for values in zip(*(update[-2:] for update in updates), strict=True))
    return squared / noise if noise else None


#: Bins of a histogram of ρ: their centres are k / 32, so that codes of up to 5 bits fall on centres.
HISTOGRAM_BINS = 33


def histogram(probability: np.ndarray) -> np.ndarray:
    """How many synapses of a projection have a release probability nearest to k / 32, k = 0 … 32; int64, shape (33,)."""
    counts, p = np.zeros(HISTOGRAM_BINS, np.int64), probability.ravel()

    def count(first: int, last: int) -> None:
        bins = np.rint(p[first:last] * (HISTOGRAM_BINS - 1)).astype(np.int64)
        counts[:] += np.bincount(bins, minlength=HISTOGRAM_BINS)

    in_turn(count, p.size, SYNAPSES_PER_PIECE)
    return counts


def entropy_bits(probability: np.ndarray, map_ranges: MapRanges = in_turn) -> float:
    """Mean entropy of the releases of a projection, −ρ log₂ ρ − (1 − ρ) log₂(1 − ρ), in bits per synapse; 0 at ρ = 0 or 1.

    Sums of pieces, added up exactly: the same whatever thread had which piece.
    """
    p, sums = probability.ravel(), list[float]()

    def add_up(first: int, last: int) -> None:
        part = p[first:last].astype(np.float64)
        inside = part[(part > 0) & (part < 1)]
        sums.append(float(-(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside)).sum()))

    map_ranges(add_up, p.size, SYNAPSES_PER_PIECE)
    return math.fsum(sums) / max(p.size, 1)
