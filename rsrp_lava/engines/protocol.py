"""What every engine does, and what it reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Update
from rsrp_lava.network import LayeredNetwork, Network, ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser, Observations, Scaling


@dataclass(frozen=True)
class Outcome:
    """What samples earned, in their order."""

    returns: np.ndarray  #: float64, shape (samples,)
    steps: np.ndarray  #: int64, shape (samples,): environment steps played
    observations: Observations
    events: np.ndarray  #: int64, shape (3,): what integer arithmetic lost (kernels/arithmetic.EVENTS)
    #: Releases of each projection, uint64, shape (samples, words), until the next `play`; None: they are drawn again.
    released: Sequence[np.ndarray] | None = None
    #: What went wrong without ending the run: how often, by kind (docs/gym.md).
    faults: Mapping[str, int] = field(default_factory=dict)
    #: Bytes that were sent to other processes and back.
    traffic_bytes: int = 0
    #: What the networks answered, int64 (kernels/rollout.count_output); None: it was not counted.
    outputs: np.ndarray | None = None

    @property
    def valid(self) -> np.ndarray:
        """Returns of the samples whose environment did not fail."""
        return self.returns[np.isfinite(self.returns)]

    @property
    def mean(self) -> float | None:
        """Mean of `valid`; None if there is none. Finite, also where their sum is not."""
        return scaled(np.mean, self.valid)

    @property
    def std(self) -> float | None:
        """Standard deviation of `valid`; None if there is none. Finite, also where their squares are not."""
        return scaled(np.std, self.valid)

    @property
    def all_faults(self) -> Counter[str]:
        """`faults`, and as `not_finite` what `valid` lacks without one: returns of compiled episodes that overflow."""
        known = sum(self.faults.get(kind, 0) for kind in ("raised", "not_finite", "spaces"))
        overflowed = max(0, len(self.returns) - len(self.valid) - known)
        return Counter(self.faults) + Counter({"not_finite": overflowed})

    @property
    def shown_faults(self) -> str:
        """What went wrong, as text."""
        return ", ".join(f"{kind}: {count}" for kind, count in self.all_faults.items())

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """The outcome of samples that were played in parts, which are given in their order."""
        seen = [part.observations for part in parts]
        faults = sum((Counter(part.faults) for part in parts), Counter[str]())
        outputs = [part.outputs for part in parts if part.outputs is not None]
        return cls(
            np.concatenate([part.returns for part in parts]),
            np.concatenate([part.steps for part in parts]),
            Observations.joined(seen),
            np.sum([part.events for part in parts], axis=0),
            faults=faults,
            traffic_bytes=sum(part.traffic_bytes for part in parts),
            outputs=np.sum(outputs, axis=0) if len(outputs) == len(parts) else None,
        )


def scaled(statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> float | None:
    """A mean or standard deviation of finite values; None of no values.

    Of values whose sum or squares are beyond float64 it is taken of values / max |value|.
    """
    if len(values) == 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(statistic(values))
        if np.isfinite(found):
            return found
        largest = np.abs(values).max()
        return float(statistic(values / largest) * largest)


#: Next generation, its normaliser, mean reward of this one → what every plastic projection has become.
Learn = Callable[[int, Normaliser, float], dict[str, Update]]


class StartingState(Protocol):
    """The part of `learners.State` that an engine which learns starts from."""

    generation: int
    probabilities: ReleaseProbabilities
    optimizer: dict[str, OptimizerState]
    normaliser: Normaliser
    previous_mean: float | None


class Engine(Protocol):
    """Evaluates samples of a network. `play` has no side effects: the same arguments give the same bits."""

    name: str
    #: Holds the signal's number once someone asked to stop; an engine may then give up a `play` with `Interrupted`.
    stop: Sequence[int]
    stopping: str  #: what to tell the user who asked to stop

    @property
    def network(self) -> Network | LayeredNetwork:
        """What it evaluates."""
        ...

    def prepare(self, state: StartingState | None) -> None:
        """Compile kernels (or load them from the cache), so that `play` is timed without it. Call before `play`.

        An engine that learns starts from `state`.
        """
        ...

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
        """Play with each of `samples` networks drawn from `probabilities`: the population's `first` and those after it.

        `deterministic`: θ = [ρ > ½] in every sample, which then differ in their start only (evaluation).
        `episodes`: that every training sample plays, if not as many as in training; the first of them are the same.
        """
        ...

    def play_blindly(self, episodes: int, first: int = 0) -> Outcome:
        """Play the evaluation's episodes `first` … of generation 0 without a network, with outputs uniform in [−1, 1).

        As outputs become actions, those are uniform samples of the action space; a number without bounds is uniform in
        [−1, 1). An episode whose environment fails returns NaN. Of test images: 1 where the class is the most frequent one.
        """
        ...

    @property
    def learn(self) -> Learn | None:
        """None, or how the engine learns by itself after `play` of the samples (`engines.lava.LavaEngine.learn`)."""
        ...

    def close(self) -> None:
        """Release threads, processes and shared memory."""
        ...
