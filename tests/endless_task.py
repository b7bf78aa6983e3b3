"""A task that never ends and does not listen: observations are a wild function of the step, another for every sample."""

import numpy as np

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks import EpisodeTask


@kernel
def reset(state, random):
    state[0], state[1] = 0.0, random[0]


@kernel
def observe(state, observation):
    for k in range(observation.shape[0]):
        observation[k] = np.float32(2.0 * np.sin((1.0 + state[1]) * (k + 1.0) * (state[0] + 1.0)))


@kernel
def step(state, output):
    state[0] += 1.0
    return 0.0, False


ENDLESS = EpisodeTask("endless", "for tests", 4, 1, 2, 1, 10**6, 1.0, reset, observe, step)
