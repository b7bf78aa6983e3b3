"""The pieces of an environment step for a whole population, one kernel a Lava process.

Arrays lead with the sample axis. `alive` (uint8, shape (samples,)) says which samples still play; the others are left as
they are. For one sample every kernel does what `rollout` does, by calling the same functions, so the bits are the same.
"""

from __future__ import annotations

import numpy as np

from .arithmetic import (
    input_drive,
    integrate,
    neuron_step,
    read_output,
    readout_lanes,
    start_potentials,
    state_zeros,
)
from .compiling import copy, kernel
from .fixed_point import fixed_lif_step
from .lanes import aligned_zeros, sum_rows
from .neurons import lif_step
from .random_bits import MEMBRANE, fill_start, fill_uniform
from .release import draw_release
from .rollout import count_output, normalise, readout_count


@kernel
def draw_population(source, seed, generation, stream, rows):
    """Draw the release of every sample: rows[i] (uint64, shape (words,)) from key (seed, generation, i, stream)."""
    for sample in range(rows.shape[0]):
        draw_release(source, seed, generation, sample, stream, rows[sample])


@kernel
def state_array(constants, n_outputs):
    """State of one sample: zeros for n lanes of neurons (`lif` constants), or the readout's (`readout` constants)."""
    return state_zeros(constants, readout_lanes(constants, n_outputs))


@kernel
def start_membranes(lif, seed, generation, phase, n_neurons, v):
    """Initial membrane potentials v[i, :n_neurons] of every sample, uniform in [0, 1) in units of the potential."""
    potentials = np.empty(n_neurons, np.float64)
    for sample in range(v.shape[0]):
        fill_uniform(seed, generation, sample, MEMBRANE + phase, potentials)
        start_potentials(lif, potentials, v[sample])


@kernel
def drive_population(inputs, observations, rows, alive, drive, events):
    """Graded input: drive[i] (64 · words) from observation x = observations[i] (arithmetic.input_drive)."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            input_drive(inputs, observations[sample], rows[sample], drive[sample], events)


@kernel
def deliver_population(spikes, excitatory, rows, alive, delivered):
    """Spiking input: delivered[i] (int16, 64 · words) = signed number of released synapses that carried a spike."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            sum_rows(spikes[sample], excitatory, rows[sample], delivered[sample])


@kernel
def lif_population(lif, u, v, drive, delivered, alive, spikes, events):
    """One step of all neurons (kernels/arithmetic.py); spikes[i] (uint64, words) is written."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            arrays = (u[sample], v[sample], drive[sample], delivered[sample])
            for w in range(spikes.shape[1]):
                spikes[sample, w] = neuron_step(lif, 64 * w, arrays, events)


@kernel
def count_population(spikes, excitatory, rows, n_outputs, alive, counts):
    """Spiking input of few targets: counts[i, o] (int32) = signed number of released synapses that carry a spike."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            for o in range(n_outputs):
                counts[sample, o] = readout_count(spikes[sample], excitatory, rows[sample], o)


@kernel
def integrate_population(readout, counts, alive, trace, events):
    """One step of the readout's traces (arithmetic.integrate)."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            integrate(readout, counts[sample], trace[sample], events)


@kernel
def output_population(readout, trace, output):
    """The networks' outputs (float32) from their traces."""
    for sample in range(trace.shape[0]):
        read_output(readout, trace[sample], output[sample])


@kernel
def normalise_population(observations, mean, inverse_std, alive, z, sums):
    """Standardise the observations of samples that play into z[i] (float32), and sum them exactly (rollout.normalise)."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            normalise(observations[sample], mean, inverse_std, z[sample], sums)


@kernel
def reset_population(task, seed, generation, phase, first, shared, states, random_size):
    """Start every sample's episode: states[i] (float64) from random numbers of sample first + i (random_bits.fill_start)."""
    reset, _, _ = task.value
    random = np.empty(random_size, np.float64)
    for sample in range(states.shape[0]):
        fill_start(seed, generation, phase, first + sample, shared, random)
        reset(states[sample], random)


@kernel
def observe_population(task, states, alive, observations):
    """observations[i] (float64) of every sample that plays; task: its functions (rollout.task_functions), as below."""
    _, observe, _ = task.value
    for sample in range(alive.shape[0]):
        if alive[sample]:
            observe(states[sample], observations[sample])


@kernel
def step_population(task, states, outputs, max_steps, alive, returns, steps, ended):
    """Act on outputs[i]; adds to returns and steps; a sample whose episode ends is no longer alive.

    ended[i] (uint8): whether it ended by itself, not for want of time.
    """
    _, _, step = task.value
    for sample in range(alive.shape[0]):
        if alive[sample]:
            reward, ended[sample] = step(states[sample], outputs[sample])
            returns[sample] += reward
            steps[sample] += 1
            if ended[sample] or steps[sample] >= max_steps:
                alive[sample] = 0


@kernel
def answer_population(outputs, alive, answers):
    """Count the answers of samples that play: answers[i] (int64) as of `rollout.count_output`."""
    for sample in range(alive.shape[0]):
        if alive[sample]:
            count_output(outputs[sample], answers[sample])


@kernel
def lif_vector(u, v, bias, a_in, constants, spikes):
    """One step of n neurons held in plain float32 vectors; spikes (float32) are 0 or 1."""
    n = u.shape[0]
    lanes = -(-n // 64) * 64
    padded_u, padded_v = aligned_zeros(lanes, np.float32), aligned_zeros(lanes, np.float32)
    padded_bias, padded_input = aligned_zeros(lanes, np.float32), aligned_zeros(lanes, np.float32)
    copy(u, padded_u[:n])
    copy(v, padded_v[:n])
    copy(bias, padded_bias[:n])
    copy(a_in, padded_input[:n])
    for w in range(lanes // 64):
        word = lif_step(64 * w, (padded_u, padded_v, padded_bias, padded_input), constants)
        for k in range(min(64, n - 64 * w)):
            spikes[64 * w + k] = np.float32((word >> np.uint64(k)) & np.uint64(1))
    copy(padded_u, u)
    copy(padded_v, v)


@kernel
def fixed_lif_vector(u, v, bias, a_in, constants, spikes):
    """The same in integers: all int32; `a_in` is shifted as the chip shifts it."""
    n = u.shape[0]
    lanes = -(-n // 64) * 64
    padded_u, padded_v = aligned_zeros(lanes, np.int32), aligned_zeros(lanes, np.int32)
    padded_bias, padded_input = aligned_zeros(lanes, np.int32), aligned_zeros(lanes, np.int32)
    copy(u, padded_u[:n])
    copy(v, padded_v[:n])
    copy(bias, padded_bias[:n])
    copy(a_in, padded_input[:n])
    for w in range(lanes // 64):
        word, _, _ = fixed_lif_step(64 * w, (padded_u, padded_v, padded_bias, padded_input), constants)
        for k in range(min(64, n - 64 * w)):
            spikes[64 * w + k] = np.int32((word >> np.uint64(k)) & np.uint64(1))
    copy(padded_u, u)
    copy(padded_v, v)


@kernel
def deliver_vector(spikes, excitatory, rows, weight, total):
    """total (float32 or int32, shape (n_post,)) = weight · signed number of released synapses that carry a spike."""
    counts = aligned_zeros(-(-total.shape[0] // 64) * 64, np.int16)
    sum_rows(spikes, excitatory, rows, counts)
    for j in range(total.shape[0]):
        total[j] = weight * counts[j]
