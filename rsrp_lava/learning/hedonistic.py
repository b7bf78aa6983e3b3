"""Hedonistic synapses (Seung 2003, Neuron 40:1063), in episodes: the release is drawn once and held, as RSRP's is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rsrp_lava.learning.rsrp import Rsrp


@dataclass(frozen=True)
class Hedonistic(Rsrp):
    """The plain gradient of reward in the release parameter q of a synapse, ρ = σ(q) = 1 / (1 + e^−q):

        ∂ log P(θ) / ∂q = θ − ρ
        q ← q + η · step(1/N Σ_i u_i (θ_i − ρ)),   so   ρ ← ρ eˣ / (1 − ρ + ρ eˣ),   x = η · step(…)

    To first order ρ moves by ρ (1 − ρ) times RSRP's step: a synapse near 0 or 1 learns slowly, where RSRP's natural
    gradient does not. ρ is what is stored; q is not kept, nothing is lost by that but what float32 rounds. Decay acts on ρ.

    Seung draws at every spike that arrives, with facilitation and a trace; here one draw holds for an episode, and the
    trace is θ − ρ.
    """

    #: At ρ = ½ the step is then RSRP's.
    automatic_factor: ClassVar[float] = 4.0

    def moved(self, rho: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """See `Rsrp.moved`."""
        odds = exponential(self.learning_rate * direction)
        return rho * odds / (1 - rho + rho * odds) + self.decay * (0.5 - rho)


#: exp(r) by its series to the 14th power: exact to the last bit or two for |r| ≤ ½ ln 2.
_INVERSE_FACTORIALS = [1.0]
for _n in range(1, 15):
    _INVERSE_FACTORIALS.append(_INVERSE_FACTORIALS[-1] / _n)
#: ln 2 in two parts (Cody, Waite 1980): a small integer times the first is exact.
_LN2, _LN2_REST = 0.693147180369123816490, 1.90821492927058770002e-10
#: Beyond this, eˣ changes no ρ that is 1e-9 away from 0 and 1.
_LARGEST = 64.0


def exponential(x: np.ndarray) -> np.ndarray:
    """eˣ, float64, |x| cut to 64. `exp` of libraries differs in the last bit between machines; sums and products do not."""
    x = np.clip(x, -_LARGEST, _LARGEST)
    power = np.rint(x / _LN2)
    rest = (x - power * _LN2) - power * _LN2_REST
    total = np.full_like(x, _INVERSE_FACTORIALS[-1])
    for coefficient in reversed(_INVERSE_FACTORIALS[:-1]):
        total = total * rest + coefficient
    return np.ldexp(total, power.astype(np.int32))
