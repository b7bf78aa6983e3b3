"""Pendulum-v1: swing a pendulum up and hold it there, with a torque too weak to lift it at once; 200 steps.

| | |
|---|---|
| observation | cosine and sine of the angle (0: upright), angular velocity (rad/s) |
| output | one number, clipped to [−1, 1]: the torque, as a part of the largest (2 N m) |
| reward | −(angle² + 0.1 · angular velocity² + 0.001 · torque²), of the state before the step; angle in [−π, π) |
| start | angle uniform in [−π, π), angular velocity uniform in [−1, 1) |
| end | 200 steps |

The arithmetic is Gymnasium's `PendulumEnv.step` operation for operation, in float64, so states and rewards agree bit for bit
under NumPy 1 (Doya 2000, "Reinforcement Learning in Continuous Time and Space"). Sine, cosine and powers are the C
library's, as they are in NumPy. Under NumPy 2 Gymnasium's own arithmetic of the torque is partly float32, because there a
float32 scalar times a Python number is float32.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rsrp_lava.kernels.c_library import power
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks.actions import in_range
from rsrp_lava.tasks.base import EpisodeTask
from rsrp_lava.tasks.changes import Constant, body_of, values_of

_BODY = {"gravity": Constant(10.0, "m/s²"), "mass": Constant(1.0, "kg"), "length": Constant(1.0, "m")}
_USUAL_BODY = values_of(_BODY)
_TIME_STEP_S = 0.05
_MAX_SPEED = 8.0
_MAX_TORQUE = 2.0
_START_SPEED = 1.0
_MAX_STEPS = 200


@kernel
def reset(state, random):
    """Angle uniform in [−π, π), angular velocity uniform in [−1, 1)."""
    state[0] = -math.pi + 2 * math.pi * random[0]
    state[1] = -_START_SPEED + 2 * _START_SPEED * random[1]


@kernel
def observe(state, observation):
    """Cosine and sine of the angle and the angular velocity, rounded to float32."""
    observation[0] = np.float32(math.cos(state[0]))
    observation[1] = np.float32(math.sin(state[0]))
    observation[2] = np.float32(state[1])


@njit(nogil=True, error_model="numpy")
def _advance(state, output, body):
    """One semi-implicit Euler step of 50 ms with these constants, in the order of `_BODY`."""
    gravity, mass, length = body[0], body[1], body[2]
    theta, theta_dot = state[0], state[1]
    torque = np.float64(in_range(output[0], -_MAX_TORQUE, _MAX_TORQUE))
    angle = (theta + math.pi) % (2 * math.pi) - math.pi
    cost = power(angle, 2.0) + 0.1 * power(theta_dot, 2.0) + 0.001 * (torque * torque)
    theta_dot = theta_dot + _TIME_STEP_S * (
        3 * gravity / (2 * length) * math.sin(theta) + 3.0 / (mass * (length * length)) * torque
    )
    theta_dot = min(max(theta_dot, -_MAX_SPEED), _MAX_SPEED)
    state[0], state[1] = theta + theta_dot * _TIME_STEP_S, theta_dot
    return -cost, False


@kernel
def step(state, output):
    """Apply the torque; one semi-implicit Euler step of 50 ms."""
    return _advance(state, output, _USUAL_BODY)


@kernel
def step_changed(state, output):
    """The same with a changed body, whose constants are in the state."""
    return _advance(state, output, state[2:])


TASK = EpisodeTask(
    name="pendulum",
    summary="swing a pendulum up and hold it (Gymnasium Pendulum-v1, 200 steps)",
    n_observations=3,
    n_outputs=1,
    state_size=2,
    random_size=2,
    max_steps=_MAX_STEPS,
    return_scale=_MAX_STEPS * math.pi**2,  # what hanging still costs
    reset=reset,
    observe=observe,
    step=step,
    action_range=(-_MAX_TORQUE, _MAX_TORQUE),
    gymnasium_id="Pendulum-v1",
    body=body_of(_BODY, step_changed),
)
