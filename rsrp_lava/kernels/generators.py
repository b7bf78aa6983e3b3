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


def _draw_synapses(source, seed, generation, sample, stream, first, out):
    """Draw the words `first … first + len(out) − 1` of a projection; see `release.draw_release`."""
    k0, k1, k2, k3 = np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)
    out[:] = source[0, first : first + out.shape[0]]
    for bit in range(0, source.shape[0] - 1, 4):
        p0, p1, p2, p3 = source[1 + bit], source[2 + bit], source[3 + bit], source[4 + bit]
        for w in range(out.shape[0]):
            x0, x1, x2, x3 = threefry(k0, k1, k2, k3, np.uint64(first + w), np.uint64(bit))
            carry = _carry(p0[first + w], x0, out[w])
            carry = _carry(p1[first + w], x1, carry)
            carry = _carry(p2[first + w], x2, carry)
            out[w] = _carry(p3[first + w], x3, carry)


@njit(inline="always")
def _spread(word):
    """All 64 bits as the lowest one."""
    return np.uint64(0) - (word & np.uint64(1))


def _draw_axons(source, seed, generation, sample, stream, first, out):
    k0, k1, k2, k3 = np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)
    planes = source.planes
    out[:] = planes[0, first : first + out.shape[0]]
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
