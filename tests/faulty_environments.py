"""Environments for tests, registered with Gymnasium when this module is imported: one that works, and ones that do not."""

import os
import time
from contextlib import suppress
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces


class Target(gymnasium.Env):
    """Hold a number near zero: an action in [−2, 2] is added, noise comes on top."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Box(-2.0, 2.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.x = 0, float(self.np_random.uniform(-1, 1))
        return self._observation(), {}

    def step(self, action):
        self.steps += 1
        self.x += float(action[0]) / 4 + float(self.np_random.normal()) / 10
        return self._observation(), 1 - abs(self.x), self.steps >= 20, False, {}

    def _observation(self):
        return np.array([self.x, 1.0], np.float32)


class Faulty(Target):
    """Goes wrong at the third step of every episode that starts below `share` of its range, in the way `fault` says."""

    def __init__(self, fault, share=0.3, trace=""):
        self.fault, self.share, self.trace = fault, share, trace

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.bad = self.x < 2 * self.share - 1 and "RSRP_TEST_MENDED" not in os.environ
        if self.bad and self.fault == "new space":
            self.observation_space = spaces.Box(-np.inf, np.inf, (3,))
        return observation, info

    def step(self, action):
        observation, reward, ended, truncated, info = super().step(action)
        if self.bad and self.steps == 3:
            match self.fault:
                case "raise":
                    raise RuntimeError("the motor burnt out")
                case "reward":
                    reward = float("nan")
                case "infinite reward":
                    reward = float("-inf")
                case "observation":
                    observation[0] = np.inf
                case "size":
                    observation = observation[:1]
                case "die":
                    os._exit(7)
                case "hang":
                    time.sleep(10**6)
                case "hang once":
                    with suppress(FileExistsError):
                        Path(self.trace).touch(exist_ok=False)
                        time.sleep(10**6)
                case "die once":
                    with suppress(FileExistsError):  # the first of all processes only
                        Path(self.trace).touch(exist_ok=False)
                        os._exit(7)
        if self.fault == "endless":
            ended = False
        if self.fault == "print":
            print("0123456789" * 10_000, flush=True)
        if self.fault == "leak":
            self.kept = [*getattr(self, "kept", []), np.ones(2**18)]  # 2 MiB
        return observation, reward, ended, truncated, info


class Strange(Target):
    """Not what Gymnasium asks for, in the way `fault` says."""

    def __init__(self, fault):
        self.fault = fault
        if fault == "ends the program":
            raise SystemExit("no display")
        if fault == "wordless":
            assert fault == "nothing"
        if fault == "action":
            self.action_space = spaces.Dict({"move": spaces.Discrete(3), "say": spaces.Text(5)})
        if fault == "method":
            self.observation_space = lambda agent: spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        if self.fault == "reset ends the program":
            raise SystemExit(3)
        return observation if self.fault == "old reset" else (observation, info)

    def step(self, action):
        observation, reward, ended, truncated, info = super().step(action)
        if self.fault == "old step":
            return observation, reward, ended, info
        return observation, np.array([reward, 0.0]) if self.fault == "two rewards" else reward, ended, truncated, info

    def close(self):
        if self.fault == "close":
            raise OSError("the window is gone")


gymnasium.register("Strange-v0", Strange, max_episode_steps=5)


class Indifferent(gymnasium.Env):
    """Five steps of random observations, whose rewards do not depend on actions: flat (always 1), or noise."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,))
    action_space = spaces.Discrete(3)

    def __init__(self, rewards, blind=False):
        self.rewards, self.blind = rewards, blind

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observation(), {}

    def step(self, action):
        self.steps += 1
        reward = 1.0 if self.rewards == "flat" else float(self.np_random.normal())
        return self._observation(), reward, self.steps >= 5, False, {}

    def _observation(self):
        return np.zeros(3, np.float32) if self.blind else self.np_random.normal(size=3).astype(np.float32)


gymnasium.register("Indifferent-v0", Indifferent, max_episode_steps=5)
gymnasium.register("Target-v0", Target, max_episode_steps=100)
gymnasium.register("Unlimited-v0", Target)
gymnasium.register("Faulty-v0", Faulty, max_episode_steps=30)
