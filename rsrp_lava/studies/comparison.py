"""Rules side by side on one task: the same recipe and seeds, everything else the rule's own (Sun et al. 2025 Fig. 4, 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.errors import unknown_name
from rsrp_lava.experiment import RULES, Experiment
from rsrp_lava.runs import Run
from rsrp_lava.studies.runner import Cell, Row, checked_options


class ComparisonOptions(BaseModel):
    """What to compare; `settings` are those of an `Experiment` and hold for every training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[str, ...] = Field(("rsrp", "hedonistic"), min_length=1, description="rules (rsrp-lava rules)")
    seeds: int = Field(5, ge=1, le=1000, description="seeds of every rule: 0, 1, …")
    settings: dict[str, Any] = Field(default_factory=dict, description="of all trainings, as in a --config file")

    @field_validator("rules", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'rsrp,hedonistic' from the command line, or any sequence."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("rules")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in RULES:
                raise ValueError(unknown_name("rules", name, RULES))
        return tuple(dict.fromkeys(value))


def options(**given: Any) -> ComparisonOptions:
    """`ComparisonOptions`; mistakes as `ExperimentError`."""
    return checked_options(ComparisonOptions, given)


def cells(task: str, o: ComparisonOptions) -> list[Cell]:
    """A training of every rule and seed. Raises `ExperimentError` before anything is trained."""
    made = []
    for rule in o.rules:
        for seed in range(o.seeds):
            experiment = Experiment(**{**o.settings, "task": task, "rule": rule, "seed": seed})
            made.append(Cell({"rule": rule, "seed": seed}, experiment, values, "comparison"))
    return made


def values(run: Run) -> Row:
    """What a training became, and what it took: samples are networks that were tried, updates are generations."""
    played = [record for record in run.metrics if "sampled_return" in record]
    last, experiment = run.metrics[-1], run.experiment
    return {
        "learning_rate": experiment.resolved_learning_rate,
        "population": experiment.population,
        "final_return": last["evaluation_return"],
        "final_std": last["evaluation_std"],
        "sampled_return": float(np.mean([record["sampled_return"] for record in played[-10:]])),
        "updates": run.generation,
        "samples": experiment.population * run.generation,
        "env_steps": last["env_steps"],
    }
