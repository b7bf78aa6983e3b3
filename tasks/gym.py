"""Tasks `gym:ID`: any environment that Gymnasium has registered, or that a module registers (`gym:module:ID`).

Environments that have a compiled twin (tasks/cartpole.py and others, tasks/bodies.py) are played by it; all others are
stepped in Python, in processes of their own.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import json
import os
import sys
from typing import Any

import numpy as np

from rsrp_lava.errors import ExperimentError
from rsrp_lava.tasks.base import GymTask
from rsrp_lava.tasks.environment import EnvironmentOptions

#: How names of these tasks begin.
PREFIX = "gym:"


class EpisodeFault(Exception):
    """An environment failed. `kind`: raised, not_finite or spaces."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Environment:
    """One environment as a network meets it: vectors in, vectors out. Whatever goes wrong is an `EpisodeFault`."""

    def __init__(self, id: str, options: EnvironmentOptions, **more: Any) -> None:
        """`more`: further arguments of `gymnasium.make`."""
        from rsrp_lava.tasks import spaces

        self._env = make(id, options, **more)
        self._spaces = (self._env.observation_space, self._env.action_space)
        self._flatten = functools.partial(spaces.flatten, self._spaces[0])
        self.n_observations = spaces.observation_size(self._spaces[0])
        self.one_hot = spaces.one_hot_parts(self._spaces[0])
        self.n_outputs, self._decode = spaces.decoder(self._spaces[1])

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode; its first observation, float32."""
        try:
            observation, _ = self._env.reset(seed=seed)
            vector = self._flatten(observation)
        except Exception as error:
            raise EpisodeFault("raised", f"reset(seed={seed}) raised {_words(error)}") from error
        now = (self._env.observation_space, self._env.action_space)
        for what, before, after in zip(("observation", "action"), self._spaces, now, strict=True):
            if after is not before and after != before:
                raise EpisodeFault("spaces", f"reset(seed={seed}) changed the {what} space from {before} to {after}")
        return self._checked(vector)

    def step(self, output: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Act on the network's output (float32): observation, reward, and whether the episode has ended."""
        try:
            observation, reward, terminated, truncated, _ = self._env.step(self._decode(output))
            vector, reward = self._flatten(observation), float(reward)
        except Exception as error:
            raise EpisodeFault("raised", f"step raised {_words(error)}") from error
        if not np.isfinite(reward):
            raise EpisodeFault("not_finite", f"step gave reward {reward}")
        return self._checked(vector), reward, bool(terminated or truncated)

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        if vector.shape != (self.n_observations,):
            raise EpisodeFault("spaces", f"an observation has {vector.size} values, not {self.n_observations}")
        return vector

    def close(self) -> None:
        """End it."""
        self._env.close()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def make(id: str, options: EnvironmentOptions, **more: Any) -> Any:
    """The environment, wrapped; `more`: further arguments of `gymnasium.make`. `ExperimentError` if it cannot be made."""
    import gymnasium

    module, colon, name = id.rpartition(":")
    try:
        if colon:  # as with `python -m`, a module in the current folder is found
            if os.getcwd() not in sys.path and "" not in sys.path:
                sys.path.append(os.getcwd())
            importlib.import_module(module)
        env = gymnasium.make(
            name, max_episode_steps=options.max_steps, disable_env_checker=True, **{**options.kwargs, **more}
        )
        for wrapper in options.wrappers:
            env = _wrapper(wrapper.name)(env, **wrapper.kwargs)
    except ExperimentError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise ExperimentError(
            f"task {PREFIX}{id}: {str(error).rstrip('.')}; for MuJoCo's bodies: pip install 'rsrp-lava[mujoco]'"
        ) from None
    except gymnasium.error.UnregisteredEnv:
        close = difflib.get_close_matches(name, gymnasium.registry, n=1, cutoff=0.5)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else "name the module that registers it: gym:MODULE:ID"
        raise ExperimentError(f"task {PREFIX}{id}: Gymnasium has no environment {name}; {hint}") from None
    except Exception as error:
        raise ExperimentError(f"task {PREFIX}{id}: the environment cannot be made: {_words(error)}") from None
    return env


def _wrapper(name: str) -> Any:
    module, _, attribute = name.rpartition(":")
    found = getattr(importlib.import_module(module or "gymnasium.wrappers"), attribute, None)
    if found is None:
        raise ExperimentError(
            f"environment.wrappers: {name} is not in {module or 'gymnasium.wrappers'}; give a name of gymnasium.wrappers, "
            "or MODULE:CLASS"
        )
    return found


def describe(id: str, options: EnvironmentOptions) -> GymTask:
    """The task of an environment. Makes it once, to see its spaces; `ExperimentError` if it cannot be learned."""
    return _describe(id, options.model_dump_json())


@functools.lru_cache(maxsize=256)
def _describe(id: str, options_json: str) -> GymTask:
    options = EnvironmentOptions(**json.loads(options_json))
    environment = Environment(id, options)
    spec = environment._env.spec
    environment.close()
    limit = spec.max_episode_steps if spec else None
    if limit is None:
        raise ExperimentError(
            f"task {PREFIX}{id}: its episodes have no time limit and might never end; give environment.max_steps "
            "(--max-steps)"
        )
    goal = spec.reward_threshold
    return GymTask(
        name=PREFIX + id,
        summary=f"Gymnasium's {id}",
        n_observations=environment.n_observations,
        n_outputs=environment.n_outputs,
        max_steps=limit,
        return_scale=abs(goal) if goal else float(limit),
        gymnasium_id=id,
        options=options,
        one_hot=environment.one_hot,
    )
