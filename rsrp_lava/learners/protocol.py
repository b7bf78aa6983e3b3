"""What training asks of whatever learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.experiment import Experiment
from rsrp_lava.run_folder import Checkpoint

#: One generation's record: a line of metrics.jsonl.
Record = dict[str, Any]


class LearnerState(Protocol):
    """All that learning changes; a checkpoint holds exactly this."""

    generation: int  #: generations finished
    seconds: float  #: of training, in all sittings
    sampled_return: float | None  #: mean of the last generation's training episodes; None: all failed, or there is none
    env_steps: int

    def to_checkpoint(self, experiment: Experiment) -> Checkpoint:
        """As arrays and numbers; the inverse is the class's `from_checkpoint`."""
        ...


class Learner(Protocol):
    """Plays and learns, a generation at a time. The same state and generation give the same bits."""

    state: Any  #: a LearnerState
    #: Holds the signal's number once someone asked to stop; a learner may then give up what it does with `Interrupted`.
    stop: Sequence[int]
    stopping: str  #: what to tell the user who asked to stop

    def prepare(self) -> None:
        """Compile kernels (or load them from the cache), so that what follows is timed without it."""
        ...

    def evaluate(self, episodes: int) -> Outcome:
        """Play deterministic episodes with what was learned so far; nothing changes."""
        ...

    def advance(self, evaluation: Outcome | None, compare: bool = False) -> Record:
        """One generation: `state` moves on by one. `evaluation`: what was played before it, for the record.

        `compare`: also measure how much of the variance of returns is the networks' (`network_share`), if that is possible.
        """
        ...

    def final_record(self, evaluation: Outcome) -> Record:
        """The last evaluation, after the last update: a record of its own, without training episodes."""
        ...

    def summary(self) -> Record:
        """What `--json` says of what was learned."""
        ...

    def close(self) -> None:
        """Release threads, processes and shared memory."""
        ...


def evaluation_record(evaluation: Outcome) -> Record:
    """Mean and standard deviation over the episodes that did not fail."""
    return {"evaluation_return": evaluation.mean, "evaluation_std": evaluation.std}
