"""A whole network in integers: every state and every spike equals the twin in Python's unbounded integers."""

import numpy as np
import pytest

import naive
from drivers import copy_start, record_network
from naive_fixed import FixedSample
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.kernels.release import unpack_bits
from rsrp_lava.kernels.rollout import Synapses
from rsrp_lava.mapping import quantise
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import Network, NetworkOptions

SUBSTEPS, NO_CURRENT = 33, {"neuron.synaptic_current": False}
SHIFT = {"neuron.decay.form": "shift", "neuron.decay.bits": 4, "neuron.reset": "subtract", "neuron.v.overflow": "wrap_below"}
LINEAR = {"neuron.decay.form": "linear", "neuron.threshold.compare": "ge", "neuron.reset": "subtract", **NO_CURRENT}
NARROW = {"neuron.u.bits": 9, "neuron.v.bits": 15, "neuron.input_shift": 3, "neuron.threshold.shift": 3}
#: Network, overrides of profile loihi2, and which events must occur.
CASES = {
    "loihi2": ({}, {}, ()),
    "padded, five words": ({"n_neurons": 300, "n_outputs": 3, "n_inputs": 7}, {}, ()),
    "few excite, resting below zero": ({"n_neurons": 100, "excitatory_ratio": 0.3, "v_reset": -0.5}, {}, ()),
    "shift, subtract": ({"n_neurons": 100}, SHIFT, ()),
    "linear, ge, subtract": ({"n_neurons": 100}, LINEAR, ()),
    "nearest, no delay": ({"n_neurons": 64}, {"neuron.decay.rounding": "nearest", "synapse.min_delay": 0}, ()),
    "floor, 15 bits": ({"n_neurons": 64}, {"neuron.decay.rounding": "floor", "neuron.decay.bits": 15}, ()),
    "narrow, wraps": ({"n_neurons": 128, "excitatory_ratio": 0.9}, {**NARROW, "neuron.u.overflow": "wrap_below"}, (0,)),
    "narrow, saturates": ({"n_neurons": 128, "excitatory_ratio": 0.9}, {**NARROW, "neuron.u.overflow": "saturate"}, (0,)),
    "narrow bias": ({"n_neurons": 64}, {"neuron.bias.max_exponent": 5}, (2,)),
}


def make(n_inputs=4, n_outputs=1, overrides=None, seed=0, **options):
    """A network, mapped to loihi2 with overrides, and release probabilities."""
    network = Network(NetworkOptions(**options), n_inputs, n_outputs)
    random = np.random.default_rng(seed)
    shapes = {p.name: (p.n_pre, p.n_post) for p in network.projections}
    probabilities = {name: random.uniform(0.05, 0.95, shape).astype(np.float32) for name, shape in shapes.items()}
    return network, quantise(network, load_profile("loihi2", overrides)), probabilities


def twin_of(network, mapped, probabilities, key, sample):
    drawn = [probabilities[p.name] for p in network.projections]
    potentials = naive.uniforms(key[0], key[1], sample, naive.MEMBRANE + key[2], network.options.n_neurons)
    return FixedSample(naive.draw_network(drawn, 8, key[0], key[1], sample), potentials, mapped, SUBSTEPS)


def planes_of(network, probabilities):
    return Synapses(*(ReleaseDraw(8).source(p, probabilities[p.name]) for p in network.projections))


@pytest.mark.parametrize("case", CASES)
def test_every_state_equals_the_twin(case):
    options, overrides, happen = CASES[case]
    network, mapped, probabilities = make(overrides=overrides, seed=len(case), **options)
    observations = np.random.default_rng(1).normal(0, 2, (8, network.n_inputs)).astype(np.float32)
    key, sample, n = (1, 2, 0), 3, network.options.n_neurons
    twin = twin_of(network, mapped, probabilities, key, sample)
    expected = np.array([twin.environment_step(x) for x in observations])

    constants = mapped.constants()._replace(substeps=1)
    rows, words = len(observations) * SUBSTEPS, len(constants.excitatory)
    spikes, events = np.zeros((rows, words), np.uint64), np.zeros(3, np.int64)
    u, v = np.zeros((2, rows, 64 * words), np.int32)
    trace = np.zeros((rows, -(-network.n_outputs // 8) * 8), np.int32)
    outputs = np.zeros((len(observations), network.n_outputs), np.float32)
    record_network(
        planes_of(network, probabilities), constants, key, sample, observations, spikes, u, v, trace, outputs, events
    )
    spikes = unpack_bits(spikes.ravel(), (rows, 64 * words))

    assert 0.003 < spikes[:, :n].mean() < 0.99  # a network that lives
    for ours, name in ((spikes, "spikes"), (u, "u"), (v, "v")):
        np.testing.assert_array_equal(ours[:, :n], np.array(twin.history[name]), name)
        assert not ours[:, n:].any()
    np.testing.assert_array_equal(trace[:, : network.n_outputs], np.array(twin.history["trace"]))
    np.testing.assert_array_equal(outputs.view("u4"), expected.view("u4"))
    assert events.tolist() == twin.events
    assert all(twin.events[k] > 0 for k in happen)


@pytest.mark.parametrize(
    "options", [{}, {"v_reset": -3.0}, {"v_threshold": 0.05}, {"v_threshold": 0.05, "v_reset": -0.3}], ids=str
)
@pytest.mark.parametrize("width", [24, 30])
def test_membranes_start_where_the_floating_ones_do(options, width):
    """In units of the threshold's integers; a start beyond the register's limit is at the limit, and spikes all the same."""
    wide = {"neuron.v.bits": width, "neuron.u.bits": width, "neuron.threshold.shift": 6 + width - 24}
    network, mapped, probabilities = make(overrides=wide, n_neurons=100, **options)
    largest = 2 ** (width - 1) - 1
    for key, sample in (((1, 2, 0), 3), ((7, 2, naive.EVALUATION), 4)):
        v, *_ = copy_start(planes_of(network, probabilities), mapped.constants(), 1, key, sample)
        uniforms = naive.uniforms(key[0], key[1], sample, naive.MEMBRANE + key[2], 100)
        exact = (uniforms - network.options.v_reset) * mapped.potential_unit
        inside = exact < largest
        assert np.all((exact - v[:100] >= 0) & (exact - v[:100] < 1), where=inside)
        assert np.all(v[:100] == largest, where=~inside)
        assert not v[100:].any()
