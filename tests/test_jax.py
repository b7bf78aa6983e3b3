"""The network in JAX, which `make bench` measures beside ours, is the same network: it spikes alike, up to rounding."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rsrp_lava.kernels.population import drive_population
from rsrp_lava.kernels.release import bit_planes, unpack_bits
from rsrp_lava.kernels.rollout import Synapses, allocate_state, draw_sample, simulate, start_episode
from rsrp_lava.mapping import floating_constants
from rsrp_lava.network import Network, NetworkOptions

pytest.importorskip("jax")
sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks.jax_network import JaxBatch

SAMPLES, ENVIRONMENT_STEPS = 16, 3


@pytest.mark.parametrize(
    "options",
    [{}, {"n_neurons": 100, "excitatory_ratio": 0.7, "v_reset": -0.2, "v_threshold": 0.8, "tau_out_ms": 4.0, "dt_ms": 0.4}],
    ids=["recipe", "others"],
)
def test_it_spikes_as_the_kernel_does(options):
    """Sums are added in another order, so a potential within some 2^-24 of the threshold may fall on the other side; from
    there on that network is another. One in 16 may."""
    network, random = Network(NetworkOptions(**options), 3, 2), np.random.default_rng(0)
    probabilities = network.initial_probabilities({})
    sources = (bit_planes(p.to_rows(probabilities[p.name]), 16) for p in network.projections)
    constants, synapses = floating_constants(network), Synapses(*sources)
    observations = random.normal(size=(ENVIRONMENT_STEPS, SAMPLES, 3)).astype(np.float32)
    potentials = random.random((SAMPLES, network.options.n_neurons))
    counted = np.zeros((SAMPLES, ENVIRONMENT_STEPS * network.substeps), int)
    outputs, dense = np.zeros((ENVIRONMENT_STEPS, SAMPLES, 2), np.float32), [[], [], []]
    one_step, events = constants._replace(substeps=1), np.zeros(3, np.int64)
    for sample in range(SAMPLES):
        state = allocate_state(synapses, constants, network.n_outputs)
        draw_sample(state, synapses, (5, 0, 0), sample)
        for kept, rows, p in zip(dense, state[-3:], network.projections, strict=True):
            kept.append(p.from_rows(unpack_bits(rows[: p.words], p.rows_shape)))
        start_episode(state, constants, potentials[sample])
        for step in range(ENVIRONMENT_STEPS):
            x, rows, drive = observations[step, sample][None], state.input_rows[None], state.drive[None]
            drive_population(constants.input, x, rows, np.ones(1, np.uint8), drive, events)
            for k in range(network.substeps):
                simulate(state, one_step, events)
                bits = unpack_bits(state.spikes, (1, 64 * len(state.spikes)))
                counted[sample, step * network.substeps + k] = bits.sum()
            outputs[step, sample] = state.output
    batch = JaxBatch(network, tuple(map(np.stack, dense)), potentials)
    theirs = [batch.environment_step(x) for x in observations]
    same = (np.concatenate([spikes for _, spikes in theirs], axis=1) == counted).all(axis=1)
    assert counted.sum() > 500
    assert same.sum() >= SAMPLES - 1
    for step, (output, _) in enumerate(theirs):
        np.testing.assert_allclose(np.asarray(output)[same], outputs[step, same], rtol=1e-4, atol=1e-5)


def test_it_draws_its_synapses_with_their_probabilities():
    network = Network(NetworkOptions(n_neurons=64), 3, 2)
    probabilities = {p.name: np.full((p.n_pre, p.n_post), 0.3, np.float32) for p in network.projections}
    batch = JaxBatch.drawn(network, probabilities, 50)
    for drawn, rho in zip(batch.synapses, probabilities.values(), strict=True):
        drawn = np.asarray(drawn)
        assert drawn.shape == (50, *rho.shape)
        assert set(np.unique(drawn)) == {0, 1}
        assert abs(drawn.mean() - 0.3) < 5 * np.sqrt(0.21 / drawn.size)
        assert (drawn[0] != drawn[1]).any()
