"""Where the random bits of a release come from: what `draw_release` and `sum_credit` draw with, chosen by its type.

- an array of bit planes (release.py): ideal bits from Threefry, one draw a synapse;
- `SharedDraw`: ideal bits, one draw for all synapses of an axon;
- `ShiftRegister`: a linear feedback shift register a row of synapses, with the biases and correlations such registers have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from .compiling import copy
from .random_bits import threefry

#: Taps of maximal-length registers by width (Xilinx application note XAPP 052, table 3): bit t − 1 of the state for tap t.
TAPS = {
    4: (4, 3),
    5: (5, 3),
    6: (6, 5),
    7: (7, 6),
    8: (8, 6, 5, 4),
    9: (9, 5),
    10: (10, 7),
    11: (11, 9),
    12: (12, 6, 4, 1),
    13: (13, 4, 3, 1),
    14: (14, 5, 3, 1),
    15: (15, 14),
    16: (16, 15, 13, 4),
    17: (17, 14),
    18: (18, 11),
    19: (19, 6, 2, 1),
    20: (20, 17),
    21: (21, 19),
    22: (22, 21),
    23: (23, 18),
    24: (24, 23, 22, 17),
    25: (25, 22),
    26: (26, 6, 2, 1),
    27: (27, 5, 2, 1),
    28: (28, 25),
    29: (29, 27),
    30: (30, 6, 4, 1),
    31: (31, 28),
    32: (32, 22, 2, 1),
}


class SharedDraw(NamedTuple):
    """One draw for all synapses of an axon: released sets are nested, the synapse with the larger p releases whenever the
    one with the smaller p does."""

    planes: np.ndarray  #: uint64, shape (1 + planes, words), from `release.bit_planes`
    row_words: int  #: words a row
    axon_is_row: bool  #: a row holds the synapses of one axon; otherwise a column does


class ShiftRegister(NamedTuple):
    """A register a row of synapses, seeded by (seed, generation, sample, row); one draw a synapse, `stride` steps apart.

        θ_k = [r_k < P_k]  or, `inclusive`,  [r_k ≤ P_k]        r_k: the lowest B bits of the register

    A register is never 0, so with B = width  P(r < P) = (P − 1)/(2^B − 1)  and  P(r ≤ P) = P/(2^B − 1).
    """

    thresholds: np.ndarray  #: int64, shape (64 · words,): P, 0 … 2^B; −1 in the padding
    row_words: int
    jump: np.ndarray  #: uint32, shape (4, 256): the register after `stride` steps, by its bytes
    period: int  #: 2^width − 1
    mask: int  #: 2^B − 1
    inclusive: bool


def step_register(state: int, width: int) -> int:
    """The register's next state: shifted left, the parity of its taps comes in."""
    parity = 0
    for tap in TAPS[width]:
        parity ^= state >> (tap - 1)
    return ((state << 1) | (parity & 1)) & (2**width - 1)


def shift_register(
    thresholds: np.ndarray, shape: tuple[int, int], p_bits: int, width: int, stride: int, inclusive: bool
) -> ShiftRegister:
    """A `ShiftRegister` for rows of synapses.

    Parameters
    ----------
    thresholds : int64, shape (rows, columns), from `release.thresholds`
    p_bits : B, at most `width`
    width : of the register, 4 … 32;  stride : steps between draws
    """
    rows, columns = shape
    row_words = -(-columns // 64)
    padded = np.full((rows, 64 * row_words), -1, np.int64)
    padded[:, :columns] = thresholds
    jump = np.zeros((4, 256), np.uint32)
    images = []
    for bit in range(width):
        state = 1 << bit
        for _ in range(stride):
            state = step_register(state, width)
        images.append(state)
    for byte in range(4):
        for value in range(256):
            for bit in range(8):
                if value >> bit & 1 and 8 * byte + bit < width:
                    jump[byte, value] ^= np.uint32(images[8 * byte + bit])
    return ShiftRegister(padded.ravel(), row_words, jump, 2**width - 1, 2**p_bits - 1, inclusive)


@njit(nogil=True)
def _carry(p, x, below):
    """Carry out of one bit position of p + x (majority of three)."""
    return (p & x) | (below & (p | x))


#: Words drawn at a time; what is kept of them stays in the first-level cache.
_CHUNK = 256
#: Distance of two rows of what is kept: not a power of two, or stores and loads 4,096 bytes apart would wait for each other.
_ROW = _CHUNK + 8


@njit(nogil=True)
def _sum_block(p, x):
    """Carries out of four bits of P + X, and the synapses at which all four are ones: a carry from below goes through."""
    p0, p1, p2, p3 = p
    x0, x1, x2, x3 = x
    carry = _carry(p3, x3, _carry(p2, x2, _carry(p1, x1, p0 & x0)))
    return carry, (p0 ^ x0) & (p1 ^ x1) & (p2 ^ x2) & (p3 ^ x3)


@njit(nogil=True)
def _draw_all(planes, state, key, word, bit):
    """Add a block to all words: synapses still open, all ones above, take its carry."""
    k0, k1, k2, k3 = key
    p0, p1, p2, p3 = planes
    n = p0.shape[0]
    for w in range(n):
        x = threefry(k0, k1, k2, k3, np.uint64(word + w), np.uint64(bit))
        carry, ones = _sum_block((p0[w], p1[w], p2[w], p3[w]), x)
        is_open = state[w + _ROW]
        state[w] |= is_open & carry
        state[w + _ROW] = is_open & ones


@njit(nogil=True)
def _draw_open(planes, state, key, word, bit, which, drawn):
    """`_draw_all` for the words that have an open synapse: the same bits."""
    k0, k1, k2, k3 = key
    p0, p1, p2, p3 = planes
    n = 0
    for w in range(p0.shape[0]):
        which[n] = w
        n += state[w + _ROW] != 0
    for k in range(n):
        x0, x1, x2, x3 = threefry(k0, k1, k2, k3, np.uint64(word + which[k]), np.uint64(bit))
        drawn[k], drawn[k + _ROW], drawn[k + 2 * _ROW], drawn[k + 3 * _ROW] = x0, x1, x2, x3
    for k in range(n):
        w = which[k]
        x = drawn[k], drawn[k + _ROW], drawn[k + 2 * _ROW], drawn[k + 3 * _ROW]
        carry, ones = _sum_block((p0[w], p1[w], p2[w], p3[w]), x)
        is_open = state[w + _ROW]
        state[w] |= is_open & carry
        state[w + _ROW] = is_open & ones


def _draw_synapses(source, seed, generation, sample, stream, first, out):
    """Draw the words `first … first + len(out) − 1` of a projection; see `release.draw_release`.

    From the highest bits down: four of them settle 15 synapses of 16, so most words need two of the four calls of Threefry
    that 16 bits take. The carries are those of the whole sum.
    """
    key = (np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream))
    state, which, words = np.empty(2 * _ROW, np.uint64), np.empty(_ROW, np.int64), np.empty(4 * _ROW, np.uint64)
    top = source.shape[0] - 5
    for start in range(0, out.shape[0], _CHUNK):
        drawn = out[start : start + _CHUNK]
        word, n = first + start, drawn.shape[0]
        state[:n] = np.uint64(0)
        state[_ROW : _ROW + n] = ~np.uint64(0)
        for bit in range(top, -1, -4):
            planes = (
                source[1 + bit, word : word + n],
                source[2 + bit, word : word + n],
                source[3 + bit, word : word + n],
                source[4 + bit, word : word + n],
            )
            if bit >= top - 4:
                _draw_all(planes, state, key, word, bit)
            else:
                _draw_open(planes, state, key, word, bit, which, words)
        always = source[0, word : word + n]
        for w in range(n):
            drawn[w] = state[w] | (state[w + _ROW] & always[w])


@njit(inline="always")
def _spread(word):
    """All 64 bits as the lowest one."""
    return np.uint64(0) - (word & np.uint64(1))


def _draw_axons(source, seed, generation, sample, stream, first, out):
    k0, k1, k2, k3 = np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)
    planes = source.planes
    copy(planes[0, first : first + out.shape[0]], out)
    for bit in range(0, planes.shape[0] - 1, 4):
        p0, p1, p2, p3 = planes[1 + bit], planes[2 + bit], planes[3 + bit], planes[4 + bit]
        for w in range(out.shape[0]):
            word = first + w
            axon = word // source.row_words if source.axon_is_row else word % source.row_words
            x0, x1, x2, x3 = threefry(k0, k1, k2, k3, np.uint64(axon), np.uint64(bit))
            if source.axon_is_row:
                x0, x1, x2, x3 = _spread(x0), _spread(x1), _spread(x2), _spread(x3)
            carry = _carry(p0[word], x0, out[w])
            carry = _carry(p1[word], x1, carry)
            carry = _carry(p2[word], x2, carry)
            out[w] = _carry(p3[word], x3, carry)


@njit(inline="always")
def _jump(table, state):
    return (
        table[0, state & np.uint32(255)]
        ^ table[1, (state >> np.uint32(8)) & np.uint32(255)]
        ^ table[2, (state >> np.uint32(16)) & np.uint32(255)]
        ^ table[3, state >> np.uint32(24)]
    )


def _draw_registers(source, seed, generation, sample, stream, first, out):
    k0, k1, k2, k3 = np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)
    state = np.uint32(0)
    for word in range(first - first % source.row_words, first + out.shape[0]):
        if word % source.row_words == 0:
            x0, _, _, _ = threefry(k0, k1, k2, k3, np.uint64(word // source.row_words), np.uint64(0))
            state = np.uint32(np.uint64(1) + x0 % np.uint64(source.period))
        bits = np.uint64(0)
        for lane in range(64):
            drawn = np.int64(state) & source.mask
            threshold = source.thresholds[64 * word + lane]
            if drawn < threshold or (source.inclusive and drawn == threshold and threshold > 0):
                bits |= np.uint64(1) << np.uint64(lane)
            state = _jump(source.jump, state)
        if word >= first:
            out[word - first] = bits


def draw_words(source: Any, seed: int, generation: int, sample: int, stream: int, first: int, out: np.ndarray) -> None:
    """Draw the words `first … first + len(out) − 1` of a projection, from bit planes, `SharedDraw` or `ShiftRegister`."""
    raise TypeError("draw_words is called from compiled code only")


@overload(draw_words)
def _choose_draw(source, seed, generation, sample, stream, first, out):
    if isinstance(source, types.Array):
        return _draw_synapses
    return {SharedDraw: _draw_axons, ShiftRegister: _draw_registers}[source.instance_class]


def count_words(source: Any) -> int:
    """Words of a projection."""
    raise TypeError("count_words is called from compiled code only")


@overload(count_words)
def _choose_count(source):
    if isinstance(source, types.Array):
        return lambda source: source.shape[1]
    if source.instance_class is SharedDraw:
        return lambda source: source.planes.shape[1]
    return lambda source: source.thresholds.shape[0] // 64
