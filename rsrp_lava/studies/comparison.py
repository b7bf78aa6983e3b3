"""Rules side by side on one task, each with its own recipe of the task, and the same seeds (Sun et al. 2025 Fig. 4, 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.experiment import RULES, Experiment, of_use
from rsrp_lava.runs import Run
from rsrp_lava.studies.grouping import mean_of
from rsrp_lava.studies.runner import Cell, Row, checked_options


class ComparisonOptions(BaseModel):
    """What to compare; `settings` are those of an `Experiment`, for every training whose rule has a use for them.

    Their section `rules` has settings of single rules, by name, which win: {"nrl": {"learning_rate": 0.01}}.
    """

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
            experiment = Experiment(**_settings_of(rule, o.settings), task=task, rule=rule, seed=seed)
            made.append(Cell({"rule": rule, "seed": seed}, experiment, values, "comparison"))
    return made


def _settings_of(rule: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those for all rules that this one has a use for, then its own."""
    own = settings.get("rules", {})
    if not isinstance(own, Mapping) or not all(isinstance(of_one, Mapping) for of_one in own.values()):
        raise ExperimentError("settings.rules: must hold settings by rule, such as {nrl: {learning_rate: 0.01}}")
    for name in own:
        if name not in RULES:
            raise ExperimentError(unknown_name("settings.rules", name, RULES))
    useless = of_use("rsrp") - of_use(rule)
    common = {name: value for name, value in settings.items() if name != "rules" and name not in useless}
    return common | dict(own.get(rule, {}))


def values(run: Run) -> Row:
    """What a training became, and what it took: samples are networks that were tried, or episodes of a rule with weights."""
    played = [record for record in run.metrics if "sampled_return" in record]
    last, experiment = run.metrics[-1], run.experiment
    return {
        "learning_rate": experiment.resolved_learning_rate,
        "population": experiment.population,
        "final_return": last["evaluation_return"],
        "final_std": last["evaluation_std"],
        "sampled_return": mean_of(record["sampled_return"] for record in played[-10:]),
        "updates": last.get("updates", run.generation),
        "samples": experiment.population * run.generation,
        "env_steps": last["env_steps"],
    }
