"""Settings that decide nothing: which these are follows from the task, the rule and the engine.

A run folder leaves them out, and who gives one is told so, also if it is the default.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsrp_lava.errors import ExperimentError
from rsrp_lava.rules import WEIGHT_RULES
from rsrp_lava.tasks import is_classified, is_stepped
from rsrp_lava.tasks.data import is_own
from rsrp_lava.tasks.data.registry import needs_folder

if TYPE_CHECKING:
    from rsrp_lava.experiment import Experiment

#: Fields of tasks that classify; others have them at their defaults, and not in their fingerprint.
OF_CLASSIFIERS = ("layers", "reward", "batch", "data_sampling", "data", "dataset")
#: Options of an environment that is stepped in Python, and of no other task.
_OF_PYTHON = ("kwargs", "wrappers", "on_error", "compiled", "worker_memory_mib")
#: What does it instead, by the path of a setting.
_INSTEAD = {
    "layers": "the network is set by network (YAML, Python): n_neurons",
    "layers.hidden": "network.n_neurons (YAML, Python) is its number of neurons",
    "layers.ei": "network.excitatory_ratio (YAML, Python) is its part of excitatory neurons",
    "layers.neurons": "its neurons always spike",
    "batch": "environment.episodes_per_sample is how often a sample is tried",
    "reward": "the environment's own rewards are learned from",
    "data_sampling": "environment.starts says whether samples start alike",
    "max_env_steps": "generations says how long is trained",
    "network.n_neurons": "layers.hidden is its number of neurons",
    "network.excitatory_ratio": "layers.ei is its ratio of excitatory neurons",
    "network": "layers sets the network",
    "lava_target": "or add --engine lava",
}
_SECTIONS = ("network", "layers", "environment", "dataset")
#: Options of the command line that are not called as the setting.
_OPTIONS = {"environment.kwargs": "--env-kwargs", "environment.wrappers": "--wrapper"}


def useless(experiment: Experiment, of_use: frozenset[str]) -> dict[str, str]:
    """Why a setting decides nothing, by its path; `of_use`: names of those that the rule has a use for on some task."""
    task, rule = experiment.task, WEIGHT_RULES.get(experiment.rule)
    found: dict[str, str] = {}
    if is_classified(task):
        found |= _of_classifier(experiment, rule is not None)
    else:
        found |= dict.fromkeys(OF_CLASSIFIERS, f"is for tasks that classify images; {task} has episodes")
        found |= {f"environment.{name}": why for name, why in _of_episodes(experiment).items()}
    for name in type(experiment).model_fields:
        if name not in of_use:
            found[name] = f"rule {experiment.rule} has no use for it"
    for name in rule.network_unused if rule is not None else ():
        found[f"network.{name}"] = f"rule {experiment.rule} has no use for it"
    if experiment.engine != "lava":
        found["lava_target"] = f"is for engine lava, not {experiment.engine}"
    return found


def _of_classifier(experiment: Experiment, keeps_weights: bool) -> dict[str, str]:
    task, spiking = experiment.task, experiment.layers.neurons == "lif"
    found = {
        f"environment.{name}": f"is for tasks with episodes; {task} has images"
        for name in type(experiment.environment).model_fields
        if name != "observation_noise"
    }
    if not needs_folder(task):
        where = "its path is part of its name" if is_own(task) else "its images are in the package"
        found["data"] = f"{task} takes no folder, {where}"
    if not is_own(task):
        found["dataset"] = f"is for your own data, not {task}"
    if keeps_weights:
        return found
    found["max_env_steps"] = f"{task} has images, no environment steps"
    found["reservoir"] = f"{task} is classified in layers, without recurrent synapses"
    if spiking:
        why = f"layers say this of {task}"
        return found | {"network.n_neurons": why, "network.excitatory_ratio": why}
    why = f"{task} is classified by networks without spikes (layers.neurons is not lif)"
    return found | {"profile": why, "network": why}


def _of_episodes(experiment: Experiment) -> dict[str, str]:
    task = experiment.task
    if is_stepped(task, experiment.environment):
        return dict.fromkeys(("observation_noise", "body"), f"is for episodes that are compiled, and {task} has none here")
    if task.startswith("gym:"):  # kwargs, wrappers and compiled decide that it is not stepped
        return dict.fromkeys(("on_error", "worker_memory_mib"), f"{task} is compiled, and its episodes do not fail")
    return dict.fromkeys(_OF_PYTHON, f"is for gym: tasks, not {task}")


def refuse_given(given: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """`ExperimentError` for a setting that was given and decides nothing; `found`: of `useless`."""
    for name, value in given.items():
        inner = [f"{name}.{key}" for key in value] if name in _SECTIONS and isinstance(value, Mapping) else []
        for path in [*(inner or [name]), *([name] if inner else [])]:
            why = found.get(path) or found.get(name)
            if why is None:
                continue
            instead = None if why.startswith("rule ") else _INSTEAD.get(path) or _INSTEAD.get(name)
            shown = reprlib.repr(value.get(path.rpartition(".")[2]) if path in inner else value)
            way_out = f"leave it out ({instead})" if instead else "leave it out"
            called = path if path.startswith("network") else f"{path} ({option(path)})"  # the network has no options
            raise ExperimentError(f"{called}: {shown} — {why}; {way_out}")


def option(path: str) -> str:
    """What a setting is called on the command line."""
    return _OPTIONS.get(path, f"--{path.rpartition('.')[2].replace('_', '-')}")
