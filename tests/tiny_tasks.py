"""Tasks so small that expected rewards can be summed over all that can happen."""

import numpy as np
from numba import njit

from rsrp_lava.tasks.actions import first_largest
from rsrp_lava.tasks.base import EpisodeTask


@njit
def reset(state, random):
    state[0] = np.floor(2 * random[0])


@njit
def observe(state, observation):
    observation[0], observation[1] = 1.0, 2.0 * state[0] - 1.0


@njit
def step(state, output):
    return (1.0 if first_largest(output) == np.int64(state[0]) else 0.0), True


#: One step, two contexts (observation: 1 and −1 or 1), two actions; 1 for the action of the context's number, else 0.
BANDIT = EpisodeTask("bandit", "one step", 2, 2, 1, 1, 1, 1.0, reset, observe, step, perfect_return=1.0, n_actions=2)
