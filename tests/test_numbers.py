"""How returns are written."""

import pytest

from rsrp_lava.reporting.numbers import shown_evaluation, shown_range, shown_return, shown_spread


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
