"""Counter-based random bits: the published vectors, our kernel against the twin, uniform numbers."""

import numpy as np
import pytest

import naive
from drivers import threefry_words
from rsrp_lava.kernels.random_bits import fill_uniform

ONES = naive.MASK

# Random123 1.14, tests/kat_vectors, "threefry4x64 13": counter, key, expected. The third is digits of π.
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 4, "4071fabee1dc8e05 02ed3113695c9c62 397311b5b89f9d49 e21292c3258024bc"),
    ([ONES] * 4, [ONES] * 4, "7eaed935479722b5 90994358c429f31c 496381083e07a75b 627ed0d746821121"),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917],
        "4361288ef9c1900c 8717291521782833 0d19db18c20cf47e a0b41d63ac8581e5",
    ),
]


def kernel_words(key, counter):
    return [int(word) for word in threefry_words(*(np.uint64(x) for x in (*key, *counter)))]


def uniform(n, *key):
    out = np.empty(n)
    fill_uniform(*key, out)
    return out


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_twin_gives_the_known_answers(counter, key, expected):
    assert " ".join(f"{word:016x}" for word in naive.threefry4x64(key, counter)) == expected


def test_the_kernel_gives_the_known_answer_of_zeros():
    assert kernel_words([0] * 4, [0, 0]) == [int(word, 16) for word in KNOWN_ANSWERS[0][2].split()]


def test_the_kernel_equals_the_twin():
    random = np.random.default_rng(1)
    for key, counter in zip(
        random.integers(0, 2**64, (200, 4), np.uint64).tolist(),
        random.integers(0, 2**64, (200, 2), np.uint64).tolist(),
        strict=True,
    ):
        assert kernel_words(key, counter) == naive.threefry4x64(key, [*counter, 0, 0])
    for corner in (0, 1, 2**63, ONES):
        assert kernel_words([corner] * 4, [corner] * 2) == naive.threefry4x64([corner] * 4, [corner, corner, 0, 0])


@pytest.mark.parametrize("n", [0, 1, 4, 7, 257])
def test_uniform_numbers_equal_the_twin(n):
    key = (2**63 - 1, 3, 2, naive.MEMBRANE)
    np.testing.assert_array_equal(uniform(n, *key), naive.uniforms(*key, n))


def test_uniform_numbers_have_53_bits_and_stay_below_one():
    x = uniform(100_000, 5, 0, 0, naive.TASK)
    integers = x * 2.0**53
    assert x.min() >= 0.0
    assert x.max() < 1.0
    np.testing.assert_array_equal(integers, np.rint(integers))
    assert np.any(integers % 2 == 1)  # the lowest of the 53 bits is used
    # 10 cells of 10,000 ± 5 standard deviations; mean ½ ± 5 · √(1/12/n)
    assert np.abs(np.histogram(x, 10, (0, 1))[0] - 10_000).max() < 5 * np.sqrt(100_000 * 0.1 * 0.9)
    assert abs(x.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 100_000)


def test_every_word_of_the_key_gives_numbers_of_its_own():
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2**62, 0, 0, 0)]
    keys += [(0, 0, 0, stream) for stream in (naive.MEMBRANE, naive.TASK, naive.RESERVOIR)]
    keys += [(0, 0, 0, stream + naive.EVALUATION) for stream in (naive.MEMBRANE, naive.TASK)]
    drawn = np.concatenate([uniform(64, *key) for key in keys])
    assert len(np.unique(drawn)) == len(drawn)
