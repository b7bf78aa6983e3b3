"""Pictures shown to a layer of spiking neurons, each pixel a constant input current: a population on one batch.

A picture is one environment step of the rollout (rollout.py): the neurons start from their initial potentials, are driven
for the network's substeps, and the readout is read once. Input currents are sums of whole numbers, worked out for the whole
batch as in binary_layer.py; every network's neurons then see one picture after the other.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .arithmetic import place_drive, start_potentials
from .binary_layer import released_sums
from .compiling import kernel
from .random_bits import EVALUATION, MEMBRANE, RELEASE, fill_uniform
from .release import draw_release
from .rewards import reward
from .rollout import new_state, simulate


@njit(nogil=True)
def _show(state, constants, potentials, sums, events):
    """state.output, after a picture whose input sums are `sums` (int32, shape (n_neurons,))."""
    state.u[:] = 0
    state.v[:] = 0
    state.spikes[:] = np.uint64(0)
    state.trace[:] = 0
    start_potentials(constants.lif, potentials, state.v)
    place_drive(constants.input, sums, state.drive, events)
    simulate(state, constants, events)


@njit(nogil=True)
def _draw(sources, key, sample, released, k):
    for projection in range(len(sources)):
        draw_release(sources[projection], key[0], key[1], sample, RELEASE + projection, released[projection][k])


@kernel
def score_pictures(sources, constants, table, labels, kind, key, samples, released, rewards, events):
    """Rewards of the networks `samples[0] … samples[1] − 1` for one batch; each starts all its pictures alike.

    Parameters
    ----------
    sources : tuple of uint64 arrays of input, recurrent and readout synapses, from `release.bit_planes`; input synapses in
        rows of a neuron each
    constants : NetworkConstants
    table : of [x, −x], x what the pixels are as integers, from `binary_layer.batch_table`
    labels : uint8, shape (batch,);  kind : a value of rewards.REWARDS
    key : (seed, generation)
    released : tuple of uint64 arrays, one a projection, shape (networks, words)      written
    rewards : float64, shape (networks,)       written
    events : int64, shape (3,), added to
    """
    first, last = samples
    n, batch, n_out = constants.n_neurons, labels.shape[0], released[2].shape[1] // constants.excitatory.shape[0]
    for k in range(last - first):
        _draw(sources, key, first + k, released, k)
    sums = np.empty(((last - first) * n, batch), np.int32)
    released_sums(table, released[0].reshape(-1), sums)
    scores, of_picture, potentials = np.empty((n_out, batch), np.float32), np.empty(n, np.int32), np.empty(n)
    for k in range(last - first):
        state = new_state(constants, 0, n_out, released[0][k], released[1][k], released[2][k])
        fill_uniform(key[0], key[1], first + k, MEMBRANE, potentials)
        for b in range(batch):
            for j in range(n):
                of_picture[j] = sums[k * n + j, b]
            _show(state, constants, potentials, of_picture, events)
            for o in range(n_out):
                scores[o, b] = state.output[o]
        rewards[k] = reward(kind, scores, labels)


@kernel
def show_pictures(sources, constants, table, key, first, released, scores, events):
    """Outputs (float32, shape (classes, pictures)) of one network for the pictures `first`, `first` + 1, … of an evaluation.

    Parameters as `score_pictures`; every picture has initial potentials of its own, as evaluation episodes have.
    """
    n, (n_out, pictures) = constants.n_neurons, scores.shape
    _draw(sources, key, 0, released, 0)
    sums = np.empty((n, pictures), np.int32)
    released_sums(table, released[0].reshape(-1), sums)
    state = new_state(constants, 0, n_out, released[0][0], released[1][0], released[2][0])
    of_picture, potentials = np.empty(n, np.int32), np.empty(n)
    for b in range(pictures):
        for j in range(n):
            of_picture[j] = sums[j, b]
        fill_uniform(key[0], key[1], first + b, MEMBRANE + EVALUATION, potentials)
        _show(state, constants, potentials, of_picture, events)
        for o in range(n_out):
            scores[o, b] = state.output[o]
