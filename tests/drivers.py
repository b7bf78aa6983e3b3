"""Compiled entry points for the tests, where a kernel can only be called from compiled code or its state must be seen."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from rsrp_lava.kernels.arithmetic import input_drive, integrate, neuron_step, read_output
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.generators import draw_words
from rsrp_lava.kernels.lanes import lanewise, never, sum_rows
from rsrp_lava.kernels.neurons import lif_step
from rsrp_lava.kernels.random_bits import MEMBRANE, fill_uniform, threefry
from rsrp_lava.kernels.rollout import allocate_state, draw_sample, simulate, start_episode


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


@njit
def start_sample(state, synapses, constants, key, sample):
    """A sample at the start of its first episode."""
    draw_sample(state, synapses, key, sample)
    potentials = np.empty(constants.n_neurons)
    fill_uniform(key[0], key[1], sample, MEMBRANE + key[2], potentials)
    start_episode(state, constants, potentials)


@kernel
def copy_start(synapses, constants, n_out, key, sample):
    """Membrane potentials and the three projections' words right after `start_sample`."""
    state = allocate_state(synapses, constants, 0, n_out)
    start_sample(state, synapses, constants, key, sample)
    return state.v.copy(), state.input_rows.copy(), state.recurrent_rows.copy(), state.readout_rows.copy()


@kernel
def run_network(synapses, constants, key, sample, observations, calls, spikes, currents, outputs):
    """Show `observations` (steps, d_in) to one sample, calling `simulate` `calls` times for each.

    After every call the packed spikes and the synaptic currents are copied out, after every observation the output.
    """
    state = allocate_state(synapses, constants, 0, outputs.shape[1])
    start_sample(state, synapses, constants, key, sample)
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


# Integer arithmetic


class Operation(NamedTuple):
    """A decay or an overflow of kernels/fixed_point.py, by itself."""

    of: Any


@lanewise()
def _decay_lanes(x, c):
    return never(x), {"x": c.of(x)}


@lanewise()
def _overflow_lanes(x, c):
    x, over = c.of(x)
    return over, {"x": x}


@kernel
def decay_all(x, operation):
    """x ← decay(x) of 64 · k numbers (int32)."""
    for start in range(0, x.shape[0], 64):
        _decay_lanes(start, (x,), operation)


@kernel
def overflow_all(x, operation, over):
    """x ← overflow(x) of 64 · len(over) numbers (int32); `over` (uint64) says which did."""
    for w in range(over.shape[0]):
        over[w] = _overflow_lanes(64 * w, (x,), operation)


@kernel
def step_fixed_lif(u, v, bias, count, constants, spikes, events):
    """One step of 64 · len(spikes) neurons."""
    for w in range(spikes.shape[0]):
        spikes[w] = neuron_step(constants, 64 * w, (u, v, bias, count), events)


@kernel
def step_fixed_readout(trace, counts, constants, output, events):
    """One step of the readout (whole lanes), and its output."""
    integrate(constants, counts, trace, events)
    read_output(constants, trace, output)


@kernel
def drive_neurons(constants, observation, rows, drive, events):
    """Graded input of one observation."""
    input_drive(constants, observation, rows, drive, events)


@kernel
def record_network(synapses, constants, key, sample, observations, spikes, u, v, trace, outputs, events):
    """As `run_network`, with `constants.substeps` = 1 and 33 calls an observation; all of the state is copied out."""
    state = allocate_state(synapses, constants, 0, outputs.shape[1])
    start_sample(state, synapses, constants, key, sample)
    row = 0
    for t in range(observations.shape[0]):
        input_drive(constants.input, observations[t], state.input_rows, state.drive, events)
        for _ in range(33):
            simulate(state, constants, events)
            spikes[row] = state.spikes
            u[row], v[row], trace[row] = state.u, state.v, state.trace
            row += 1
        outputs[t] = state.output
