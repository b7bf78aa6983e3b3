"""How returns are written, and whether they rise."""

import math

import numpy as np
import pytest
from scipy.stats import t

from rsrp_lava.reporting.numbers import (
    half_interval,
    shown_evaluation,
    shown_precision,
    shown_range,
    shown_return,
    shown_spread,
    trend,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (shown_return(0.95512), "0.955"),
        (shown_return(-1), "-1.000"),
        (shown_return(1.5), "1.5"),
        (shown_return(456.78, 12.34), "456.8 ± 12.3"),
        (shown_return(0.7, 0.4583), "0.700 ± 0.458"),
        (shown_evaluation(0.95512, 0.2, classifies=True), "0.955"),
        (shown_evaluation(0.95512, 0.2, classifies=False), "0.955 ± 0.200"),
        (shown_spread([0.5]), "0.500"),
        (shown_spread([0.4, 0.6]), "0.500 ± 0.100"),
        (shown_spread([0.4, 20.4]), "10.4 ± 10.0"),
        (shown_range([0.4, 0.6]), "0.500 (0.400 to 0.600)"),
        (shown_range([-500, 100]), "-200.0 (-500.0 to 100.0)"),
    ],
)
def test_decimals_are_those_that_say_something(written, expected):
    assert written == expected


@pytest.mark.parametrize("value", [0.0, 123.4, -0.1, 1e100, -5e-324])
@pytest.mark.parametrize("n", [4, 11, 20])
def test_equal_values_have_no_trend_whatever_their_means_are_rounded_to(value, n):
    assert trend([value] * n) == 0


def test_trend_is_that_of_welch():
    """By hand: means 2 and 6, variances 2 and 8 of two values each."""
    assert trend([1, 3, 4, 8]) == pytest.approx(4 / (2 / 2 + 8 / 2) ** 0.5)
    assert trend([0, 0, 1, 1]) == 99
    assert trend([1, 1, 0, 0]) == -99
    assert trend([1, 2, 3]) is None
    random = np.random.default_rng(0)
    values = [trend(random.normal(size=20)) for _ in range(2000)]
    assert np.mean(np.array(values) > 2) < 0.05


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 32, 128, 3000])
def test_an_interval_is_the_textbooks(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    ref = t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    assert half_interval(values.std(), n) == pytest.approx(ref, rel=0.01 if n < 8 else 1e-3)
    np.testing.assert_allclose(half_interval(np.array([0.0, 1.0]), n), [0, half_interval(1.0, n)])


def test_one_value_says_nothing_of_its_precision():
    assert math.isnan(half_interval(0.0, 1))


def test_an_interval_holds_the_mean_as_often_as_it_says():
    samples = np.random.default_rng(1).exponential(1.0, (4000, 128))
    half = half_interval(samples.std(axis=1), 128)
    assert 0.93 < (abs(samples.mean(axis=1) - 1) <= half).mean() < 0.96


def test_precision_in_words():
    assert shown_precision(92.0, 128) == "± is the standard deviation of 128 episodes; their mean is known to ± 16.2 at 95 %"
    assert shown_precision(0.0, 32) == "all 32 episodes returned the same"
    assert "one episode" in shown_precision(0.0, 1)
