"""Pictures of studies. Each function draws PNG into `target`; matplotlib is imported when it is called."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rsrp_lava.reporting.plots import COLOURS, draw_band, finish, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Line(NamedTuple):
    """Values of every seed at each point of an axis."""

    name: str
    points: list[tuple[str, list[float]]]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _positions(lines: Sequence[Line]) -> dict[str, int]:
    """Where the labels of all lines stand: numbers in their order, then words as they come."""
    labels = list(dict.fromkeys(label for line in lines for label, _ in line.points))
    numbers = sorted((label for label in labels if _is_number(label)), key=float)
    return {label: k for k, label in enumerate([*numbers, *(label for label in labels if label not in numbers)])}


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def _draw(axes: Axes, line: Line, at: dict[str, int], colour: str, style: str = "-", offset: float = 0.0) -> None:
    """The mean over seeds as a line, every seed as a dot."""
    x = np.array([at[label] for label, _ in line.points], float) + offset
    order = np.argsort(x)
    means = np.array([np.mean(values) for _, values in line.points])
    axes.plot(x[order], means[order], style, color=colour, label=line.name or None)
    for position, (_, values) in zip(x, line.points, strict=True):
        axes.plot([position] * len(values), values, ".", color=colour, alpha=0.6)


def _label(axes: Axes, at: dict[str, int]) -> None:
    axes.set_xticks(list(at.values()), list(at), fontsize="small")
    axes.set_xlim(-0.4, len(at) - 0.6)


def return_against_bits(lines: Sequence[Line], goal: float, target: IO[bytes]) -> None:
    """Final return against bits of the probabilities: the mean over seeds, and every seed as a dot."""
    figure = new_figure(8, 5.4)
    axes = figure.subplots()
    at = _positions(lines)
    styles = {"training": "-", "after": "--"}
    for k, (colour, line) in enumerate(zip(itertools.cycle(COLOURS), lines, strict=False)):
        offset = 0.06 * (k - (len(lines) - 1) / 2)  # dots of several lines stay apart
        _draw(axes, line, at, colour, styles[line.name.split()[0].rstrip(",")], offset)
    axes.axhline(goal, color="0.6", linewidth=0.8, linestyle=":")
    axes.text(0.005, goal, f"{goal:g}", fontsize="x-small", color="0.4", va="bottom", transform=axes.get_yaxis_transform())
    axes.set_xlabel("bits of the release probabilities")
    axes.set_ylabel("final evaluation return (dots: seeds)")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    finish(axes)
    _label(axes, at)
    save_figure(figure, target)


def lost_updates(lines: Sequence[Line], steps: dict[str, float], target: IO[bytes]) -> None:
    """Fraction of the first generation's changes that rounding takes away, against bits; dashed: expected of nearest
    rounding if changes were normal with the step's root mean square, erf(2^-(B+1) / (√2 step))."""
    figure = new_figure(7, 5)
    axes = figure.subplots()
    at = _positions(lines)
    for colour, line in zip(itertools.cycle(COLOURS), lines, strict=False):
        _draw(axes, line, at, colour)
    numbers = [label for label in at if _is_number(label)]
    dashes = itertools.cycle(("--", ":", "-."))
    for name, step in steps.items():
        expected = [math.erf(2.0 ** -(int(bits) + 1) / (math.sqrt(2) * step)) for bits in numbers]
        label = f"expected of nearest: {name}, step {step:.2g}"
        axes.plot([at[bits] for bits in numbers], expected, next(dashes), color="0.4", linewidth=1, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("stored bits")
    axes.set_ylabel("updates lost to rounding, first generation")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    finish(axes)
    _label(axes, at)
    save_figure(figure, target)


def panels(curves: dict[str, list[tuple[str, np.ndarray, np.ndarray]]], what: str, target: IO[bytes]) -> None:
    """A panel a rounding and learning rate, a curve a width: mean ± std over seeds against generation."""
    from matplotlib import colormaps

    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(4.6 * columns + 1, 3 * rows + 0.4)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    widths = list(dict.fromkeys(bits for panel in curves.values() for bits, _, _ in panel))
    numbers = [bits for bits in widths if _is_number(bits)]
    colours = dict(zip(numbers, colormaps["viridis"](np.linspace(0, 0.9, max(1, len(numbers)))), strict=True))
    for axes, (title, panel) in zip(grid, curves.items(), strict=False):
        for bits, generations, values in panel:
            label = f"{bits} bits" if _is_number(bits) else bits
            limits = (values.min(), values.max())
            draw_band(axes, generations, values.mean(0), values.std(0), colours.get(bits, "black"), label, limits)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("generation")
        finish(axes)
    for axes in grid[len(curves) :]:
        axes.set_visible(False)
    named: dict[str, Any] = {}
    for axes in grid[: len(curves)]:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside right center", fontsize="small")
    figure.supylabel({"return": "evaluation return", "lost": "updates lost to rounding"}[what])
    save_figure(figure, target)


def histograms(shapes: dict[str, dict[str, tuple[np.ndarray, float]]], centres: np.ndarray, target: IO[bytes]) -> None:
    """Final probabilities, mean over seeds: a row a rounding, a column a width; the stuck fraction is written in."""
    widths = list(dict.fromkeys(bits for row in shapes.values() for bits in row))
    figure = new_figure(max(1.5 * len(widths), 3) + 1, 1.5 * len(shapes) + 1)
    grid = figure.subplots(len(shapes), len(widths), sharex=True, sharey=True, squeeze=False)
    for cells, (name, row) in zip(grid, shapes.items(), strict=True):
        cells[0].set_ylabel(name.replace(", ", "\n"), fontsize="x-small")
        for axes, bits in zip(cells, widths, strict=True):
            if bits not in row:
                axes.set_visible(False)
                continue
            fractions, stuck = row[bits]
            axes.bar(centres, fractions, width=1 / 32, color=COLOURS[0])
            axes.set_yscale("log")
            axes.set_ylim(1e-4, 1.5)
            axes.text(0.5, 0.97, f"stuck {stuck:.0%}", transform=axes.transAxes, fontsize="x-small", ha="center", va="top")
            finish(axes)
    for axes, bits in zip(grid[0], widths, strict=True):
        axes.set_title(f"{bits} bits", fontsize="small")
    figure.supxlabel("release probability ρ after training", fontsize="small")
    figure.supylabel("fraction of synapses", fontsize="small")
    save_figure(figure, target)


def other_axes(lines: dict[str, Line], goal: float, target: IO[bytes]) -> None:
    """Final return along each other axis: the mean over seeds, and every seed as a dot."""
    columns = min(3, len(lines))
    rows = -(-len(lines) // columns)
    figure = new_figure(3.6 * columns + 0.4, 3 * rows)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for axes, (title, line) in zip(grid, lines.items(), strict=False):
        at = _positions([line])
        _draw(axes, line, at, COLOURS[0], "-" if all(map(_is_number, at)) else "_")  # words have no order to join
        axes.axhline(goal, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(title, fontsize="medium")
        finish(axes)
        _label(axes, at)
        if not all(map(_is_number, at)):
            axes.tick_params("x", rotation=30)
    for axes in grid[len(lines) :]:
        axes.set_visible(False)
    figure.supylabel("final evaluation return (dots: seeds)", fontsize="small")
    save_figure(figure, target)
