"""What a deployed network computes in real numbers, and how its integers differ: both go into a NIR graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rsrp_lava.errors import MappingError
from rsrp_lava.export.deployment import Deployment
from rsrp_lava.kernels.arithmetic import NetworkConstants
from rsrp_lava.mapping import QuantisedNetwork


@dataclass(frozen=True)
class EffectiveNetwork:
    """The constants with which real numbers come closest to what a deployment computes; potentials in units of our own.

    In integers U = s u and V = k (v − v_reset) (mapping/quantise.py), so weights are divided by s and thresholds by k, and
    decays are those that the chip holds. `…_weight` is of a synapse that counts once.
    """

    synapse_kept: float  #: of the synaptic current after a step
    membrane_kept: float
    readout_kept: float
    v_threshold: float
    v_reset: float
    input_weight: float  #: current a unit of the standardised observation
    recurrent_weight: float  #: current a spike
    readout_weight: float  #: a readout that hears a spike at every step ends at this output


def effective_network(deployment: Deployment) -> EffectiveNetwork:
    """Raises `MappingError` for neurons that decay linearly or reset by subtraction: NIR has no word for them."""
    constants, quantised = deployment.constants, deployment.quantised
    if quantised is not None:
        return _dequantised(constants, quantised)
    network = deployment.network
    o, readout = network.options, constants.readout
    kept = network.decay(o.tau_out_ms)
    return EffectiveNetwork(
        synapse_kept=network.decay(o.tau_syn_ms),
        membrane_kept=network.decay(o.tau_mem_ms),
        readout_kept=kept,
        v_threshold=o.v_threshold,
        v_reset=o.v_reset,
        input_weight=float(constants.input.weight),
        recurrent_weight=float(constants.lif.weight),
        readout_weight=float(readout.trace_gain) * float(readout.output_weight) / (1 - kept),
    )


def _dequantised(constants: NetworkConstants, quantised: QuantisedNetwork) -> EffectiveNetwork:
    neuron, inputs, readout = quantised.profile.neuron, constants.input, constants.readout
    assert neuron is not None  # or nothing would be quantised
    for what, wrong in (
        ("linear leak", neuron.decay.form == "linear"),
        ("reset by subtraction", neuron.reset == "subtract"),
    ):
        if wrong:
            name = quantised.profile.name
            raise MappingError(f"nir: neurons of profile {name} have a {what}, NIR's none; choose another, or --to npz")
    bias_unit = float(inputs.per_unit) * 2.0 ** (int(inputs.shift) - int(inputs.fraction_bits))
    v_reset = quantised.network.options.v_reset
    return EffectiveNetwork(
        synapse_kept=quantised.u_decay.kept,
        membrane_kept=quantised.v_decay.kept,
        readout_kept=quantised.readout_decay.kept,
        v_threshold=v_reset + int(constants.lif.threshold) / quantised.potential_unit,
        v_reset=v_reset,
        input_weight=bias_unit / quantised.current_unit,
        recurrent_weight=int(constants.lif.weight) / quantised.current_unit,
        readout_weight=int(readout.weight) * float(readout.scale) / (1 - quantised.readout_decay.kept),
    )


def arithmetic(deployment: Deployment) -> dict[str, Any]:
    """How the numbers of the graph are rounded where the network runs: all that is not in the graph itself."""
    constants, quantised = deployment.constants, deployment.quantised
    if quantised is None:
        return {"kind": "float32", "readout_gain": float(constants.readout.trace_gain)}
    neuron, inputs = quantised.profile.neuron, constants.input
    assert neuron is not None
    return {
        "kind": "integer",
        "current_unit": quantised.current_unit,
        "potential_unit": quantised.potential_unit,
        "decay_form": neuron.decay.form,
        "decay_rounding": neuron.decay.rounding,
        "decay_bits": neuron.decay.bits,
        "u_bits": neuron.u.bits,
        "u_overflow": neuron.u.overflow,
        "v_bits": neuron.v.bits,
        "v_overflow": neuron.v.overflow,
        "input_per_unit": float(inputs.per_unit),
        "input_limit": int(inputs.limit),
        "input_shift": int(inputs.shift),
        "input_fraction_bits": int(inputs.fraction_bits),
        "readout_scale": float(constants.readout.scale),
    }
