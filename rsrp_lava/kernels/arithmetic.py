"""The pieces of a simulation step, each in floating point and in integers, chosen by the type of the constants.

A rollout (rollout.py) and a Lava process (population.py) are written once, with the functions below; compiling one for
`LifConstants` or for `FixedLif` picks the arithmetic. Nothing is decided while a network runs.

`events` (int64, shape (3,)) counts what integers lose: overflows of u, of v (and of the readout), inputs cut at their limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from .fixed_point import READOUT_WIDTH, FixedInput, FixedLif, FixedReadout, fixed_lif_step, fixed_readout_step
from .lanes import add_rows_where, aligned_zeros, popcount
from .neurons import lif_step

#: A single observation stops at ± this integer, so that sums of weighted inputs fit 32 bits.
LARGEST_INPUT = np.float32(2**17)
#: Places in `events`.
U_OVERFLOW, V_OVERFLOW, INPUT_CUT = range(3)
EVENTS = ("u_overflow", "v_overflow", "input_cut")


class InputConstants(NamedTuple):
    """Graded input in floating point."""

    weight: np.float32  #: R_in


class ReadoutConstants(NamedTuple):
    """Leaky integrators in floating point."""

    alpha_out: np.float32  #: exp(−dt / tau_out)
    trace_gain: np.float32  #: (1 − alpha_out) / dt, in spikes/ms
    output_weight: np.float32  #: R_out


class NetworkConstants(NamedTuple):
    """What a step needs to know about a network besides its synapses."""

    lif: Any  #: LifConstants or FixedLif
    input: Any  #: InputConstants or FixedInput
    readout: Any  #: ReadoutConstants or FixedReadout
    recurrent: int  #: 0: recurrent synapses never release, and are not added up
    readout_delay: int  #: 1: the readout hears of a spike one step later, as on a chip
    substeps: int  #: simulation steps an environment step
    excitatory: np.ndarray  #: uint64, shape (words,): packed signs; bit set: excitatory
    n_neurons: int


_FIXED = (FixedLif, FixedInput, FixedReadout)


def _twins(signature: str, floating: Callable[..., Any], fixed: Callable[..., Any]) -> Any:
    """One function for kernels to call: compiled as `floating` or as `fixed`, by the type of its first argument."""

    def either(constants: Any, *arguments: Any) -> Any:
        raise TypeError(f"{signature} is called from compiled code only")

    @overload(either, strict=False)
    def choose(constants: Any, *arguments: Any) -> Any:
        return fixed if constants.instance_class in _FIXED else floating

    either.__doc__ = floating.__doc__
    return either


# --- state ------------------------------------------------------------------------------------------------------------


def _float_zeros(constants, n):
    """n aligned zeros of the type of the state; `constants`: of neurons or of the readout."""
    return aligned_zeros(n, np.float32)


def _fixed_zeros(constants, n):
    return aligned_zeros(n, np.int32)


state_zeros = _twins("state_zeros(constants, n)", _float_zeros, _fixed_zeros)


def _float_start(lif, uniform, v):
    """Initial membrane potentials: a uniform number in [0, 1) each (float64), in units of the potential."""
    for j in range(uniform.shape[0]):
        v[j] = np.float32(uniform[j])


def _fixed_start(lif, uniform, v):
    limit = np.float64(lif.v_limit)
    for j in range(uniform.shape[0]):
        v[j] = np.int32(min(max(np.floor((uniform[j] - lif.v_origin) * lif.v_scale), -limit), limit))


start_potentials = _twins("start_potentials(lif, uniform, v)", _float_start, _fixed_start)

# --- input ------------------------------------------------------------------------------------------------------------


def _float_place(inputs, sums, drive, events):
    """drive[j] from the sum of what input synapses of neuron j added up to."""
    for j in range(sums.shape[0]):
        drive[j] = inputs.weight * np.float32(sums[j])


def _fixed_place(inputs, sums, drive, events):
    for j in range(sums.shape[0]):
        total = sums[j] >> inputs.fraction_bits
        if total > inputs.limit or total < -inputs.limit:
            events[INPUT_CUT] += 1
        drive[j] = np.int32(min(max(total, -inputs.limit), inputs.limit) << inputs.shift)


place_drive = _twins("place_drive(inputs, sums, drive, events)", _float_place, _fixed_place)


def _float_drive(inputs, observation, rows, drive, events):
    """Input current of one environment step: Σ_k [x, −x]_k θ_k of observation x, in units of `drive`.

    Floating point: R_in · Σ, added in the order of k, then scaled. Integers: every x is rounded first, so the sum is exact.
    Where rows hold several bit planes, a synapse of plane b counts 2^b.
    """
    n = observation.shape[0]
    both = np.empty(2 * n, np.float32)
    for k in range(n):
        both[k], both[n + k] = observation[k], -observation[k]
    _add_planes(both, rows, drive)
    place_drive(inputs, drive, drive, events)


@njit(nogil=True)
def _add_planes(both, rows, drive):
    """drive[j] = Σ_b 2^b · Σ_k both[k] θ_kj of plane b, in this order; `both` comes out scaled."""
    words = drive.shape[0] // 64
    drive[:] = 0
    for plane in range(rows.shape[0] // (both.shape[0] * words)):
        for w in range(words):
            first = plane * both.shape[0] * words + w
            add_rows_where(drive[64 * w : 64 * w + 64], both, rows, first, words)
        for k in range(both.shape[0]):
            both[k] += both[k]


def _fixed_drive(inputs, observation, rows, drive, events):
    n = observation.shape[0]
    both = np.empty(2 * n, np.int32)
    for k in range(n):
        x = np.int32(np.rint(min(max(observation[k] * inputs.per_unit, -LARGEST_INPUT), LARGEST_INPUT)))
        both[k], both[n + k] = x, -x
    _add_planes(both, rows, drive)
    place_drive(inputs, drive, drive, events)


input_drive = _twins("input_drive(inputs, observation, rows, drive, events)", _float_drive, _fixed_drive)

# --- neurons ----------------------------------------------------------------------------------------------------------


def _float_neurons(lif, start, arrays, events):
    """One step of 64 neurons; arrays = (u, v, drive, delivered). Returns the word of spikes."""
    return lif_step(start, arrays, lif)


def _fixed_neurons(lif, start, arrays, events):
    spikes, u_over, v_over = fixed_lif_step(start, arrays, lif)
    events[U_OVERFLOW] += popcount(u_over)
    events[V_OVERFLOW] += popcount(v_over)
    return spikes


neuron_step = _twins("neuron_step(lif, start, arrays, events)", _float_neurons, _fixed_neurons)

# --- readout ----------------------------------------------------------------------------------------------------------


def _float_integrate(readout, counts, trace, events):
    """One step of the readout's traces from the signed counts of released synapses that carried a spike."""
    for o in range(trace.shape[0]):
        trace[o] = readout.alpha_out * trace[o] + readout.trace_gain * np.float32(counts[o])


def _fixed_integrate(readout, counts, trace, events):
    for start in range(0, trace.shape[0], READOUT_WIDTH):
        events[V_OVERFLOW] += popcount(fixed_readout_step(start, (trace, counts), readout))


integrate = _twins("integrate(readout, counts, trace, events)", _float_integrate, _fixed_integrate)


def _float_output(readout, trace, output):
    """The network's output from the traces."""
    for o in range(output.shape[0]):
        output[o] = readout.output_weight * trace[o]


def _fixed_output(readout, trace, output):
    for o in range(output.shape[0]):
        output[o] = readout.scale * np.float32(trace[o])


read_output = _twins("read_output(readout, trace, output)", _float_output, _fixed_output)


def _float_lanes(readout, n_outputs):
    """Length of the readout's counts and traces: whole readout steps."""
    return n_outputs


def _fixed_lanes(readout, n_outputs):
    return -(-n_outputs // READOUT_WIDTH) * READOUT_WIDTH


readout_lanes = _twins("readout_lanes(readout, n_outputs)", _float_lanes, _fixed_lanes)
