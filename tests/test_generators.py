"""Shift registers and shared draws against their naive twins, exact laws and published properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import naive
from drivers import draw_some_words
from rsrp_lava.kernels.credit import sum_credit
from rsrp_lava.kernels.generators import TAPS, SharedDraw, shift_register, step_register
from rsrp_lava.kernels.release import bit_planes, draw_release, thresholds, unpack_bits
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import Projection


def draw(source, shape, key):
    words = np.zeros(shape[0] * -(-shape[1] // 64), np.uint64)
    draw_release(source, *key, words)
    return unpack_bits(words, shape)


def registers(p, p_bits, width, stride=1, inclusive=False):
    return shift_register(thresholds(p, p_bits), p.shape, p_bits, width, stride, inclusive)


def prime_factors(n):
    factors, k = set(), 2
    while k * k <= n:
        while n % k == 0:
            factors.add(k)
            n //= k
        k += 1
    return factors | ({n} if n > 1 else set())


def power(matrix, exponent):
    """A matrix over GF(2), as columns in the bits of integers, to a power."""

    def times(a, b):
        result = []
        for column in b:
            total = 0
            for bit, image in enumerate(a):
                if column >> bit & 1:
                    total ^= image
            result.append(total)
        return result

    result = [1 << bit for bit in range(len(matrix))]
    while exponent:
        if exponent & 1:
            result = times(matrix, result)
        matrix, exponent = times(matrix, matrix), exponent >> 1
    return result


@pytest.mark.parametrize("width", TAPS)
def test_registers_have_the_longest_period(width):
    """The step is a linear map of order 2^width − 1: no proper divisor of it is a period."""
    identity = [1 << bit for bit in range(width)]
    step = [step_register(1 << bit, width) for bit in range(width)]
    period = 2**width - 1
    assert power(step, period) == identity
    assert all(power(step, period // prime) != identity for prime in prime_factors(period))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 200), st.integers(4, 32), st.integers(1, 20), st.booleans(), st.integers(0, 2**40))
def test_registers_equal_their_naive_twin(rows, columns, width, stride, inclusive, seed):
    p_bits = min(width, 8)
    p = np.random.default_rng(seed).integers(0, 2**p_bits + 1, (rows, columns)) / 2.0**p_bits
    p = p.astype(np.float32)
    out = draw(registers(p, p_bits, width, stride, inclusive), p.shape, (seed, 1, 2, 3))
    ref = naive.draw_registers(p, p_bits, TAPS[width], stride, inclusive, seed, 1, 2, 3)
    np.testing.assert_array_equal(out, ref)


@pytest.mark.parametrize("source", ["registers", "axons in rows", "axons in columns"])
def test_any_part_of_a_projection_can_be_drawn(source):
    p = np.random.default_rng(0).random((5, 150)).astype(np.float32)
    if source == "registers":
        source = registers(p, 8, 16)
    else:
        source = SharedDraw(bit_planes(p, 8), 3, source == "axons in rows")
    whole = np.zeros(15, np.uint64)
    draw_release(source, 5, 6, 7, 8, whole)
    for first in range(15):
        for length in (1, 2, 5):
            part = np.zeros(min(length, 15 - first), np.uint64)
            draw_some_words(source, 5, 6, 7, 8, first, part)
            np.testing.assert_array_equal(part, whole[first : first + len(part)])


def test_biases_of_an_8_bit_register_over_its_period():
    """Never 0, so P(r < k) = (k − 1)/255: code 1 never releases; P(r ≤ k) = k/255, so code 255 always does."""
    codes = np.arange(257, dtype=np.int64)
    for k in codes:
        p = np.full((1, 255), k / 256, np.float32)
        below = draw(registers(p, 8, 8), p.shape, (0, 0, 0, 0)).sum()
        upto = draw(registers(p, 8, 8, inclusive=True), p.shape, (0, 0, 0, 0)).sum()
        assert below == min(max(k - 1, 0), 255)
        assert upto == min(k, 255)


def test_consecutive_draws_of_a_register_are_correlated_and_a_stride_whitens_them():
    """16 bits, p = 0.1: autocorrelation 0.44 and 0.17 at lags 1 and 2; below 0.03 with a stride of 8."""

    def autocorrelation(stride, lag):
        p = np.full((1, 65_535), 0.1, np.float32)
        x = draw(registers(p, 16, 16, stride), p.shape, (1, 0, 0, 0))[0].astype(float)
        return np.corrcoef(x[:-lag], x[lag:])[0, 1]

    assert autocorrelation(1, 1) == pytest.approx(0.443, abs=0.02)
    assert autocorrelation(1, 2) == pytest.approx(0.165, abs=0.02)
    assert abs(autocorrelation(8, 1)) < 0.03
    assert abs(autocorrelation(8, 2)) < 0.03


@pytest.mark.parametrize("packed", ["post", "pre"])
def test_shared_draws_are_nested_and_exact(packed):
    """All synapses of an axon compare with one number: Var(Σ) = Σ_ij min(p_i, p_j) − p_i p_j."""
    projection = Projection("p", 6, 70, packed) if packed == "post" else Projection("p", 70, 6, packed)
    p = np.random.default_rng(1).integers(1, 256, (projection.n_pre, projection.n_post)).astype(np.float32) / 256
    source = ReleaseDraw(8, scope="axon").source(projection, p)
    draws = np.array([projection.from_rows(draw(source, projection.rows_shape, (0, 0, i, 0))) for i in range(4000)])
    order = np.argsort(p, axis=1)
    assert (np.diff(np.take_along_axis(draws, order[None], 2).astype(int), axis=2) >= 0).all()
    counts = draws.sum(axis=0)
    low, high = stats.binom.interval(1 - 1e-6, 4000, p)
    assert ((counts >= low) & (counts <= high)).all()
    covariance = np.minimum(p[:, :, None], p[:, None, :]) - p[:, :, None] * p[:, None, :]
    np.testing.assert_allclose(draws.sum(axis=2).var(axis=0), covariance.sum(axis=(1, 2)), rtol=0.15)
    assert abs(np.corrcoef(draws[:, 0, 0], draws[:, 1, 0])[0, 1]) < 0.06  # different axons are independent


def test_credit_draws_the_same_releases_again():
    p = np.random.default_rng(2).random((70, 130)).astype(np.float32)
    units = np.array([5, -3, 1, 7], np.int32)
    for source in (registers(p, 8, 16, 8), SharedDraw(bit_planes(p, 8), 3, True)):
        credit = np.empty(64 * 3 * 70, np.int64)
        for first in range(0, 210, 100):
            last = min(first + 100, 210)
            sum_credit(source, units, 1, 2, 4, first, last, credit)
        expected = naive.sum_credit(units, [draw(source, p.shape, (1, 2, i, 4)) for i in range(4)])
        np.testing.assert_array_equal(credit.reshape(70, 192)[:, :130], expected)
