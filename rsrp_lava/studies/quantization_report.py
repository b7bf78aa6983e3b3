"""Tables and pictures of the quantization study, made of its rows and its run folders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from rsrp_lava.learning.rsrp import HISTOGRAM_BINS, histogram
from rsrp_lava.reporting import study_plots as plots
from rsrp_lava.reporting.numbers import shown_range
from rsrp_lava.runs import Run
from rsrp_lava.studies.grouping import fraction, grouped, of_asked, seeds_shown, shown
from rsrp_lava.studies.quantization import QuantizationOptions, goal_of
from rsrp_lava.studies.report import StudyReport
from rsrp_lava.studies.runner import Row, to_markdown

_CENTRES = np.arange(HISTOGRAM_BINS) / (HISTOGRAM_BINS - 1)
#: Of a generation's record, what goes into the table of curves.
_OF_A_GENERATION = ("evaluation_return", "sampled_return", "lost_updates", "stuck")


#: Columns that tell cells apart.
_CELL = ("axis", "bits", "rounding", "rate", "epsilon", "generator", "state_bits", "deploy_bits", "release", "networks")


class Report(StudyReport):
    """What the rows say."""

    def __init__(self, task: str, o: QuantizationOptions, rows: list[Row], runs: Path) -> None:
        super().__init__(rows, runs)
        self.task, self.goal, self.seeds = task, goal_of(task, o), o.seeds

    def of(self, axis: str) -> list[Row]:
        return [row for row in self.rows if row["axis"] == axis]

    @property
    def title(self) -> str:
        """Of the report."""
        return f"Quantization of release probabilities: {self.task}"

    # --- tables -------------------------------------------------------------------------------------------------------

    def parts(self) -> list[str]:
        """See `StudyReport`."""
        measured = seeds_shown([group for _, group in grouped(self.rows, _CELL)], self.seeds, "cell")
        parts = [f"{measured}; *reached* counts the seeds whose last evaluation is at least {self.goal:g}."]
        trained = (
            ("bits", "Stored bits while training", ("rate", "rounding", "bits")),
            ("ends", "The same with codes 0 and 1, where synapses are stuck", ("rounding", "bits")),
            ("epsilon", "Limits of the probabilities (float32)", ("epsilon",)),
            ("generator", "Where random bits come from (float32)", ("generator",)),
            ("state_bits", "Width of u and v (profile generic-int8)", ("state_bits",)),
        )
        for axis, title, columns in trained:
            if rows := self.of(axis):
                parts.append(f"## {title}\n\n{self._trained(rows, columns)}")
        deployed = (
            ("deploy_bits", "Bits of a float32-trained network's probabilities", ("release", "deploy_bits")),
            ("release", "What becomes of the probabilities", ("release",)),
            ("ensemble", "Networks that vote, each a frozen sample", ("networks",)),
        )
        for axis, title, columns in deployed:
            if rows := self.of(axis):
                parts.append(f"## {title}\n\n{self._deployed(rows, columns)}")
        return parts

    def describe(self, row: Row) -> str:
        """See `StudyReport`."""
        return ", ".join([row["axis"], *(f"{name} {shown(row[name])}" for name in _CELL[1:] if row.get(name) is not None)])

    def _trained(self, rows: list[Row], columns: tuple[str, ...]) -> str:
        headings = [*columns, "final return", "reached", "first at", "lost, first", "lost, mean", "stuck", "entropy"]
        table = []
        for values, group in grouped(rows, columns):
            first = [row["reached_at"] for row in group if row["reached_at"] is not None]
            table.append(
                [
                    *map(shown, values),
                    self._returns(group),
                    self._reached(group),
                    f"{min(first)}–{max(first)}" if first else "–",
                    *(fraction(row.get(name) for row in group) for name in ("lost_first", "lost_mean", "stuck")),
                    fraction(row["entropy_bits"] for row in group),
                ]
            )
        return to_markdown(headings, table)

    def _deployed(self, rows: list[Row], columns: tuple[str, ...]) -> str:
        table = [
            [*map(shown, values), self._returns(group), self._reached(group)] for values, group in grouped(rows, columns)
        ]
        return to_markdown([*columns, "return", "reached"], table)

    def _returns(self, rows: list[Row]) -> str:
        return of_asked(shown_range([row["final_return"] for row in rows]), rows, self.seeds)

    def _reached(self, rows: list[Row]) -> str:
        return f"{sum(row['final_return'] >= self.goal for row in rows)} of {len(rows)}"

    # --- numbers behind the pictures ----------------------------------------------------------------------------------

    def curves(self) -> Iterator[Row]:
        """Every generation of every training."""
        for row in _once(self.rows):
            for record in self.run(row).metrics:
                values = {name: record.get(name) for name in _OF_A_GENERATION}
                rounded = {name: None if value is None else round(value, 6) for name, value in values.items()}
                yield {"run": row["run"], "generation": record["generation"], **rounded}

    def histograms(self) -> Iterator[Row]:
        """Of the final probabilities of every training, all plastic synapses: fractions in 33 bins."""
        for row in _once(self.rows):
            run = self.run(row)
            counts = plastic_histogram(run)
            yield {"run": row["run"], **{f"{centre:g}": count for centre, count in zip(_CENTRES, counts, strict=True)}}

    # --- pictures -----------------------------------------------------------------------------------------------------

    def pictures(self) -> dict[str, Callable[[IO[bytes]], None]]:
        """Names of the pictures, and what draws each as PNG."""
        made: dict[str, Callable[[IO[bytes]], None]] = {}
        bits = self.of("bits")
        quantised = [row for row in bits if row["bits"] != "float32"]
        if quantised:
            made["return-against-bits.png"] = functools.partial(plots.return_against_bits, self._return_lines(), self.goal)
            made["lost-updates.png"] = functools.partial(plots.lost_updates, self._lost_lines(quantised), self._steps(bits))
            lost = self._curves_of(quantised, "lost_updates")
            made["lost-per-generation.png"] = functools.partial(plots.panels, lost, "lost")
        if quantised:
            returns = self._curves_of(bits, "evaluation_return")
            made["learning-curves.png"] = functools.partial(plots.panels, returns, "return")
        shaped = quantised + self.of("ends")
        if shaped:
            made["histograms.png"] = functools.partial(plots.histograms, self._shapes(shaped), _CENTRES)
        others = [axis for axis in ("epsilon", "generator", "state_bits", "release", "ensemble") if self.of(axis)]
        if others:
            made["other-axes.png"] = functools.partial(plots.other_axes, self._others(others), self.goal)
        return made

    def _return_lines(self) -> list[plots.Line]:
        """Final return against stored bits while training, and against bits after training."""
        lines = []
        for (rate, rounding), rows in grouped(self.of("bits"), ("rate", "rounding")):
            if rounding is not None:
                reference = [r for r in self.of("bits") if r["bits"] == "float32" and r["rate"] == rate]
                name = f"training, {rounding}" + (f", {rate:g} × learning rate" if rate != 1 else "")
                lines.append(_line(name, [*rows, *reference], "bits"))
        for (release,), rows in grouped(self.of("deploy_bits"), ("release",)):
            lines.append(_line(f"after training, {release}", rows, "deploy_bits"))
        return lines

    def _lost_lines(self, rows: list[Row]) -> list[plots.Line]:
        lines = []
        for (rate, rounding), group in grouped(rows, ("rate", "rounding")):
            name = f"{rounding}" + (f", {rate:g} × learning rate" if rate != 1 else "")
            lines.append(_line(name, group, "bits", "lost_first"))
        return lines

    def _steps(self, rows: list[Row]) -> dict[str, float]:
        """First step in float32 (root mean square) by name of the learning rate."""
        found = grouped([row for row in rows if row["bits"] == "float32"], ("rate",))
        return {f"{rate:g} × learning rate": float(np.mean([r["first_step"] for r in group])) for (rate,), group in found}

    def _curves_of(self, rows: list[Row], value: str) -> dict[str, list[tuple[str, np.ndarray, np.ndarray]]]:
        """Panels by learning rate and rounding, of curves by bits: generations, and values, shape (seeds, generations).

        float32 stands in every panel of its learning rate.
        """
        panels: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
        for (rate, rounding), of_panel in grouped(rows, ("rate", "rounding")):
            if rounding is None:
                continue
            reference = [row for row in rows if row["rounding"] is None and row["rate"] == rate]
            for (bits,), group in grouped([*of_panel, *reference], ("bits",)):
                records = [[r for r in self.run(row).metrics if r.get(value) is not None] for row in group]
                length = min(map(len, records))
                generations = np.array([record["generation"] for record in records[0][:length]])
                values = np.array([[record[value] for record in of_run[:length]] for of_run in records])
                title = rounding + (f", {rate:g} × learning rate" if rate != 1 else "")
                panels.setdefault(title, []).append((str(bits), generations, values))
        return panels

    def _shapes(self, rows: list[Row]) -> dict[str, dict[str, tuple[np.ndarray, float]]]:
        """Histogram and stuck fraction, mean over seeds, by panel row and bits."""
        shapes: dict[str, dict[str, tuple[np.ndarray, float]]] = {}
        for (axis, rate, rounding, bits), group in grouped(rows, ("axis", "rate", "rounding", "bits")):
            name = f"{rounding}" + (", stuck ends" if axis == "ends" else "")
            name += f", {rate:g} × rate" if axis == "bits" and rate != 1 else ""
            fractions = np.mean([plastic_histogram(self.run(row)) for row in group], axis=0)
            shapes.setdefault(name, {})[str(bits)] = (fractions, float(np.mean([row["stuck"] for row in group])))
        return shapes

    def _others(self, axes: list[str]) -> dict[str, plots.Line]:
        titles = {
            "epsilon": ("ε", "epsilon"),
            "generator": ("generator", "generator"),
            "state_bits": ("bits of u and v", "state_bits"),
            "release": ("release (deployed)", "release"),
            "ensemble": ("networks that vote (deployed)", "networks"),
        }
        return {titles[axis][0]: _line("", self.of(axis), titles[axis][1]) for axis in axes}


def _line(name: str, rows: list[Row], x: str, y: str = "final_return") -> plots.Line:
    """A line over the values of a column: every seed's value at each."""
    points = [(str(shown(value)), [row[y] for row in group]) for (value,), group in grouped(rows, (x,))]
    return plots.Line(name, points)


def _once(rows: Iterable[Row]) -> Iterator[Row]:
    """One row a training."""
    return iter({row["run"]: row for row in rows}.values())


def plastic_histogram(run: Run) -> np.ndarray:
    """Fractions of the plastic synapses' probabilities in bins around k / 32."""
    plastic = [p.name for p in run.experiment.build_network().projections if p.plastic]
    counts = np.sum([histogram(run.probabilities[name]) for name in plastic], axis=0)
    return np.asarray(counts / counts.sum())
