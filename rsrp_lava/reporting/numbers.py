"""How returns are written (accuracies and rewards, within ±1: three decimals, others: one; from 10^9 on as powers of ten),
and whether they rise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

#: From here on a return is written as a power of ten.
_LARGE = 1e9


def shown_return(mean: float | None, std: float | None = None) -> str:
    """A return, and how far it spreads if that is given; '–' where nothing was measured."""
    if mean is None:
        return "–"
    shown = _format(mean)
    return shown(mean) + ("" if std is None else f" ± {shown(std)}")


def shown_evaluation(mean: float, std: float, classifies: bool) -> str:
    """What an evaluation came to: mean ± standard deviation over episodes, or the accuracy on test images."""
    return shown_return(mean, None if classifies else std)


def half_interval(std: Any, n: int) -> Any:
    """Half of the 95 % interval of a mean, t s / √n, from n values with s² = n / (n − 1) · std², the unbiased variance.

    One value says nothing of its precision: NaN.
    """
    return _student(n - 1) * std / math.sqrt(n - 1) if n > 1 else std * math.nan


def _student(freedom: int) -> float:
    """The 0.975 quantile of Student's t: closed for 1 and 2, else the series 26.7.5 of Abramowitz and Stegun."""
    if freedom <= 2:
        return math.tan(0.475 * math.pi) if freedom == 1 else 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = 1.959964
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return sum(term / freedom**power for power, term in enumerate(terms))


def shown_precision(std: float, episodes: int) -> str:
    """What the ± of an evaluation is, and how well its mean is known."""
    if episodes == 1:
        return "of one episode: how far it is from the mean is not known"
    if std == 0:
        return f"all {episodes:,} episodes returned the same"
    half = half_interval(std, episodes)
    return f"± is the standard deviation of {episodes:,} episodes; their mean is known to ± {half:.3g} at 95 %"


def shown_spread(returns: Sequence[float] | np.ndarray) -> str:
    """Mean ± standard deviation over seeds; of a single one its return."""
    shown = _format(*returns)
    mean = shown(np.mean(returns))
    return mean if len(returns) == 1 else f"{mean} ± {shown(np.std(returns))}"


def shown_range(returns: Sequence[float] | np.ndarray) -> str:
    """Mean (lowest to highest); of a single one the return."""
    shown = _format(*returns)
    if len(returns) == 1:
        return shown(returns[0])
    return f"{shown(np.mean(returns))} ({shown(min(returns))} to {shown(max(returns))})"


def trend(values: Iterable[float | None]) -> float | None:
    """Standard errors by which the mean of the later half is above that of the earlier one (Welch 1947), within ±99.

    About 0 ± 1 of values that do not depend on time; what was not measured (None) is left out. None of fewer than four.
    """
    given = np.array([value for value in values if value is not None])
    if len(given) and np.abs(given).max() > 1e100:
        given = given / np.abs(given).max()
    half = len(given) // 2
    if half < 2:
        return None
    early, late = given[:half], given[half:]
    rise, error = late.mean() - early.mean(), math.sqrt(early.var(ddof=1) / half + late.var(ddof=1) / len(late))
    if abs(rise) <= 1e-12 * np.abs(given).max():  # means of equal values may be rounded otherwise
        return 0.0
    return float(np.clip(rise / error, -99, 99)) if error else float(99 * np.sign(rise))


def _format(*returns: float) -> Callable[[Any], str]:
    """How these are written: with three decimals, one, or as 1.23e+09."""
    largest = max(map(abs, returns))
    return "{:.3g}".format if largest >= _LARGE else "{:.3f}".format if largest <= 1 else "{:.1f}".format
