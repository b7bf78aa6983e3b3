"""Credit: what every synapse released, weighted by what its sample earned. Integers only, so there is no rounding."""

from __future__ import annotations

import numpy as np
from numba import njit

from .compiling import kernel
from .generators import draw_words
from .lanes import add_where, aligned_zeros

#: Words a block: 4,096 synapses, whose totals (16 KiB) and bit planes (8 KiB at 16 bits) stay in the first-level cache.
BLOCK_WORDS = 64


@njit(nogil=True)
def _samples_before_overflow(units):
    """How many samples' units fit in a 32-bit sum."""
    largest = np.int64(1)
    for i in range(units.shape[0]):
        largest = max(largest, abs(np.int64(units[i])))
    return np.int64(2**31 - 1) // largest


@kernel
def sum_stored_credit(released, units, first_word, last_word, credit):
    """`sum_credit` of releases that were kept: released, uint64, shape (samples, words)."""
    samples_before_overflow = _samples_before_overflow(units)
    partial = aligned_zeros(64 * BLOCK_WORDS, np.int32)
    for block in range(first_word, last_word, BLOCK_WORDS):
        n_words = min(BLOCK_WORDS, last_word - block)
        total = credit[64 * block : 64 * (block + n_words)]
        total[:] = 0
        for start in range(0, units.shape[0], samples_before_overflow):
            partial[:] = 0
            for i in range(start, min(start + samples_before_overflow, units.shape[0])):
                for w in range(n_words):
                    add_where(partial, 64 * w, released[i, block + w], units[i])
            for k in range(64 * n_words):
                total[k] += partial[k]


@kernel
def sum_credit(source, units, seed, generation, stream, first_word, last_word, credit):
    """Credit of the synapses in words `first_word … last_word − 1` of a projection, over all samples.

        credit[k] = Σ_i units[i] · θ_ik        θ_ik: the release of sample i, drawn again

    Exact: partial sums are 32-bit and are moved to 64 bits before they can overflow; integer sums have no order, so any
    split over threads or machines gives the same credit.

    Parameters
    ----------
    source : uint64, shape (1 + planes, words), from `release.bit_planes`; or another generator (generators.py)
    units : int32, shape (samples,)            the broadcast scalar of each sample, in integer units
    seed, generation, stream : integers        key of the draw
    credit : int64, shape (64 · words,)        the words' lanes are overwritten
    """
    samples_before_overflow = _samples_before_overflow(units)
    released = aligned_zeros(BLOCK_WORDS, np.uint64)
    partial = aligned_zeros(64 * BLOCK_WORDS, np.int32)
    for block in range(first_word, last_word, BLOCK_WORDS):
        n_words = min(BLOCK_WORDS, last_word - block)
        total = credit[64 * block : 64 * (block + n_words)]
        total[:] = 0
        for start in range(0, units.shape[0], samples_before_overflow):
            partial[:] = 0
            for i in range(start, min(start + samples_before_overflow, units.shape[0])):
                draw_words(source, seed, generation, i, stream, block, released[:n_words])
                for w in range(n_words):
                    add_where(partial, 64 * w, released[w], units[i])
            for k in range(64 * n_words):
                total[k] += partial[k]


@kernel
def squared_lengths(credit, rho):
    """Σ c² of credits c (float64), and Σ ρ (1 − ρ) of probabilities (float32), both of shape (synapses,).

    In float64, added in their order.
    """
    squared = variance = 0.0
    for k in range(credit.shape[0]):
        squared += credit[k] * credit[k]
        p = np.float64(rho[k])
        variance += p * (1.0 - p)
    return squared, variance
