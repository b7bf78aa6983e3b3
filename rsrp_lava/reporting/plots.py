"""Learning curves. Matplotlib is imported when a picture is drawn, not before: it takes a second."""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rsrp_lava.errors import DrawingError, RsrpError
from rsrp_lava.reporting.numbers import half_interval, shown_return, shown_spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colour-blind safe (Okabe, Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


#: Matplotlib draws one picture at a time, and a study trains several runs.
_DRAWING = threading.Lock()


@contextmanager
def drawing() -> Iterator[None]:
    """Where pictures are drawn: with Matplotlib's defaults, whatever a user's files and variables say for their own.

    Whatever goes wrong is a `DrawingError`, but what the disk says (`OSError`).
    """
    try:
        with _DRAWING, _backend("agg"), warnings.catch_warnings():
            import matplotlib

            warnings.simplefilter("ignore")  # of letters the font has not
            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                yield
    except (OSError, RsrpError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        raise DrawingError(f"cannot be drawn ({type(error).__name__}: {words[:300]})") from error


@contextmanager
def _backend(name: str) -> Iterator[None]:
    """MPLBACKEND for the time being: Matplotlib reads it when it is imported, and need not know what it says."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


def save_figure(figure: Figure, target: IO[bytes] | Path, file_format: str = "png") -> None:
    """Write it. Names are drawn as they are, also with dollar signs, which would be formulas; ticks of Matplotlib's are."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            for label in (tick.label1, tick.label2):
                label.set_parse_math(isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter))
    figure.savefig(target, format=file_format, dpi=130)


def draw_run(
    title: str, metrics: Sequence[dict[str, Any]], target: IO[bytes] | Path, classifies: bool = False, episodes: int = 1
) -> None:
    """One run: returns (sampled mean ± std; evaluation, and the 95 % interval of its mean over `episodes`) above, with what
    is earned without learning; below the entropy of every projection, or what a rule with weights measures of itself. Where
    it `classifies`, evaluation is an accuracy, which has no spread. As PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6))  # every training ends with this picture: finding a layout would double its time
    figure.subplots_adjust(left=0.115, right=0.98, bottom=0.085, top=0.945, hspace=0.06)
    returns, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    sampled = "entropy_bits" in metrics[0]
    evaluation = "test accuracy" if classifies else "evaluation"
    for key, label, colour in (
        ("sampled", "sampled networks" if sampled else f"training {'images' if classifies else 'episodes'}", COLOURS[4]),
        ("evaluation", f"{evaluation} (release where ρ > ½)" if sampled else evaluation, COLOURS[0]),
    ):
        records = [record for record in metrics if record.get(f"{key}_return") is not None]
        mean, std = (np.array([record[f"{key}_{what}"] for record in records]) for what in ("return", "std"))
        spread = std
        if key == "evaluation":
            spread = np.zeros_like(std) if classifies or episodes == 1 else half_interval(std, episodes)
        if spread.any():
            label += f", 95 % interval of the mean of {episodes:,}" if key == "evaluation" else ", ± standard deviation"
        draw_band(returns, [record["generation"] for record in records], mean, spread, colour, label)
    if sampled and "evaluation_return" in metrics[0]:
        returns.plot(
            metrics[0]["generation"],
            metrics[0]["evaluation_return"],
            "o",
            color=COLOURS[0],
            markerfacecolor="white",
            label=f"{evaluation} of generation 0: nothing releases",
            clip_on=False,
        )
    draw_baselines(returns, metrics[0].get("baselines", {}))
    returns.set_ylabel("reward, accuracy" if classifies else "return")
    returns.set_title(title, fontsize="medium")
    returns.legend(loc="best", fontsize="small")
    _draw_measures(below, "entropy_bits" if sampled else "measures", metrics)
    if sampled:
        below.set_ylabel("entropy (bits/synapse)")
        below.set_ylim(0, 1.03)
    _count_generations(below)
    finish(returns, below)
    save_figure(figure, target)


#: What is earned without learning, by its name in the records, and how it is drawn.
_BASELINES = {
    "nothing": ("doing nothing", ":"),
    "random": ("random actions", "--"),
    "guess": ("guessing the commonest class", "--"),
}


def draw_baselines(axes: Axes, baselines: Mapping[str, Mapping[str, float]]) -> None:
    """A grey line for each, with its value in the legend; one that would make all else flat is in the legend only."""
    low, high = axes.get_ylim()
    for name, of in baselines.items():
        label, style = _BASELINES[name]
        label = f"{label}: {shown_return(of['return'])}"
        if low - (high - low) <= of["return"] <= high + (high - low):
            axes.axhline(of["return"], linestyle=style, color="0.4", linewidth=1, label=label)
        else:
            place = "below" if of["return"] < low else "above"
            axes.plot([], [], linestyle=style, color="0.4", linewidth=1, label=f"{label} (far {place})")


def _draw_measures(axes: Axes, key: str, metrics: Sequence[dict[str, Any]]) -> None:
    """A curve for everything that the records hold under `key`, by name."""
    records = [record for record in metrics if key in record]
    for colour, name in zip(COLOURS, records[0][key] if records else (), strict=False):
        axes.plot([r["generation"] for r in records], [r[key][name] for r in records], color=colour, label=name)
        axes.legend(loc="best", fontsize="small")


class Curve(NamedTuple):
    """Runs that differ only in their seed."""

    label: str
    generations: np.ndarray
    returns: np.ndarray  #: of the runs that were trained to their end, shape (seeds, generations); there may be none
    halves: np.ndarray  #: halves of the intervals of their means, of the same shape
    #: Of each run that ended before: generations, returns.
    ended_early: Sequence[tuple[np.ndarray, np.ndarray]] = ()


def draw_curves(
    title: str,
    measured: str,
    curves: Sequence[Curve],
    target: IO[bytes] | Path,
    file_format: str = "png",
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """What was `measured` against generation, one curve an experiment: mean ± std over its seeds, or of a single seed the
    95 % interval of the mean over episodes; `baselines`: lines beside. A seed that ended early is a thin line of its own, up
    to a cross where it ended, and in no mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, (label, generations, returns, halves, ended_early) in zip(itertools.cycle(COLOURS), curves, strict=False):
        for place, (at, values) in enumerate(ended_early):
            own = label if not len(returns) and place == 0 else None
            axes.plot(at, values, color=colour, linewidth=0.9, linestyle="--", label=own)
            axes.plot(at[-1:], values[-1:], "x", color=colour)
        if not len(returns):
            continue
        label = f"{label}: {shown_spread(returns[:, -1])}"
        if len(returns) > 1:
            spread, limits = returns.std(axis=0), (returns.min(), returns.max())
        else:
            spread, limits = halves[0], (-np.inf, np.inf)
            label += ", 95 % interval of the mean" if spread.any() else ""
        draw_band(axes, generations, returns.mean(axis=0), spread, colour, label, limits)
    draw_baselines(axes, baselines or {})
    spread = ", mean ± std over seeds" if any(len(curve.returns) > 1 for curve in curves) else ""
    _count_generations(axes)
    axes.set_ylabel(f"{measured}{spread}")
    axes.set_title(title, fontsize="medium")
    axes.legend(loc="best" if baselines else "lower right", fontsize="small")
    finish(axes)
    save_figure(figure, target, file_format)


def _count_generations(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))


def draw_band(
    axes: Axes, x: Any, mean: Any, std: Any, colour: str, label: str, limits: tuple[float, float] = (-np.inf, np.inf)
) -> None:
    """A curve and its spread, if there is one: mean ± std, within `limits`, the values there are."""
    mean, std = np.asarray(mean), np.asarray(std)
    if std.any():
        low, high = np.clip(mean - std, *limits), np.clip(mean + std, *limits)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, mean, color=colour, label=label)


def finish(*panels: Axes) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
