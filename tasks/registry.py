"""The tasks there are, by name."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.tasks import acrobot, cartpole, classify, mountain_car, mountain_car_continuous, pendulum
from rsrp_lava.tasks.base import EpisodeTask, Task

_EPISODES = (cartpole.TASK, acrobot.TASK, mountain_car.TASK, mountain_car_continuous.TASK, pendulum.TASK)
_TASKS: dict[str, Task] = {task.name: task for task in (*_EPISODES, *classify.TASKS)}


def task_names() -> list[str]:
    """Names of all tasks, sorted."""
    return sorted(_TASKS)


def get_task(name: str) -> Task:
    """The task of that name; `ExperimentError` names the nearest one if there is none."""
    if name not in _TASKS:
        raise ExperimentError(unknown_name("task", name, _TASKS))
    return _TASKS[name]


def get_episode_task(name: str, what: str) -> EpisodeTask:
    """The task of that name, for `what`, which needs episodes; `ExperimentError` if it has none."""
    task = get_task(name)
    if not isinstance(task, EpisodeTask):
        episodes = ", ".join(sorted(known.name for known in _TASKS.values() if isinstance(known, EpisodeTask)))
        raise ExperimentError(f"task {name}: has no episodes, and {what} knows only tasks that do ({episodes})")
    return task


def recipe(name: str, spiking: bool = False) -> dict[str, Any]:
    """The task's recipe: the settings it is known to be learned with, which an experiment starts from.

    `spiking`: of a task that classifies, those for spiking neurons (its section `lif`).
    """
    text = resources.files("rsrp_lava.tasks").joinpath(f"{get_task(name).name}.yaml").read_text("utf-8")
    settings = yaml.safe_load(text)
    of_spiking = settings.pop("lif", {})
    return {**settings, **of_spiking} if spiking else settings
