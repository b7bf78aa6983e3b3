"""Layered networks of binary weights, without spikes: a population of them on one batch.

The first layer is a table look-up in integers (binary_layer.py, convolution.py), the affine normalisation of the pixels
comes after it; the layers above add float32 activations in the order of their neurons. Nothing is reassociated: one
answer for any split.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from .binary_layer import released_sums, signed_sums
from .compiling import kernel
from .convolution import Convolutions, convolve, room_for
from .lanes import popcount
from .random_bits import RELEASE
from .release import draw_release
from .rewards import reward


class PixelLayer(NamedTuple):
    """A first layer that sees all pixels."""

    n_inputs: np.int64
    signed: np.bool_  #: weights ±1; otherwise 0 and 1
    gain: np.float32  #: of its integer sums: scale / (255 · std)
    offset: np.float32  #: of its sum of weights: −scale · mean / std
    input_sign: np.ndarray  #: uint64, shape (⌈n_inputs/64⌉,): inputs that count as +x (mirrored ones as −x)


class LayeredConstants(NamedTuple):
    """What all networks of a population share. `first` makes sizes[0] activations of the pixels, float layers the rest."""

    first: Any  #: PixelLayer, or convolution.Convolutions
    n_first: np.int64  #: projections of `first`
    sizes: np.ndarray  #: int64, shape (float layers + 1,)
    signed: np.bool_  #: weights of the float layers are ±1; otherwise 0 and 1
    factors: np.ndarray  #: float32, shape (Σ sizes[:-1],): of each activation as input of the next layer


def _begin(first: Any, table: Any, released: Any, outputs: int, batch: int) -> Any:
    """What is worked out for networks that follow each other before `_activate_first` of each."""
    raise TypeError("called from compiled code only")


def _activate_first(first: Any, table: Any, begun: Any, released: Any, k: int, activations: Any) -> None:
    """Activations (float32, shape (outputs, batch)) of network k from the pixels."""
    raise TypeError("called from compiled code only")


def _begin_pixels(first, table, released, outputs, batch):
    """The layer's integer sums, int32, shape (networks · outputs, batch)."""
    sums = np.empty((released[0].shape[0] * outputs, batch), np.int32)
    if first.signed:
        signed_sums(table, released[0].reshape(-1), sums)
    else:
        released_sums(table, released[0].reshape(-1), sums)
    return sums


def _activate_pixels(first, table, begun, released, k, activations):
    """activations[j] = gain · Σ_i w_ji x_i + offset · Σ_i w_ji s_i"""
    outputs, words = activations.shape[0], first.input_sign.shape[0]
    for j in range(outputs):
        row, sums = released[0][k, j * words : (j + 1) * words], begun[k * outputs + j]
        n_released = n_positive = 0
        for w in range(words):
            n_released += popcount(row[w])
            n_positive += popcount(row[w] & first.input_sign[w])
        weights = 2 * n_released - first.n_inputs if first.signed else 2 * n_positive - n_released
        shift = first.offset * np.float32(weights)
        for b in range(activations.shape[1]):
            activations[j, b] = first.gain * np.float32(sums[b]) + shift


def _begin_pictures(first, table, released, outputs, batch):
    return room_for(first)


def _activate_pictures(first, table, begun, released, k, activations):
    convolve(first, table, released[0][k], released[1][k], begun, activations)


@overload(_begin)
def _choose_begin(first, table, released, outputs, batch):
    return {PixelLayer: _begin_pixels, Convolutions: _begin_pictures}[first.instance_class]


@overload(_activate_first)
def _choose_activate(first, table, begun, released, k, activations):
    return {PixelLayer: _activate_pixels, Convolutions: _activate_pictures}[first.instance_class]


@njit(nogil=True)
def _weight(rows, o, i, row_words, absent):
    """w_oi: 1 where the synapse released, else `absent`."""
    released = (rows[o * row_words + i // 64] >> np.uint64(i % 64)) & np.uint64(1)
    return np.float32(1) if released else absent


@njit(nogil=True)
def _float_layer(signed, rows, n_inputs, inputs, outputs):
    """outputs[o] = Σ_i w_oi inputs[i], in the order of i; float32, shapes (n, batch).

    Products with ±1 and 0 are exact, so multiplying gives what adding and leaving out would, without a branch a synapse;
    four inputs a pass, so that the sums are read and written once for four of them.
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
def _scores(constants, released, k, activations, scores):
    """Scores (float32, shape (classes, batch)) of network k from the first activations, which lie first in `activations`."""
    sizes = constants.sizes
    layers = sizes.shape[0] - 1
    start = 0
    for layer in range(layers):
        n = sizes[layer]
        below = activations[start : start + n]
        _activate(below, constants.factors[start : start + n])
        start += n
        above = scores if layer == layers - 1 else activations[start : start + sizes[layer + 1]]
        _float_layer(constants.signed, released[constants.n_first + layer][k], n, below, above)


@kernel
def score_networks(sources, constants, table, labels, kind, key, samples, released, rewards):
    """Rewards of the networks `samples[0] … samples[1] − 1` for one batch.

    Parameters
    ----------
    sources : tuple of uint64 arrays, one a projection, from `release.bit_planes`
    constants : LayeredConstants
    table : of the batch, from `binary_layer.batch_table` or `convolution.picture_table`
    labels : uint8, shape (batch,)
    kind : a value of rewards.REWARDS
    key : (seed, generation)
    released : tuple of uint64 arrays, one a projection, shape (networks, words)      written
    rewards : float64, shape (networks,)       written
    """
    first, last = samples
    scores = np.empty((constants.sizes[-1], labels.shape[0]), np.float32)
    activations = np.empty((constants.sizes[:-1].sum(), labels.shape[0]), np.float32)
    for k in range(last - first):
        for projection in range(len(sources)):
            draw_release(sources[projection], key[0], key[1], first + k, RELEASE + projection, released[projection][k])
    begun = _begin(constants.first, table, released, constants.sizes[0], labels.shape[0])
    of_pixels = activations[: constants.sizes[0]] if constants.sizes.shape[0] > 1 else scores
    for k in range(last - first):
        _activate_first(constants.first, table, begun, released, k, of_pixels)
        _scores(constants, released, k, activations, scores)
        rewards[k] = reward(kind, scores, labels)


@kernel
def score_images(sources, constants, table, key, sample, released, scores):
    """Scores (float32, shape (classes, batch)) of one network for a batch; parameters as `score_networks`."""
    batch = scores.shape[1]
    activations = np.empty((constants.sizes[:-1].sum(), batch), np.float32)
    for projection in range(len(sources)):
        draw_release(sources[projection], key[0], key[1], sample, RELEASE + projection, released[projection][0])
    begun = _begin(constants.first, table, released, constants.sizes[0], batch)
    of_pixels = activations[: constants.sizes[0]] if constants.sizes.shape[0] > 1 else scores
    _activate_first(constants.first, table, begun, released, 0, of_pixels)
    _scores(constants, released, 0, activations, scores)
