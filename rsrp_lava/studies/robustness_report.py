"""Tables and pictures of a study of robustness, made of its rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from rsrp_lava.errors import counted
from rsrp_lava.reporting.numbers import shown_spread
from rsrp_lava.reporting.robustness_plots import Panel, Response, draw_robustness
from rsrp_lava.studies.grouping import grouped, shown
from rsrp_lava.studies.perturbations import PERTURBATIONS
from rsrp_lava.studies.report import StudyReport
from rsrp_lava.studies.robustness import Plan, RobustnessOptions, neutral
from rsrp_lava.studies.runner import Row, to_markdown


class Report(StudyReport):
    """What the rows say."""

    def __init__(self, o: RobustnessOptions, plan: Plan, rows: list[Row], runs: Path) -> None:
        super().__init__(rows, runs)
        self._options, self._plan = o, plan

    @property
    def title(self) -> str:
        """Of the report."""
        return f"Robustness: {self._plan.task}"

    def parts(self) -> list[str]:
        """See `StudyReport`."""
        parts = [
            f"Evaluation return of {counted(len(self._plan.runs), 'run')}, mean ± standard deviation over seeds; of "
            f"synapses perturbed at random the mean of {counted(self._options.draws, 'draw')}. Noise on observations or "
            "another body that a run was trained with do not count: all play the usual task."
        ]
        for (name,), group in grouped(self.rows, ("perturbation",)):
            strengths = [value for (value,), _ in grouped(group, ("strength",))]
            table = []
            for (label,), of_label in grouped(group, ("label",)):
                returns = {value: _returns(rows) for (value,), rows in grouped(of_label, ("strength",))}
                table.append([label, *(shown_spread(returns[value]) if value in returns else "–" for value in strengths)])
            headings = [self._axis(name), *(shown(value) for value in strengths)]
            parts += [f"## {name}", to_markdown(headings, table)]
        if self._plan.left_out:
            parts.append("## Left out\n\n" + "\n".join(f"- {why}" for why in self._plan.left_out))
        return parts

    def describe(self, row: Row) -> str:
        """See `StudyReport`."""
        return f"{row['label']}, seed {row['seed']}, {row['perturbation']}"

    def curves(self) -> Iterator[Row]:
        """A row for every point of the picture."""
        columns = ("perturbation", "label", "strength")
        for values, group in grouped(self.rows, columns):
            returns = _returns(group)
            spread = {"mean": float(returns.mean()), "std_of_seeds": float(returns.std()), "seeds": len(returns)}
            yield {**dict(zip(columns, values, strict=True)), **spread}

    def pictures(self) -> dict[str, Callable[[IO[bytes]], None]]:
        """Names of the pictures, and what draws each as PNG."""
        if not self.rows:
            return {}
        made = []
        for (name,), group in grouped(self.rows, ("perturbation",)):
            responses = []
            for (label,), of_label in grouped(group, ("label",)):
                points = [(value, _returns(rows)) for (value,), rows in grouped(of_label, ("strength",))]
                seeds = sorted({row["seed"] for row in of_label})
                which = counted(len(seeds), "seed") if len(seeds) > 1 else f"seed {seeds[0]}"
                responses.append(
                    Response(f"{label} ({which})", [value for value, _ in points], [returns for _, returns in points])
                )
            made.append(Panel(name, self._axis(name), neutral(name), responses))
        return {"robustness.png": functools.partial(draw_robustness, self._plan.task, made)}

    def _axis(self, name: str) -> str:
        """What the strength is, with its unit."""
        constant = name.partition(".")[2]
        return f"{constant}, × {self._plan.units[constant]}" if constant else PERTURBATIONS[name]


def _returns(rows: list[Row]) -> np.ndarray:
    """Of every seed, float64."""
    return np.array([row["final_return"] for row in rows])
