"""Episodes of a deployed network: synapses are fixed and may have weights, several networks may vote.

The general, slower sibling of rollout.py; for one network of 1-bit synapses both give the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .arithmetic import input_drive, integrate, neuron_step, read_output, readout_lanes, start_potentials, state_zeros
from .compiling import copy, kernel
from .lanes import aligned_zeros, popcount, sum_rows
from .random_bits import MEMBRANE, TASK, fill_uniform
from .rollout import normalise, readout_count


class Planes(NamedTuple):
    """Packed synapses of K networks; plane b counts 2^b. uint64, shape (K, planes · words of the projection)."""

    input: np.ndarray
    recurrent: np.ndarray
    readout: np.ndarray


class Recording(NamedTuple):
    """Spikes of one episode as they fall; longer episodes are recorded up to the end of the array."""

    spikes: np.ndarray  #: uint64, shape (steps, K · words)


#: Membrane potentials of network k of an ensemble start from sample k · NETWORK_STRIDE + episode.
NETWORK_STRIDE = 2**32


@njit(nogil=True)
def weighted_rows(spikes, constants, planes, partial, total):
    """total (int32) = Σ_b 2^b · (signed number of synapses of plane b that carry a spike)."""
    words = constants.n_neurons * spikes.shape[0]  # of a plane: a row a neuron
    total[:] = 0
    for plane in range(planes.shape[0] // words):
        sum_rows(spikes, constants.excitatory, planes[plane * words : (plane + 1) * words], partial)
        for j in range(total.shape[0]):
            total[j] += np.int32(partial[j]) << plane


@njit(nogil=True)
def count_weighted(spikes, excitatory, planes, counts, n_outputs):
    """counts (int32) += the same for the readout."""
    rows = n_outputs * spikes.shape[0]
    for plane in range(planes.shape[0] // rows):
        for o in range(n_outputs):
            arrived = readout_count(spikes, excitatory, planes[plane * rows : (plane + 1) * rows], o)
            counts[o] += np.int32(arrived) << plane


@kernel
def play_deployed(task, planes, constants, mean, inverse_std, largest_z, sizes, key, starts, episode, recording, events):
    """Play one episode with K networks that share one readout, which adds the spikes of all of them.

    Parameters
    ----------
    task : the task's functions (rollout.task_functions)
    planes : Planes;  constants : NetworkConstants
    mean, inverse_std : float64, shape (d_in,);  largest_z : float64, limit of |z|
    sizes : (state_size, random_size, d_in, n_out, max_steps)
    key : (seed, generation, phase)
    starts : float64, shape (episodes, state_size): the task's states at the start; (0, state_size): as it draws them
    episode : its index
    recording : Recording, written from the first simulation step on
    events : int64, shape (3,), added to

    Returns
    -------
    (return, environment steps, spikes)
    """
    reset, observe, step = task.value
    seed, generation, phase = key
    words, networks = constants.excitatory.shape[0], planes.input.shape[0]
    lanes = 64 * words
    u = state_zeros(constants.lif, networks * lanes)
    v, drive = state_zeros(constants.lif, networks * lanes), state_zeros(constants.lif, networks * lanes)
    delivered, partial = aligned_zeros(lanes, np.int32), aligned_zeros(lanes, np.int16)
    spikes = aligned_zeros(networks * words, np.uint64)
    counts = aligned_zeros(readout_lanes(constants.readout, sizes[3]), np.int32)
    trace = state_zeros(constants.lif, readout_lanes(constants.readout, sizes[3]))
    potentials, random = np.empty(constants.n_neurons), np.empty(sizes[1])
    for k in range(networks):
        fill_uniform(seed, generation, k * NETWORK_STRIDE + episode, MEMBRANE + phase, potentials)
        start_potentials(constants.lif, potentials, v[k * lanes : (k + 1) * lanes])
    task_state, observation, z = np.zeros(sizes[0]), np.zeros(sizes[2]), np.zeros(sizes[2], np.float32)
    output, not_summed = np.zeros(sizes[3], np.float32), np.zeros((0, 0), np.int64)
    fill_uniform(seed, generation, episode, TASK + phase, random)
    if starts.shape[0] > 0:
        copy(starts[episode], task_state)
    else:
        reset(task_state, random)
    earned, steps, ended, row, n_spikes = 0.0, np.int64(0), False, 0, 0
    while steps < sizes[4] and not ended:
        observe(task_state, observation)
        normalise(observation, mean, inverse_std, z, not_summed, largest_z)
        for k in range(networks):
            input_drive(constants.input, z, planes.input[k], drive[k * lanes : (k + 1) * lanes], events)
        for _ in range(constants.substeps):
            if constants.readout_delay:
                _advance_readout(planes, constants, spikes, counts, trace, sizes[3], events)
            for k in range(networks):
                of_k, at = spikes[k * words : (k + 1) * words], slice(k * lanes, (k + 1) * lanes)
                weighted_rows(of_k, constants, planes.recurrent[k], partial, delivered)
                arrays = (u[at], v[at], drive[at], delivered)
                for w in range(words):
                    of_k[w] = neuron_step(constants.lif, 64 * w, arrays, events)
                    n_spikes += popcount(of_k[w])
            if not constants.readout_delay:
                _advance_readout(planes, constants, spikes, counts, trace, sizes[3], events)
            if row < recording.spikes.shape[0]:
                recording.spikes[row] = spikes
            row += 1
        read_output(constants.readout, trace, output)
        reward, ended = step(task_state, output)
        earned += reward
        steps += 1
    return earned, steps, n_spikes


@njit(nogil=True)
def _advance_readout(planes, constants, spikes, counts, trace, n_outputs, events):
    """One step of the shared readout, from the spikes there are."""
    words = constants.excitatory.shape[0]
    counts[:] = 0
    for k in range(planes.readout.shape[0]):
        of_k = spikes[k * words : (k + 1) * words]
        count_weighted(of_k, constants.excitatory, planes.readout[k], counts, n_outputs)
    integrate(constants.readout, counts, trace, events)
