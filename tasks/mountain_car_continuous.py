"""MountainCarContinuous-v0: drive an underpowered car out of a valley, with as little force as possible.

| | |
|---|---|
| observation | position (m), velocity (m a step) |
| output | one number, clipped to [−1, 1]: the force, as a part of the largest; > 0 to the right |
| reward | −0.1 · force² a step; 100 more at the goal |
| start | position uniform in [−0.6, −0.4), velocity 0 |
| end | position ≥ 0.45 m at velocity ≥ 0, or 999 steps |

The hill, the walls and the start are those of `mountain_car.py`; the engine is half as strong again. The arithmetic is
Gymnasium's `Continuous_MountainCarEnv.step` operation for operation, in float64; after every step the state is rounded to
float32, as there (Moore 1990, "Efficient Memory-based Learning for Robot Control"). States agree bit for bit under NumPy 1.
Under NumPy 2 Gymnasium's own arithmetic is partly float32, because there a float32 scalar times a Python number is float32.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks.actions import in_range
from rsrp_lava.tasks.base import EpisodeTask
from rsrp_lava.tasks.changes import Constant, body_of, values_of
from rsrp_lava.tasks.mountain_car import GRAVITY, drive, observe, reset

_BODY = {"gravity": GRAVITY, "force": Constant(0.0015, "m/step²")}
_USUAL_BODY = values_of(_BODY)
_GOAL = 0.45
_GOAL_REWARD = 100.0
_COST_OF_FORCE = 0.1


@njit(nogil=True, error_model="numpy")
def _advance(state, output, body):
    """One step with these constants, in the order of `_BODY`; the goal counts before the state is rounded."""
    force = np.float64(in_range(output[0], -1.0, 1.0))
    position, velocity = drive(state[0], state[1], force * body[1], body[0])
    state[0], state[1] = np.float32(position), np.float32(velocity)
    ended = position >= _GOAL and velocity >= 0
    return (_GOAL_REWARD if ended else 0.0) - force * force * _COST_OF_FORCE, ended


@kernel
def step(state, output):
    """Accelerate by the force times 0.0015 m a step²."""
    return _advance(state, output, _USUAL_BODY)


@kernel
def step_changed(state, output):
    """The same with a changed body, whose constants are in the state."""
    return _advance(state, output, state[2:])


TASK = EpisodeTask(
    name="mountain_car_continuous",
    summary="the same with a force of any size, which costs (Gymnasium MountainCarContinuous-v0, 999 steps)",
    n_observations=2,
    n_outputs=1,
    state_size=2,
    random_size=1,
    max_steps=999,
    return_scale=100.0,
    goal=90.0,
    reset=reset,
    observe=observe,
    step=step,
    action_range=(-1.0, 1.0),
    gymnasium_id="MountainCarContinuous-v0",
    body=body_of(_BODY, step_changed),
)
