"""Layered networks of binary weights, without spikes: a population of them on one batch.

The first layer is a table look-up in integers (binary_layer.py), the affine normalisation of the pixels comes after it; the
layers above add float32 activations in the order of their neurons. Nothing is reassociated: one answer for any split.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .binary_layer import released_sums, signed_sums
from .compiling import kernel
from .lanes import popcount
from .random_bits import RELEASE
from .release import draw_release
from .rewards import reward


class LayeredConstants(NamedTuple):
    """What all networks of a population share; layer l leads from sizes[l] to sizes[l + 1] neurons."""

    sizes: np.ndarray  #: int64, shape (layers + 1,)
    signed: np.ndarray  #: bool, shape (layers,): weights ±1; otherwise 0 and 1
    gain: np.float32  #: of the first layer's integer sums: scale / (255 · std)
    offset: np.float32  #: of its sum of weights: −scale · mean / std
    input_sign: np.ndarray  #: uint64, shape (⌈sizes[0]/64⌉,): inputs that count as +x (mirrored ones as −x)
    factors: np.ndarray  #: float32, shape (Σ sizes[1:-1],): of each hidden activation as input of the next layer


@njit(nogil=True)
def _first_sums(constants, table, released, sums):
    """The first layer's integer sums (int32, shape (networks · sizes[1], batch)) of networks that follow each other."""
    if constants.signed[0]:
        signed_sums(table, released.reshape(-1), sums)
    else:
        released_sums(table, released.reshape(-1), sums)


@njit(nogil=True)
def _input_layer(constants, row, sums, activation):
    """activation (float32, shape (batch,)) = gain · Σ_i w_i x_i + offset · Σ_i w_i s_i      w: the row's weights"""
    released = signed = 0
    for w in range(row.shape[0]):
        released += popcount(row[w])
        signed += popcount(row[w] & constants.input_sign[w])
    n = constants.sizes[0]
    weights = 2 * released - n if constants.signed[0] else 2 * signed - released
    shift = constants.offset * np.float32(weights)
    for b in range(sums.shape[0]):
        activation[b] = constants.gain * np.float32(sums[b]) + shift


@njit(nogil=True)
def _weight(rows, o, i, row_words, absent):
    """w_oi: 1 where the synapse released, else `absent`."""
    released = (rows[o * row_words + i // 64] >> np.uint64(i % 64)) & np.uint64(1)
    return np.float32(1) if released else absent


@njit(nogil=True)
def _float_layer(signed, rows, n_inputs, inputs, outputs):
    """outputs[o] = Σ_i w_oi inputs[i], in the order of i; float32, shapes (n, batch).

    Products with ±1 and 0 are exact, so multiplying gives what adding and leaving out would, without a branch a synapse; four
    inputs a pass, so that the sums are read and written once for four of them.
    """
    row_words = (n_inputs + 63) // 64
    absent = np.float32(-1) if signed else np.float32(0)
    whole = n_inputs - n_inputs % 4
    for o in range(outputs.shape[0]):
        out = outputs[o]
        out[:] = np.float32(0)
        for i in range(0, whole, 4):
            w0, w1 = _weight(rows, o, i, row_words, absent), _weight(rows, o, i + 1, row_words, absent)
            w2, w3 = _weight(rows, o, i + 2, row_words, absent), _weight(rows, o, i + 3, row_words, absent)
            x0, x1, x2, x3 = inputs[i], inputs[i + 1], inputs[i + 2], inputs[i + 3]
            for b in range(out.shape[0]):
                out[b] = (((out[b] + w0 * x0[b]) + w1 * x1[b]) + w2 * x2[b]) + w3 * x3[b]
        for i in range(whole, n_inputs):
            w0, x0 = _weight(rows, o, i, row_words, absent), inputs[i]
            for b in range(out.shape[0]):
                out[b] += w0 * x0[b]


@njit(nogil=True)
def _activate(values, factors):
    """What the next layer receives: 2 · relu, times the neuron's factor (scale of the layer and, in E/I nets, its sign)."""
    for j in range(values.shape[0]):
        factor = np.float32(2) * factors[j]
        for b in range(values.shape[1]):
            values[j, b] = factor * max(values[j, b], np.float32(0))


@njit(nogil=True)
def _scores(constants, sources, key, sample, released, k, sums, activations, scores):
    """Scores (float32, shape (classes, batch)) of network k of a piece, whose first layer's releases and sums are there."""
    seed, generation = key
    sizes = constants.sizes
    layers = sizes.shape[0] - 1
    words = (sizes[0] + 63) // 64
    hidden = activations[: sizes[1]] if layers > 1 else scores
    for j in range(sizes[1]):
        _input_layer(constants, released[0][k, j * words : (j + 1) * words], sums[j], hidden[j])
    start = 0
    for layer in range(1, layers):
        n = sizes[layer]
        _activate(hidden, constants.factors[start : start + n])
        rows = released[layer][k]
        draw_release(sources[layer], seed, generation, sample, RELEASE + layer, rows)
        last = layer == layers - 1
        above = scores if last else activations[start + n : start + n + sizes[layer + 1]]
        _float_layer(constants.signed[layer], rows, n, hidden, above)
        hidden = above
        start += n


@kernel
def score_networks(sources, constants, table, labels, kind, key, samples, released, rewards):
    """Rewards of the networks `samples[0] … samples[1] − 1` for one batch.

    Parameters
    ----------
    sources : tuple of uint64 arrays, one a layer, from `release.bit_planes`
    constants : LayeredConstants
    table : of the batch, from `binary_layer.batch_table`; labels : uint8, shape (batch,)
    kind : a value of rewards.REWARDS
    key : (seed, generation)
    released : tuple of uint64 arrays, one a layer, shape (networks, words)      written
    rewards : float64, shape (samples,)        entries of these networks are written
    """
    first, last = samples
    n, batch, hidden = last - first, labels.shape[0], constants.sizes[1]
    sums = np.empty((n * hidden, batch), np.int32)
    for k in range(n):
        draw_release(sources[0], key[0], key[1], first + k, RELEASE, released[0][k])
    _first_sums(constants, table, released[0], sums)
    activations = np.empty((constants.sizes[1:-1].sum(), batch), np.float32)
    scores = np.empty((constants.sizes[-1], batch), np.float32)
    for k in range(n):
        of_k = sums[k * hidden : (k + 1) * hidden]
        _scores(constants, sources, key, first + k, released, k, of_k, activations, scores)
        rewards[first + k] = reward(kind, scores, labels)


@kernel
def score_images(sources, constants, table, batch, key, sample, released, scores):
    """Scores (float32, shape (classes, batch)) of one network for a batch; `released` as in `score_networks`."""
    sums = np.empty((constants.sizes[1], batch), np.int32)
    draw_release(sources[0], key[0], key[1], sample, RELEASE, released[0][0])
    _first_sums(constants, table, released[0], sums)
    activations = np.empty((constants.sizes[1:-1].sum(), batch), np.float32)
    _scores(constants, sources, key, sample, released, 0, sums, activations, scores)
