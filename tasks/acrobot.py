"""Acrobot-v1: swing the tip of a two-link pendulum up by a torque at the joint between the links, within 500 steps.

| | |
|---|---|
| observation | cosine, sine of the first link's angle (0: down), of the second's (0: in line); angular velocities (rad/s) |
| output | three numbers; the largest (the first of equal ones) is a torque of −1, 0 or 1 N m |
| reward | −1 a step; 0 for a step that reaches the height |
| start | each of the four uniform in [−0.1, 0.1), rounded to float32 |
| end | tip more than 1 m (one link) above the fixed end, or 500 steps |

The arithmetic is Gymnasium's `AcrobotEnv.step` operation for operation, in float64, so states agree bit for bit: one
Runge-Kutta step of 0.2 s (Sutton 1996, "Generalization in Reinforcement Learning: Successful Examples Using Sparse Coarse
Coding", with the equations of Sutton, Barto 1998). Sine, cosine and powers are the C library's, as they are in NumPy; only
Gymnasium's first observation takes them in float32 and can differ in its last bit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rsrp_lava.kernels.c_library import power
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks.actions import first_largest
from rsrp_lava.tasks.base import EpisodeTask
from rsrp_lava.tasks.changes import Constant, body_of, values_of

_BODY = {
    "gravity": Constant(9.8, "m/s²"),
    "mass_1": Constant(1.0, "kg"),
    "mass_2": Constant(1.0, "kg"),
    "length_1": Constant(1.0, "m"),
    "length_2": Constant(1.0, "m"),
    "torque": Constant(1.0, "N m"),
}
_USUAL_BODY = values_of(_BODY)
_INERTIA_1 = _INERTIA_2 = 1.0
_TIME_STEP_S = 0.2
_MAX_SPEED_1 = 4 * math.pi
_MAX_SPEED_2 = 9 * math.pi
_START = 0.1


@kernel
def reset(state, random):
    """Each state variable uniform in [−0.1, 0.1), rounded to float32."""
    for k in range(4):
        state[k] = np.float32(-_START + (_START - -_START) * random[k])


@kernel
def observe(state, observation):
    """Cosine and sine of both angles and both angular velocities, rounded to float32."""
    for k in range(2):
        observation[2 * k] = np.float32(math.cos(state[k]))
        observation[2 * k + 1] = np.float32(math.sin(state[k]))
        observation[4 + k] = np.float32(state[2 + k])


@kernel
def derivative(state, torque, body):
    """Time derivative of (angle 1, angle 2, angular velocity 1, angular velocity 2), tuples; body: as `_BODY`."""
    gravity, mass_1, mass_2, length_1 = body[0], body[1], body[2], body[3]
    center_1, center_2 = 0.5 * length_1, 0.5 * body[4]
    theta_1, theta_2, dtheta_1, dtheta_2 = state
    coupling = mass_2 * length_1 * center_2
    sin_2 = math.sin(theta_2)
    cos_2 = math.cos(theta_2)
    d_1 = (
        mass_1 * (center_1 * center_1)
        + mass_2 * (length_1 * length_1 + center_2 * center_2 + 2 * length_1 * center_2 * cos_2)
        + _INERTIA_1
        + _INERTIA_2
    )
    d_2 = mass_2 * (center_2 * center_2 + length_1 * center_2 * cos_2) + _INERTIA_2
    phi_2 = mass_2 * center_2 * gravity * math.cos(theta_1 + theta_2 - math.pi / 2)
    phi_1 = (
        -coupling * power(dtheta_2, 2.0) * sin_2
        - 2 * coupling * dtheta_2 * dtheta_1 * sin_2
        + (mass_1 * center_1 + mass_2 * length_1) * gravity * math.cos(theta_1 - math.pi / 2)
        + phi_2
    )
    ddtheta_2 = (torque + d_2 / d_1 * phi_1 - coupling * power(dtheta_1, 2.0) * sin_2 - phi_2) / (
        mass_2 * (center_2 * center_2) + _INERTIA_2 - power(d_2, 2.0) / d_1
    )
    ddtheta_1 = -(d_2 * ddtheta_2 + phi_1) / d_1
    return dtheta_1, dtheta_2, ddtheta_1, ddtheta_2


@kernel
def moved(state, time, slope):
    """The state after this time at a constant slope, tuples."""
    return (
        state[0] + time * slope[0],
        state[1] + time * slope[1],
        state[2] + time * slope[2],
        state[3] + time * slope[3],
    )


@kernel
def wrapped(angle):
    """The angle in [−π, π]."""
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle < -math.pi:
        angle += 2 * math.pi
    return angle


@njit(nogil=True, error_model="numpy")
def _advance(state, output, body):
    """One Runge-Kutta step of fourth order, 0.2 s, with these constants, in the order of `_BODY`."""
    torque = (first_largest(output) - 1.0) * body[5]
    start = (state[0], state[1], state[2], state[3])
    k_1 = derivative(start, torque, body)
    k_2 = derivative(moved(start, _TIME_STEP_S / 2, k_1), torque, body)
    k_3 = derivative(moved(start, _TIME_STEP_S / 2, k_2), torque, body)
    k_4 = derivative(moved(start, _TIME_STEP_S, k_3), torque, body)
    for k in range(4):
        state[k] = start[k] + _TIME_STEP_S / 6 * (k_1[k] + 2 * k_2[k] + 2 * k_3[k] + k_4[k])
    state[0], state[1] = wrapped(state[0]), wrapped(state[1])
    state[2] = min(max(state[2], -_MAX_SPEED_1), _MAX_SPEED_1)
    state[3] = min(max(state[3], -_MAX_SPEED_2), _MAX_SPEED_2)
    ended = -math.cos(state[0]) - math.cos(state[1] + state[0]) > 1.0
    return 0.0 if ended else -1.0, ended


@kernel
def step(state, output):
    """Apply the torque; one Runge-Kutta step of fourth order, 0.2 s."""
    return _advance(state, output, _USUAL_BODY)


@kernel
def step_changed(state, output):
    """The same with a changed body, whose constants are in the state."""
    return _advance(state, output, state[4:])


TASK = EpisodeTask(
    name="acrobot",
    summary="swing up a pendulum of two links by the joint between them (Gymnasium Acrobot-v1, 500 steps)",
    n_observations=6,
    n_outputs=3,
    state_size=4,
    random_size=4,
    max_steps=500,
    return_scale=500.0,
    goal=-100.0,
    reset=reset,
    observe=observe,
    step=step,
    n_actions=3,
    gymnasium_id="Acrobot-v1",
    body=body_of(_BODY, step_changed),
)
