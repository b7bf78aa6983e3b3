"""How a network is split over cores, and what every core then holds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from rsrp_lava import Experiment, load_profile
from rsrp_lava.hardware_profiles.schema import Limits
from rsrp_lava.mapping import quantise
from rsrp_lava.mapping.placement import axon_bits, place, sign_mode, stored_bits

LOIHI1 = load_profile("loihi1").limits


def cores_of(profile, n, overrides=None, **network):
    experiment = Experiment(profile=profile, profile_overrides=overrides or {}, network={"n_neurons": n, **network})
    return place(quantise(experiment.build_network(), experiment.hardware))


@pytest.mark.parametrize(("width", "bits_a_synapse", "largest"), [(1, 2, 712), (2, 3, 585), (8, 9, 341)])
def test_loihi_stores_dense_synapses_at_the_published_density(width, bits_a_synapse, largest):
    """nengo-loihi's formula: whole blocks of 64 take 128, 192 and 576 bits; the largest all-to-all network on a core."""
    assert axon_bits(64 * 10, width, LOIHI1) == 64 * 10 * bits_a_synapse
    memory = LOIHI1.synapse_bits_per_core
    assert largest * axon_bits(largest, width, LOIHI1) <= memory < (largest + 1) * axon_bits(largest + 1, width, LOIHI1)


def test_one_loihi_core_holds_the_published_number_of_synapses():
    """1 bit: 524,288; 2 bits: 349k; 8 bits: 116,480 (axons of 1024, 1024 and 64 targets as a multiple of a block)."""
    memory = LOIHI1.synapse_bits_per_core
    assert [memory // axon_bits(64, width, LOIHI1) * 64 for width in (1, 2, 8)] == [524_288, 349_504, 116_480]


@settings(deadline=None)
@given(st.integers(0, 700), st.integers(1, 20), st.integers(1, 70), st.integers(0, 20), st.integers(1, 70))
def test_memory_of_an_axon(synapses, width, block, header, align):
    changes = {"block_synapses": block, "block_header_bits": header, "block_align_bits": align}
    limits = Limits.model_validate({**LOIHI1.model_dump(), **changes})
    assert axon_bits(synapses, width, limits) == naive.axon_bits(synapses, width, block, header, align)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(2, 700),
    st.sampled_from(["generic-int8", "loihi1", "loihi2", "odin", "spinnaker2", "truenorth", "xylo"]),
)
def test_every_neuron_is_on_one_core(n, profile):
    cores = cores_of(profile, n)
    for population, size in {"recurrent": n, "readout": 1}.items():
        placed = [neuron for core in cores for neuron in core.neurons.get(population, ())]
        on_host = population == "readout" and profile in ("odin", "truenorth")
        assert placed == ([] if on_host else list(range(size)))
    assert all(core.size for core in cores)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 900), st.integers(20, 400), st.integers(10_000, 2_000_000))
def test_a_split_stays_within_the_limits_and_the_next_neuron_would_not(n, neurons, memory):
    overrides = {"limits.neurons_per_core": neurons, "limits.synapse_bits_per_core": memory}
    cores = cores_of("loihi1", n, overrides)
    experiment = Experiment(profile="loihi1", profile_overrides=overrides, network={"n_neurons": n})
    bits = stored_bits(q := quantise(experiment.build_network(), experiment.hardware), q.weight)
    possible = n * axon_bits(1, bits, LOIHI1) <= memory  # one neuron fits a core
    for core, following in itertools.pairwise(cores):
        size = len(core.neurons.get("recurrent", ()))
        if possible and following.neurons.get("recurrent"):
            assert size <= neurons
            assert core.synapse_bits == n * axon_bits(size, bits, LOIHI1) <= memory
            assert size == neurons or n * axon_bits(size + 1, bits, LOIHI1) > memory


def test_a_split_says_how():
    """600 neurons on cores of 250: 250 + 250 + 100 and the readout; a core needs an axon from every source."""
    first, second, third = cores_of("loihi1", 600, {"limits.neurons_per_core": 250})
    assert first.neurons == {"recurrent": range(0, 250)}
    assert second.neurons == {"recurrent": range(250, 500)}
    assert third.neurons == {"recurrent": range(500, 600), "readout": range(0, 1)}
    assert (first.inputs, third.inputs) == (600, 1200)
    assert (first.outputs, third.outputs) == (250 * 4, 100 * 4)  # three cores, the third with two projections
    assert str(second) == "recurrent 250 … 499: 600 axons in, 1000 out, 307200 synapse bits"
    assert second.synapse_bits == 600 * 4 * 128  # 250 1-bit synapses: three blocks of 64 and one of 58


def test_what_no_split_can_mend_stays_whole():
    """5000 sources need 5000 axons into every core, however few neurons it has."""
    cores = cores_of("loihi1", 5000)
    assert cores[0].neurons == {"recurrent": range(0, 5000)}
    assert cores[0].inputs == 5000 > LOIHI1.inputs_per_core


def test_input_and_readout_that_are_on_the_chip_take_axons():
    (loihi,) = cores_of("loihi1", 64)
    (xylo,) = cores_of("xylo", 48)
    (truenorth,) = cores_of("truenorth", 64)
    assert loihi.axons == {"recurrent": 64, "readout": 64}  # input is bias
    assert xylo.axons == {"recurrent": 48, "input": 8, "readout": 48}
    assert truenorth.axons == {"recurrent": 64, "input": 8}  # the host integrates
    assert truenorth.outputs == 64 * 2  # the core itself, and the host
    assert truenorth.synapse_bits == 72 * 256  # rows of the crossbar


@pytest.mark.parametrize(
    ("profile", "ratio", "mode", "bits"),
    [
        ("loihi1", 0.5, "one sign a block", 3),
        ("odin", 0.5, "per_source", 4),  # 3 bits and a mapping bit
        ("generic-int8", 0.5, "signed", 8),
        ("truenorth", 0.5, "signed", 1),  # neurons hold the weights
        ("spinnaker2", 0.5, "per_source", 17),  # a bit, and a probability of 16
        ("loihi1", 1.0, "one sign a block", 3),
    ],
)
def test_signs_and_bits_a_synapse(profile, ratio, mode, bits):
    network = Experiment(network={"n_neurons": 64, "excitatory_ratio": ratio}).build_network()
    quantised = quantise(network, load_profile(profile))
    assert sign_mode(quantised) == mode
    assert stored_bits(quantised, 7) == bits


def test_placing_changes_nothing():
    experiment = Experiment(profile="loihi1", network={"n_neurons": 300})
    quantised = quantise(experiment.build_network(), experiment.hardware)
    before = repr(quantised)
    assert place(quantised) == place(quantised)
    assert repr(quantised) == before
    assert np.array_equal(quantised.network.excitatory, experiment.build_network().excitatory)
