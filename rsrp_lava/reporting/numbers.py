"""How returns are written: accuracies and rewards, within ±1, with three decimals, others with one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shown_return(mean: float, std: float | None = None) -> str:
    """A return, and how far it spreads if that is given."""
    digits = _decimals(mean)
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def shown_evaluation(mean: float, std: float, classifies: bool) -> str:
    """What an evaluation came to: mean ± standard deviation over episodes, or the accuracy on test images."""
    return shown_return(mean, None if classifies else std)


def shown_spread(returns: Sequence[float] | np.ndarray) -> str:
    """Mean ± standard deviation over seeds; of a single one its return."""
    digits = _decimals(*returns)
    mean = f"{np.mean(returns):.{digits}f}"
    return mean if len(returns) == 1 else f"{mean} ± {np.std(returns):.{digits}f}"


def shown_range(returns: Sequence[float] | np.ndarray) -> str:
    """Mean (lowest to highest)."""
    digits = _decimals(*returns)
    return f"{np.mean(returns):.{digits}f} ({min(returns):.{digits}f} to {max(returns):.{digits}f})"


def _decimals(*returns: float) -> int:
    return 3 if max(map(abs, returns)) <= 1 else 1
