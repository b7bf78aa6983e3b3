"""Probabilities kept in few bits: exact rounding laws, what is lost, and what is fixed for ever at 0 and 1."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import naive
import rsrp_lava.learning.storage as storage_module
from rsrp_lava.kernels.credit import sum_credit
from rsrp_lava.kernels.release import bit_planes, draw_release, thresholds, unpack_bits
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.rsrp import Rsrp
from rsrp_lava.learning.storage import FLOAT32, Storage
from rsrp_lava.learning.transforms import TRANSFORMS

ROUNDING = 3000  # stream of the rounding of projection 0
KEY = (5, 6, 0)
BITS = [2, 3, 4, 8, 16, 24]
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def fixed_uniform(monkeypatch, value):
    """All random numbers of the rounding are `value`."""
    monkeypatch.setattr(storage_module, "fill_uniform_part", lambda *key_and_out: key_and_out[-1].fill(value))


@settings(derandomize=True, deadline=None)
@given(p=probabilities, bits=st.sampled_from(BITS), zero=st.booleans(), one=st.booleans())
def test_nearest_is_the_nearest_code(p, bits, zero, one):
    stored = Storage(bits, "nearest", zero, one).store(np.array(p), KEY)
    assert stored.dtype == np.float32
    for exact, kept in zip(p, stored.tolist(), strict=True):
        code = round(Fraction(exact) * 2**bits)  # ties to even
        code = min(max(code, 0 if zero else 1), 2**bits if one else 2**bits - 1)
        assert Fraction(kept) == Fraction(code, 2**bits)


@settings(derandomize=True, deadline=None)
@given(p=probabilities, bits=st.sampled_from(BITS), seed=st.integers(0, 2**40))
def test_stochastic_takes_one_of_the_two_codes_by_its_own_uniform(p, bits, seed):
    stored = Storage(bits, "stochastic", True, True).store(np.array(p), (seed, 6, 2))
    uniforms = naive.uniforms(seed, 6, 0, ROUNDING + 2, len(p))
    for exact, kept, uniform in zip(p, stored.tolist(), uniforms, strict=True):
        scaled = Fraction(exact) * 2**bits
        code = math.floor(scaled) + (Fraction(uniform) < scaled - math.floor(scaled))
        assert Fraction(kept) == Fraction(code, 2**bits)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_a_code_is_kept_whatever_is_drawn(monkeypatch, bits, uniform):
    """Also with the largest uniform number there is, where code + U would round up to the next integer."""
    fixed_uniform(monkeypatch, uniform)
    codes = np.unique(np.linspace(0, 2**bits, 5000).astype(int)) / 2**bits
    np.testing.assert_array_equal(Storage(bits, "stochastic", True, True).store(codes, KEY), codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("fraction", [2**-10, 0.25, 0.5, 0.9])
def test_the_expected_code_is_exact(bits, fraction):
    """The number of the upper of the two codes is Binomial(n, fraction), in its 99.99 % band."""
    n, code = 200_000, 2 ** (bits - 1)
    stored = Storage(bits, "stochastic").store(np.full(n, (code + fraction) / 2**bits), KEY) * 2**bits
    up = int((stored == code + 1).sum())
    assert up + int((stored == code).sum()) == n
    low, high = stats.binom.interval(0.9999, n, fraction)
    assert low <= up <= high


def test_rounding_is_drawn_anew_for_every_seed_generation_projection_and_synapse():
    p = np.full((40, 100), 0.3)
    first = Storage(4, "stochastic").store(p, (1, 2, 0))
    np.testing.assert_array_equal(first, Storage(4, "stochastic").store(p, (1, 2, 0)))
    for key in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        other = Storage(4, "stochastic").store(p, key)
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(p.size)
    assert len(np.unique(first[0])) == 2


def test_float32_is_only_rounded_to_float32():
    p = np.random.default_rng(0).random((30, 7))
    np.testing.assert_array_equal(FLOAT32.store(p, KEY).view("u4"), p.astype(np.float32).view("u4"))


# Updates


def rule(storage, optimizer="sgd", learning_rate=1.0, epsilon=1e-3, decay=0.0):
    return Rsrp(OPTIMIZERS[optimizer], learning_rate, epsilon, decay, storage)


def update(rule, probability, gradient, state=None, key=KEY):
    """One update from the gradient itself."""
    broadcast = TRANSFORMS["centered_rank"](np.array([0.0, 1.0]), None)
    credit = np.asarray(gradient, float) / (broadcast.scale / len(broadcast.units))
    return rule.update(
        probability, credit, broadcast, rule.optimizer.start(probability.shape) if state is None else state, key
    )


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_nearest_stalls_below_half_a_code_and_stochastic_does_not(bits):
    """100 generations of steps of 0.4 codes: nearest never moves, stochastic arrives where float32 does."""
    start = np.full((50, 40), 2.0**-bits * (2 ** (bits - 1)), np.float32)
    step, generations = 0.4 * 2.0**-bits, 2 if bits == 2 else 10
    kept = {"nearest": start, "stochastic": start}
    for generation in range(generations):
        for rounding, p in kept.items():
            done = update(rule(Storage(bits, rounding)), p, np.full(p.shape, step), key=(5, generation, 0))
            kept[rounding] = done.probability
            if rounding == "nearest":
                assert (done.asked, done.lost) == (p.size, p.size)
    np.testing.assert_array_equal(kept["nearest"], start)
    moved = (kept["stochastic"].astype(float) - start).mean() * 2**bits  # in codes; variance of a step: 0.4 · 0.6
    assert abs(moved - 0.4 * generations) < 4 * np.sqrt(generations * 0.24 / start.size) + (0.2 if bits == 2 else 0)
    just_enough = update(rule(Storage(bits, "nearest")), start, np.full(start.shape, 0.51 * 2.0**-bits))
    assert just_enough.lost == 0
    np.testing.assert_array_equal(just_enough.probability, start + np.float32(2.0**-bits))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 999), bits=st.sampled_from([2, 4, 8]), rounding=st.sampled_from(["nearest", "stochastic"]))
def test_asked_and_lost_equal_a_naive_count(seed, bits, rounding):
    random = np.random.default_rng(seed)
    p = (random.integers(1, 2**bits, (6, 9)) / 2**bits).astype(np.float32)
    gradient = random.normal(0, 2.0**-bits, p.shape) * (random.random(p.shape) < 0.7)
    done = update(rule(Storage(bits, rounding, True, True)), p, gradient)
    asked = lost = 0
    for before, g, after in zip(p.ravel().tolist(), gradient.ravel(), done.probability.ravel().tolist(), strict=True):
        wanted = min(max(before + g, 1e-3), 1 - 1e-3) if g else before
        asked += wanted != before
        lost += wanted != before and after == before
    assert (done.asked, done.lost) == (asked, lost)


def test_float32_loses_nothing_and_counts_nothing():
    p = np.full((3, 4), 0.5, np.float32)
    done = update(rule(FLOAT32), p, np.full(p.shape, 1e-4))
    assert (done.asked, done.lost) == (0, 0)
    np.testing.assert_array_equal(done.probability, (p.astype(float) + 1e-4).astype(np.float32))


STORAGES = [Storage(bits, rounding, True, True) for bits in (2, 8, 10, 16) for rounding in ("nearest", "stochastic")]


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_a_gradient_of_zero_changes_nothing_and_asks_for_nothing(storage):
    """Wherever a probability is: also at 0, at 1, and at codes nearer to them than epsilon."""
    codes = np.unique(np.linspace(0, 2**storage.p_bits, 3000).astype(int))
    p = (codes / 2**storage.p_bits).astype(np.float32)[None, :]
    for generation in range(20):
        done = update(rule(storage, learning_rate=8), p, np.zeros(p.shape), key=(1, generation, 0))
        np.testing.assert_array_equal(done.probability, p)
        assert (done.asked, done.lost) == (0, 0)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_zero_and_one_absorb(optimizer, rounding):
    """Pushed beyond either end until they are there; then, as θ − p = 0, without a gradient. They never come back."""
    learner = rule(Storage(4, rounding, True, True), optimizer, learning_rate=0.1)
    p, state = np.full((2, 200), 0.5, np.float32), learner.optimizer.start((2, 200))
    push = np.array([[-1.0], [1.0]])
    for generation in range(200):
        inside = (p > 0) & (p < 1)
        done = update(learner, p, push * inside, state, key=(3, generation, 0))
        assert np.array_equal(done.probability[~inside], p[~inside])
        p, state = done.probability, done.optimizer
    assert np.all(p[0] == 0)
    assert np.all(p[1] == 1)


def test_where_the_chip_has_no_zero_and_no_one_nothing_is_fixed():
    learner = rule(Storage(4, "nearest"), learning_rate=0.1)
    p = np.full((2, 3), 0.5, np.float32)
    for _ in range(20):
        p = update(learner, p, np.array([[-1.0], [1.0]]) * np.ones(3)).probability
    assert p[0].tolist() == [1 / 16] * 3
    assert p[1].tolist() == [15 / 16] * 3


# Release at 0 and 1


@pytest.mark.parametrize("p_bits", range(2, 33))
def test_zero_never_releases_and_one_always(p_bits):
    probability = np.array([[0.0, 1.0] * 50] * 40, np.float32)
    assert set(thresholds(probability, p_bits).ravel().tolist()) == {0, 2**p_bits}
    planes = bit_planes(probability, p_bits)
    words = np.zeros(planes.shape[1], np.uint64)
    for sample in range(200):
        draw_release(planes, 1, 2, sample, 0, words)
        np.testing.assert_array_equal(unpack_bits(words, probability.shape), probability == 1)
        assert not unpack_bits(words, (40, 128))[:, 100:].any()


@pytest.mark.parametrize("p_bits", [2, 5, 8])
def test_fixed_synapses_earn_no_credit_and_disturb_no_others(p_bits):
    """Σ u (θ − p) of p = 0 and p = 1 is 0 exactly, whatever the scalars add up to; their neighbours draw as before."""
    free = np.random.default_rng(1).uniform(0.2, 0.8, (3, 70)).astype(np.float32)
    fixed = free.copy()
    fixed[:, ::3], fixed[:, 1::3] = 0, 1
    units = np.array([3, -1, 7, 5], np.int32)
    credit = {}
    for name, probability in (("free", free), ("fixed", fixed)):
        planes = bit_planes(probability, p_bits)
        total = np.zeros(64 * planes.shape[1], np.int64)
        sum_credit(planes, units, 4, 5, 0, 0, planes.shape[1], total)
        credit[name] = total.reshape(3, 128)[:, :70]
    assert np.all(credit["fixed"][:, ::3] == 0)
    assert np.all(credit["fixed"][:, 1::3] == units.sum())
    np.testing.assert_array_equal(credit["fixed"][:, 2::3], credit["free"][:, 2::3])
