"""The same task with another body, or seen through noise. What does not change is computed as ever, bit for bit.

    with_body(task, {"pole_length": 2.0})     a constant of the body times a factor
    with_noise(task, 0.1)                     x_k ← x_k + σ ξ_k,  ξ ~ N(0, 1), at every step and for every k

Changed constants and σ are numbers of the task's state, behind its own: they need no functions compiled for them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numba
import numpy as np

from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.kernels.exact_math import fill_normal
from rsrp_lava.kernels.random_bits import OBSERVATION_NOISE
from rsrp_lava.tasks.base import Body, EpisodeTask, TaskState

#: What noise adds to the state: the key of the episode's noise (an integer of 53 bits), steps so far, σ.
_KEY, _STEPS, _STD, _ADDED = range(4)


class Constant(NamedTuple):
    """Of a body."""

    value: float
    unit: str


def values_of(constants: Mapping[str, Constant]) -> tuple[float, ...]:
    """The usual values, in their order."""
    return tuple(constant.value for constant in constants.values())


def body_of(constants: Mapping[str, Constant], step: Callable) -> Body:
    """A body whose changed constants are the last numbers of the state, in their order; `step`: the task's, compiled, that
    reads them there."""
    usual = {name: f"{constant.value:g} {constant.unit}" for name, constant in constants.items()}

    def change(task: EpisodeTask, factors: Mapping[str, float]) -> EpisodeTask:
        changed = tuple(constant.value * factors[name] for name, constant in constants.items())
        opened = functools.partial(_open_body, task.state_size, changed)
        return dataclasses.replace(task, step=step, state_size=task.state_size + len(changed), simulation=opened)

    return Body(usual, change)


def _open_body(own: int, constants: tuple[float, ...]) -> TaskState:
    return TaskState(np.concatenate([np.zeros(own), constants]))


def with_body(task: EpisodeTask, factors: Mapping[str, float]) -> EpisodeTask:
    """The task with constants of its body times a factor; `ExperimentError` for those it has not."""
    if not factors:
        return task
    if task.body is None:
        raise ExperimentError(f"environment.body: {task.name} has no constants that can be changed; leave body out")
    for name in factors:
        if name not in task.body.usual:
            raise ExperimentError(f"environment.body: {unknown_name('constant', name, task.body.usual)}")
    if all(factor == 1 for factor in factors.values()):
        return task
    changed = task.body.change(task, {name: factors.get(name, 1.0) for name in task.body.usual})
    return dataclasses.replace(changed, gymnasium_id=None)


def with_noise(task: EpisodeTask, std: float) -> EpisodeTask:
    """The task with Gaussian noise of this standard deviation on every observation, each in its own unit.

    The noise of a step is a function of a number drawn at the start of the episode, and of the step; it does not depend on
    who plays, or on how often the observation is asked for. What was drawn of an episode's start before is drawn as before.
    """
    if std == 0:
        return task
    reset, observe, step = _seen_through_noise(task.reset, task.observe, task.step, task.state_size, task.random_size)
    return dataclasses.replace(
        task,
        reset=reset,
        observe=observe,
        step=step,
        state_size=task.state_size + _ADDED,
        random_size=task.random_size + 1,
        simulation=functools.partial(_open_noisy, task.open_state, std),
        gymnasium_id=None,
    )


def _open_noisy(open_state: Callable[[], TaskState], std: float) -> TaskState:
    own = open_state()
    return TaskState(np.concatenate([own.values, [0.0, 0.0, std]]), own)  # a simulation's addresses are copied as they are


@functools.cache
def _seen_through_noise(reset: Any, observe: Any, step: Any, size: int, random_size: int) -> tuple[Any, Any, Any]:
    """The task's functions, on a state of `size` numbers and `_ADDED` more.

    They hold other compiled functions, by which a cache on disk would not know them again: they are compiled every time.
    """
    compiled = numba.njit(nogil=True, error_model="numpy")

    @compiled
    def noisy_reset(state, random):
        reset(state[:size], random[:random_size])
        state[size + _KEY], state[size + _STEPS] = random[random_size] * 2.0**53, 0.0

    @compiled
    def noisy_observe(state, observation):
        observe(state[:size], observation)
        noise = np.empty(observation.shape[0])
        fill_normal(state[size + _KEY], 0, 0, OBSERVATION_NOISE, state[size + _STEPS], noise)
        for k in range(observation.shape[0]):
            observation[k] += state[size + _STD] * noise[k]

    @compiled
    def noisy_step(state, output):
        state[size + _STEPS] += 1.0
        return step(state[:size], output)

    return noisy_reset, noisy_observe, noisy_step
