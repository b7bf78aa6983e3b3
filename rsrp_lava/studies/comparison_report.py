"""Tables and pictures of a comparison of rules, made of its rows and run folders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from rsrp_lava.reporting.comparison_plots import LearningCurve, draw_comparison
from rsrp_lava.reporting.numbers import shown_range, shown_return
from rsrp_lava.studies.comparison import ComparisonOptions
from rsrp_lava.studies.grouping import grouped, mean_of, of_asked, seeds_shown
from rsrp_lava.studies.report import StudyReport
from rsrp_lava.studies.runner import Row, to_markdown


class Report(StudyReport):
    """What the rows say."""

    def __init__(self, task: str, o: ComparisonOptions, rows: list[Row], runs: Path) -> None:
        super().__init__(rows, runs)
        self.task, self.seeds = task, o.seeds

    @property
    def title(self) -> str:
        """Of the report."""
        return f"Rules compared: {self.task}"

    def parts(self) -> list[str]:
        """See `StudyReport`."""
        headings = ["rule", "final evaluation (lowest to highest)", "sampled networks", "samples", "updates", "env steps"]
        table = []
        groups = grouped(self.rows, ("rule",))
        for (rule,), group in groups:
            found = [row["final_return"] for row in group]
            sampled, *means = [
                mean_of(row[name] for row in group) for name in ("sampled_return", "samples", "updates", "env_steps")
            ]
            final = of_asked(shown_range(found), group, self.seeds)
            table.append([rule, final, shown_return(sampled), *(f"{value:,.0f}" for value in means)])
        measured = seeds_shown([group for _, group in groups], self.seeds, "rule")
        return [f"{measured}; means over seeds.", to_markdown(headings, table)]

    def describe(self, row: Row) -> str:
        """See `StudyReport`."""
        return f"rule {row['rule']}"

    def curves(self) -> Iterator[Row]:
        """Every evaluation of every training."""
        for row in self.rows:
            for record in self._evaluations(row):
                yield {
                    "rule": row["rule"],
                    "seed": row["seed"],
                    "generation": record["generation"],
                    "evaluation_return": round(record["evaluation_return"], 4),
                    "evaluation_std": round(record["evaluation_std"], 4),
                    "sampled_return": _rounded(record.get("sampled_return")),
                    "env_steps": record["env_steps"],
                    "updates": record["updates"],
                }

    def pictures(self) -> dict[str, Callable[[IO[bytes]], None]]:
        """Names of the pictures, and what draws each as PNG."""
        if not self.rows:
            return {}
        made = []
        for (rule,), group in grouped(self.rows, ("rule",)):
            of_seeds = [self._evaluations(row) for row in group]
            length = min(map(len, of_seeds))
            returns, steps, updates = (
                np.array([[record[name] for record in records[:length]] for records in of_seeds])
                for name in ("evaluation_return", "env_steps", "updates")
            )
            made.append(LearningCurve(rule, updates.mean(0), steps.mean(0), returns))
        return {"curves.png": functools.partial(draw_comparison, self.task, made)}

    def _evaluations(self, row: Row) -> list[Row]:
        """Records with an evaluation, with the steps and updates until then: a generation is evaluated before it plays."""
        metrics = self.run(row).metrics
        taken = [(record["env_steps"], record.get("updates", record["generation"] + 1)) for record in metrics]
        evaluated = zip(metrics, [(0, 0), *taken], strict=False)
        return [
            record | {"env_steps": steps, "updates": updates}
            for record, (steps, updates) in evaluated
            if record.get("evaluation_return") is not None
        ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
