"""Stochastic release: exact against the twin; frequencies, independence, limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import naive
from drivers import draw_some_words
from rsrp_lava.kernels.release import bit_planes, draw_release, pack_bits, thresholds, unpack_bits


def draw(probability, p_bits, seed=0, generation=0, sample=0, stream=0):
    planes = bit_planes(probability, p_bits)
    words = np.empty(planes.shape[1], np.uint64)
    draw_release(planes, seed, generation, sample, stream, words)
    return unpack_bits(words, probability.shape)


def constant(p, shape):
    return np.full(shape, p, np.float32)


@pytest.mark.parametrize("p_bits", [1, 2, 3, 8, 16, 20])
@pytest.mark.parametrize("shape", [(1, 3), (3, 64), (2, 100), (5, 65), (2, 320)])
def test_releases_equal_the_twin(p_bits, shape):
    probability = np.random.default_rng(p_bits).random(shape, np.float32)
    key = (2**40 + 7, 3, 11, 2)
    np.testing.assert_array_equal(draw(probability, p_bits, *key), naive.draw_release(probability, p_bits, *key))


@pytest.mark.parametrize("p_bits", [2, 8, 10, 16, 20])
def test_release_law_is_binomial(p_bits):
    """Counts over 200,000 draws lie in the 99.99 % band of Binomial(n, P/2^B), at every probability."""
    shape, samples = (10, 100), 200
    for p in (0.001, 0.1, 0.25, 0.5, 0.7, 0.999):
        probability = constant(p, shape)
        count = sum(int(draw(probability, p_bits, sample=i, seed=9).sum()) for i in range(samples))
        exact = thresholds(probability, p_bits).flat[0] / 2.0**p_bits
        low, high = stats.binom.interval(0.9999, samples * probability.size, exact)
        assert low <= count <= high


def test_every_synapse_and_every_sample_has_the_law():
    """Per synapse over samples and per sample over synapses: chi-square of the counts, 1,200 degrees of freedom each."""
    n, p = 1200, 0.3
    probability = constant(p, (8, 150))
    releases = np.array([draw(probability, 16, sample=i, seed=4).ravel() for i in range(n)])
    exact = thresholds(probability, 16).flat[0] / 2.0**16
    for axis in (0, 1):
        z = (releases.sum(axis) - n * exact) / np.sqrt(n * exact * (1 - exact))
        assert 1e-4 < stats.chi2.cdf((z**2).sum(), n) < 1 - 1e-4


@pytest.mark.parametrize("p", [0.001, 0.5, 0.8])
def test_releases_are_independent(p):
    """No correlation between neighbours in any direction of the key: |r| < 5/√n, and so for all pairs of synapses."""
    probability = constant(p, (40, 1000))
    first = draw(probability, 16).ravel()
    others = {
        "next synapse": np.roll(first, 1),
        "next word": np.roll(first, 64),
        "next row": np.roll(first, 1000),
        "next sample": draw(probability, 16, sample=1).ravel(),
        "next generation": draw(probability, 16, generation=1).ravel(),
        "next stream": draw(probability, 16, stream=1).ravel(),
        "next seed": draw(probability, 16, seed=1).ravel(),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / np.sqrt(first.size), name


def test_all_pairs_of_synapses_of_a_word_are_uncorrelated_over_samples():
    n = 4000
    probability = constant(0.5, (1, 128))
    releases = np.array([draw(probability, 16, sample=i).ravel() for i in range(n)], float)
    r = np.corrcoef(releases.T)[np.triu_indices(128, 1)]
    assert np.abs(r).max() < 5.5 / np.sqrt(n)  # 8,128 pairs
    assert abs(np.sqrt((r**2).mean()) * np.sqrt(n) - 1) < 0.05


def test_the_ends_of_the_allowed_range_still_release_both_ways():
    """ε = 10⁻³ is representable in 16 bits: never stuck, at either end, and the ends mirror each other."""
    epsilon = np.float32(1e-3)
    codes = thresholds(np.array([epsilon, 1 - epsilon], np.float32), 16)
    assert codes.tolist() == [66, 2**16 - 66]
    for p, expected in ((epsilon, codes[0]), (np.float32(1) - epsilon, codes[1])):
        released = draw(np.full((100, 1000), p, np.float32), 16)
        low, high = stats.binom.interval(0.9999, released.size, expected / 2**16)
        assert 0 < low <= released.sum() <= high < released.size


@pytest.mark.parametrize("p_bits", [1, 2, 8, 16])
def test_rounding_never_fixes_a_synapse(p_bits):
    codes = thresholds(np.array([1e-6, 0.5, 1 - 1e-6], np.float32), p_bits)
    assert codes.tolist() == [1, 2 ** (p_bits - 1), max(1, 2**p_bits - 1)]


def test_thresholds_are_within_half_a_level():
    p = np.linspace(0.01, 0.99, 999, dtype=np.float32)
    for p_bits in (8, 12, 16):
        assert np.abs(thresholds(p, p_bits) / 2.0**p_bits - p.astype(np.float64)).max() <= 0.5 / 2**p_bits


@settings(derandomize=True, deadline=None, max_examples=50)
@given(rows=st.integers(1, 5), columns=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_packing_round_trips(rows, columns, seed):
    bits = np.random.default_rng(seed).random((rows, columns)) < 0.5
    words = pack_bits(bits)
    assert words.shape == (rows * -(-columns // 64),)
    np.testing.assert_array_equal(unpack_bits(words, bits.shape), bits)
    for i in range(rows):
        for j in range(columns):
            word = int(words[i * -(-columns // 64) + j // 64])
            assert bool(word >> j % 64 & 1) == bits[i, j]


@pytest.mark.parametrize("columns", [1, 63, 65, 100])
def test_padding_never_releases(columns):
    planes = bit_planes(constant(1 - 1e-3, (7, columns)), 16)
    words = np.empty(planes.shape[1], np.uint64)
    for sample in range(50):
        draw_release(planes, 0, 0, sample, 0, words)
        padded = unpack_bits(words, (7, 64 * -(-columns // 64)))
        assert not padded[:, columns:].any()


def test_a_single_plane_is_the_release_itself():
    plane = np.random.default_rng(0).integers(0, 2**64, (1, 9), np.uint64)
    for sample in range(3):
        words = np.zeros(9, np.uint64)
        draw_release(plane, 1, 2, sample, 0, words)
        np.testing.assert_array_equal(words, plane[0])


def test_any_part_of_a_projection_can_be_drawn_by_itself():
    planes = bit_planes(np.random.default_rng(2).random((9, 130), np.float32), 16)
    whole = np.empty(planes.shape[1], np.uint64)
    draw_release(planes, 5, 6, 7, 8, whole)
    for first in range(0, 27, 4):
        for length in (1, 2, 5, 27):
            part = np.full(min(length, 27 - first), 2**64 - 1, np.uint64)
            draw_some_words(planes, 5, 6, 7, 8, first, part)
            np.testing.assert_array_equal(part, whole[first : first + length])


def test_the_probability_of_one_synapse_does_not_touch_the_others():
    probability = np.random.default_rng(3).random((3, 100), np.float32)
    changed = probability.copy()
    changed[1, 70] = 1 - probability[1, 70]
    before, after = draw(probability, 16), draw(changed, 16)
    assert np.count_nonzero(before != after) <= 1
    np.testing.assert_array_equal(np.delete(before.ravel(), 170), np.delete(after.ravel(), 170))


def test_more_probability_never_releases_less():
    """Common random numbers: X does not depend on p."""
    low = np.random.default_rng(4).random((4, 100), np.float32) * np.float32(0.9)
    assert np.all(draw(low, 16) <= draw(low + np.float32(0.1), 16))
