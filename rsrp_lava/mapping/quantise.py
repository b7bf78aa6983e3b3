"""First step of mapping: a network's constants in a chip's integers, and what that costs.

With s integers a unit of synaptic current and k integers a unit of membrane potential, the network

    u ← α_s u + R n,     v ← α_m v + (1 − α_m) (v_reset + u + drive)

becomes  U ← decay_u(U) + (w << shift) n,  V ← decay_v(V) + U + bias,  spike where V > threshold, with  U = s u  and
V = k (v − v_reset),  s = k (1 − a_m):  the input gain 1 − a_m is folded into threshold and bias (a: decays as the chip has
them). A decay that the chip cannot hold exactly keeps the charge of a spike: R (1 − a_s) / (1 − α_s) instead of R.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rsrp_lava.errors import MappingError
from rsrp_lava.hardware_profiles import Profile
from rsrp_lava.hardware_profiles.schema import Neuron, State
from rsrp_lava.kernels import fixed_point as kernel
from rsrp_lava.kernels.arithmetic import NetworkConstants
from rsrp_lava.kernels.release import pack_bits
from rsrp_lava.network import Network

#: The potential of a quantised neuron can go at least this many thresholds up and down.
_HEADROOM = 2.0
#: Bias can hold this many standard deviations of every observation at once, if its exponent goes that far; what is beyond
#: is cut and counted.
_INPUT_REACH = 5.0
#: Kernels add in 32 bits: a state (30 bits at most), a bias below half of this, and what all synapses of a step deliver.
_LARGEST_SUM = 2**30


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


@dataclass(frozen=True)
class QuantisedNetwork:
    """A network in a chip's integers. Nothing here depends on release probabilities."""

    network: Network
    profile: Profile
    u_decay: QuantisedDecay
    v_decay: QuantisedDecay
    readout_decay: QuantisedDecay
    weight: int  #: mantissa of a recurrent synapse
    weight_exponent: int  #: weights are shifted left by this, besides the chip's input_shift
    readout_weight: int  #: mantissa of a readout synapse (same exponent)
    threshold: int  #: mantissa
    threshold_exact: float  #: what `threshold` is rounded from
    bias_exponent: int
    bias_limit: int  #: largest mantissa
    per_unit: float  #: bias mantissa a unit of the standardised observation
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
    def weight_bits(self) -> int:
        """Width of a weight's magnitude: the narrowest the chip has that holds both weights."""
        needed = max(self.weight, self.readout_weight).bit_length()
        return min(bits for bits in self.profile.synapse.weight_bits if bits >= needed)

    def constants(self) -> NetworkConstants:
        """Kernel constants: with these, `play_episodes` and the Lava processes compute as the chip does."""
        neuron, n = _neuron(self.profile), self.network
        threshold = (self.threshold << neuron.threshold.shift) - (neuron.threshold.compare == "ge")
        shift = neuron.input_shift + self.weight_exponent
        i = np.int32
        lif = kernel.FixedLif(
            u_decay=_decay_kernel(neuron, self.u_decay, neuron.decay.u_offset, neuron.synaptic_current),
            u_overflow=_overflow_kernel(neuron.u, self.largest_u),
            weight=i(self.weight << shift),
            v_decay=_decay_kernel(neuron, self.v_decay, neuron.decay.v_offset),
            v_overflow=_overflow_kernel(neuron.v, math.inf),
            threshold=i(threshold),
            reset=kernel.ResetToZero(i(0))
            if neuron.reset == "zero"
            else kernel.ResetBySubtraction(i(self.threshold << neuron.threshold.shift)),
            v_scale=np.float64(self.potential_unit),
            v_origin=np.float64(n.options.v_reset),
            v_limit=i(_limit(neuron.v)),
        )
        readout = kernel.FixedReadout(
            decay=_decay_kernel(neuron, self.readout_decay, neuron.decay.v_offset),
            overflow=_overflow_kernel(neuron.v, self.largest_trace),
            weight=i(self.readout_weight << shift),
            scale=np.float32(self.readout_scale),
        )
        return NetworkConstants(
            lif=lif,
            input=kernel.FixedInput(np.float32(self.per_unit), i(self.bias_limit), i(self.bias_exponent), i(0)),
            readout=readout,
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
    neuron, o = _neuron(profile), network.options
    if neuron.decay.form == "linear" and neuron.synaptic_current:
        raise MappingError(
            f"profile {profile.name}: neuron.synaptic_current: a current that leaks linearly has no time constant to map "
            "tau_syn_ms to; set it to false, or another neuron.decay.form"
        )
    v_decay = _quantise_decay(neuron, o.tau_mem_ms, o.dt_ms, neuron.decay.v_offset)
    u_decay = _quantise_decay(neuron, o.tau_syn_ms, o.dt_ms, neuron.decay.u_offset, neuron.synaptic_current)
    readout_decay = _quantise_decay(neuron, o.tau_out_ms, o.dt_ms, neuron.decay.v_offset)
    scale = _search(list(_scales(network, profile, u_decay, v_decay)), profile)
    bias_exponent, bias_limit, per_unit = _bias(network, neuron, scale.current_unit)
    if neuron.decay.form == "linear":
        v_decay = _linear_leak(neuron, v_decay, scale)
        readout_decay = _linear_leak(neuron, readout_decay, scale)
    readout_weight, largest_trace = _readout(network, profile, readout_decay, scale.exponent, networks)
    kept = network.decay(o.tau_out_ms) if neuron.decay.form == "linear" else readout_decay.kept
    trace_unit = (readout_weight << (neuron.input_shift + scale.exponent)) * o.dt_ms / (1 - kept)
    return QuantisedNetwork(
        network=network,
        profile=profile,
        u_decay=u_decay,
        v_decay=v_decay,
        readout_decay=readout_decay,
        weight=scale.weight,
        weight_exponent=scale.exponent,
        readout_weight=readout_weight,
        threshold=round(scale.threshold_exact),
        threshold_exact=scale.threshold_exact,
        bias_exponent=bias_exponent,
        bias_limit=bias_limit,
        per_unit=per_unit,
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
    neuron, o = _neuron(profile), network.options
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
            if not 1 <= rounded < 2**neuron.threshold.bits or rounded << neuron.threshold.shift >= _limit(neuron.v):
                continue
            if step * _largest_count(network) >= _LARGEST_SUM:
                continue
            largest_u = _bound(step * _largest_count(network), u_decay, neuron)
            bias_step = 2 ** _bias(network, neuron, current_unit)[0] / current_unit / (o.v_threshold - o.v_reset)
            yield _Scale(
                weight,
                exponent,
                current_unit,
                potential_unit,
                mantissa,
                largest_u,
                fits=largest_u < _limit(neuron.u) and threshold * _HEADROOM <= _limit(neuron.v),
                error=abs(round(mantissa) / mantissa - 1) + bias_step / 2 + 1 / threshold,
            )


def _search(scales: list[_Scale], profile: Profile) -> _Scale:
    if not scales:
        neuron = _neuron(profile)
        raise MappingError(
            f"scale: no weight of up to {max(profile.synapse.weight_bits)} bits gives profile {profile.name} a threshold "
            f"of {neuron.threshold.bits} bits below the limit of v, {_limit(neuron.v)}; change network.recurrent_gain, "
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
    reach = _INPUT_REACH * network.n_inputs
    exponent = 0
    most = min(reach * per_unit, _LARGEST_SUM / 4)
    while exponent < neuron.bias.max_exponent and limit * 2**exponent < most:
        exponent += 1
    return exponent, limit, per_unit / 2**exponent


def _readout(network: Network, profile: Profile, decay: QuantisedDecay, exponent: int, networks: int) -> tuple[int, float]:
    """The largest readout weight whose trace can neither overflow nor reach the largest threshold, and that trace."""
    neuron = _neuron(profile)
    if neuron.decay.form == "linear":
        return 1, math.inf
    ceiling = min(_limit(neuron.v), (2**neuron.threshold.bits - 1) << neuron.threshold.shift)
    a_unit = (1 << (neuron.input_shift + exponent)) * networks * _largest_count(network)
    largest = int((ceiling - _bound(0, decay, neuron)) * (1 - decay.kept) / a_unit)
    weight = max(1, min(2 ** max(profile.synapse.weight_bits) - 1, largest))
    return weight, _bound(weight * a_unit, decay, neuron)


def _bound(step: int, decay: QuantisedDecay, neuron: Neuron) -> float:
    """Largest |x| of x ← decay(x) ± step, for ever: (step + what rounding can add to |x|) / (1 − kept)."""
    if decay.kept == 0:
        return step
    form = neuron.decay.rounding if neuron.decay.form == "multiply" else neuron.decay.form
    rounding = {"toward_zero": 0.0, "nearest": 0.5, "floor": 1.0, "shift": 1.0, "linear": 0.0}[form]
    return (step + rounding) / (1 - decay.kept)


def _quantise_decay(neuron: Neuron, tau_ms: float, dt_ms: float, offset: int, lasting: bool = True) -> QuantisedDecay:
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
    return QuantisedDecay(tau_ms, 0, kept, dt_ms)  # see _linear_leak


def _linear_leak(neuron: Neuron, decay: QuantisedDecay, scale: _Scale) -> QuantisedDecay:
    """A leak that takes from half a threshold what the exponential decay takes (our choice: the middle of the range)."""
    half = round(scale.threshold_exact) * 2**neuron.threshold.shift / 2
    leak = min(max(round((1 - decay.kept) * half), 1), 2**neuron.decay.bits - 1)
    return replace(decay, register=leak, kept=max(0.0, 1 - leak / half))


def _decay_kernel(neuron: Neuron, decay: QuantisedDecay, offset: int, lasting: bool = True) -> kernel.Decay:
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


def _overflow_kernel(state: State, largest: float) -> kernel.Overflow:
    if largest < _limit(state):
        return kernel.CannotOverflow(np.int32(largest))
    limit = 2 ** (state.bits - 1)
    if state.overflow == "saturate":
        return kernel.Saturate(np.int32(1 - limit), np.int32(limit - 1))
    wrap = kernel.WrapAbove if state.overflow == "wrap_above" else kernel.WrapBelow
    return wrap(np.int32(limit))


def _limit(state: State) -> int:
    """Largest value on both sides."""
    return 2 ** (state.bits - 1) - 1


def _largest_count(network: Network) -> int:
    """Most released synapses of one sign that can carry a spike to one target."""
    excitatory = int(network.excitatory.sum())
    return max(excitatory, len(network.excitatory) - excitatory)


def _neuron(profile: Profile) -> Neuron:
    if profile.neuron is None:
        raise MappingError(
            f"profile {profile.name}: is floating point; there is nothing to quantise. Choose a chip's profile"
        )
    return profile.neuron


__all__ = ["QuantisedDecay", "QuantisedNetwork", "quantise"]
