"""Credit sums: exact against the twin, however they are split; the estimator against the enumerated gradient."""

import itertools

import numpy as np
import pytest

import naive
from rsrp_lava.kernels.credit import sum_credit
from rsrp_lava.kernels.release import bit_planes, draw_release, thresholds, unpack_bits
from rsrp_lava.learning.rsrp import release_credit
from rsrp_lava.learning.transforms import Broadcast, none
from rsrp_lava.threads import Threads


def serially(work, n, piece):
    for first in range(0, n, piece):
        work(first, min(first + piece, n))


def twin(rows, units, p_bits, seed, generation, stream):
    releases = [naive.draw_release(rows, p_bits, seed, generation, i, stream) for i in range(len(units))]
    return naive.sum_credit(units, releases)


def credited(rows, units, p_bits=16, cuts=(), key=(1, 2, 0)):
    """`sum_credit` over the whole projection, in pieces that end at `cuts`."""
    planes = bit_planes(rows, p_bits)
    out = np.full(64 * planes.shape[1], -7, np.int64)
    edges = [0, *cuts, planes.shape[1]]
    for first, last in itertools.pairwise(edges):
        sum_credit(planes, np.asarray(units, np.int32), *key, first, last, out)
    padded = out.reshape(len(rows), -1)
    assert not padded[:, rows.shape[1] :].any()
    return padded[:, : rows.shape[1]]


@pytest.mark.parametrize("p_bits", [3, 8, 16])
@pytest.mark.parametrize("shape", [(1, 3), (3, 100), (2, 130)])
def test_credit_equals_the_twin(p_bits, shape):
    random = np.random.default_rng(p_bits)
    rows = random.random(shape, np.float32)
    units = random.integers(-31, 32, 24).astype(np.int32)
    np.testing.assert_array_equal(credited(rows, units, p_bits), twin(rows, units, p_bits, 1, 2, 0))


@pytest.mark.parametrize("largest", [2**31 - 1, 2**30, 2**29, 1_000_003])
def test_credit_beyond_32_bits_is_exact(largest):
    """Partial sums are moved to 64 bits in chunks of (2^31 − 1) // largest samples: 1, 1, 3 and 2,147 here."""
    random = np.random.default_rng(3)
    rows = np.full((1, 70), 0.999, np.float32)
    for units in (
        np.full(40, largest),
        np.full(40, -largest),
        random.integers(-largest, largest, 40, endpoint=True),
        np.array([largest] * 20 + [-largest] * 20),
    ):
        np.testing.assert_array_equal(credited(rows, units), twin(rows, units, 16, 1, 2, 0))


def test_credit_of_more_samples_than_a_chunk_is_exact():
    rows = np.full((1, 64), 0.999, np.float32)
    units = np.full(3000, 1_000_003)
    releases = 3000 * 0.999 * 1_000_003
    credit = credited(rows, units)
    assert credit.max() > 2**31
    assert np.abs(credit - releases).max() < 20 * 1_000_003  # σ = √(3000 · 0.001) ≈ 1.7 samples
    assert not (credit % 1_000_003).any()


def test_credit_does_not_depend_on_how_words_are_split():
    random = np.random.default_rng(5)
    rows = random.random((150, 100), np.float32)  # 300 words: several blocks of 64
    units = random.integers(-100, 101, 16)
    whole = credited(rows, units)
    for cuts in ((1,), (63,), (64,), (65,), (1, 2, 3, 64, 128, 129, 299), tuple(range(1, 300))):
        np.testing.assert_array_equal(credited(rows, units, cuts=cuts), whole)


def test_credit_does_not_depend_on_the_order_of_samples():
    """Σ over samples 0 … N − 1 with the units of some of them zero adds up to the whole."""
    random = np.random.default_rng(6)
    rows = random.random((4, 100), np.float32)
    units = random.integers(-100, 101, 20)
    parts = [credited(rows, np.where(np.arange(20) % 3 == k, units, 0)) for k in range(3)]
    np.testing.assert_array_equal(sum(parts), credited(rows, units))


def test_no_units_and_zero_units_give_no_credit():
    rows = np.full((2, 100), 0.5, np.float32)
    assert not credited(rows, np.zeros(0)).any()
    assert not credited(rows, np.zeros(9)).any()


@pytest.mark.parametrize("units", [[3, -1, -2, 0], [3, -1, -2, 5]])
def test_release_credit_is_centred_on_the_probability(units):
    """Σ u (θ − p), p the comparator's value; the second term vanishes when Σ u = 0."""
    rows = np.random.default_rng(7).random((3, 100), np.float32)
    credit = release_credit(rows, bit_planes(rows, 16), Broadcast(np.array(units, np.int32), 1.0), 16, (1, 2, 1), serially)
    p = np.array([[naive.threshold(x, 16) / 2**16 for x in row] for row in rows])
    np.testing.assert_array_equal(credit, twin(rows, units, 16, 1, 2, naive.RELEASE + 1) - sum(units) * p)


def test_release_credit_is_the_same_on_any_number_of_threads():
    random = np.random.default_rng(8)
    rows = random.random((300, 100), np.float32)
    broadcast = Broadcast(random.integers(-50, 51, 30).astype(np.int32), 1.0)
    expected = release_credit(rows, bit_planes(rows, 16), broadcast, 16, (1, 2, 0), serially)
    threads = Threads(2)
    try:
        np.testing.assert_array_equal(
            release_credit(rows, bit_planes(rows, 16), broadcast, 16, (1, 2, 0), threads.map_ranges), expected
        )
    finally:
        threads.close()


def test_estimator_is_unbiased_for_the_enumerated_natural_gradient():
    """Three synapses, any reward of their 2³ releases: E[R (θ − p)] by enumeration, with all of our own machinery —
    draws, the identity transform, credit — within 4 standard errors of the exact value."""
    rewards = {bits: r for bits, r in zip(itertools.product((0, 1), repeat=3), (3, -1, 4, 1, -5, 9, 2, -6), strict=True)}
    rows = np.array([[0.2, 0.5, 0.9]], np.float32)
    p = thresholds(rows, 16)[0] / 2.0**16
    n = 20_000

    terms = []
    for bits, reward in rewards.items():
        theta = np.array(bits)
        likelihood = np.prod(np.where(theta == 1, p, 1 - p))
        terms.append((likelihood, reward * (theta - p)))
    exact = sum(likelihood * term for likelihood, term in terms)
    variance = sum(likelihood * (term - exact) ** 2 for likelihood, term in terms)

    planes, words = bit_planes(rows, 16), np.empty(1, np.uint64)
    earned = np.empty(n)
    for i in range(n):
        draw_release(planes, 1, 2, i, naive.RELEASE, words)
        earned[i] = rewards[tuple(unpack_bits(words, (1, 3))[0].astype(int))]
    broadcast = none(earned)
    estimate = release_credit(rows, bit_planes(rows, 16), broadcast, 16, (1, 2, 0), serially)[0] * broadcast.scale / n

    assert np.abs(exact).min() > 0.1  # every component is away from zero …
    assert np.all(4 * np.sqrt(variance / n) < np.abs(exact))  # … and told from it by this many samples
    assert np.all(np.abs(estimate - exact) < 4 * np.sqrt(variance / n))
