"""Tasks a network can learn: one file each, its published recipe (YAML) beside it. Installed as `rsrp_lava.tasks`."""

if __name__ != "rsrp_lava.tasks":
    raise ImportError(
        f"this folder is the package 'rsrp_lava.tasks', not '{__name__}': install the project (pip install -e .) "
        "and import it by that name"
    )

from rsrp_lava.tasks.base import ClassifyTask, EpisodeTask, GymTask, Task
from rsrp_lava.tasks.environment import EnvironmentOptions
from rsrp_lava.tasks.registry import (
    get_compiled_task,
    get_task,
    is_classified,
    is_stepped,
    recipe,
    task_names,
    task_summaries,
)

__all__ = [
    "ClassifyTask",
    "EnvironmentOptions",
    "EpisodeTask",
    "GymTask",
    "Task",
    "get_compiled_task",
    "get_task",
    "is_classified",
    "is_stepped",
    "recipe",
    "task_names",
    "task_summaries",
]
