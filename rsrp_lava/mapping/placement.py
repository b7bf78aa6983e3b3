"""Second step of mapping: which neurons go to which core, and what each core then holds.

Neurons are taken in order, recurrent ones first, and put on a core until one of its limits (neurons, incoming axons, synapse
memory) is reached; then the next core is opened. A core holds its neurons and all synapses that end in them, so it needs an
axon from every source of every projection that ends in it, however few targets it has. What no split can mend stays on one
core, where the design rules report it (rules.py).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from rsrp_lava.hardware_profiles.schema import Limits
from rsrp_lava.mapping.quantise import QuantisedNetwork, neuron_of

SignMode = Literal["per_source", "one sign a block", "signed", "mixed", "none"]


@dataclass(frozen=True)
class Core:
    """A core of the chip and what is on it."""

    neurons: dict[str, range]  #: neurons of each population
    axons: dict[str, int]  #: incoming axons of each projection
    inputs: int  #: axons that end here
    outputs: int  #: axons that leave here: one a neuron, target core and projection, one more where the host reads spikes
    synapse_bits: int
    decays: int  #: different pairs of du and dv
    thresholds: int  #: different thresholds

    @property
    def size(self) -> int:
        """Neurons, of all populations."""
        return sum(map(len, self.neurons.values()))

    def __str__(self) -> str:
        held = ", ".join(f"{name} {part.start} … {part.stop - 1}" for name, part in self.neurons.items())
        return f"{held}: {self.inputs} axons in, {self.outputs} out, {self.synapse_bits} synapse bits"


@dataclass(frozen=True)
class Incoming:
    """A projection that ends in a population: how many axons, and bits a synapse."""

    name: str
    axons: int
    synapse_bits: int


def sign_mode(quantised: QuantisedNetwork) -> SignMode:
    """How signs are kept, the cheapest the chip has: every presynaptic neuron has one (Dale's law)."""
    modes = quantised.profile.synapse.sign_modes
    signs = {"excitatory" if positive else "inhibitory" for positive in quantised.network.excitatory}
    if "per_source" in modes:
        return "per_source"
    if signs <= set(modes):
        return "one sign a block"
    return "signed" if "signed" in modes else "mixed" if "mixed" in modes else "none"


def stored_bits(quantised: QuantisedNetwork, weight: int) -> int:
    """Bits a synapse of this weight takes in memory.

    The narrowest width that holds the weight, a sign bit where the chip needs one, and what the chip adds. Where neurons
    hold the weights, a synapse is one bit.
    """
    profile = quantised.profile
    widths = [bits for bits in profile.synapse.weight_bits if bits >= weight.bit_length()]
    width = min(widths, default=weight.bit_length()) + (sign_mode(quantised) == "signed")
    return (width if profile.synapse.weights_per_target is None else 1) + profile.limits.synapse_extra_bits


def axon_bits(synapses: int, synapse_bits: int, limits: Limits) -> int:
    """Memory of one axon's synapses (nengo-loihi block.py `bits_per_axon`).

    Every block of up to `block_synapses` takes n · synapse_bits + block_header_bits, rounded up to block_align_bits.
    """
    full, rest = divmod(synapses, limits.block_synapses)

    def block(n: int) -> int:
        return -(-(n * synapse_bits + limits.block_header_bits) // limits.block_align_bits) * limits.block_align_bits

    return full * block(limits.block_synapses) + (block(rest) if rest else 0)


def incoming(quantised: QuantisedNetwork) -> dict[str, tuple[Incoming, ...]]:
    """Populations on the chip, and the projections that end in each.

    Graded input that a chip takes as bias is summed by the host: its synapses take no memory of a core. A readout that the
    host integrates (v is not readable) is not on the chip either.
    """
    network, neuron = quantised.network, neuron_of(quantised.profile)
    n, recurrent = network.options.n_neurons, stored_bits(quantised, quantised.weight)
    found: dict[str, tuple[Incoming, ...]] = {"recurrent": (Incoming("recurrent", n, recurrent),)}
    if not neuron.bias.writable:
        found["recurrent"] += (Incoming("input", 2 * network.n_inputs, recurrent),)
    if neuron.readable:
        found["readout"] = (Incoming("readout", n, stored_bits(quantised, quantised.readout_weight)),)
    return found


def place(quantised: QuantisedNetwork) -> tuple[Core, ...]:
    """The cores a network takes, as few as the limits of a core allow in the order of the neurons."""
    network, limits, ending = quantised.network, quantised.profile.limits, incoming(quantised)
    sizes = {"recurrent": network.options.n_neurons, "readout": network.n_outputs}
    cores: list[dict[str, range]] = [{}]
    for population in ending:
        first, last = 0, sizes[population]
        while first < last:
            room = _room(cores[-1], population, last - first, ending, limits)
            if room == 0 and not cores[-1]:
                room = last - first  # not even one fits an empty core
            if room:
                cores[-1][population] = range(first, first + room)
            first += room
            if first < last:
                cores.append({})
    return tuple(_core(held, cores, quantised, ending) for held in cores)


def _room(
    held: dict[str, range], population: str, most: int, ending: dict[str, tuple[Incoming, ...]], limits: Limits
) -> int:
    """How many neurons of a population the core can take besides what it holds."""

    def full(k: int) -> bool:
        with_k = {name: len(part) for name, part in held.items()} | {population: k}
        used = (
            (sum(with_k.values()), limits.neurons_per_core),
            (sum(source.axons for name in with_k for source in ending[name]), limits.inputs_per_core),
            (_memory(with_k, ending, limits), limits.synapse_bits_per_core),
        )
        return any(limit is not None and amount > limit for amount, limit in used)

    return bisect_left(range(1, most + 1), True, key=full)


def _memory(sizes: dict[str, int], ending: dict[str, tuple[Incoming, ...]], limits: Limits) -> int:
    return sum(
        source.axons * axon_bits(size, source.synapse_bits, limits)
        for name, size in sizes.items()
        for source in ending[name]
    )


def _core(
    held: dict[str, range],
    cores: list[dict[str, range]],
    quantised: QuantisedNetwork,
    ending: dict[str, tuple[Incoming, ...]],
) -> Core:
    axons = {source.name: source.axons for name in held for source in ending[name]}
    own = len(held.get("recurrent", ()))
    targets = sum(source.name != "input" for core in cores for name in core for source in ending[name])
    return Core(
        neurons=held,
        axons=axons,
        inputs=sum(axons.values()),
        outputs=own * (targets + ("readout" not in ending)),
        synapse_bits=_memory({name: len(part) for name, part in held.items()}, ending, quantised.profile.limits),
        decays=len(held),
        thresholds=len(held),
    )


__all__ = ["Core", "Incoming", "SignMode", "axon_bits", "incoming", "place", "sign_mode", "stored_bits"]
