"""What is earned without a network: by random actions, by none (kernels/baseline.py), by guessing the class of images."""

from __future__ import annotations

import functools

import numpy as np

from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.baseline import play_without_network
from rsrp_lava.kernels.held import Held
from rsrp_lava.kernels.rollout import specialise, task_functions
from rsrp_lava.normaliser import Observations
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.tasks.data import DataSet


class WithoutNetwork:
    """Plays a compiled task's evaluation episodes of generation 0."""

    def __init__(self, task: EpisodeTask, seed: int) -> None:
        self.task, self.seed = task, seed
        self._sizes = (task.random_size, task.n_outputs, task.max_steps)

    @functools.cached_property
    def _functions(self) -> Held:
        return task_functions(self.task.reset, self.task.observe, self.task.step)

    def prepare(self) -> None:
        """Compile the kernel, or load it from the cache."""
        rewards, steps, state = np.zeros(0), np.zeros(0, np.int64), self.task.open_state()
        specialise(play_without_network, self._functions, self.seed, self._sizes, 0.0, state.values, (0, 0), rewards, steps)

    def play(self, episodes: int, first: int = 0, largest: float = 1.0) -> Outcome:
        """See `engines.protocol.Engine.play_blindly`; outputs are within ± `largest`, so 0 is doing nothing."""
        returns, steps, state = np.zeros(episodes), np.zeros(episodes, np.int64), self.task.open_state()
        played = (first, first + episodes)
        play_without_network(self._functions, self.seed, self._sizes, largest, state.values, played, returns, steps)
        return Outcome(returns, steps, Observations.none(self.task.n_observations), np.zeros(len(EVENTS), np.int64))


def guess(data: DataSet, images: int, first: int = 0) -> Outcome:
    """Always the class that most test images have: 1 for each of the test images `first` … that has it, else 0."""
    labels = data.test.labels
    correct = (labels == np.bincount(labels).argmax())[first : first + images].astype(np.float64)
    nothing = Observations.none(0)
    return Outcome(correct, np.ones(len(correct), np.int64), nothing, np.zeros(len(EVENTS), np.int64))


__all__ = ["WithoutNetwork", "guess"]
