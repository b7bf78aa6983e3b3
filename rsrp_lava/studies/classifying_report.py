"""Tables and pictures of the studies of classifiers, made of their rows and run folders."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from rsrp_lava.learning.rsrp import HISTOGRAM_BINS
from rsrp_lava.reporting import classifying_plots as plots
from rsrp_lava.reporting.study_plots import Line
from rsrp_lava.runs import Run
from rsrp_lava.studies.classifying import ClassifyingOptions
from rsrp_lava.studies.grouping import fraction, grouped, of_asked, seeds_shown, shown
from rsrp_lava.studies.report import StudyReport
from rsrp_lava.studies.runner import Row, to_markdown

#: Columns of each study that tell its variants apart.
VARIANT_COLUMNS = {
    "samples": ("population", "batch"),
    "rewards": ("reward",),
    "transforms": ("transform",),
    "ei": ("ei",),
}
BACKPROP = "backprop"


class Report(StudyReport):
    """What the rows say."""

    def __init__(self, name: str, task: str, o: ClassifyingOptions, rows: list[Row], runs: Path) -> None:
        super().__init__(rows, runs)
        self.name, self.task, self.seeds, self.columns = name, task, o.seeds, VARIANT_COLUMNS[name]
        self.references = [row for row in self.rows if row.get("rule") == BACKPROP]
        self.rows = [row for row in self.rows if row.get("rule") != BACKPROP]

    @property
    def title(self) -> str:
        """Of the report."""
        return f"Study {self.name}: {self.task}"

    def parts(self) -> list[str]:
        """See `StudyReport`."""
        entropies = list(dict.fromkeys(name for row in self.rows for name in row if name.startswith("entropy_")))
        headings = [*self.columns, "test accuracy (lowest to highest)", "train reward", "generations", "images seen"]
        headings += [name.replace("_", " ") for name in entropies]
        table = []
        groups = grouped(self.rows, self.columns)
        for values, group in groups:
            means = [fraction(row.get(name) for row in group) for name in entropies]
            reward = fraction(row["sampled_return"] for row in group)
            first = group[0]
            table.append(
                [
                    *map(shown, values),
                    of_asked(_accuracy(group), group, self.seeds),
                    reward,
                    first["generations"],
                    first["images"],
                    *means,
                ]
            )
        for (rule,), group in grouped(self.references, ("rule",)):
            blank = ["–"] * (len(self.columns) - 1)
            rest = ["–"] * len(entropies)
            table.append([rule, *blank, _accuracy(group), "–", group[0]["generations"], group[0]["images"], *rest])
        measured = seeds_shown([group for _, group in groups], self.seeds, "variant")
        return [
            f"{measured}; accuracy on all test images, means over seeds.",
            to_markdown(headings, table),
        ]

    def describe(self, row: Row) -> str:
        """See `StudyReport`."""
        known = [f"{name} {shown(row[name])}" for name in (*self.columns, "rule") if row.get(name) is not None]
        return ", ".join(known)

    # --- numbers behind the pictures ----------------------------------------------------------------------------------

    def curves(self) -> Iterator[Row]:
        """Every evaluation of every training: accuracy, reward and entropies at that generation."""
        for row in self.rows:
            variant = {name: row[name] for name in self.columns}
            for record in self.run(row).metrics:
                if record.get("evaluation_return") is not None:
                    entropies = {f"entropy_{name}": round(bits, 6) for name, bits in record["entropy_bits"].items()}
                    yield {
                        **variant,
                        "seed": row["seed"],
                        "generation": record["generation"],
                        "accuracy": round(record["evaluation_return"], 6),
                        "reward": _rounded(record.get("sampled_return")),
                        **entropies,
                    }
        for row in self.references:
            for step, accuracy in json.loads(row["curve"]):
                yield {"rule": BACKPROP, "seed": row["seed"], "generation": step, "accuracy": round(accuracy, 6)}

    def histograms(self) -> Iterator[Row]:
        """Of the probabilities at the chosen generations, each projection: fractions of its synapses around k / 32."""
        for row in self.rows:
            variant = {name: row[name] for name in self.columns}
            for generation, projection, counts in _histograms_of(self.run(row)):
                bins = {f"{k / (HISTOGRAM_BINS - 1):g}": round(float(part), 6) for k, part in enumerate(counts)}
                yield {**variant, "seed": row["seed"], "generation": generation, "projection": projection, **bins}

    # --- pictures -----------------------------------------------------------------------------------------------------

    def pictures(self) -> dict[str, Callable[[IO[bytes]], None]]:
        """Names of the pictures, and what draws each as PNG."""
        made: dict[str, Callable[[IO[bytes]], None]] = {}
        if not self.rows:
            return made
        made["accuracy.png"] = functools.partial(plots.curves, self._curves(), self._references())
        if self.name == "samples":
            made["product.png"] = functools.partial(plots.product, self._products())
        made["entropy.png"] = functools.partial(plots.entropies, self._entropies())
        shapes = self._shapes()
        if shapes:
            made["histograms.png"] = functools.partial(plots.histograms, shapes)
        return made

    def _variants(self) -> list[tuple[str, list[Row]]]:
        names = {"population": "N = {}", "batch": "batch {}"}
        groups = grouped(self.rows, self.columns)
        parts = ((zip(self.columns, values, strict=True), group) for values, group in groups)
        return [(", ".join(names.get(c, "{}").format(shown(v)) for c, v in named), group) for named, group in parts]

    def _curves(self) -> list[plots.Curve]:
        made = []
        for name, group in self._variants():
            records = [[r for r in self.run(row).metrics if r.get("evaluation_return") is not None] for row in group]
            made.append(_curve(name, [[(r["generation"], r["evaluation_return"]) for r in of_run] for of_run in records]))
        return made

    def _references(self) -> list[plots.Curve]:
        if not self.references:
            return []
        return [_curve(BACKPROP, [json.loads(row["curve"]) for row in self.references])]

    def _products(self) -> list[Line]:
        """Accuracy against samples × batch, a line a population."""
        lines = []
        for (population,), rows in grouped(self.rows, ("population",)):
            points = [
                (str(row["population"] * row["batch"]), [r["final_return"] for r in group])
                for (_,), group in grouped(rows, ("batch",))
                for row in group[:1]
            ]
            lines.append(Line(f"N = {population}", points))
        return lines

    def _entropies(self) -> dict[str, list[plots.Curve]]:
        """Curves of the entropy by projection."""
        panels: dict[str, list[plots.Curve]] = {}
        for name, group in self._variants():
            records = [[r for r in self.run(row).metrics if "entropy_bits" in r] for row in group]
            for projection in records[0][0]["entropy_bits"]:
                series = [[(r["generation"], r["entropy_bits"][projection]) for r in of_run] for of_run in records]
                panels.setdefault(projection, []).append(_curve(name, series))
        return panels

    def _shapes(self) -> dict[str, list[tuple[int, np.ndarray]]]:
        """Of the variant with most images (the first of equal ones): by projection, generation and mean fractions."""
        variants = self._variants()
        name, group = max(variants, key=lambda variant: variant[1][0]["images"])
        found: dict[tuple[str, int], list[np.ndarray]] = {}
        for row in group:
            for generation, projection, fractions in _histograms_of(self.run(row)):
                found.setdefault((projection, generation), []).append(fractions)
        shapes: dict[str, list[tuple[int, np.ndarray]]] = {}
        for (projection, generation), of_seeds in found.items():
            shapes.setdefault(f"{projection} ({name})", []).append((generation, np.mean(of_seeds, axis=0)))
        return shapes


def _histograms_of(run: Run) -> Iterator[tuple[int, str, np.ndarray]]:
    """Generation, projection, fractions of its synapses."""
    for record in run.metrics:
        for projection, counts in record.get("histogram", {}).items():
            yield record["generation"], projection, np.array(counts) / sum(counts)


def _curve(name: str, series: list[list[Any]]) -> plots.Curve:
    """Values of all seeds at the generations they share."""
    length = min(map(len, series))
    generations = np.array([generation for generation, _ in series[0][:length]])
    return plots.Curve(name, generations, np.array([[value for _, value in of_seed[:length]] for of_seed in series]))


def _accuracy(rows: list[Row]) -> str:
    found = [row["final_return"] for row in rows]
    if len(found) == 1:
        return f"{found[0]:.4f}"
    return f"{np.mean(found):.4f} ({min(found):.4f} to {max(found):.4f})"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
