"""Exact sums of observations against Python's fractions and statistics, for whatever a float64 can hold."""

import functools
import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsrp_lava import Experiment, train
from rsrp_lava.engines.packing import pack, unpack
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.rollout import normalise
from rsrp_lava.kernels.running import LARGEST_Z, ROUNDING
from rsrp_lava.learners.population import State
from rsrp_lava.normaliser import Normaliser, Observations
from rsrp_lava.run_folder import Checkpoint

FINITE = st.floats(allow_nan=False, allow_infinity=False)
#: An offset, and numbers around it: of any scale, with peaks, or only zeros and subnormal numbers.
AROUND = st.builds(
    lambda offset, scale, parts, peaks: [offset + scale * part for part in parts] + [1e6 * scale * peak for peak in peaks],
    st.sampled_from([0.0, 300.0, -101_325.0, 5e6, 1e12, -1e-3, 1e-12]),
    st.sampled_from([1e-12, 3e-7, 0.5, 25.4, 1e12]),
    st.lists(st.floats(-3, 3), min_size=1, max_size=30),
    st.lists(st.floats(-1, 1), max_size=2),
)
TINY = st.lists(st.floats(-1e-300, 1e-300), min_size=1, max_size=10)
NUMBERS = st.one_of(
    AROUND,
    TINY,
    st.lists(FINITE, min_size=1, max_size=30),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
)


@kernel
def observe_all(observations, mean, inverse_std, z, sums):
    """Rows one after the other."""
    for t in range(observations.shape[0]):
        normalise(observations[t], mean, inverse_std, z[t], sums)


def seen(observations, normaliser=None):
    """(z, the sums) of observations, shape (steps, inputs)."""
    observations = np.asarray(observations, np.float64).reshape(len(observations), -1)
    normaliser = normaliser or Normaliser.start(observations.shape[1])
    z, sums = np.full(observations.shape, np.nan, np.float32), np.zeros((observations.shape[1], PLACES), np.int64)
    observe_all(observations, normaliser.mean, normaliser.inverse_std, z, sums)
    return z, Observations.of(sums)


def exact(numbers):
    """Mean and standard deviation of floats by fractions: the mean rounded once, the deviation to 60 bits."""
    parts = [Fraction(x) for x in numbers]
    mean = sum(parts) / len(parts)
    variance = sum((x - mean) ** 2 for x in parts) / len(parts)
    scale = 2 ** max(0, 80 - (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2)
    root = math.isqrt(math.floor(variance * scale**2))
    return float(mean), float(Fraction(root, scale))


def assert_exact(normaliser, column, numbers):
    mean, std = exact(numbers)
    assert normaliser.mean[column] == mean
    assert normaliser.std[column] == pytest.approx(std, rel=2.0**-52, abs=0) or std == normaliser.std[column] == 0


@given(NUMBERS)
@settings(max_examples=150, deadline=None)
def test_mean_and_deviation_are_those_of_all_numbers_to_rounding(numbers):
    _, observed = seen(numbers)
    counts, sums, squares = observed.integers()
    assert (counts, Fraction(sums[0], 2**1074)) == ([len(numbers)], sum(map(Fraction, numbers)))
    assert Fraction(squares[0], 2**2148) == sum(Fraction(x) ** 2 for x in numbers)
    assert_exact(Normaliser.start(1).update(observed), 0, numbers)


@pytest.mark.parametrize(
    ("offset", "scale", "unit"),
    [
        (300, 0.8, 1),
        (0, 1, 25.4),
        (5e6, 0.5, 1),
        (0.001, 3e-7, 1),
        (0, 1, 1e-12),
        (0, 1, 1e12),
        (178, 45, 1),
        (1e12, 1e-2, 1),
    ],
)
def test_units_and_offsets_against_the_standard_library(offset, scale, unit):
    rng = np.random.default_rng(0)
    generations = [unit * (offset + scale * rng.standard_normal(200)) for _ in range(3)]
    generations[1][17] *= 1e6
    normaliser = Normaliser.start(1)
    for k, generation in enumerate(generations):
        normaliser = normaliser.update(seen(generation, normaliser)[1])
        so_far = np.concatenate(generations[: k + 1]).tolist()
        assert normaliser.mean[0] == float(statistics.mean(map(Fraction, so_far)))
        assert normaliser.std[0] == pytest.approx(statistics.pstdev(map(Fraction, so_far)), rel=3e-16)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=24), st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_order_and_partition_change_no_bit(rows, seed, parts):
    rng = np.random.default_rng(seed)
    rows = np.array(rows)
    whole = seen(rows)[1]
    pieces = [piece for piece in np.array_split(rng.permutation(rows), parts) if len(piece)]
    joined = Observations.joined([seen(piece)[1] for piece in pieces])
    np.testing.assert_array_equal(joined.places, whole.places)
    np.testing.assert_array_equal(joined.digits, whole.digits)
    by_generations = Normaliser.start(2)
    for piece in pieces:
        by_generations = by_generations.update(seen(piece, by_generations)[1])
    at_once = Normaliser.start(2).update(whole)
    assert (by_generations.counts, by_generations.sums, by_generations.squares) == (
        at_once.counts,
        at_once.sums,
        at_once.squares,
    )
    np.testing.assert_array_equal(by_generations.mean, at_once.mean)
    np.testing.assert_array_equal(by_generations.inverse_std, at_once.inverse_std)


@given(st.lists(st.tuples(FINITE, FINITE, st.floats(-5, 5)), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_a_checkpoint_and_a_message_hold_the_sums_exactly(rows):
    observed = seen(rows)[1]
    normaliser = Normaliser.start(3).update(observed)
    again = Normaliser.from_arrays(normaliser.to_arrays())
    assert (again.counts, again.sums, again.squares) == (normaliser.counts, normaliser.sums, normaliser.squares)
    outcome = Outcome(np.zeros(1), np.array([len(rows)]), observed, np.zeros(3, np.int64))
    received = unpack(pack(outcome, deterministic=False)).observations
    assert received.integers() == observed.integers()


def test_digits_have_room_for_2_to_the_30_numbers():
    """The worst number there is, as often: digits are linear in it."""
    worst = np.concatenate([seen([x])[1].digits.ravel() for x in [1.7976931348623157e308, -math.pi, 2**53 - 1.0, 5e-324]])
    random = seen(np.random.default_rng(0).standard_normal((20_000, 1)) * 2.0 ** np.arange(20_000)[:, None] ** 0.5)[1]
    assert np.abs(worst).max() < 2**33
    assert np.abs(random.digits).max() < 20_000 * 2**33 < 2**63


# --- what the network sees --------------------------------------------------------------------------------------------


def test_before_anything_is_known_the_network_sees_the_observation_itself_or_nothing():
    z, _ = seen([[0.25, -9.0, 10.0, 10.1, 300.0, -1e300]])
    np.testing.assert_array_equal(z, np.array([[0.25, -9.0, LARGEST_Z, 0, 0, 0]], np.float32))


@pytest.mark.parametrize("value", [0.0, 300.0, -1e-12, 1e300, -1.7976931348623157e308, 5e-324, 0.1])
def test_what_never_changed_is_zero_also_when_it_first_does(value):
    constant = Normaliser.start(1).update(seen([value] * 7)[1])
    assert (constant.mean[0], constant.std[0], constant.inverse_std[0]) == (value, 0.0, 0.0)
    changed = [value, value + 1, 1.7976931348623157e308, -1.7976931348623157e308]
    np.testing.assert_array_equal(seen(changed, constant)[0], np.zeros((4, 1), np.float32))
    after = constant.update(seen([value] * 6 + [value + abs(value) + 1], constant)[1])
    z = seen([value, value + abs(value) + 1], after)[0].ravel()
    np.testing.assert_allclose(z, [-1 / math.sqrt(13), math.sqrt(13)], rtol=1e-6)


def test_the_mean_is_off_before_float32():
    for offset, scale in ((5e6, 0.5), (1e-3, 3e-7), (1e12, 1e-2), (0.0, 1e-12), (-1e12, 1e12)):
        x = offset + scale * np.random.default_rng(1).standard_normal(500)
        normaliser = Normaliser.start(1).update(seen(x)[1])
        z = seen(x, normaliser)[0].ravel()
        np.testing.assert_allclose(z, (x - np.longdouble(x.mean())) / x.std(), rtol=1e-3, atol=1e-3)
        assert len(np.unique(z)) > 450 or offset == 1e12


def test_a_deviation_of_roundings_is_not_blown_up():
    x = np.array([1.0, 1.0 + 2.0**-52, 1.0, 1.0 + 2.0**-52])
    normaliser = Normaliser.start(1).update(seen(x)[1])
    assert 0 < normaliser.std[0] < ROUNDING == 1 / normaliser.inverse_std[0]
    assert np.abs(seen(x, normaliser)[0]).max() < 0.1


def test_a_peak_is_seen_as_the_limit_and_leaves_the_rest_apart():
    x = np.append(np.random.default_rng(2).standard_normal(1000), 1e6)
    z = seen(x, Normaliser.start(1).update(seen(x)[1]))[0].ravel()
    assert z[-1] == LARGEST_Z
    assert np.abs(z).max() == LARGEST_Z


def test_runs_of_earlier_versions_go_on_from_their_moments():
    """Their mean and variance, which are all they kept, are taken as those of so many observations, exactly."""
    mean, variance = np.array([277.1, -1e-9, 0.0]), np.array([68.7, 1e-20, 0.0])
    old = Normaliser.from_arrays({"count": np.array(5000.0), "mean": mean, "variance": variance})
    np.testing.assert_array_equal(old.mean, mean)
    np.testing.assert_allclose(old.std, np.sqrt(variance), rtol=3e-16)
    more = np.random.default_rng(0).normal(300, 1, (100, 3))
    np.testing.assert_allclose(old.update(seen(more, old)[1]).mean, (5000 * mean + more.sum(0)) / 5100, rtol=1e-14)


def test_what_is_not_finite_is_not_counted():
    normaliser = Normaliser.start(2).update(seen([[1.0, np.inf], [np.nan, 2.0], [3.0, -np.inf]])[1])
    assert list(normaliser.counts) == [2, 1]
    np.testing.assert_array_equal(normaliser.mean, [2.0, 2.0])


def test_checkpoints_of_earlier_versions_open():
    experiment = Experiment(task="cartpole", population=4, generations=9)
    now = State.start(experiment).to_checkpoint(experiment)
    arrays = {name: array for name, array in now.arrays.items() if not name.startswith("normaliser/")}
    mean, variance = np.array([0.01, -0.02, 0.003, 0.1]), np.array([0.02, 0.3, 0.01, 0.5])
    arrays |= {"normaliser/mean": mean, "normaliser/variance": variance}
    old = Checkpoint(now.fingerprint, 3, arrays, {**now.numbers, "normaliser_count": 5000.0})
    opened = State.from_checkpoint(old, experiment)
    np.testing.assert_array_equal(opened.normaliser.mean, mean)
    assert list(opened.normaliser.counts) == [5000] * 4
    again = State.from_checkpoint(opened.to_checkpoint(experiment), experiment)
    assert (again.normaliser.sums, again.normaliser.squares) == (opened.normaliser.sums, opened.normaliser.squares)


# --- learning in any unit ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("offset", "scale"), [(300, 1), (0, 1000), (5e6, 0.5), (1e-3, 3e-7), (0, 1e-12), (0, 25.4), (410, 1e6), (178, 78)]
)
def test_a_task_is_learned_alike_in_any_unit(offset, scale):
    assert abs(thermostat(offset, scale) - thermostat(0, 1)) <= 1


@functools.cache
def thermostat(offset, scale):
    """The evaluation after 60 generations of a number to be held near zero, seen as offset + scale · number."""
    experiment = Experiment(
        task="gym:thermostat:Thermostat-v0",
        environment={"kwargs": {"offset": offset, "scale": scale}},
        network={"input_gain": 0.3},
        population=64,
        generations=60,
        evaluation_episodes=64,
        evaluate_every=60,
        seed=1,
    )
    return train(experiment).summary["final_eval_return"]
