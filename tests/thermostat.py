"""An environment whose observations have an offset and a unit: hold a drifting number near zero."""

import gymnasium
import numpy as np


class Thermostat(gymnasium.Env):
    """The number is seen as offset + scale · number, float64."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def __init__(self, offset=0.0, scale=1.0):
        self.offset, self.scale = offset, scale

    def _seen(self):
        return np.array([self.offset + self.scale * self.number])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = self.np_random.uniform(-1, 1)
        return self._seen(), {}

    def step(self, action):
        self.number += 0.3 * float(action[0]) + self.np_random.normal() / 20
        return self._seen(), 1 - abs(self.number), False, False, {}


gymnasium.register("Thermostat-v0", Thermostat, max_episode_steps=30)
