"""The picture of rules compared on a task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from rsrp_lava.reporting.plots import COLOURS, draw_band, finish, save_figure
from rsrp_lava.reporting.study_plots import new_figure


class LearningCurve(NamedTuple):
    """Evaluations of every seed."""

    name: str
    updates: np.ndarray  #: mean over seeds, shape (evaluations,)
    env_steps: np.ndarray  #: mean over seeds, shape (evaluations,)
    returns: np.ndarray  #: shape (seeds, evaluations)


def draw_comparison(task: str, curves: Sequence[LearningCurve], target: IO[bytes]) -> None:
    """Evaluation return, mean ± std over seeds, against updates and environment steps; final returns of all seeds."""
    figure = new_figure(11, 4)
    by_updates, by_steps, final = figure.subplots(1, 3, sharey=True, width_ratios=(2, 2, 1))
    for place, (colour, curve) in enumerate(zip(itertools.cycle(COLOURS), curves)):
        limits = (float(curve.returns.min()), float(curve.returns.max()))
        for axes, x in ((by_updates, curve.updates), (by_steps, curve.env_steps)):
            draw_band(axes, x, curve.returns.mean(0), curve.returns.std(0), colour, curve.name, limits)
        final.plot([place] * len(curve.returns), curve.returns[:, -1], ".", color=colour, alpha=0.6)
        final.plot([place - 0.25, place + 0.25], [curve.returns[:, -1].mean()] * 2, color=colour)
    for axes in (by_updates, by_steps):  # rules differ by powers of ten in both
        axes.set_xscale("symlog", linthresh=1)
    by_updates.set_xlabel("updates")
    by_updates.set_ylabel("evaluation return (mean ± std over seeds)")
    by_steps.set_xlabel("environment steps or images, in training")
    final.set_xticks(range(len(curves)), [curve.name for curve in curves], rotation=30, ha="right")
    final.set_xlabel("final, every seed")
    by_updates.legend(fontsize="small")
    figure.suptitle(task, fontsize="medium")
    finish(by_updates, by_steps, final)
    final.margins(x=0.3)
    save_figure(figure, target)
