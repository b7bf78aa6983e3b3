"""State variables in a chip's integers: how they leak, and what happens at their ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rsrp_lava.hardware_profiles.schema import Neuron, State
from rsrp_lava.kernels import fixed_point as kernel


@dataclass(frozen=True)
class QuantisedDecay:
    """A time constant as a chip holds it."""

    tau_ms: float  #: asked for
    register: int  #: du, dv: the number to write (multiply, linear), or the shift
    kept: float  #: what is left of the state after a step; for a linear leak, of half a threshold
    dt_ms: float

    @property
    def effective_tau_ms(self) -> float:
        """Time constant of `kept`: −dt / ln(kept); 0 if nothing is kept."""
        return -self.dt_ms / math.log(self.kept) if 0 < self.kept < 1 else (0.0 if self.kept <= 0 else math.inf)

    @property
    def error(self) -> float:
        """Relative error of the time constant."""
        return self.effective_tau_ms / self.tau_ms - 1


def quantise_decay(neuron: Neuron, tau_ms: float, dt_ms: float, offset: int, lasting: bool = True) -> QuantisedDecay:
    """The register closest to exp(−dt / tau); not `lasting`: nothing is kept."""
    kept = math.exp(-dt_ms / tau_ms)
    unity = 2**neuron.decay.bits
    if not lasting:
        return QuantisedDecay(tau_ms, unity - offset, 0.0, dt_ms)
    if neuron.decay.form == "multiply":
        register = min(max(round((1 - kept) * unity), 1) - offset, unity - 1)  # 0 would never forget
        return QuantisedDecay(tau_ms, register, 1 - (register + offset) / unity, dt_ms)
    if neuron.decay.form == "shift":
        shifts = range(1, min(unity, 31))
        nearest = min(shifts, key=lambda dash: abs(-dt_ms / math.log1p(-(2.0**-dash)) - tau_ms))
        return QuantisedDecay(tau_ms, nearest, 1 - 2.0**-nearest, dt_ms)
    return QuantisedDecay(tau_ms, 0, kept, dt_ms)


def linear_leak(neuron: Neuron, decay: QuantisedDecay, threshold: float) -> QuantisedDecay:
    """A leak that takes from half a threshold what the exponential decay takes (our choice: the middle of the range)."""
    half = round(threshold) * 2**neuron.threshold.shift / 2
    leak = min(max(round((1 - decay.kept) * half), 1), 2**neuron.decay.bits - 1)
    return replace(decay, register=leak, kept=max(0.0, 1 - leak / half))


def decay_kernel(neuron: Neuron, decay: QuantisedDecay, offset: int, lasting: bool = True) -> kernel.Decay:
    """The decay as the kernels compute it."""
    i, bits = np.int32, neuron.decay.bits
    if not lasting:
        return kernel.MultiplyTowardZero(i(0), i(1), i(1))
    if neuron.decay.form == "shift":
        return kernel.ShiftDown(i(decay.register))
    if neuron.decay.form == "linear":
        return kernel.LinearLeak(i(decay.register))
    keep, mask = i(2**bits - decay.register - offset), i(2**bits - 1)
    if neuron.decay.rounding == "toward_zero":
        return kernel.MultiplyTowardZero(keep, i(bits), mask)
    half = 2 ** (bits - 1) if neuron.decay.rounding == "nearest" else 0
    return kernel.MultiplyRounded(keep, i(bits), mask, i(half))


def overflow_kernel(state: State, largest: float) -> kernel.Overflow:
    """What happens at the end of a state; `largest`: what it can reach at most."""
    if state.overflow == "saturate_at_zero":
        return kernel.Saturate(np.int32(0), np.int32(limit_of(state)))
    if largest < limit_of(state):
        return kernel.CannotOverflow(np.int32(largest))
    limit = 2 ** (state.bits - 1)
    if state.overflow == "saturate":
        return kernel.Saturate(np.int32(1 - limit), np.int32(limit - 1))
    wrap = kernel.WrapAbove if state.overflow == "wrap_above" else kernel.WrapBelow
    return wrap(np.int32(limit))


def limit_of(state: State) -> int:
    """Largest value of a state (on both sides, if it has a sign)."""
    return 2 ** (state.bits - (state.overflow != "saturate_at_zero")) - 1
