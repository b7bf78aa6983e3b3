"""SATR: a signal-adaptive trust region for RSRP (idea: Li et al. 2026, arXiv 2601.21572, of which we know the abstract only:
the KL divergence of a step is bounded relative to the estimated energy of the signal, so that small populations stay stable.
The estimate and the constants are ours).

Energies are squared lengths in the Fisher metric of a projection with K synapses, ⟨a, b⟩ = Σ_k a_k b_k / (ρ_k (1 − ρ_k)).

- Divergence of a step Δ: KL ≈ ½ ⟨Δ, Δ⟩ (the quadratic form that the Fisher information is).
- Noise: with ranks u that do not depend on θ_k, Var g_k = ρ_k (1 − ρ_k) s² / N, s² = 1/N Σ u_i². So noise alone has the
  energy ⟨g, g⟩ = K s² / N, whatever ρ is.
- Signal: (θ_k − ρ_k) / √(ρ_k (1 − ρ_k)) are orthonormal, so the energy S of the expected g is at most s² (Bessel's
  inequality), all projections together. The signal fraction f = S / s² is between 0 and 1.

⟨g, g⟩ − K s² / N estimates S without bias, but its standard deviation is about √(2 K) s² / N: with K = 65,536 and N = 16,
over twenty times what S can be at most. Instead this generation's g / s is compared with the running mean m of earlier ones,
whose noise is independent:

    z = ⟨g / s, m⟩,   whose noise has the variance r = ⟨m, m⟩ / N     (known, as m is)

and f follows the z by a Kalman filter in one dimension, with q the variance by which f may drift in a generation:

    P ← P + q,   k = P / (P + r),   f ← clip(f + k (z − f), 0, 1),   P ← (1 − k) P

What cannot be measured changes f little: of large projections and small populations f stays near where it started. Where the
signal turns faster than m forgets, z is too small, and so are the steps: the error is on the safe side.

The step η' g of a projection is the one that gains most at a price of 1 / (γ K) for a unit of divergence, but not above η g:

    η' = arg max η' S − ½ η'² ⟨g, g⟩ / (γ K) = γ K Ŝ / ⟨g, g⟩,   η' ≤ η,   Ŝ = max(f, floor) s²,   γ = η / (2 √N)

so that its divergence is bounded by the signal's energy, and the more the smaller a part of what was measured is signal:

    ½ η'² ⟨g, g⟩ ≤ κ Ŝ,   κ = ½ (γ K)² Ŝ / ⟨g, g⟩

With the automatic η = 2 √N, γ is 1. As ⟨g, g⟩ is nearly K s² / N, η' is then nearly N f: it grows with the population, where
the bound is one, and with its square root from there on. Bound and estimate are a projection's own; they need sums over its
synapses, which are not local.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rsrp_lava.kernels.ranges import SYNAPSES_PER_PIECE, in_turn
from rsrp_lava.kernels.sums import add_in_order
from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Rsrp, gradient_scale
from rsrp_lava.learning.transforms import Broadcast


class SatrOptions(BaseModel):
    """Constants of the rule."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    first_signal: float = Field(0.25, ge=0, le=1, description="f before anything is measured: part of s² that is signal")
    first_variance: float = Field(0.01, ge=0, le=1, description="P before anything is measured: how far off f may be²")
    drift: float = Field(0.0005, gt=0, le=1, description="q: variance by which f may change in a generation")
    floor: float = Field(0.02, gt=0, le=1, description="f counts as at least this, so that learning never ends")
    memory: float = Field(10.0, ge=1, description="generations over which gradients are averaged")


class _Measured(NamedTuple):
    shortened: float  #: η' / η
    root: float  #: s
    signal: np.ndarray  #: the state's, after this generation


@dataclass(frozen=True)
class Satr(Rsrp):
    """The natural-gradient step of `Rsrp`, made shorter where the signal is small beside the noise.

    Its optimizer state, float64: `earlier` (shape of the projection), Σ of earlier g / s with weights that fall by
    1 − 1/memory; `signal`, shape (3,): sum of those weights, f, P.
    """

    #: Of a population of 16 the first step is then twice RSRP's.
    automatic_factor: ClassVar[float] = 4.0
    #: The bound is one on the natural gradient itself.
    optimizers: ClassVar[tuple[str, ...]] = ("sgd",)

    options: SatrOptions = field(default_factory=SatrOptions)

    def start(self, shape: tuple[int, ...]) -> OptimizerState:
        """See `Rsrp.start`."""
        return {
            "earlier": np.zeros(shape),
            "signal": np.array([0.0, self.options.first_signal, self.options.first_variance]),
        }

    def measure(
        self, probability: np.ndarray, credit: np.ndarray, broadcast: Broadcast, state: OptimizerState
    ) -> _Measured | None:
        """See `Rsrp.measure`. None without any differences in reward: nothing is learned, also about the signal."""
        energy = mean_square(broadcast)
        if energy == 0:
            return None
        scale, root, n = gradient_scale(broadcast), math.sqrt(energy), len(broadcast.units)
        weight, signal, variance = state["signal"].tolist()
        noise = projected = length = 0.0
        plastic, p, credits, sums = 0, probability.ravel(), credit.ravel(), state["earlier"].ravel()

        def add(first: int, last: int) -> None:
            nonlocal noise, projected, length, plastic
            here = slice(first, last)
            inverse = inverse_variance(p[here].astype(np.float64))
            relative, earlier = credits[here] * scale / root, sums[here] / max(weight, 1.0)
            noise = inner(earlier, earlier, inverse, noise)
            projected = inner(relative, earlier, inverse, projected)
            length = inner(relative, relative, inverse, length)
            plastic += int(np.count_nonzero(inverse))

        in_turn(add, p.size, SYNAPSES_PER_PIECE)
        noise /= n
        if noise > 0:  # else there is nothing yet to compare with
            signal, variance = self._filtered(signal, variance, projected, noise)
        most = 0.5 * math.sqrt(n) * max(signal, self.options.floor) * plastic / n
        keep = 1 - 1 / self.options.memory
        new = np.array([keep * weight + 1, signal, variance])
        return _Measured(most / length if length > most else 1.0, root, new)

    def step(
        self, gradient: np.ndarray, state: OptimizerState, measured: _Measured | None
    ) -> tuple[np.ndarray, OptimizerState]:
        """See `Rsrp.step`."""
        if measured is None:
            return gradient, state
        earlier = (1 - 1 / self.options.memory) * state["earlier"] + gradient / measured.root
        return gradient * measured.shortened, {"earlier": earlier, "signal": measured.signal}

    def _filtered(self, signal: float, variance: float, measured: float, noise: float) -> tuple[float, float]:
        """f and P after a measurement; noise is its variance."""
        variance += self.options.drift
        gain = variance / (variance + noise)
        return min(1.0, max(0.0, signal + gain * (measured - signal))), (1 - gain) * variance


def mean_square(broadcast: Broadcast) -> float:
    """s² = 1/N Σ u_i²: a sum of integers, so exact before it is scaled."""
    units = broadcast.units.astype(np.int64)
    return float((units * units).sum()) * (broadcast.scale * broadcast.scale) / len(units)


def inverse_variance(rho: np.ndarray) -> np.ndarray:
    """1 / (ρ (1 − ρ)), the Fisher information of every synapse; 0 at ρ = 0 or 1, where releases never differ."""
    variance = rho * (1 - rho)
    return np.divide(1.0, variance, out=np.zeros_like(variance), where=variance > 0)


def inner(a: np.ndarray, b: np.ndarray, inverse: np.ndarray, start: float = 0.0) -> float:
    """start + Σ a b · inverse, float64. Summed one after the other: `sum` adds in an order that depends on the machine."""
    return add_in_order((a * b * inverse).ravel(), start)
