"""Settings of all trainings of a study: what they may hold, and whose code they may name. The same rules for every study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsrp_lava.errors import ExperimentError
from rsrp_lava.experiment import read_yaml, split_record
from rsrp_lava.tasks import consent

#: What says it instead, of settings that a study gives each of its trainings itself.
_OF_STUDY = {"seed": "a study trains seeds 0, 1, …; seeds (--seeds) says how many"}
_OF_ONE_STUDY: dict[str, dict[str, str]] = {
    "compare": {"rule": "rules (--rules) names those to compare"},
    "samples": {
        "population": "populations (--populations) is an axis of this study",
        "batch": "batches (--batches) is an axis of this study",
        "data_sampling": "in this study every network draws its own images",
    },
    "rewards": {"reward": "rewards (--rewards) is the axis of this study"},
    "transforms": {"reward_transform": "transforms (--transforms) is the axis of this study"},
}


def read_settings(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Settings of a YAML file. `ExperimentError` if it names code that nobody has let run; `trust`: it may."""
    settings, _ = split_record(read_yaml(path))
    require_consent(settings.get("task"), settings, str(path), trust=trust)
    return settings


def require_consent(task: Any, settings: Any, source: str, *, trust: bool) -> None:
    """`ExperimentError` for code that these settings name and nobody has let run; `trust`: let it run."""
    found = _named(task, settings)
    if trust:
        consent.give(found)
    consent.require(found, source)


def _named(task: Any, settings: Any) -> list[str]:
    settings = settings if isinstance(settings, Mapping) else {}
    of_rules = settings.get("rules")
    parts = [settings, *(of_rules.values() if isinstance(of_rules, Mapping) else ())]
    environments = [part.get("environment") for part in parts if isinstance(part, Mapping)]
    names = {settings.get("task"), task} if isinstance(settings.get("task"), str) else {task}
    return [code for name in names for environment in environments for code in consent.named(name, environment)]


def split_task(study: str, task: str | None, settings: Any) -> tuple[str | None, Any]:
    """The study's task, which its settings may name too, and the other settings. `ExperimentError` for a setting that the
    study gives each training itself."""
    if not isinstance(settings, Mapping):
        return task, settings
    for name, why in (_OF_STUDY | _OF_ONE_STUDY.get(study, {})).items():
        if name in settings:
            raise ExperimentError(f"settings.{name}: {why}; leave {name} out of the settings (--config)")
    others = {name: value for name, value in settings.items() if name != "task"}
    named = settings.get("task", task)
    if task is not None and named != task:
        raise ExperimentError(f"settings.task: {named!s:.200} is not the study's task, {task}; leave one of them out")
    return named, others
