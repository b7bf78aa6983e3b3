"""CartPole-v1: keep a pole upright on a cart for 500 steps.

| | |
|---|---|
| observation | cart position (m), cart velocity (m/s), pole angle (rad), pole angular velocity (rad/s) |
| output | one number; > 0 pushes right (+10 N), otherwise left (−10 N) |
| reward | 1 a step |
| start | each of the four uniform in [−0.05, 0.05) |
| end | \\|position\\| > 2.4 m, \\|angle\\| > 12°, or 500 steps |

The arithmetic is Gymnasium's `CartPoleEnv.step` operation for operation, in float64, so states agree bit for bit
(Barto, Sutton, Anderson 1983; https://coneural.org/florian/papers/05_cart_pole.pdf). Sine and cosine are the C library's,
as they are in NumPy.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks.base import EpisodeTask
from rsrp_lava.tasks.changes import Constant, body_of, values_of

_BODY = {
    "gravity": Constant(9.8, "m/s²"),
    "cart_mass": Constant(1.0, "kg"),
    "pole_mass": Constant(0.1, "kg"),
    "pole_length": Constant(1.0, "m"),
    "force": Constant(10.0, "N"),
}
_USUAL_BODY = values_of(_BODY)
_TIME_STEP_S = 0.02
_MAX_ANGLE = 12 * 2 * math.pi / 360
_MAX_POSITION = 2.4


@kernel
def reset(state, random):
    """Each state variable uniform in [−0.05, 0.05)."""
    for k in range(4):
        state[k] = -0.05 + 0.1 * random[k]


@kernel
def observe(state, observation):
    """The state, rounded to float32."""
    for k in range(4):
        observation[k] = np.float32(state[k])


@njit(nogil=True, error_model="numpy")
def _advance(state, output, body):
    """One Euler step of 20 ms with these constants, in the order of `_BODY`."""
    gravity, cart_mass, pole_mass, half_length, push = body[0], body[1], body[2], 0.5 * body[3], body[4]
    total_mass, pole_mass_length = pole_mass + cart_mass, pole_mass * half_length
    x, x_dot, theta, theta_dot = state[0], state[1], state[2], state[3]
    force = push if output[0] > 0 else -push
    cos_theta = math.cos(theta)
    sin_theta = math.sin(theta)
    temp = (force + pole_mass_length * (theta_dot * theta_dot) * sin_theta) / total_mass
    theta_acc = (gravity * sin_theta - cos_theta * temp) / (
        half_length * (4.0 / 3.0 - pole_mass * (cos_theta * cos_theta) / total_mass)
    )
    x_acc = temp - pole_mass_length * theta_acc * cos_theta / total_mass
    x = x + _TIME_STEP_S * x_dot
    x_dot = x_dot + _TIME_STEP_S * x_acc
    theta = theta + _TIME_STEP_S * theta_dot
    theta_dot = theta_dot + _TIME_STEP_S * theta_acc
    state[0], state[1], state[2], state[3] = x, x_dot, theta, theta_dot
    ended = x < -_MAX_POSITION or x > _MAX_POSITION or theta < -_MAX_ANGLE or theta > _MAX_ANGLE
    return 1.0, ended


@kernel
def step(state, output):
    """Push right if the output is positive, else left; one Euler step of 20 ms."""
    return _advance(state, output, _USUAL_BODY)


@kernel
def step_changed(state, output):
    """The same with a changed body, whose constants are in the state."""
    return _advance(state, output, state[4:])


TASK = EpisodeTask(
    name="cartpole",
    summary="balance a pole on a cart (Gymnasium CartPole-v1, 500 steps)",
    n_observations=4,
    n_outputs=1,
    state_size=4,
    random_size=4,
    max_steps=500,
    return_scale=500.0,
    perfect_return=500.0,
    reset=reset,
    observe=observe,
    step=step,
    n_actions=2,
    gymnasium_id="CartPole-v1",
    body=body_of(_BODY, step_changed),
)
