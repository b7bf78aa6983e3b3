"""What a rule that keeps weights is, for one task: how it starts, plays and learns, and how it is evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from rsrp_lava.arrays import Layout
from rsrp_lava.network import NetworkOptions
from rsrp_lava.tasks.base import EpisodeTask, Task
from rsrp_lava.threads import Threads

#: All that a rule's learning changes, by name; a checkpoint holds exactly this. What is learned is called `weights/NAME`.
Memory = dict[str, np.ndarray]
WEIGHTS = "weights/"


class RuleOptions(BaseModel):
    """Settings of one rule only: its constants."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Problem:
    """What a rule is to learn, and with which settings."""

    task: Task
    learning_rate: float
    seed: int
    network: NetworkOptions  #: of rules that train the spiking network of the package (`WeightRule.settings`)
    data: str | None = None  #: folder of the images, of tasks that classify


@dataclass(frozen=True)
class Played:
    """Episodes that were played."""

    returns: np.ndarray  #: float64, shape (episodes,)
    steps: np.ndarray  #: int64, shape (episodes,): environment steps
    updates: int = 0  #: how often weights were changed
    #: What the rule shows of itself, drawn against generations below the returns.
    measures: dict[str, float] = field(default_factory=dict)


class WeightRule(ABC):
    """A rule of the field that keeps real numbers a synapse, and learns within or after every episode.

    It is a pure function of its memory, the generation and the seed: nothing else may change what it computes.
    """

    #: One line for `rsrp-lava rules`, with the paper.
    summary: ClassVar[str]
    Options: ClassVar[type[RuleOptions]] = RuleOptions
    #: The learning rate `auto`, where the task's recipe says none.
    automatic_rate: ClassVar[float]
    #: Whether training episodes follow one another on one processor, so that several learners can train side by side.
    sequential: ClassVar[bool] = False
    #: The graph of Lava processes it also learns in, by its name in engines/lava_rules.py; None: there is none.
    lava: ClassVar[str | None] = None
    #: Settings of an experiment it uses besides those that every rule has.
    settings: ClassVar[frozenset[str]] = frozenset()
    #: Of `network`, if that is one of them: what it has no use for.
    network_unused: ClassVar[frozenset[str]] = frozenset({"one_hot_inputs"})
    #: Of rules that train the package's network: what they hold of a synapse while they learn, at the least.
    bytes_per_synapse: ClassVar[int] = 8
    #: The weight of a synapse that transmits nothing.
    silent: ClassVar[float] = 0.0
    #: The population is a multiple of it: episodes that only make sense together.
    episodes_together: ClassVar[int] = 1

    def __init__(self, problem: Problem, options: RuleOptions) -> None:
        self.problem, self.options = problem, options

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """Why the rule cannot learn this task; None if it can. Here: it chooses among actions, in compiled episodes."""
        if not isinstance(task, EpisodeTask):
            return "it plays episodes that are compiled, and this task has none"
        if not task.n_actions:
            return "it chooses among a few actions, and this task's action is a number"
        return None

    @classmethod
    def lava_refusal(cls, options: RuleOptions) -> str | None:
        """Why its Lava processes cannot do what these options ask for; None if they can."""
        return None

    @abstractmethod
    def start(self) -> Memory:
        """Before the first generation."""

    @abstractmethod
    def prepare(self, memory: Memory) -> None:
        """Compile kernels (or load them from the cache), so that what follows is timed without it. Changes nothing."""

    @abstractmethod
    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """Play training episodes and learn from them; the arrays of `memory` are changed, in place."""

    @abstractmethod
    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """Play episodes as well as is known, without exploring; nothing changes. Their starts are of phase EVALUATION."""

    def layouts(self) -> list[Layout]:
        """What a memory may look like that was kept on disk: as `start` makes it, and as earlier versions did."""
        return [Layout.of(self.start())]

    def restore(self, memory: Memory) -> None:
        """Bring weights that were changed from outside back to where the rule keeps them, in place. Here: anywhere."""
        return


def size_of_weights(memory: Memory) -> dict[str, float]:
    """What a rule shows of itself if it has nothing better: the root mean square of all it has learned."""
    learned = np.concatenate([array.ravel() for array in weights(memory).values()]).astype(np.float64)
    return {"root mean square weight": float(np.sqrt(np.mean(learned * learned)))}


def weights(memory: Memory) -> Memory:
    """What was learned, by name."""
    return {name.removeprefix(WEIGHTS): array for name, array in memory.items() if name.startswith(WEIGHTS)}
