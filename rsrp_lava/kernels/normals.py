"""Many standard normal numbers, float32: a pure function of their key and place, like every random number here.

They come in chunks of 512, which can be drawn in any order and on any thread. Chunk c is made of the words of Threefry's
counters 64 c … 64 c + 63 (random_bits.py): first word 0 of all of them, then word 1, and so on, each as two halves of
32 bits, the low one first: h_0 … h_511. For k = 0 … 255

    number k, number 256 + k = √(−2 ln u) · (cos φ, sin φ)                                             (Box, Muller 1958)

u from the upper 31 bits of h_k, φ from h_{256 + k}: an angle within ± π/4, then a quarter turn by chance. No branches, and
only operations that are rounded correctly everywhere: full vector width, and the same bits on every machine. Errors are a
few units in the last place; no number is beyond ± 6.7.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .compiling import kernel
from .random_bits import threefry

#: Numbers are drawn in whole chunks of so many.
CHUNK = 512
_HALF, _COUNTERS = CHUNK // 2, CHUNK // 8
#: The integer of √½, where the mantissa of a logarithm's argument begins.
_ROOT_HALF = 0x3F3504F3


@njit(inline="always")
def _radius(word):
    """√(−2 ln u), float32, u = (31 bits + ½) 2⁻³¹: u = m 2ᵏ, √½ ≤ m < √2, ln m = 2 artanh s, s = (m − 1)/(m + 1)."""
    u = (np.float32(np.int32(word >> np.uint32(1))) + np.float32(0.5)) * np.float32(2.0**-31)
    bits = np.int32(np.float32(u).view(np.int32) - np.int32(_ROOT_HALF))
    power = bits >> np.int32(23)
    m = np.int32((bits & np.int32(0x7FFFFF)) + np.int32(_ROOT_HALF)).view(np.float32)
    one = np.float32(1)
    s = (m - one) / (m + one)
    z = s * s
    series = np.float32(1 / 9)
    series = series * z + np.float32(1 / 7)
    series = series * z + np.float32(1 / 5)
    series = series * z + np.float32(1 / 3)
    logarithm = np.float32(power) * np.float32(math.log(2)) + np.float32(2) * (s + s * z * series)
    return math.sqrt(np.float32(-2) * min(logarithm, np.float32(0)))


@njit(inline="always")
def _point_on_circle(word):
    """(cos φ, sin φ), float32, φ uniform: 24 bits place it within ± π/4, bits 0 and 1 choose the quarter turn."""
    x = (np.float32(np.int32(word) >> np.int32(8)) + np.float32(0.5)) * np.float32(math.pi / 4 * 2.0**-23)
    z = x * x
    sine = np.float32(1 / 362880)
    sine = sine * z - np.float32(1 / 5040)
    sine = sine * z + np.float32(1 / 120)
    sine = sine * z - np.float32(1 / 6)
    sine = x + x * z * sine
    cosine = np.float32(1 / 40320)
    cosine = cosine * z - np.float32(1 / 720)
    cosine = cosine * z + np.float32(1 / 24)
    cosine = cosine * z - np.float32(1 / 2)
    cosine = np.float32(1) + z * cosine
    cosine = -cosine if word & np.uint32(2) else cosine
    swapped = (word & np.uint32(1)) != np.uint32(0)
    return (sine if swapped else cosine), (cosine if swapped else sine)


@kernel
def fill_normals(seed, generation, sample, stream, first_chunk, out):
    """Fill `out` (float32, shape (n,), n a multiple of CHUNK) with the chunks `first_chunk`, `first_chunk + 1`, …"""
    k0, k1, k2, k3 = np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)
    words = np.empty((4, _COUNTERS), np.uint64)
    halves = words.view(np.uint32).reshape(CHUNK)
    zero = np.uint64(0)
    for chunk in range(out.shape[0] // CHUNK):
        counter = np.uint64((first_chunk + chunk) * _COUNTERS)
        for c in range(_COUNTERS):
            words[0, c], words[1, c], words[2, c], words[3, c] = threefry(k0, k1, k2, k3, counter + np.uint64(c), zero)
        start = chunk * CHUNK
        for k in range(_HALF):
            radius = _radius(halves[k])
            x, y = _point_on_circle(halves[_HALF + k])
            out[start + k] = radius * x
            out[start + _HALF + k] = radius * y


__all__ = ["CHUNK", "fill_normals"]
