"""Functions that libraries round differently from machine to machine, made of sums, products, quotients and square roots.

Those four are correctly rounded everywhere, and Numba neither reorders nor fuses them, so weights that were learned with
these functions are the same bits on every machine. Errors are two units in the last place at most.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .compiling import kernel
from .random_bits import threefry

_LOG2_E = 1.4426950408889634
#: ln 2 in two parts (Cody, Waite 1980): a small integer times the first is exact.
_LN2, _LN2_REST = 0.693147180369123816490, 1.90821492927058770002e-10
_LARGEST = 700.0


@njit(inline="always")
def exponential(x):
    """eˣ, float64; |x| is cut to 700. exp(r) by its series, |r| ≤ ½ ln 2, times a power of two."""
    x = min(max(x, -_LARGEST), _LARGEST)
    power = np.rint(x * _LOG2_E)
    rest = (x - power * _LN2) - power * _LN2_REST
    total = 1.0 / 6227020800.0
    total = total * rest + 1.0 / 479001600.0
    total = total * rest + 1.0 / 39916800.0
    total = total * rest + 1.0 / 3628800.0
    total = total * rest + 1.0 / 362880.0
    total = total * rest + 1.0 / 40320.0
    total = total * rest + 1.0 / 5040.0
    total = total * rest + 1.0 / 720.0
    total = total * rest + 1.0 / 120.0
    total = total * rest + 1.0 / 24.0
    total = total * rest + 1.0 / 6.0
    total = total * rest + 0.5
    total = total * rest + 1.0
    total = total * rest + 1.0
    return total * np.int64((np.int64(power) + 1023) << 52).view(np.float64)


@njit(inline="always")
def logarithm(x):
    """ln x of a normal number x > 0, float64: x = m 2ᵏ, ln m = 2 artanh((m − 1)/(m + 1)), m between √½ and √2."""
    bits = np.float64(x).view(np.int64)
    power = (bits >> 52) - 1023
    m = np.int64((bits & 0xFFFFFFFFFFFFF) | (1023 << 52)).view(np.float64)
    if m > 1.4142135623730951:
        m *= 0.5
        power += 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    total = 1.0 / 21.0
    total = total * z + 1.0 / 19.0
    total = total * z + 1.0 / 17.0
    total = total * z + 1.0 / 15.0
    total = total * z + 1.0 / 13.0
    total = total * z + 1.0 / 11.0
    total = total * z + 1.0 / 9.0
    total = total * z + 1.0 / 7.0
    total = total * z + 1.0 / 5.0
    total = total * z + 1.0 / 3.0
    return power * _LN2 + (power * _LN2_REST + 2.0 * (s + s * z * total))


@njit(inline="always")
def sigmoid(x):
    """1 / (1 + e⁻ˣ), float64."""
    return 1.0 / (1.0 + exponential(-x))


@njit(inline="always")
def sine_cosine_of_turn(turn):
    """sin 2πu and cos 2πu for u in [0, 1): series at an angle of at most π/4, then the quadrant."""
    quadrant = np.rint(4.0 * turn)
    x = (turn - 0.25 * quadrant) * (2.0 * math.pi)
    z = x * x
    sine = -1.0 / 1307674368000.0
    sine = sine * z + 1.0 / 6227020800.0
    sine = sine * z - 1.0 / 39916800.0
    sine = sine * z + 1.0 / 362880.0
    sine = sine * z - 1.0 / 5040.0
    sine = sine * z + 1.0 / 120.0
    sine = sine * z - 1.0 / 6.0
    sine = x + x * z * sine
    cosine = 1.0 / 20922789888000.0
    cosine = cosine * z - 1.0 / 87178291200.0
    cosine = cosine * z + 1.0 / 479001600.0
    cosine = cosine * z - 1.0 / 3628800.0
    cosine = cosine * z + 1.0 / 40320.0
    cosine = cosine * z - 1.0 / 720.0
    cosine = cosine * z + 1.0 / 24.0
    cosine = cosine * z - 0.5
    cosine = cosine * z + 1.0
    which = np.int64(quadrant) & 3
    if which == 1:
        return cosine, -sine
    if which == 2:
        return -sine, -cosine
    if which == 3:
        return -cosine, sine
    return sine, cosine


@njit(inline="always")
def _two_normals(first, second):
    """Two standard normal numbers from two random words (Box, Muller 1958)."""
    radius = math.sqrt(-2.0 * logarithm((np.float64(first >> np.uint64(11)) + 0.5) * 2.0**-53))
    sine, cosine = sine_cosine_of_turn(np.float64(second >> np.uint64(11)) * 2.0**-53)
    return radius * cosine, radius * sine


@kernel
def fill_normal(seed, generation, sample, stream, step, out):
    """Fill `out` (float64, shape (n,)) with standard normal numbers: a function of the key and of `step` alone."""
    for block in range((out.shape[0] + 3) // 4):
        w0, w1, w2, w3 = threefry(
            np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream), np.uint64(block), np.uint64(step)
        )
        a, b = _two_normals(w0, w1)
        c, d = _two_normals(w2, w3)
        k = 4 * block
        out[k] = a
        if k + 1 < out.shape[0]:
            out[k + 1] = b
        if k + 2 < out.shape[0]:
            out[k + 2] = c
        if k + 3 < out.shape[0]:
            out[k + 3] = d


@kernel
def fill_logistic(seed, generation, sample, stream, step, out):
    """Fill `out` (float64, shape (n,)) with logistic numbers, ln u − ln(1 − u) of uniform u: a function of the key and of
    `step` alone. a + such a number is above 0 with probability σ(a)."""
    for block in range((out.shape[0] + 3) // 4):
        words = threefry(
            np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream), np.uint64(block), np.uint64(step)
        )
        for lane in range(min(4, out.shape[0] - 4 * block)):
            u = (np.float64(words[lane] >> np.uint64(12)) + 0.5) * 2.0**-52  # 53 bits, so neither 0 nor 1
            out[4 * block + lane] = logarithm(u / (1.0 - u))


@kernel
def fill_softmax(scores, out):
    """out_k = exp(s_k) / Σ exp(s), float64; `out` may be `scores`."""
    largest = scores[0]
    for k in range(1, scores.shape[0]):
        largest = max(largest, scores[k])
    total = 0.0
    for k in range(scores.shape[0]):
        out[k] = exponential(scores[k] - largest)
        total += out[k]
    for k in range(scores.shape[0]):
        out[k] /= total


@kernel
def pick(probabilities, uniform):
    """The index k with Σ_{<k} p ≤ uniform < Σ_{≤k} p: a draw, for a uniform number in [0, 1)."""
    for k in range(probabilities.shape[0] - 1):
        uniform -= probabilities[k]
        if uniform < 0:
            return k
    return probabilities.shape[0] - 1


__all__ = [
    "exponential",
    "fill_logistic",
    "fill_normal",
    "fill_softmax",
    "logarithm",
    "pick",
    "sigmoid",
    "sine_cosine_of_turn",
]
