"""Σx and Σx² of float64 numbers without rounding, so that neither order nor partition of the numbers matters.

A float64 is ±m · 2^(E − 1074) with an integer m < 2^53 and 0 ≤ E ≤ 2045. Σx is kept in units of 2^-1074 and Σx² in units
of 2^-2148, as the digits of a number to base 2^32: m · 2^E touches three digits of Σx, m² · 2^2E five of Σx². Digits are
int64 and take what is added without carrying, so they are the same in any order, and sums of parts are added digit by digit.
(A "small superaccumulator": Neal 2015, arXiv 1505.05571; Kulisch 2013, Computer Arithmetic and Validity, ch. 8.)

A digit grows by less than 2^33 a number: there is room for 2^30 numbers until somebody has to carry (normaliser.py does).
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Bits of a digit.
DIGIT_BITS = 32
#: Σx is a multiple of 2^-UNIT_BITS, and Σx² one of 2^-(2 · UNIT_BITS).
UNIT_BITS = 1074
#: Sums of several inputs: int64, shape (inputs, PLACES). Of each: how many numbers there were; the digits of Σx, the lowest
#: first; the digits of Σx².
COUNT, SUM, SQUARES, PLACES = 0, 1, 67, 199

_DIGIT = np.int64(2**DIGIT_BITS - 1)
#: Low bits of the 53 that a number does not use which is a float32 too.
_SHORT = 29
#: Places are unsigned: with signed ones Numba looks for negative ones at every access, which takes as long as the rest.
_U = np.uint64


@njit(inline="always")
def add_exactly(bits, sums, first):
    """Add a number x: 1 to its count, x to Σx, x² to Σx². What is not finite is left out.

    bits : int64, those of x (float64);  sums : int64, flat, those of x from place `first` (uint64) on
    """
    exponent = (bits >> 52) & 0x7FF
    if exponent == 0x7FF:
        return
    sums[first] += 1
    normal = min(exponent, 1)  # of a subnormal number no leading 1 is implied
    m, place, sign = (bits & 0xFFFFFFFFFFFFF) | (normal << 52), exponent - normal, bits >> 63
    m = (m ^ sign) - sign  # sign: 0 or −1
    if m & (2**_SHORT - 1) == 0:  # half the work
        _add_short(m >> _SHORT, place + _SHORT, sums, first)
    else:
        _add_long(m, place, sums, first)


@njit(inline="always")
def _add_short(m, place, sums, first):
    """Add m · 2^place, |m| < 2^24, and its square."""
    part, at = m << (place & 31), first + _U(SUM) + _U(place >> 5)
    sums[at] += part & _DIGIT
    sums[at + _U(1)] += part >> 32
    shift, at, square = 2 * place & 31, first + _U(SQUARES) + _U(place >> 4), m * m
    low, high = (square & _DIGIT) << shift, (square >> 32) << shift
    sums[at] += low & _DIGIT
    sums[at + _U(1)] += (low >> 32) + (high & _DIGIT)
    sums[at + _U(2)] += high >> 32


@njit(inline="always")
def _add_long(m, place, sums, first):
    """Add m · 2^place, |m| < 2^53, and its square."""
    shift, at = place & 31, first + _U(SUM) + _U(place >> 5)
    low, high = (m & _DIGIT) << shift, (m >> 32) << shift
    sums[at] += low & _DIGIT
    sums[at + _U(1)] += (low >> 32) + (high & _DIGIT)
    sums[at + _U(2)] += high >> 32
    shift, at, m = 2 * place & 31, first + _U(SQUARES) + _U(place >> 4), abs(m)
    a, b = m >> 32, m & _DIGIT  # m² = a² 2^64 + 2ab 2^32 + b²
    low, middle = _U(b) * _U(b), 2 * a * b
    high = (middle >> 32) + a * a
    d0 = np.int64(low & _U(_DIGIT)) << shift
    d1 = (np.int64(low >> _U(32)) + (middle & _DIGIT)) << shift
    d2, d3 = (high & _DIGIT) << shift, (high >> 32) << shift
    sums[at] += d0 & _DIGIT
    sums[at + _U(1)] += (d0 >> 32) + (d1 & _DIGIT)
    sums[at + _U(2)] += (d1 >> 32) + (d2 & _DIGIT)
    sums[at + _U(3)] += (d2 >> 32) + (d3 & _DIGIT)
    sums[at + _U(4)] += d3 >> 32


__all__ = ["COUNT", "DIGIT_BITS", "PLACES", "SQUARES", "SUM", "UNIT_BITS", "add_exactly"]
