"""Learning curves. Matplotlib is imported when a picture is drawn, not before: it takes a second."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colour-blind safe (Okabe, Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def draw_run(title: str, metrics: Sequence[dict[str, Any]], target: IO[bytes] | Path) -> None:
    """One run: returns (sampled mean ± std, evaluation mean ± std) above; below the entropy of every projection, or what a
    rule with weights measures of itself. As PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    returns, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    played, sampled = [record for record in metrics if "sampled_return" in record], "entropy_bits" in metrics[0]
    for records, key, label, colour in (
        (played, "sampled", "sampled networks" if sampled else "training episodes", COLOURS[4]),
        (
            [r for r in metrics if "evaluation_return" in r],
            "evaluation",
            "evaluation (release where ρ > ½)" if sampled else "evaluation",
            COLOURS[0],
        ),
    ):
        generations = [record["generation"] for record in records]
        mean = np.array([record[f"{key}_return"] for record in records])
        draw_band(returns, generations, mean, [record[f"{key}_std"] for record in records], colour, label)
    returns.set_ylabel("return")
    returns.set_title(title, fontsize="medium")
    returns.legend(loc="best", fontsize="small")
    _draw_measures(below, "entropy_bits" if sampled else "measures", metrics)
    if sampled:
        below.set_ylabel("entropy (bits/synapse)")
        below.set_ylim(0, 1.03)
    below.set_xlabel("generation")
    finish(returns, below)
    figure.savefig(target, format="png", dpi=130)


def _draw_measures(axes: Axes, key: str, metrics: Sequence[dict[str, Any]]) -> None:
    """A curve for everything that the records hold under `key`, by name."""
    records = [record for record in metrics if key in record]
    for colour, name in zip(COLOURS, records[0][key] if records else (), strict=False):
        axes.plot([r["generation"] for r in records], [r[key][name] for r in records], color=colour, label=name)
        axes.legend(loc="best", fontsize="small")


def draw_curves(
    title: str, curves: Sequence[tuple[str, np.ndarray, np.ndarray]], target: IO[bytes] | Path, file_format: str = "png"
) -> None:
    """Evaluation return against generation, one curve an experiment, mean ± std over its seeds.

    `curves`: label, generations, and returns, shape (seeds, generations), of each experiment.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, (label, generations, returns) in zip(itertools.cycle(COLOURS), curves, strict=False):
        mean, std, last = returns.mean(axis=0), returns.std(axis=0), f"{returns[:, -1].mean():.0f}"
        if len(returns) == 1:
            axes.plot(generations, mean, color=colour, label=f"{label}: {last}")
        else:
            label = f"{label}: {last} ± {std[-1]:.0f}"
            draw_band(axes, generations, mean, std, colour, label, (returns.min(), returns.max()))
    spread = ", mean ± std over seeds" if any(len(returns) > 1 for _, _, returns in curves) else ""
    axes.set_xlabel("generation")
    axes.set_ylabel(f"evaluation return{spread}")
    axes.set_title(title, fontsize="medium")
    axes.legend(loc="lower right", fontsize="small")
    finish(axes)
    figure.savefig(target, format=file_format, dpi=130)


def draw_band(
    axes: Axes, x: Any, mean: Any, std: Any, colour: str, label: str, limits: tuple[float, float] = (-np.inf, np.inf)
) -> None:
    """A curve and its spread, mean ± std; the spread ends at `limits`, the values there are."""
    mean, std = np.asarray(mean), np.asarray(std)
    low, high = np.clip(mean - std, *limits), np.clip(mean + std, *limits)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, mean, color=colour, label=label)


def finish(*panels: Axes) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
