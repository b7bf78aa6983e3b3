"""One population, many processes: samples are leased to workers, here or on other machines; only rewards come back.

What a worker computes is a pure function of (experiment, ρ, normaliser, generation, sample), so it does not matter who
plays what, in which order, or how often: a lost worker's samples are played again, a straggler's twice.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from rsrp_lava.engines.leases import MOST_LOSSES, Lease, Leases, pieces
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.errors import EngineError, Interrupted
from rsrp_lava.experiment import Experiment
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.normaliser import Scaling

#: Seconds between two looks at what else may have happened while no answer comes.
_LOOK_S = 0.2
#: Seconds without any worker until that is said.
_PATIENCE_S = 15.0


@dataclass(frozen=True)
class Weights:
    """What workers need to know of a generation, once."""

    probabilities: ReleaseProbabilities
    normaliser: Scaling

    def same_as(self, other: Weights | None) -> bool:
        """The same arrays (not only equal ones)."""
        return (
            other is not None
            and self.normaliser.mean is other.normaliser.mean
            and all(self.probabilities[name] is other.probabilities.get(name) for name in self.probabilities)
        )


class Asked(NamedTuple):
    """What is to be played, in the words of `engines.protocol.Engine.play`."""

    generation: int
    deterministic: bool
    episodes: int | None = None
    blindly: bool = False  #: `Engine.play_blindly`: no network plays


@dataclass(frozen=True)
class Order:
    """One `play`; each is a new one."""

    weights: Weights | None  #: None: as they were; of `play_blindly`
    asked: Asked


@dataclass(frozen=True)
class Answer:
    """A worker's: an outcome, what it failed with, or (`lost`) that it is gone, and how."""

    worker: Hashable
    lease: Lease | None = None
    order: Order | None = None
    outcome: Outcome | None = None
    failure: str | None = None
    lost: str | None = None
    began: bool = True  #: of one that is lost: had it been ready?


class Workforce(Protocol):
    """Processes that play. A lost one is replaced by itself; others may join."""

    @property
    def size(self) -> int:
        """Workers there are or soon will be."""
        ...

    def start(self, stop: Sequence[int] = ()) -> None:
        """Begin to start workers. Raises `EngineError` if none can be, `Interrupted` soon after `stop` holds something."""
        ...

    def idle(self) -> Sequence[Hashable]:
        """Workers that are ready and have nothing to do."""
        ...

    def submit(self, worker: Hashable, order: Order, lease: Lease) -> None:
        """Give an idle worker a piece."""
        ...

    def wait(self, timeout_s: float) -> list[Answer]:
        """Answers that have come, after this time at the latest."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


@dataclass
class ShardedEngine:
    """An engine whose samples are played by a workforce."""

    experiment: Experiment
    workforce: Workforce
    name: str
    stopping: str = "stopping after the generation in flight (again: at once)"
    learn: None = None
    stop: Sequence[int] = ()
    _weights: Weights | None = field(default=None, init=False)
    _lost: Counter[str] = field(default_factory=Counter, init=False)
    _stillborn: int = field(default=0, init=False)  #: workers that were lost before they were ready, since one played

    def __post_init__(self) -> None:
        self.network = self.experiment.build_network()

    def prepare(self, start: Any = None) -> None:
        """See `engines.protocol.Engine.prepare`: waits for the first worker."""
        self.workforce.start(self.stop)
        told, started = False, time.monotonic()
        while not self.workforce.idle():
            if self.stop:
                raise Interrupted("stopped: no worker was ready yet")
            if not told and time.monotonic() - started > _PATIENCE_S:
                logging.getLogger(__name__).warning(
                    f"engine {self.name}: still waiting for a first worker; are all processors taken? Ctrl-C stops"
                )
                told = True
            for answer in self.workforce.wait(_LOOK_S):
                self._count_loss(answer)
                if answer.failure is not None:
                    raise EngineError(f"{self.experiment.task}: {answer.failure}")

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Scaling,
        generation: int,
        samples: int,
        deterministic: bool = False,
        first: int = 0,
        episodes: int | None = None,
    ) -> Outcome:
        """See `engines.protocol.Engine.play`. Raises `EngineError` if a sample cannot be played."""
        weights = Weights(dict(probabilities), normaliser.scaling)
        if self._weights is None or not weights.same_as(self._weights):
            self._weights = weights
        return self._play(Order(self._weights, Asked(generation, deterministic, episodes)), first, samples)

    def play_blindly(self, episodes: int, first: int = 0) -> Outcome:
        """See `engines.protocol.Engine.play_blindly`. Raises `EngineError` if an episode ends its worker."""
        return self._play(Order(self._weights, Asked(0, True, blindly=True)), first, episodes)

    def _play(self, order: Order, first: int, samples: int) -> Outcome:
        leases: Leases[Outcome] = Leases(deque(pieces(first, samples, self.workforce.size)))
        while True:
            for worker in self.workforce.idle():
                if lease := leases.take(worker, time.monotonic()):
                    self.workforce.submit(worker, order, lease)
            if leases.done:
                break
            for answer in self.workforce.wait(_LOOK_S):
                self._note(answer, order, leases)
        lost, self._lost = self._lost, Counter()
        whole = Outcome.joined(leases.in_order())
        return replace(whole, faults=Counter(whole.faults) + lost)

    def _note(self, answer: Answer, order: Order, leases: Leases[Outcome]) -> None:
        if answer.lost is not None:
            self._count_loss(answer)
            for lease in leases.lose(answer.worker):
                if leases.losses[lease] >= MOST_LOSSES:
                    begin, count = lease
                    raise EngineError(
                        f"{self.experiment.task}: a worker was lost {MOST_LOSSES} times while it played samples {begin} to "
                        f"{begin + count - 1} of generation {order.asked.generation}; the last one {answer.lost}"
                    )
        elif answer.order is not None and answer.order is not order:
            return  # a straggler of an earlier play
        elif answer.failure is not None:
            raise EngineError(answer.failure)
        else:
            assert answer.lease is not None
            assert answer.outcome is not None
            self._stillborn = 0
            leases.finish(answer.lease, answer.worker, answer.outcome, time.monotonic())

    def _count_loss(self, answer: Answer) -> None:
        """Workers come and go; those that go before they have begun do so for a reason."""
        if answer.lost is None:
            return
        self._lost["lost_worker"] += 1
        self._stillborn += not answer.began
        if self._stillborn >= MOST_LOSSES:
            raise EngineError(
                f"{self.experiment.task}: {self._stillborn} workers in a row could not begin; the last one {answer.lost}"
            )

    def close(self) -> None:
        """See `engines.protocol.Engine.close`."""
        self.workforce.close()


__all__ = ["Answer", "Asked", "Order", "ShardedEngine", "Weights", "Workforce"]
