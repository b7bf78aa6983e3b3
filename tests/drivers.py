"""Compiled entry points for the tests, where a kernel can only be called from compiled code or its state must be seen."""

import numpy as np

from rsrp_lava.kernels.arithmetic import input_drive
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.generators import draw_words
from rsrp_lava.kernels.lanes import sum_rows
from rsrp_lava.kernels.neurons import lif_step
from rsrp_lava.kernels.random_bits import threefry
from rsrp_lava.kernels.rollout import allocate_state, simulate, start_sample


@kernel
def threefry_words(k0, k1, k2, k3, c0, c1):
    return threefry(k0, k1, k2, k3, c0, c1)


@kernel
def draw_some_words(planes, seed, generation, sample, stream, first, out):
    draw_words(planes, seed, generation, sample, stream, first, out)


@kernel
def add_rows(spikes, excitatory, rows, out):
    sum_rows(spikes, excitatory, rows, out)


@kernel
def step_lif(u, v, drive, count, constants, spikes):
    """One step of 64 · len(spikes) neurons."""
    for w in range(spikes.shape[0]):
        spikes[w] = lif_step(64 * w, (u, v, drive, count), constants)


@kernel
def copy_start(synapses, constants, n_out, key, sample):
    """Membrane potentials and the three projections' words right after `start_sample`."""
    state = allocate_state(synapses, constants, n_out)
    start_sample(state, synapses, constants, key[0], key[1], sample, key[2])
    return state.v.copy(), state.input_rows.copy(), state.recurrent_rows.copy(), state.readout_rows.copy()


@kernel
def run_network(synapses, constants, key, sample, observations, calls, spikes, currents, outputs):
    """Show `observations` (steps, d_in) to one sample, calling `simulate` `calls` times for each.

    After every call the packed spikes and the synaptic currents are copied out, after every observation the output.
    """
    state = allocate_state(synapses, constants, outputs.shape[1])
    start_sample(state, synapses, constants, key[0], key[1], sample, key[2])
    events = np.zeros(3, np.int64)
    row = 0
    for t in range(observations.shape[0]):
        input_drive(constants.input, observations[t], state.input_rows, state.drive, events)
        for _ in range(calls):
            simulate(state, constants, events)
            spikes[row] = state.spikes
            currents[row] = state.u
            row += 1
        outputs[t] = state.output
