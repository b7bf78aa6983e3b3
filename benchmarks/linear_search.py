"""Augmented random search, a simple method to set learning beside: a linear policy, on Gymnasium's own step.

Mania, Guy, Recht 2018, "Simple random search provides a competitive approach to reinforcement learning", algorithm 1, V2:

    δ_k ~ N(0, 1),   R_k± = return of (M ± ν δ_k) on observations standardised by all that were seen so far
    M ← M + α / (b σ_R) Σ_{k ∈ best b} (R_k+ − R_k−) δ_k,   σ_R: standard deviation of the 2 b returns that are used

with one setting for all tasks: 16 directions, the best 8, ν = 0.05, α = 0.05. Actions as everywhere here (tasks/spaces.py).
"""

from __future__ import annotations

import numpy as np

from rsrp_lava.tasks.environment import EnvironmentOptions
from rsrp_lava.tasks.gym import Environment

_DIRECTIONS, _BEST, _NOISE, _STEP = 16, 8, 0.05, 0.05


class LinearSearch:
    """Learns one environment; `env_steps` counts what training played."""

    def __init__(self, id: str, max_steps: int, seed: int) -> None:
        options = EnvironmentOptions(max_steps=max_steps)
        self._environment, self._max_steps = Environment(id, options), max_steps
        n = self._environment.n_observations
        self._random = np.random.default_rng(seed)
        self._policy = np.zeros((self._environment.n_outputs, n))
        self._count, self._mean, self._sum_of_squares = 0, np.zeros(n), np.zeros(n)
        self.env_steps = 0

    def train(self, env_steps: int) -> None:
        """Iterations until so many steps have been played in all."""
        while self.env_steps < env_steps:
            directions = self._random.normal(size=(_DIRECTIONS, *self._policy.shape))
            returns = np.array([[self._play(self._policy + s * _NOISE * d) for s in (1, -1)] for d in directions])
            best = np.argsort(-returns.max(axis=1), kind="stable")[:_BEST]
            spread = returns[best].std()
            if spread > 0:
                weights = returns[best, 0] - returns[best, 1]
                self._policy += _STEP / (_BEST * spread) * np.tensordot(weights, directions[best], 1)

    def evaluate(self, episodes: int) -> np.ndarray:
        """Returns of episodes with the policy as it is, float64, shape (episodes,)."""
        return np.array([self._play(self._policy, training=False) for _ in range(episodes)])

    def _play(self, policy: np.ndarray, training: bool = True) -> float:
        std = np.sqrt(self._sum_of_squares / self._count) if self._count > 1 else np.ones_like(self._mean)
        mean, std = self._mean.copy(), np.where(std < 1e-8, np.inf, std)
        observation, total, ended, steps = self._environment.reset(int(self._random.integers(2**31))), 0.0, False, 0
        while not ended and steps < self._max_steps:
            if training:
                self._see(observation)
            output = policy @ ((observation - mean) / std)
            observation, reward, ended = self._environment.step(output.astype(np.float32))
            total += reward
            steps += 1
        self.env_steps += steps * training
        return total

    def _see(self, observation: np.ndarray) -> None:
        """Running mean and sum of squares (Welford 1962)."""
        self._count += 1
        difference = observation - self._mean
        self._mean += difference / self._count
        self._sum_of_squares += difference * (observation - self._mean)

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()
