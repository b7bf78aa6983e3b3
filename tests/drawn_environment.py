"""An environment for tests that draws itself; registered with Gymnasium when this module is imported."""

import gymnasium
import numpy as np

from faulty_environments import Target


class Drawn(Target):
    """Its picture is as bright as the episode is old; from the third step on something may be wrong."""

    metadata: dict = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 (Gymnasium's)

    def __init__(self, render_mode=None, fault=""):
        self.render_mode, self.fault = render_mode, fault

    def reset(self, *, seed=None, options=None):
        self.seed = seed
        return super().reset(seed=seed)

    def step(self, action):
        if self.fault == "raise" and self.steps == 3:
            raise RuntimeError("the motor burnt out")
        observation, reward, *rest = super().step(action)
        if self.fault == "differ" and self.render_mode:
            reward = 0.0
        return observation, reward, *rest

    def render(self):
        if self.steps == 3:
            match self.fault:
                case "no render":
                    raise RuntimeError("out of paint")
                case "nothing":
                    return None
                case "grow":
                    return np.zeros((9, 9, 3), np.uint8)
        return np.full((5, 7, 3), 10 * self.steps, np.uint8)


gymnasium.register("Drawn-v0", Drawn, max_episode_steps=100)
