"""The tasks there are, by name."""

from __future__ import annotations

import copy
import dataclasses
import functools
from importlib import resources
from typing import Any

import yaml

from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.tasks import (
    acrobot,
    bodies,
    cartpole,
    classify,
    cue,
    gridworld,
    gym,
    mountain_car,
    mountain_car_continuous,
    pendulum,
    reaching,
)
from rsrp_lava.tasks.base import ClassifyTask, EpisodeTask, Task
from rsrp_lava.tasks.changes import with_body, with_noise
from rsrp_lava.tasks.data import DatasetOptions, is_own
from rsrp_lava.tasks.data.own import SUMMARIES
from rsrp_lava.tasks.environment import DISTURBING, EnvironmentOptions

USUAL = EnvironmentOptions()
_EPISODES = (
    cartpole.TASK,
    acrobot.TASK,
    mountain_car.TASK,
    mountain_car_continuous.TASK,
    pendulum.TASK,
    reaching.TASK,
    cue.TASK,
    gridworld.TASK,
)
_BY_ID = {task.gymnasium_id: task for task in _EPISODES if task.gymnasium_id}
_TASKS: dict[str, Task] = {task.name: task for task in (*_EPISODES, *classify.TASKS)}
_OWN_RECIPES = ("images", "vectors")
_SUMMARIES = {**{name: task.summary for name, task in _TASKS.items()}, bodies.FIVE_FORCES: bodies.FIVE_FORCES_SUMMARY}


def task_names() -> list[str]:
    """Names of all tasks, sorted."""
    return sorted(_SUMMARIES)


def task_summaries() -> dict[str, str]:
    """A line about every task, in the order of their names; also of those that need what is not installed."""
    return dict(sorted(_SUMMARIES.items()))


def get_task(name: str, options: EnvironmentOptions = USUAL, dataset: DatasetOptions | None = None) -> Task:
    """The task of that name (`gym:ID`: Gymnasium's; `images:DIR`, `data:FILE.npz`: one's own data, read as `dataset` says),
    with these options; `ExperimentError` names the nearest one if there is none, or the option it has no use for."""
    if is_own(name):
        own = classify.own_task(name, dataset or DatasetOptions())
        _refuse_options(name, own, options)
        return _played_as(own, options)
    if name.startswith(gym.PREFIX):
        return _gym_task(name.removeprefix(gym.PREFIX), options)
    if name not in _SUMMARIES:
        raise ExperimentError(unknown_name("task", name, [*_SUMMARIES, "gym:ID", *SUMMARIES]))
    task = bodies.five_forces() if name == bodies.FIVE_FORCES else _TASKS[name]
    _refuse_options(name, task, options)
    return _played_as(task, options)


def is_classified(name: str) -> bool:
    """Whether a task has labelled images, not episodes; known from its name, without making anything."""
    return is_own(name) or isinstance(_TASKS.get(name), ClassifyTask)


def is_stepped(name: str, options: EnvironmentOptions = USUAL) -> bool:
    """Whether a task is an environment that is stepped in Python; known without making it."""
    if not name.startswith(gym.PREFIX):
        return False
    return bool(options.kwargs or options.wrappers) or not options.compiled or not _has_twin(name.removeprefix(gym.PREFIX))


def _has_twin(id: str) -> bool:
    return id in _BY_ID or id in bodies.names()


def get_compiled_task(name: str, what: str, options: EnvironmentOptions = USUAL) -> EpisodeTask:
    """The task of that name, for `what`, which needs compiled episodes; `ExperimentError` if it has none."""
    options.refuse_disturbed(f"{what} plays {name} as it is; leave the option out")
    task = get_task(name, options)
    if not isinstance(task, EpisodeTask) or task.simulation:
        compiled = ", ".join(sorted(known.name for known in _EPISODES))
        why = "has no episodes that are compiled, and {} needs them"
        if isinstance(task, EpisodeTask):
            why = "has a body that MuJoCo moves, and {} needs a task whose state is numbers of its own alone"
        raise ExperimentError(f"task {name}: {why.format(what)}; choose of {compiled}")
    return task


def _refuse_options(name: str, task: Task, options: EnvironmentOptions) -> None:
    of_images = isinstance(task, ClassifyTask)
    known = ("observation_noise",) if of_images else ("max_steps", "episodes_per_sample", "starts", *DISTURBING)
    for option in type(options).model_fields:
        if option not in known and getattr(options, option) != getattr(USUAL, option):
            of = "tasks with episodes" if of_images else "gym: tasks"
            raise ExperimentError(f"environment.{option}: is for {of}, not {name}; leave it out")


def _played_as(task: Task, options: EnvironmentOptions) -> Task:
    if isinstance(task, ClassifyTask):
        return dataclasses.replace(task, test_noise=options.observation_noise) if options.observation_noise else task
    if not isinstance(task, EpisodeTask):
        return task
    changed: dict[str, Any] = {}
    if options.max_steps is not None:
        changed |= {"max_steps": options.max_steps, "perfect_return": None, "goal": None}
    if options.starts == "shared":
        changed |= {"shared_starts": True}
    played = dataclasses.replace(task, **changed) if changed else task
    return with_noise(with_body(played, options.body), options.observation_noise)


def _gym_task(id: str, options: EnvironmentOptions) -> Task:
    """The compiled twin of an environment as Gymnasium has registered it, or the environment itself."""
    twin = None if options.kwargs or options.wrappers or not options.compiled else compiled_twin(id)
    if twin:
        return _played_as(twin, options)
    options.refuse_disturbed(
        f"is for episodes that are compiled, and gym:{id} is stepped in Python here; leave it out, or change the "
        "environment by its kwargs and wrappers"
    )
    return gym.describe(id, options)


def compiled_twin(id: str) -> EpisodeTask | None:
    """The compiled task that equals Gymnasium's environment, if there is one."""
    return _BY_ID.get(id) or bodies.get_body(id)


def recipe(
    name: str, spiking: bool = False, weight_rule: str | None = None, options: EnvironmentOptions = USUAL
) -> dict[str, Any]:
    """The task's recipe: the settings it is known to be learned with, which an experiment starts from.

    `name`: of a task; of one's own data `images` or `vectors` (`DatasetOptions.recipe`).

    `spiking`: of a task that classifies, those for spiking neurons (its section `lif`).
    `weight_rule`: a rule that keeps weights; then its own (section `rules`), and of the others only how to evaluate.
    `options`: of the environment; wrappers and arguments may change what is observed.
    """
    if name.startswith(gym.PREFIX):
        settings = _gym_recipe(name.removeprefix(gym.PREFIX), options)
    else:
        settings = _read(name if name in _OWN_RECIPES else get_task(name).name)
    of_spiking, of_rules = settings.pop("lif", {}), settings.pop("rules", {})
    if weight_rule is not None:
        evaluating = ("evaluation_episodes", "evaluate_every")
        return {**{key: settings[key] for key in evaluating if key in settings}, **of_rules.get(weight_rule, {})}
    return {**settings, **of_spiking} if spiking else settings


def _gym_recipe(id: str, options: EnvironmentOptions) -> dict[str, Any]:
    """That of the compiled task which is the same, or of gymnasium.yaml: by its id, else by what is observed."""
    if id in _BY_ID:
        return _read(_BY_ID[id].name)
    recipes = _read("gymnasium")
    of_twin = recipes["compiled"] if id in bodies.names() else {}
    if id in recipes:
        return {**recipes["any"], **of_twin, **recipes[id]}
    task = _gym_task(id, options)
    assert not isinstance(task, ClassifyTask)
    in_parts = sum(size for _, size in task.one_hot)
    of_tables = recipes["one_hot"] if in_parts == task.n_observations else {}
    return {**recipes["any"], **of_twin, **of_tables}


def _read(file: str) -> dict[str, Any]:
    return copy.deepcopy(_parsed(file))


@functools.cache
def _parsed(file: str) -> dict[str, Any]:
    """A file of the package; parsing it takes longer than all else that makes an experiment."""
    return yaml.safe_load(resources.files("rsrp_lava.tasks").joinpath(f"{file}.yaml").read_text("utf-8"))
