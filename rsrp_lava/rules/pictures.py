"""Labelled images as one decision each: what rules that learn from them have in common.

An episode is one step: an image is seen, a class is chosen, the reward is 1 for the right one and else 0. Training images
are drawn with replacement, by (seed, generation); evaluation takes the test images in their order.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from rsrp_lava.kernels.random_bits import BATCHES, fill_uniform
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, WeightRule, size_of_weights
from rsrp_lava.tasks.base import ClassifyTask, Task
from rsrp_lava.tasks.data import DataSet, Labelled, load_data
from rsrp_lava.threads import Threads

#: Test images a thread takes before it asks for more.
_PIECE = 32


class PictureRule(WeightRule):
    """A rule that learns from a batch of images after the other."""

    settings: ClassVar[frozenset[str]] = frozenset({"data", "dataset"})

    def __init__(self, problem: Problem, options: RuleOptions) -> None:
        super().__init__(problem, options)
        assert isinstance(problem.task, ClassifyTask)
        self.task: ClassifyTask = problem.task

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """See `rules.base.WeightRule.refusal`."""
        return None if isinstance(task, ClassifyTask) else "it learns from labelled images, and this task has none"

    @functools.cached_property
    def data(self) -> DataSet:
        """The images."""
        return load_data(self.task.name, self.problem.data, self.task.test_noise, self.task.dataset)

    @property
    @abstractmethod
    def batch(self) -> int:
        """Images an update."""

    @abstractmethod
    def learn_batch(
        self, memory: Memory, shown: Labelled, generation: int, first: int, rewards: np.ndarray, threads: Threads
    ) -> None:
        """Decide on images `first`, `first + 1`, … of the generation and learn from it; write their rewards."""

    @abstractmethod
    def answer(self, memory: Memory, shown: Labelled, generation: int, first: int, rewards: np.ndarray) -> None:
        """Decide on test images `first`, `first + 1`, … without exploring; write their rewards. On any thread."""

    def measures(self, memory: Memory) -> dict[str, float]:
        """What the rule shows of itself after a generation."""
        return size_of_weights(memory)

    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.learn`."""
        train, uniform, rewards = self.data.train, np.empty(episodes), np.zeros(episodes)
        fill_uniform(self.problem.seed, generation, 0, BATCHES, uniform)
        drawn, updates = (uniform * len(train)).astype(np.int64), 0
        for first in range(0, episodes, self.batch):
            chosen = drawn[first : first + self.batch]
            shown = Labelled(train.images[chosen], train.labels[chosen])
            self.learn_batch(memory, shown, generation, first, rewards[first : first + self.batch], threads)
            updates += 1
        return Played(rewards, np.ones(episodes, np.int64), updates, self.measures(memory))

    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.evaluate`; there are not more episodes than test images."""
        test = self.data.test
        rewards = np.zeros(min(episodes, len(test)))

        def work(first: int, last: int) -> None:
            shown = Labelled(test.images[first:last], test.labels[first:last])
            self.answer(memory, shown, generation, first, rewards[first:last])

        threads.map_ranges(work, len(rewards), _PIECE)
        return Played(rewards, np.ones(len(rewards), np.int64))


__all__ = ["PictureRule"]
