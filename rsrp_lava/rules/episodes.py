"""What rules that learn inside the episode have in common: one episode after the other, in a kernel of their own."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.held import Held
from rsrp_lava.kernels.rollout import specialise, task_functions
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, WeightRule, size_of_weights
from rsrp_lava.tasks.base import EpisodeTask
from rsrp_lava.threads import Threads

#: Evaluation episodes a thread plays before it asks for more.
_PIECE = 8
#: Room for no episodes, of which a kernel is compiled.
_NOTHING = (np.zeros(0), np.zeros(0, np.int64))


class EpisodeRule(WeightRule):
    """Two kernels, and what they are given. Both play all episodes that `played` has room for:

        learn(functions, parts, constants, task_sizes, key, task_state, played)             0, 1, …, changing `parts`
        evaluate(functions, parts, constants, task_sizes, key, task_state, first, played)   first, first + 1, …

    functions : the task's (kernels/rollout.task_functions);  task_state : float64, the task's
    parts : `self.parts(memory)`, arrays of the memory;  constants : `self.constants`
    task_sizes : (random_size, n_observations, n_outputs, n_actions, max_steps)
    key : (seed, generation)
    played : (returns, steps), float64 and int64, shape (episodes,), written
    """

    sequential = True
    learn_kernel: ClassVar[Any]
    evaluate_kernel: ClassVar[Any]

    def __init__(self, problem: Problem, options: RuleOptions) -> None:
        super().__init__(problem, options)
        assert isinstance(problem.task, EpisodeTask)
        self.task: EpisodeTask = problem.task

    def per_observation(self, name: str, default: float | None) -> np.ndarray:
        """The option of this name, float64, a number for each observation. If it is not given, each is the default; without
        a default there are none, shape (0,).

        Raises ExperimentError if it has another number of them.
        """
        given, n = getattr(self.options, name), self.task.n_observations
        if given and len(given) != n:
            raise ExperimentError(
                f"rule_options.{name}: has {len(given)} numbers, but {self.task.name} has {n} observations; "
                "give one for each, or leave it out"
            )
        return np.array(given or (() if default is None else (default,) * n), np.float64)

    @abstractmethod
    def parts(self, memory: Memory) -> tuple:
        """Arrays of the memory as the kernels want them; learning changes them in place."""

    @property
    @abstractmethod
    def constants(self) -> tuple:
        """Numbers of the rule, for the kernels."""

    def updates(self, played: Played) -> int:
        """How often training episodes changed the weights: once an episode."""
        return len(played.returns)

    def measures(self, memory: Memory) -> dict[str, float]:
        """What the rule shows of itself after a generation."""
        return size_of_weights(memory)

    def prepare(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.prepare`."""
        specialise(type(self).learn_kernel, self._functions, *self._arguments(memory, 0), np.zeros(0), _NOTHING)
        self.prepare_evaluation(memory)

    def prepare_evaluation(self, memory: Memory) -> None:
        """The part of `prepare` for who learns elsewhere."""
        specialise(type(self).evaluate_kernel, self._functions, *self._arguments(memory, 0), np.zeros(0), 0, _NOTHING)

    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.learn`."""
        returns, steps, state = np.zeros(episodes), np.zeros(episodes, np.int64), self.task.open_state()
        arguments = self._arguments(memory, generation)
        threads.call(lambda: type(self).learn_kernel(self._functions, *arguments, state.values, (returns, steps)))
        return self.finished(memory, returns, steps)

    def finished(self, memory: Memory, returns: np.ndarray, steps: np.ndarray) -> Played:
        """What is said of training episodes, when `memory` is what they made of it."""
        return Played(returns, steps, self.updates(Played(returns, steps)), self.measures(memory))

    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.evaluate`."""
        returns, steps = np.zeros(episodes), np.zeros(episodes, np.int64)
        arguments = self._arguments(memory, generation)

        def work(first: int, last: int) -> None:
            state, played = self.task.open_state(), (returns[first:last], steps[first:last])
            type(self).evaluate_kernel(self._functions, *arguments, state.values, first, played)

        threads.map_ranges(work, episodes, _PIECE)
        return Played(returns, steps)

    @functools.cached_property
    def _functions(self) -> Held:
        return task_functions(self.task.reset, self.task.observe, self.task.step)

    def _arguments(self, memory: Memory, generation: int) -> tuple:
        task = self.task
        task_sizes = (task.random_size, task.n_observations, task.n_outputs, task.n_actions, task.max_steps)
        return (self.parts(memory), self.constants, task_sizes, (self.problem.seed, generation))
