"""MountainCar-v0: drive an underpowered car out of a valley within 200 steps.

| | |
|---|---|
| observation | position (m), velocity (m a step) |
| output | three numbers; the largest (the first of equal ones) accelerates to the left, not at all or to the right |
| reward | −1 a step |
| start | position uniform in [−0.6, −0.4), velocity 0 |
| end | position ≥ 0.5 m at velocity ≥ 0, or 200 steps |

The engine is weaker than gravity, so the car has to swing. The arithmetic is Gymnasium's `MountainCarEnv.step` operation for
operation, in float64, so states agree bit for bit (Moore 1990, "Efficient Memory-based Learning for Robot Control";
Sutton, Barto 2018, example 10.1). Cosine is the C library's, as it is in NumPy.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks.actions import first_largest
from rsrp_lava.tasks.base import EpisodeTask
from rsrp_lava.tasks.changes import Constant, body_of, values_of

GRAVITY = Constant(0.0025, "m/step²")
_BODY = {"gravity": GRAVITY, "force": Constant(0.001, "m/step²")}
_USUAL_BODY = values_of(_BODY)
_MIN_POSITION = -1.2
_MAX_POSITION = 0.6
_MAX_SPEED = 0.07
_GOAL = 0.5
_START_LOW = -0.6
_START_HIGH = -0.4


@kernel
def reset(state, random):
    """At rest, at a position uniform in [−0.6, −0.4)."""
    state[0] = _START_LOW + (_START_HIGH - _START_LOW) * random[0]
    state[1] = 0.0


@kernel
def observe(state, observation):
    """The state, rounded to float32."""
    for k in range(2):
        observation[k] = np.float32(state[k])


@kernel
def drive(position, velocity, acceleration, gravity):
    """Position and velocity one step later, if the engine gives this acceleration; the left wall stops the car."""
    velocity += acceleration - gravity * math.cos(3 * position)
    velocity = min(max(velocity, -_MAX_SPEED), _MAX_SPEED)
    position = min(max(position + velocity, _MIN_POSITION), _MAX_POSITION)
    if position == _MIN_POSITION and velocity < 0:
        velocity = 0.0
    return position, velocity


@njit(nogil=True, error_model="numpy")
def _advance(state, output, body):
    """One step with these constants, in the order of `_BODY`."""
    state[0], state[1] = drive(state[0], state[1], (first_largest(output) - 1) * body[1], body[0])
    return -1.0, state[0] >= _GOAL and state[1] >= 0


@kernel
def step(state, output):
    """Accelerate by −1, 0 or 1 times 0.001 m a step²."""
    return _advance(state, output, _USUAL_BODY)


@kernel
def step_changed(state, output):
    """The same with a changed body, whose constants are in the state."""
    return _advance(state, output, state[2:])


TASK = EpisodeTask(
    name="mountain_car",
    summary="drive an underpowered car out of a valley (Gymnasium MountainCar-v0, 200 steps)",
    n_observations=2,
    n_outputs=3,
    state_size=2,
    random_size=1,
    max_steps=200,
    return_scale=200.0,
    goal=-110.0,
    reset=reset,
    observe=observe,
    step=step,
    n_actions=3,
    gymnasium_id="MountainCar-v0",
    body=body_of(_BODY, step_changed),
)
