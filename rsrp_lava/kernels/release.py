"""Stochastic release: one bit a synapse, drawn 64 synapses at a time.

Synapses of a projection lie in rows of bits, padded to whole 64-bit words. A release probability p is a B-bit comparator
threshold P = round(2^B p), kept as B *bit planes*: bit s of `planes[1 + b, w]` is bit b of the threshold of synapse
64 w + s.
"""

from __future__ import annotations

import numpy as np

from .compiling import kernel
from .generators import draw_words


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


def bit_planes(probability: np.ndarray, p_bits: int) -> np.ndarray:
    """Bit planes of the comparator thresholds of a projection, for `draw_release`.

    Parameters
    ----------
    probability : float32, shape (rows, columns)   release probabilities p
    p_bits : number of planes B; p is rounded to a multiple of 2^-B

    Returns
    -------
    uint64, shape (1 + 4·⌈B/4⌉, rows · ⌈columns/64⌉). Plane 0: synapses that always release (p = 1); plane 1 + b: bit b;
    planes beyond B (lowest first) and padding are zero: they never release
    """
    n_planes = -(-p_bits // 4) * 4
    codes = thresholds(probability, p_bits)
    always = codes == 2**p_bits
    codes = np.where(always, 2**n_planes - 1, codes << (n_planes - p_bits))  # all ones hand the carry in on
    return np.stack([pack_bits(always), *(pack_bits((codes >> bit) & 1 == 1) for bit in range(n_planes))])


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
