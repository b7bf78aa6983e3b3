"""Design rules: what a chip demands of a network, one small function a rule.

A rule takes a `Plan` and yields a `Finding` for every object it looked at, whether the rule holds or not. `check` (check.py)
goes through `RULES`; the name of a rule is the name of its function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rsrp_lava.kernels.arithmetic import LARGEST_INPUT
from rsrp_lava.mapping.placement import Core, incoming, sign_mode
from rsrp_lava.mapping.quantise import QuantisedNetwork, largest_count, neuron_of, readout_neuron
from rsrp_lava.mapping.states import limit_of
from rsrp_lava.network import ReleaseProbabilities

Severity = Literal["error", "warning"]

#: Thresholds and time constants that are off by more than this are worth a warning.
THRESHOLD_TOLERANCE, TAU_TOLERANCE = 0.01, 0.05


@dataclass(frozen=True)
class Plan:
    """What rules look at."""

    quantised: QuantisedNetwork
    cores: tuple[Core, ...]
    probabilities: ReleaseProbabilities | None  #: trained release probabilities, where they are known


@dataclass(frozen=True)
class Finding:
    """What a rule found about one object."""

    object: str
    used: Any
    limit: Any  #: None: there is none
    holds: bool
    way_out: str
    severity: Severity = "error"
    rule: str = ""

    @property
    def status(self) -> str:
        """ok, warning or violated."""
        return "ok" if self.holds else "warning" if self.severity == "warning" else "violated"

    def __str__(self) -> str:
        return f"{self.rule}: {self.object}: {_shown(self.used)}, limit {_shown(self.limit)}; {self.way_out}"


Rule = Callable[[Plan], Iterator[Finding]]


def at_most(what: str, used: float, limit: float | None, way_out: str, severity: Severity = "error") -> Finding:
    """The finding of a rule with an upper limit (None: no limit)."""
    return Finding(what, used, limit, limit is None or used <= limit, way_out, severity)


# --- synapses ---------------------------------------------------------------------------------------------------------


def weight_width(plan: Plan) -> Iterator[Finding]:
    """A weight's magnitude fits the widest weight the chip stores."""
    q = plan.quantised
    widest = max(q.profile.synapse.weight_bits)
    weights = {"recurrent": q.weight} | ({"readout": q.readout_weight} if neuron_of(q.profile).readable else {})
    for name, weight in weights.items():
        yield at_most(f"bits of the {name} weight", weight.bit_length(), widest, "use a smaller weight or a larger exponent")


def weights_per_target(plan: Plan) -> Iterator[Finding]:
    """A neuron that holds the weights has one for every different weight, sign included."""
    q = plan.quantised
    different = len(set(q.network.excitatory)) + (not neuron_of(q.profile).bias.writable)
    yield at_most(
        "different weights at a recurrent neuron", different, q.profile.synapse.weights_per_target, "use fewer weights"
    )


def sign_modes(plan: Plan) -> Iterator[Finding]:
    """The chip keeps both signs; where the sign takes the lowest bit of a weight, odd weights are destroyed (±1 → 0, −2)."""
    q = plan.quantised
    mode, modes = sign_mode(q), ", ".join(q.profile.synapse.sign_modes)
    odd = mode == "mixed" and q.weight % 2 == 1
    used = f"weight ±{q.weight} in mode {mode}" if odd else mode
    way_out = "keep one block of synapses a sign (modes excitatory and inhibitory), or use even weights"
    yield Finding("signs of the recurrent weights", used, modes, mode != "none" and not odd, way_out)


def loop_delay(plan: Plan) -> Iterator[Finding]:
    """A spike reaches recurrent neurons with the next step, which must be a delay the chip has."""
    synapse = plan.quantised.profile.synapse
    limit = f"{synapse.min_delay} … {synapse.max_delay}"
    way_out = "choose a chip with a delay of one step: the network was trained with it"
    yield Finding("delay of the recurrent loop (steps)", 1, limit, synapse.min_delay <= 1 <= synapse.max_delay, way_out)


def fan_in(plan: Plan) -> Iterator[Finding]:
    """Synapses that end in a neuron."""
    for name, ending in incoming(plan.quantised).items():
        used = sum(source.axons for source in ending)
        limit = plan.quantised.profile.limits.fan_in
        yield at_most(f"synapses that end in a {name} neuron", used, limit, "lower network.n_neurons")


def fan_out(plan: Plan) -> Iterator[Finding]:
    """Synapses that leave a neuron."""
    network = plan.quantised.network
    used = network.options.n_neurons + ("readout" in incoming(plan.quantised)) * network.n_outputs
    limit = plan.quantised.profile.limits.fan_out
    yield at_most("synapses that leave a recurrent neuron", used, limit, "lower network.n_neurons")


# --- arithmetic -------------------------------------------------------------------------------------------------------


def threshold_range(plan: Plan) -> Iterator[Finding]:
    """The threshold's mantissa has a code."""
    q = plan.quantised
    largest = 2 ** neuron_of(q.profile).threshold.bits - 1
    yield Finding("threshold", q.threshold, f"1 … {largest}", 1 <= q.threshold <= largest, "quantise with a smaller weight")


def threshold_precision(plan: Plan) -> Iterator[Finding]:
    """Rounding moves the threshold by 1 % at most."""
    error, way_out = abs(plan.quantised.threshold_error), "quantise with a larger weight"
    yield at_most("relative error of the threshold", round(error, 6), THRESHOLD_TOLERANCE, way_out, "warning")


def time_constants(plan: Plan) -> Iterator[Finding]:
    """Time constants are what was asked for, to 5 %."""
    q = plan.quantised
    way_out = "train under this profile, or choose time constants the chip has"
    for name, decay in {"tau_syn": q.u_decay, "tau_mem": q.v_decay, "tau_out": q.readout_decay}.items():
        error = round(abs(decay.error), 6)
        yield at_most(f"relative error of {name}", error, TAU_TOLERANCE, way_out, "warning")


def step_bound(plan: Plan) -> Iterator[Finding]:
    """What arrives in one step turns a wrapping state round once at most, and fits 32 bits beside a saturating one."""
    q = plan.quantised
    neuron, reader = neuron_of(q.profile), readout_neuron(q.profile)
    synaptic, bias = q.step * largest_count(q.network), q.bias_limit << q.bias_exponent
    arriving = {
        "u": (neuron.u, synaptic),
        "v": (neuron.v, limit_of(neuron.u) + bias),
        "readout trace": (reader.v, q.readout_step * largest_count(q.network)),
    }
    for name, (state, most) in arriving.items():
        limit = 2**state.bits if state.overflow.startswith("wrap") else 2**31 - 1 - limit_of(state)
        yield at_most(f"largest change of {name} in a step", most, limit, "use a smaller weight, or lower network.n_neurons")


def overflow(plan: Plan) -> Iterator[Finding]:
    """A state cannot reach its end even if every synapse of one sign released at every step."""
    q = plan.quantised
    neuron, reader = neuron_of(q.profile), readout_neuron(q.profile)
    bias = q.bias_limit << q.bias_exponent
    most_v = (q.largest_u + bias) / max(1 - q.v_decay.kept, 2.0**-15)
    way_out = "overflows are counted as the network runs (metrics: events); a smaller weight makes them rarer"
    for name, largest, state in (
        ("u", q.largest_u, neuron.u),
        ("v", most_v, neuron.v),
        ("readout trace", q.largest_trace, reader.v),
    ):
        used = round(largest) if np.isfinite(largest) else largest
        yield at_most(f"largest possible {name}", used, limit_of(state), way_out, "warning")


# --- input, output, release -------------------------------------------------------------------------------------------


def graded_input(plan: Plan) -> Iterator[Finding]:
    """Observations arrive as bias, new every environment step."""
    writable = neuron_of(plan.quantised.profile).bias.writable
    way_out = (
        "choose a chip whose bias is writable (loihi1, loihi2, spinnaker2), or set neuron.bias.writable in a profile that "
        "extends this one, to study its arithmetic alone"
    )
    yield Finding(
        "graded input",
        "new bias every environment step",
        "bias is writable" if writable else "bias is not writable",
        writable,
        way_out,
    )


def input_range(plan: Plan) -> Iterator[Finding]:
    """Bias can hold the largest inputs that are expected (`Network.input_reach`); what is beyond is cut."""
    q = plan.quantised
    all_of_them = round(q.network.input_reach * q.per_unit / 2**q.input_fraction)
    one = round(q.network.largest_input * q.per_unit)
    way_out = "what exceeds it is cut; lower network.input_gain, or give bias a larger exponent"
    every, single = "5 deviations of every observation", "5 deviations of one observation"
    if q.network.pictures:
        every, single = "a quarter of all pixels, white", "a white pixel"
    yield at_most(f"bias mantissa of {every}", all_of_them, q.bias_limit, way_out, "warning")
    yield at_most(f"integer of {single}", one, int(LARGEST_INPUT), way_out, "warning")


def external_inputs(plan: Plan) -> Iterator[Finding]:
    """Spike inputs from outside; none where input is bias."""
    q = plan.quantised
    used = 0 if neuron_of(q.profile).bias.writable else 2 * q.network.n_inputs
    yield at_most("input channels", used, q.profile.limits.external_inputs, "choose a task with fewer observations")


def external_outputs(plan: Plan) -> Iterator[Finding]:
    """Neurons the host listens to: the readout, or every recurrent neuron where the host integrates their spikes."""
    q = plan.quantised
    used = q.network.n_outputs if neuron_of(q.profile).readable else q.network.options.n_neurons
    yield at_most("neurons read by the host", used, q.profile.limits.external_outputs, "lower network.n_neurons")


def release_support(plan: Plan) -> Iterator[Finding]:
    """Every synapse draws its own release."""
    support = plan.quantised.profile.release.support
    way_out = "deploy a network without draws (release threshold or frozen_sample); here draws are emulated"
    limit = {"synapse": "a draw a synapse", "neuron": "a draw a neuron", "none": "no draws"}[support]
    yield Finding("stochastic release", "a draw a synapse", limit, support == "synapse", way_out, "warning")


def release_levels(plan: Plan) -> Iterator[Finding]:
    """Different release probabilities at one neuron, sign included; 0 needs none."""
    q, limit = plan.quantised, plan.quantised.profile.release.levels_per_target
    ending = incoming(q)
    if plan.probabilities is None:
        used = min(sum(source.axons for source in ending["recurrent"]), 2 * 2**q.profile.p_bits)
        what = "different probabilities a recurrent neuron can have"
    else:
        used = max(_levels(plan.probabilities, [source.name for source in found], q) for found in ending.values())
        what = "different probabilities at a neuron"
    way_out = "cluster them, or deploy with release threshold or frozen_sample"
    yield at_most(what, used, limit, way_out, "warning")


def _levels(probabilities: ReleaseProbabilities, projections: list[str], q: QuantisedNetwork) -> int:
    """Most different pairs of sign and probability code at one target of these projections; code 0 aside."""
    codes = []
    for name in projections:
        code = np.rint(probabilities[name].astype(np.float64) * 2**q.profile.p_bits).astype(np.int64)
        codes.append(code if name == "input" else np.where(q.network.excitatory[:, None], code, -code))
    return max(len(set(column.tolist()) - {0}) for column in np.concatenate(codes).T)


# --- sizes ------------------------------------------------------------------------------------------------------------


def cores(plan: Plan) -> Iterator[Finding]:
    """The network fits the chip."""
    limit = plan.quantised.profile.limits.cores
    yield at_most("cores of the chip", len(plan.cores), limit, "lower network.n_neurons, or use narrower weights")


def neurons_per_core(plan: Plan) -> Iterator[Finding]:
    """Neurons of every core."""
    yield from _every_core(plan, "neurons", lambda core: core.size, plan.quantised.profile.limits.neurons_per_core)


def inputs_per_core(plan: Plan) -> Iterator[Finding]:
    """Axons that end in a core; splitting does not lower them, every core hears every source."""
    yield from _every_core(plan, "axons in", lambda core: core.inputs, plan.quantised.profile.limits.inputs_per_core)


def outputs_per_core(plan: Plan) -> Iterator[Finding]:
    """Axons that leave a core: one for every core, and for the host, that listens to a neuron."""
    yield from _every_core(plan, "axons out", lambda core: core.outputs, plan.quantised.profile.limits.outputs_per_core)


def synapse_memory(plan: Plan) -> Iterator[Finding]:
    """Bits of the synapses that end in a core."""
    limit = plan.quantised.profile.limits.synapse_bits_per_core
    yield from _every_core(plan, "synapse bits", lambda core: core.synapse_bits, limit)


def decays_per_core(plan: Plan) -> Iterator[Finding]:
    """Different pairs of du and dv on a core."""
    limit = plan.quantised.profile.limits.distinct_decays_per_core
    yield from _every_core(plan, "pairs of decays", lambda core: core.decays, limit)


def thresholds_per_core(plan: Plan) -> Iterator[Finding]:
    """Different thresholds on a core; the readout has one it cannot reach."""
    limit = plan.quantised.profile.limits.distinct_thresholds_per_core
    yield from _every_core(plan, "thresholds", lambda core: core.thresholds, limit)


def synapses_per_chip(plan: Plan) -> Iterator[Finding]:
    """Synapses of all cores."""
    limit = plan.quantised.profile.limits.synapses_per_chip
    yield at_most("synapses of the chip", synapses(plan.quantised), limit, "lower network.n_neurons")


def synapses(q: QuantisedNetwork) -> int:
    """Synapses on the chip."""
    sizes = {"recurrent": q.network.options.n_neurons, "readout": q.network.n_outputs}
    return sum(source.axons * sizes[name] for name, ending in incoming(q).items() for source in ending)


def _every_core(plan: Plan, what: str, used: Callable[[Core], int], limit: int | None) -> Iterator[Finding]:
    """The core that uses most, and how many others use too much."""
    amounts = [used(core) for core in plan.cores]
    number = amounts.index(max(amounts))
    others = sum(limit is not None and amount > limit for amount in amounts) - 1
    more = f" (and {others} more)" if others > 0 else ""
    yield at_most(f"{what} of core {number}{more}", amounts[number], limit, "lower network.n_neurons, or use a larger chip")


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


RULES: tuple[Rule, ...] = (
    *(weight_width, weights_per_target, sign_modes, loop_delay, fan_in, fan_out),
    *(threshold_range, threshold_precision, time_constants, step_bound, overflow),
    *(graded_input, input_range, external_inputs, external_outputs, release_support, release_levels),
    *(cores, neurons_per_core, inputs_per_core, outputs_per_core, synapse_memory),
    *(decays_per_core, thresholds_per_core, synapses_per_chip),
)

__all__ = ["RULES", "Finding", "Plan", "Rule", "Severity", "synapses"]
