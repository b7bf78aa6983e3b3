"""First step of mapping: a network's constants in a chip's integers, and what that costs.

With s integers a unit of synaptic current and k integers a unit of membrane potential, the network

    u ← α_s u + R n,     v ← α_m v + (1 − α_m) (v_reset + u + drive)

becomes  U ← decay_u(U) + (w << shift) n,  V ← decay_v(V) + U + bias,  spike where V > threshold, with  U = s u  and
V = k (v − v_reset),  s = k (1 − a_m):  the input gain 1 − a_m is folded into threshold and bias (a: decays as the chip has
them). A decay that the chip cannot hold exactly keeps the charge of a spike: R (1 − a_s) / (1 − α_s) instead of R; so does
a chip without a synaptic current (a_s = 0), where a spike's charge arrives at once. A linear leak has no a_m; the gain is
that of the exponential decay, and the leak takes from half a threshold what the decay would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rsrp_lava.errors import MappingError
from rsrp_lava.hardware_profiles import Profile
from rsrp_lava.hardware_profiles.schema import Decay, Neuron, State, Threshold
from rsrp_lava.kernels import fixed_point as kernel
from rsrp_lava.kernels.arithmetic import NetworkConstants
from rsrp_lava.kernels.binary_layer import LARGEST_INPUT as LARGEST_PIXEL
from rsrp_lava.kernels.release import pack_bits
from rsrp_lava.mapping.states import QuantisedDecay, decay_kernel, limit_of, linear_leak, overflow_kernel, quantise_decay
from rsrp_lava.network import Network

#: The potential of a quantised neuron can go at least this many thresholds up and down.
_HEADROOM = 2.0
#: Kernels add in 32 bits: a state (30 bits at most), a bias below half of this, and what all synapses of a step deliver.
_LARGEST_SUM = 2**30


@dataclass(frozen=True)
class QuantisedNetwork:
    """A network in a chip's integers. Nothing here depends on release probabilities."""

    network: Network
    profile: Profile
    u_decay: QuantisedDecay
    v_decay: QuantisedDecay
    readout_decay: QuantisedDecay
    weight: int  #: mantissa of a recurrent synapse
    weight_exponent: int  #: recurrent weights are shifted left by this, besides the chip's input_shift
    readout_weight: int  #: mantissa of a readout synapse
    readout_exponent: int  #: readout weights are shifted left by this
    threshold: int  #: mantissa
    threshold_exact: float  #: what `threshold` is rounded from
    bias_exponent: int
    bias_limit: int  #: largest mantissa
    per_unit: float  #: bias mantissa a unit of the observation (standardised, or a pixel), times 2^input_fraction
    input_fraction: int  #: bits that a sum of inputs is shifted right by
    current_unit: float  #: s: integers a unit of synaptic current
    potential_unit: float  #: k: integers a unit of membrane potential
    readout_scale: float  #: output of one integer of the readout's trace
    largest_u: float  #: |U| if every synapse of one sign released and every neuron spiked at every step
    largest_trace: float  #: the same for the readout

    @property
    def threshold_error(self) -> float:
        """Relative error of the threshold by rounding to its mantissa."""
        return self.threshold / self.threshold_exact - 1

    @property
    def step(self) -> int:
        """What one released recurrent synapse adds to U."""
        return self.weight << (neuron_of(self.profile).input_shift + self.weight_exponent)

    @property
    def readout_step(self) -> int:
        """What one released readout synapse adds to a trace."""
        return self.readout_weight << (readout_neuron(self.profile).input_shift + self.readout_exponent)

    def constants(self) -> NetworkConstants:
        """Kernel constants: with these, `play_episodes` and the Lava processes compute as the chip does."""
        neuron, n = neuron_of(self.profile), self.network
        threshold = (self.threshold << neuron.threshold.shift) - (neuron.threshold.compare == "ge")
        i = np.int32
        lif = kernel.FixedLif(
            u_decay=decay_kernel(neuron, self.u_decay, neuron.decay.u_offset, neuron.synaptic_current),
            u_overflow=overflow_kernel(neuron.u, self.largest_u),
            weight=i(self.step),
            v_decay=decay_kernel(neuron, self.v_decay, neuron.decay.v_offset),
            v_overflow=overflow_kernel(neuron.v, math.inf),
            threshold=i(threshold),
            reset=kernel.ResetToZero(i(0))
            if neuron.reset == "zero"
            else kernel.ResetBySubtraction(i(self.threshold << neuron.threshold.shift)),
            v_scale=np.float64(self.potential_unit),
            v_origin=np.float64(n.options.v_reset),
            v_limit=i(limit_of(neuron.v)),
        )
        reader = readout_neuron(self.profile)
        readout = kernel.FixedReadout(
            decay=decay_kernel(reader, self.readout_decay, reader.decay.v_offset),
            overflow=overflow_kernel(reader.v, self.largest_trace),
            weight=i(self.readout_step),
            scale=np.float32(self.readout_scale),
        )
        return NetworkConstants(
            lif=lif,
            input=kernel.FixedInput(
                np.float32(self.per_unit), i(self.bias_limit), i(self.bias_exponent), i(self.input_fraction)
            ),
            readout=readout,
            recurrent=int(not n.pictures),
            readout_delay=min(1, self.profile.synapse.min_delay),
            substeps=n.substeps,
            excitatory=pack_bits(n.excitatory[None, :]),
            n_neurons=n.options.n_neurons,
        )


def quantise(network: Network, profile: Profile, networks: int = 1) -> QuantisedNetwork:
    """Search the scale that loses least, and round every constant to the chip's integers.

    Larger weights make thresholds and states finer, until the largest possible synaptic current, or the potential's
    headroom, no longer fits. Among the scales that fit, the one with the smallest rounding errors (threshold, bias, state)
    is taken. Where even the smallest weight does not fit, it is used and overflows are counted as the network runs.
    `networks` of an ensemble share one readout, whose output is their mean.

    Raises `MappingError` if a constant cannot be represented at all.
    """
    neuron, reader, o = neuron_of(profile), readout_neuron(profile), network.options
    if neuron.decay.form == "linear" and neuron.synaptic_current:
        raise MappingError(
            f"profile {profile.name}: neuron.synaptic_current: a current that leaks linearly has no time constant to map "
            "tau_syn_ms to; set it to false, or another neuron.decay.form"
        )
    v_decay = quantise_decay(neuron, o.tau_mem_ms, o.dt_ms, neuron.decay.v_offset)
    u_decay = quantise_decay(neuron, o.tau_syn_ms, o.dt_ms, neuron.decay.u_offset, neuron.synaptic_current)
    readout_decay = quantise_decay(reader, o.tau_out_ms, o.dt_ms, reader.decay.v_offset)
    scale = _search(list(_scales(network, profile, u_decay, v_decay)), profile)
    bias_exponent, bias_limit, per_unit = _bias(network, neuron, scale.current_unit)
    input_fraction = _input_fraction(network, per_unit)
    if neuron.decay.form == "linear":
        v_decay = linear_leak(neuron, v_decay, scale.threshold_exact)
    if reader.decay.form == "linear":
        readout_decay = linear_leak(reader, readout_decay, scale.threshold_exact)
    readout_weight, readout_exponent, largest_trace = _readout(network, profile, readout_decay, scale.exponent, networks)
    kept = network.decay(o.tau_out_ms) if reader.decay.form == "linear" else readout_decay.kept
    trace_unit = (readout_weight << (reader.input_shift + readout_exponent)) * o.dt_ms / (1 - kept)
    return QuantisedNetwork(
        network=network,
        profile=profile,
        u_decay=u_decay,
        v_decay=v_decay,
        readout_decay=readout_decay,
        weight=scale.weight,
        weight_exponent=scale.exponent,
        readout_weight=readout_weight,
        readout_exponent=readout_exponent,
        threshold=round(scale.threshold_exact),
        threshold_exact=scale.threshold_exact,
        bias_exponent=bias_exponent,
        bias_limit=bias_limit,
        per_unit=per_unit * 2**input_fraction,
        input_fraction=input_fraction,
        current_unit=scale.current_unit,
        potential_unit=scale.potential_unit,
        readout_scale=network.output_weight / trace_unit / networks,
        largest_u=scale.largest_u,
        largest_trace=largest_trace,
    )


@dataclass(frozen=True)
class _Scale:
    """A choice of weight, and what follows from it."""

    weight: int
    exponent: int
    current_unit: float
    potential_unit: float
    threshold_exact: float
    largest_u: float
    fits: bool
    error: float


def _scales(network: Network, profile: Profile, u_decay: QuantisedDecay, v_decay: QuantisedDecay) -> Iterator[_Scale]:
    """Every weight whose threshold has a mantissa and stays within v."""
    neuron, o = neuron_of(profile), network.options
    count = largest_count(network)
    charge = (1 - u_decay.kept) / (1 - network.decay(o.tau_syn_ms))
    gain = 1 - (network.decay(o.tau_mem_ms) if neuron.decay.form == "linear" else v_decay.kept)
    for weight in range(1, 2 ** max(profile.synapse.weight_bits)):
        for exponent in range(profile.synapse.max_exponent + 1):
            step = weight << (neuron.input_shift + exponent)
            current_unit = step / (network.recurrent_weight * charge)
            potential_unit = current_unit / gain
            threshold = (o.v_threshold - o.v_reset) * potential_unit
            mantissa = threshold / 2**neuron.threshold.shift
            rounded = round(mantissa)
            if not 1 <= rounded < 2**neuron.threshold.bits or rounded << neuron.threshold.shift >= limit_of(neuron.v):
                continue
            if step * count >= _LARGEST_SUM:
                continue
            largest_u = _bound(step * count, u_decay, neuron)
            bias_step = 2 ** _bias(network, neuron, current_unit)[0] / current_unit / (o.v_threshold - o.v_reset)
            yield _Scale(
                weight,
                exponent,
                current_unit,
                potential_unit,
                mantissa,
                largest_u,
                fits=largest_u < limit_of(neuron.u) and threshold * _HEADROOM <= limit_of(neuron.v),
                error=abs(round(mantissa) / mantissa - 1) + bias_step / 2 + 1 / threshold,
            )


def _search(scales: list[_Scale], profile: Profile) -> _Scale:
    if not scales:
        neuron = neuron_of(profile)
        raise MappingError(
            f"scale: no weight of up to {max(profile.synapse.weight_bits)} bits gives profile {profile.name} a threshold "
            f"of {neuron.threshold.bits} bits below the limit of v, {limit_of(neuron.v)}; change network.recurrent_gain, "
            "or the profile"
        )
    fitting = [scale for scale in scales if scale.fits]
    if fitting:
        return min(fitting, key=lambda scale: scale.error)
    return min(scales, key=lambda scale: (scale.weight << scale.exponent, scale.weight))


def _bias(network: Network, neuron: Neuron, current_unit: float) -> tuple[int, int, float]:
    """Exponent, largest mantissa, and mantissa a unit of the observation: the finest step that reaches far enough."""
    limit = 2 ** (neuron.bias.bits - 1) - 1
    per_unit = current_unit * network.input_weight
    exponent = 0
    most = min(network.input_reach * per_unit, _LARGEST_SUM / 4)
    while exponent < neuron.bias.max_exponent and limit * 2**exponent < most:
        exponent += 1
    return exponent, limit, per_unit / 2**exponent


def _input_fraction(network: Network, per_unit: float) -> int:
    """Bits after the point of a pixel's integer: as many as `binary_layer` has room for; other inputs have none."""
    if not network.pictures:
        return 0
    if network.largest_input * per_unit > LARGEST_PIXEL:
        raise MappingError(
            f"input: a white pixel would be {network.largest_input * per_unit:.0f}, more than {LARGEST_PIXEL}; lower "
            "network.input_gain"
        )
    return min(15, math.floor(math.log2(LARGEST_PIXEL / (network.largest_input * per_unit))))


def _readout(
    network: Network, profile: Profile, decay: QuantisedDecay, exponent: int, networks: int
) -> tuple[int, int, float]:
    """Mantissa and exponent of the largest weight whose trace neither overflows nor reaches any threshold, and that trace.

    The exponent is that of the recurrent weights, or less where even the smallest weight would be too large with it.
    """
    neuron = readout_neuron(profile)
    if neuron.decay.form == "linear":
        return 1, exponent, math.inf
    ceiling = min(limit_of(neuron.v), (2**neuron.threshold.bits - 1) << neuron.threshold.shift)
    a_unit = 2**neuron.input_shift * networks * largest_count(network)
    largest = (ceiling - _bound(0, decay, neuron)) * (1 - decay.kept) / a_unit  # of weight · 2^exponent
    exponent = max(0, min(exponent, math.floor(math.log2(largest)))) if largest >= 1 else 0
    weight = max(1, min(2 ** max(profile.synapse.weight_bits) - 1, int(largest / 2**exponent)))
    return weight, exponent, _bound(weight * a_unit * 2**exponent, decay, neuron)


def _bound(step: int, decay: QuantisedDecay, neuron: Neuron) -> float:
    """Largest |x| of x ← decay(x) ± step, for ever: (step + what rounding can add to |x|) / (1 − kept)."""
    if decay.kept == 0:
        return step
    form = neuron.decay.rounding if neuron.decay.form == "multiply" else neuron.decay.form
    rounding = {"toward_zero": 0.0, "nearest": 0.5, "floor": 1.0, "shift": 1.0, "linear": 0.0}[form]
    return (step + rounding) / (1 - decay.kept)


def largest_count(network: Network) -> int:
    """Most released synapses of one sign that can carry a spike to one target."""
    excitatory = int(network.excitatory.sum())
    return max(excitatory, len(network.excitatory) - excitatory)


def neuron_of(profile: Profile) -> Neuron:
    """The chip's neuron; `MappingError` for a profile in floating point."""
    if profile.neuron is None:
        raise MappingError(
            f"profile {profile.name}: is floating point; there is nothing to quantise. Choose a chip's profile"
        )
    return profile.neuron


def readout_neuron(profile: Profile) -> Neuron:
    """What integrates the readout: a neuron of the chip, or the host's 30-bit integers where v cannot be read."""
    neuron = neuron_of(profile)
    if neuron.readable:
        return neuron
    return neuron.model_copy(
        update={
            "v": State(bits=30, overflow="saturate"),
            "decay": Decay(form="multiply", bits=15, rounding="nearest", u_offset=0, v_offset=0),
            "input_shift": 0,
            "threshold": Threshold(bits=29, shift=0, compare="gt"),
        }
    )


__all__ = ["QuantisedNetwork", "largest_count", "neuron_of", "quantise", "readout_neuron"]
