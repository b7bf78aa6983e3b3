"""The picture of how returns answer to perturbations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from rsrp_lava.reporting.plots import COLOURS, draw_band, finish, save_figure
from rsrp_lava.reporting.study_plots import new_figure


class Response(NamedTuple):
    """Of runs that differ only in their seed."""

    name: str
    strengths: list[float]
    returns: list[np.ndarray]  #: of every seed, at each strength


class Panel(NamedTuple):
    """One perturbation."""

    title: str
    axis: str
    neutral: float  #: the strength that changes nothing
    responses: list[Response]


def draw_robustness(task: str, panels: Sequence[Panel], target: IO[bytes]) -> None:
    """Evaluation return against strength, a panel a perturbation, a curve a rule: mean ± std over seeds.

    Strengths stand side by side at equal distances: they are chosen by ratios, and begin at 0.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(max(4.2 * columns, 6.5), 3.1 * rows + 0.7)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    names = list(dict.fromkeys(response.name for panel in panels for response in panel.responses))
    colours = dict(zip(names, itertools.cycle(COLOURS)))
    for axes, panel in zip(grid, panels, strict=False):
        strengths = sorted({strength for response in panel.responses for strength in response.strengths})
        at = {strength: place for place, strength in enumerate(strengths)}
        axes.axvline(at.get(panel.neutral, 0), color="0.6", linewidth=0.8, linestyle=":")
        for response in panel.responses:
            x = [at[strength] for strength in response.strengths]
            mean, std = (np.array([f(returns) for returns in response.returns]) for f in (np.mean, np.std))
            every = np.concatenate(response.returns)
            colour = colours[response.name]
            draw_band(axes, x, mean, std, colour, response.name, (every.min(), every.max()))
            axes.plot(x, mean, ".", color=colour)
        axes.set_title(panel.title, fontsize="medium")
        axes.set_xlabel(panel.axis, fontsize="small")
        finish(axes)
        axes.set_xticks(range(len(strengths)), [f"{strength:g}" for strength in strengths], fontsize="small")
        axes.set_xlim(-0.3, len(strengths) - 0.7)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize="small")
    spread = ", mean ± std over seeds" if any(len(r) > 1 for p in panels for one in p.responses for r in one.returns) else ""
    figure.supylabel(f"evaluation return{spread}", fontsize="small")
    figure.suptitle(f"{task} under perturbations", fontsize="medium")
    save_figure(figure, target)
