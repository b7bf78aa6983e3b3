"""Pictures of the studies of classifiers. Each function draws PNG into `target`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from rsrp_lava.reporting.plots import COLOURS, draw_band, finish, save_figure
from rsrp_lava.reporting.study_plots import Line, new_figure


class Curve(NamedTuple):
    """Values of every seed over the generations."""

    name: str
    generations: np.ndarray
    values: np.ndarray  #: shape (seeds, generations)


def curves(lines: Sequence[Curve], references: Sequence[Curve], target: IO[bytes]) -> None:
    """Accuracy against generation: mean ± std over seeds; references dashed. Accuracies near 1 are drawn apart (logarithm
    of the error)."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for colour, line in zip(itertools.cycle(COLOURS), lines, strict=False):
        error = 1 - line.values
        draw_band(axes, line.generations, error.mean(0), error.std(0), colour, line.name, (error.min(), error.max()))
    for line in references:
        axes.plot(line.generations, 1 - line.values.mean(0), "--", color="0.3", label=line.name)
    axes.set_yscale("log")
    axes.invert_yaxis()
    ticks = [0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01]
    every = [1 - line.values for line in (*lines, *references)]
    low, high = min(e.min() for e in every), max(e.max() for e in every)
    shown = [tick for tick in ticks if low * 0.8 <= tick <= high * 1.2]
    axes.set_yticks(shown, [f"{1 - tick:.2g}" for tick in shown])
    axes.set_yticks([], minor=True)
    axes.set_xlabel("generation (for backprop: step)")
    axes.set_ylabel("test accuracy (mean ± std over seeds)")
    figure.legend(fontsize="small", loc="outside right upper")
    finish(axes)
    save_figure(figure, target)


def product(lines: Sequence[Line], target: IO[bytes]) -> None:
    """Accuracy against samples × batch, a line a number of samples; every seed as a dot."""
    figure = new_figure(7, 4.6)
    axes = figure.subplots()
    for colour, line in zip(itertools.cycle(COLOURS), lines, strict=False):
        x = np.array([float(label) for label, _ in line.points])
        axes.plot(x, [np.mean(values) for _, values in line.points], "-", color=colour, label=line.name)
        for position, (_, values) in zip(x, line.points, strict=True):
            axes.plot([position] * len(values), values, ".", color=colour)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("samples × images of each, a generation")
    axes.set_ylabel("final test accuracy (dots: seeds)")
    axes.legend(fontsize="small")
    finish(axes)
    save_figure(figure, target)


def entropies(panels: dict[str, list[Curve]], target: IO[bytes]) -> None:
    """Mean entropy of the releases against generation, a panel a projection."""
    figure = new_figure(4 * len(panels) + 1.6, 3.6)
    grid = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        for colour, line in zip(itertools.cycle(COLOURS), lines, strict=False):
            axes.plot(line.generations, line.values.mean(0), color=colour, label=line.name)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("generation")
        axes.set_ylim(0, 1.02)
        finish(axes)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", loc="outside right upper")
    figure.supylabel("entropy, bits a synapse (mean over seeds)", fontsize="small")
    save_figure(figure, target)


def histograms(shapes: dict[str, list[tuple[int, np.ndarray]]], target: IO[bytes]) -> None:
    """Release probabilities: a row a projection, a column a generation; fractions of synapses around k / 32."""
    columns = max(len(row) for row in shapes.values())
    figure = new_figure(max(1.8 * columns, 3) + 1, 1.7 * len(shapes) + 0.9)
    grid = figure.subplots(len(shapes), columns, sharex=True, sharey=True, squeeze=False)
    for cells, (name, row) in zip(grid, shapes.items(), strict=True):
        cells[0].set_ylabel(name.replace(" (", "\n("), fontsize="x-small")
        for axes, (generation, fractions) in zip(cells, row, strict=False):
            centres = np.arange(len(fractions)) / (len(fractions) - 1)
            axes.bar(centres, fractions, width=1 / len(fractions), color=COLOURS[0])
            axes.set_yscale("log")
            axes.set_ylim(1e-4, 1.5)
            axes.set_title(f"generation {generation}", fontsize="small")
            finish(axes)
        for axes in cells[len(row) :]:
            axes.set_visible(False)
    figure.supxlabel("release probability ρ", fontsize="small")
    figure.supylabel("fraction of synapses", fontsize="small")
    save_figure(figure, target)
