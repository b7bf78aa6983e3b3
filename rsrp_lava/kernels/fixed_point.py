"""Integer twins of the neurons: decays, overflow, threshold and reset as chips compute them, 64 neurons at a time.

What a chip does is put together from the small classes below, once, when a network is mapped (rsrp_lava/mapping). Each holds
its constants (int32) and is called with lanes while the step is compiled, so a kernel contains only the operations of
its chip. States are int32; every intermediate value fits 32 bits for states of up to 30 bits and decays of up to 15.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .lanes import Lanes, lanewise, never, where

#: An int32; while a step is compiled, lanes of it.
Int32 = Any

# --- decays -----------------------------------------------------------------------------------------------------------


class MultiplyTowardZero(NamedTuple):
    """x ← sign(x) · (|x| · keep >> bits): Loihi's decay, keep = 2^bits − d (lava-nc lif/models.py, nengo-loihi `decay_int`).

    In 32 bits: x = hi · 2^bits + lo, so x · keep >> bits = hi · keep + (lo · keep >> bits), rounded up where x < 0.
    """

    keep: Int32
    bits: Int32
    mask: Int32  #: 2^bits − 1

    def __call__(self, x: Lanes) -> Lanes:
        up = (x >> 31) & self.mask
        return (x >> self.bits) * self.keep + (((x & self.mask) * self.keep + up) >> self.bits)


class MultiplyRounded(NamedTuple):
    """x ← (x · keep + half) >> bits: rounded to the nearest (half = 2^(bits − 1), ties up) or down (half = 0)."""

    keep: Int32
    bits: Int32
    mask: Int32
    half: Int32

    def __call__(self, x: Lanes) -> Lanes:
        return (x >> self.bits) * self.keep + (((x & self.mask) * self.keep + self.half) >> self.bits)


class ShiftDown(NamedTuple):
    """x ← x − (x >> dash), by 1 at least: Xylo's decay (Rockpool, Xylo overview: bit shift with a linear floor)."""

    dash: Int32

    def __call__(self, x: Lanes) -> Lanes:
        step = x >> self.dash  # already −1 at least where x < 0
        return x - where((x > 0) & (step < 1), step + 1, step)


class LinearLeak(NamedTuple):
    """x ← x − leak towards zero, ending there: TrueNorth, ODIN."""

    leak: Int32

    def __call__(self, x: Lanes) -> Lanes:
        towards = where(x < -self.leak, x + self.leak, x - x)
        return where(x > self.leak, x - self.leak, towards)


# --- overflow ---------------------------------------------------------------------------------------------------------


class WrapAbove(NamedTuple):
    """Wraps to −limit < x ≤ limit, limit = 2^(bits − 1): Lava's LIF keeps +limit and turns −limit into +limit."""

    limit: Int32

    def __call__(self, x: Lanes) -> tuple[Lanes, Lanes]:
        most, mask = self.limit - 1, self.limit + self.limit - 1
        return ((x + most) & mask) - most, (x > self.limit) | (x < -most)


class WrapBelow(NamedTuple):
    """Wraps to −limit ≤ x < limit: two's complement, as nengo-loihi's emulator."""

    limit: Int32

    def __call__(self, x: Lanes) -> tuple[Lanes, Lanes]:
        mask = self.limit + self.limit - 1
        return ((x + self.limit) & mask) - self.limit, (x > self.limit - 1) | (x < -self.limit)


class Saturate(NamedTuple):
    """Stops at low … high."""

    low: Int32
    high: Int32

    def __call__(self, x: Lanes) -> tuple[Lanes, Lanes]:
        over, under = x > self.high, x < self.low
        return where(over, self.high, where(under, self.low, x)), over | under


class CannotOverflow(NamedTuple):
    """Nothing to check: mapping has shown that the largest possible value fits."""

    bound: Int32

    def __call__(self, x: Lanes) -> tuple[Lanes, Lanes]:
        return x, never(x)


# --- reset ------------------------------------------------------------------------------------------------------------


class ResetToZero(NamedTuple):
    """v ← 0 where the neuron spiked."""

    zero: Int32

    def __call__(self, v: Lanes, spike: Lanes) -> Lanes:
        return where(spike, self.zero, v)


class ResetBySubtraction(NamedTuple):
    """v ← v − amount where the neuron spiked."""

    amount: Int32

    def __call__(self, v: Lanes, spike: Lanes) -> Lanes:
        return where(spike, v - self.amount, v)


Decay = MultiplyTowardZero | MultiplyRounded | ShiftDown | LinearLeak
Overflow = WrapAbove | WrapBelow | Saturate | CannotOverflow
Reset = ResetToZero | ResetBySubtraction


# --- populations ------------------------------------------------------------------------------------------------------


class FixedLif(NamedTuple):
    """A population of integer current-based leaky integrate-and-fire neurons."""

    u_decay: Decay
    u_overflow: Overflow
    weight: Int32  #: what one released synapse adds to u
    v_decay: Decay
    v_overflow: Overflow
    threshold: Int32  #: a neuron spikes above it (a chip that compares with ≥ has its threshold − 1 here)
    reset: Reset
    v_scale: np.float64  #: v in units of the potential
    v_origin: np.float64  #: potential at v = 0 (its reset)
    v_limit: Int32  #: largest v on both sides


@lanewise(masks=3)
def fixed_lif_step(u, v, bias, count, c):
    """One step of integer neurons, in this order (Loihi's; lava-nc lif/models.py `subthr_dynamics`).

        u ← overflow_u(decay_u(u) + weight · n)      n: signed number of released synapses that carried a spike
        v ← overflow_v(decay_v(v) + u + bias)
        spike = v > threshold
        v ← reset(v) where spike

    `u`, `v`, `bias`: int32; `count`: int16 or int32. Returns three words: spikes, where u overflowed, where v did.
    """
    u, u_over = c.u_overflow(c.u_decay(u) + count * c.weight)
    v, v_over = c.v_overflow(c.v_decay(v) + u + bias)
    spike = v > c.threshold
    return (spike, u_over, v_over), {"u": u, "v": c.reset(v, spike)}


class FixedReadout(NamedTuple):
    """Integer leaky integrators without a threshold."""

    decay: Decay
    overflow: Overflow
    weight: Int32
    scale: np.float32  #: output of one unit of the trace


#: Lanes of one readout step.
READOUT_WIDTH = 8


@lanewise(width=READOUT_WIDTH)
def fixed_readout_step(trace, count, c):
    """trace ← overflow(decay(trace) + weight · n); int32. Returns where it overflowed."""
    trace, over = c.overflow(c.decay(trace) + count * c.weight)
    return over, {"trace": trace}


class FixedInput(NamedTuple):
    """How an observation becomes integer current: each component an integer, synapses add them, the sum is shifted."""

    per_unit: np.float32  #: integers a unit of the (standardised) observation
    limit: Int32  #: the sum stops at ± this
    shift: Int32  #: bias = sum << shift
    fraction_bits: Int32  #: the sum is first divided by 2^this: 0 where synapses are bits, more where they are weights
