"""Reaching in one dimension: turn an arm to a target angle, with a reward at every step (neurogym's Reaching1D-v0).

| | |
|---|---|
| observation | cos(θ_i − target), then cos(θ_i − arm), each for 16 directions θ_i = 2π i / 16 |
| action | 0: stay, 1: turn by +0.05 rad, 2: by −0.05 rad |
| reward | max(1 − distance, −0.1) a step; distance: the angle between arm and target after the turn, 0 … π rad |
| start | arm at π, target uniform in [0, 2π) |
| end | 300 steps (3,000 ms in steps of 10 ms) |

Angles are kept in turns, and cosines are made of correctly rounded operations (kernels/exact_math.py): the same everywhere.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import sine_cosine_of_turn
from rsrp_lava.tasks.actions import first_largest
from rsrp_lava.tasks.base import EpisodeTask

_DIRECTIONS = 16
_TURN = 0.05 / (2 * math.pi)  #: a step, in turns


@njit(nogil=True)
def _wrapped(turns):
    """The same angle, in [0, 1)."""
    return turns - math.floor(turns)


@kernel
def reset(state, random):
    """Arm and target, in turns."""
    state[0], state[1] = 0.5, random[0]


@kernel
def observe(state, observation):
    """Cosines of the angles to 16 directions."""
    for i in range(_DIRECTIONS):
        direction = i / _DIRECTIONS
        observation[i] = np.float32(sine_cosine_of_turn(_wrapped(direction - state[1]))[1])
        observation[_DIRECTIONS + i] = np.float32(sine_cosine_of_turn(_wrapped(direction - state[0]))[1])


@kernel
def step(state, output):
    """Turn the arm, then reward its nearness."""
    action = first_largest(output)
    state[0] = _wrapped(state[0] + (_TURN if action == 1 else -_TURN if action == 2 else 0.0))
    apart = abs(state[0] - state[1])
    distance = 2.0 * math.pi * min(apart, 1.0 - apart)
    return max(1.0 - distance, -0.1), False


TASK = EpisodeTask(
    name="reaching",
    summary="turn an arm to a target angle, rewarded at every step (neurogym's Reaching1D-v0)",
    n_observations=2 * _DIRECTIONS,
    n_outputs=3,
    state_size=2,
    random_size=1,
    max_steps=300,
    return_scale=300.0,
    reset=reset,
    observe=observe,
    step=step,
    n_actions=3,
)
