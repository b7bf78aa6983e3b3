"""Stochastic release: one bit a synapse, drawn 64 synapses at a time.

Synapses of a projection lie in rows of bits, padded to whole 64-bit words. A release probability p is a B-bit comparator
threshold P = round(2^B p), kept as B *bit planes*: bit s of `planes[1 + b, w]` is bit b of the threshold of synapse
64 w + s.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .compiling import kernel
from .generators import draw_words
from .ranges import MapRanges, in_turn, rows_per_piece


def thresholds(probability: np.ndarray, p_bits: int) -> np.ndarray:
    """Comparator thresholds P = round(2^B p), kept within 1 … 2^B − 1, so that no synapse is fixed by rounding.

    A probability of exactly 0 or 1 is meant: its threshold is 0 or 2^B.

    Parameters
    ----------
    probability : float32, any shape, in [0, 1]
    p_bits : B, the width of the comparator in bits

    Returns
    -------
    int64, same shape
    """
    levels = 2**p_bits
    inside = np.clip(np.rint(probability.astype(np.float64) * levels), 1, levels - 1)
    return np.where(probability == 0, 0, np.where(probability == 1, levels, inside)).astype(np.int64)


def bit_planes(probability: np.ndarray, p_bits: int, map_ranges: MapRanges = in_turn) -> np.ndarray:
    """Bit planes of the comparator thresholds of a projection, for `draw_release`.

    Parameters
    ----------
    probability : float32, shape (rows, columns)   release probabilities p
    p_bits : number of planes B, at most 32; p is rounded to a multiple of 2^-B

    Returns
    -------
    uint64, shape (1 + 4·⌈B/4⌉, rows · ⌈columns/64⌉). Plane 0: synapses that always release (p = 1); plane 1 + b: bit b;
    planes beyond B (lowest first) and padding are zero: they never release
    """
    rows, columns = probability.shape
    probability = np.ascontiguousarray(probability, np.float32)
    planes = np.empty((1 + -(-p_bits // 4) * 4, rows * -(-columns // 64)), np.uint64)

    def work(first: int, last: int) -> None:
        fill_planes(probability, p_bits, first, last, planes)

    map_ranges(work, rows, rows_per_piece(columns))
    return planes


@kernel
def fill_planes(probability, p_bits, first_row, last_row, planes):
    """`bit_planes` of the rows `first_row … last_row − 1`: their thresholds as in `thresholds`, 64 synapses at a time."""
    columns = probability.shape[1]
    row_words, n_planes = (columns + 63) // 64, planes.shape[0] - 1
    levels, shift = 2.0**p_bits, np.uint64(n_planes - p_bits)
    codes, always = np.zeros(64, np.uint64), np.zeros(64, np.uint64)
    all_ones = (np.uint64(1) << np.uint64(n_planes)) - np.uint64(1)
    for row in range(first_row, last_row):
        for w in range(row_words):
            n = min(64, columns - 64 * w)
            for k in range(n, 64):
                codes[k], always[k] = np.uint64(0), np.uint64(0)
            for k in range(n):
                p = probability[row, 64 * w + k]
                inside = np.uint64(min(max(np.rint(np.float64(p) * levels), 1.0), levels - 1.0)) << shift
                fixed = p == np.float32(1)
                always[k] = np.uint64(fixed)
                # All ones hand the carry in on.
                codes[k] = all_ones if fixed else (np.uint64(0) if p == np.float32(0) else inside)
            planes[0, row * row_words + w] = _bit_of_each(always, np.uint64(0))
            for b in range(n_planes):
                planes[1 + b, row * row_words + w] = _bit_of_each(codes, np.uint64(b))


@njit(nogil=True)
def _bit_of_each(codes, bit):
    """Bit `bit` of 64 codes, as one word."""
    word = np.uint64(0)
    for k in range(64):
        word |= ((codes[k] >> bit) & np.uint64(1)) << np.uint64(k)
    return word


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Rows of booleans, shape (rows, columns), as uint64 words, shape (rows · ⌈columns/64⌉,), lowest bit first."""
    rows, columns = bits.shape
    padded = np.zeros((rows, -(-columns // 64) * 64), bool)
    padded[:, :columns] = bits
    packed = np.packbits(padded, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64).ravel()


def unpack_bits(words: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Inverse of `pack_bits`: booleans of the given (rows, columns)."""
    rows, columns = shape
    octets = words.astype("<u8").view(np.uint8).reshape(rows, -1)
    return np.unpackbits(octets, axis=1, bitorder="little")[:, :columns].astype(bool)


@kernel
def draw_release(source, seed, generation, sample, stream, out):
    """Draw one release bit for every synapse of a projection.

        θ_k = [P_k + X_k ≥ 2^B],   X_k uniform on 0 … 2^B − 1,   so exactly   P(θ_k = 1) = P_k / 2^B

    θ is the carry out of P + X, computed bit-serially for 64 synapses a word: one majority of three (a single AVX-512
    instruction) a bit. Bits 4 c … 4 c + 3 of X for word w are the four words of Threefry's counter (w, 4 c). The carry in is
    plane 0, set where p = 1; planes that hold nothing else are a release that is fixed.

    Parameters
    ----------
    source : uint64, shape (1 + planes, words), from `bit_planes`; or another generator (generators.py)
    seed, generation, sample, stream : integers, the key of the draw (kernels/random_bits.py)
    out : uint64, shape (words,)                 written
    """
    draw_words(source, seed, generation, sample, stream, 0, out)
