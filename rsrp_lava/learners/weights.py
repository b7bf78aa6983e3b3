"""A rule that keeps weights, at work on a task: a generation is as many training episodes as the population counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rsrp_lava.arrays import Layout
from rsrp_lava.engines.baseline import WithoutNetwork, guess
from rsrp_lava.engines.lava import LavaRule
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.experiment import Experiment, no_release
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.learners.baselines import baselines_record, play_few
from rsrp_lava.learners.protocol import Record, evaluation_record
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser, Observations
from rsrp_lava.rules import Memory, Played, weights
from rsrp_lava.run_folder import Checkpoint
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.tasks.data import load_data
from rsrp_lava.threads import Threads

_MEMORY = "memory/"


@dataclass
class WeightState:
    """All that learning changes. A checkpoint holds exactly this."""

    generation: int
    rule: str
    memory: Memory
    sampled_return: float | None = None
    env_steps: int = 0
    updates: int = 0
    seconds: float = 0.0

    def to_checkpoint(self, experiment: Experiment) -> Checkpoint:
        """The state as arrays and numbers."""
        arrays = {_MEMORY + name: array for name, array in self.memory.items()}
        numbers = {name: getattr(self, name) for name in ("sampled_return", "env_steps", "updates", "seconds")}
        return Checkpoint(experiment.fingerprint, self.generation, arrays, numbers)

    @classmethod
    def layouts(cls, experiment: Experiment) -> list[Layout]:
        """What a checkpoint of the experiment may hold: that of this version, then those of earlier ones."""
        whole, real = frozenset({"env_steps", "updates"}), frozenset({"sampled_return", "seconds"})
        return [
            Layout({_MEMORY + name: values for name, values in kept.arrays.items()}, whole, real, _unprefixed(kept.check))
            for kept in experiment.build_weight_rule(experiment.seed).layouts()
        ]

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, experiment: Experiment) -> WeightState:
        """Inverse of `to_checkpoint`."""
        memory = {name.removeprefix(_MEMORY): array for name, array in checkpoint.arrays.items()}
        return cls(checkpoint.generation, experiment.rule, memory, **checkpoint.numbers)

    @property
    def probabilities(self) -> ReleaseProbabilities:
        """There are none: `ExperimentError`."""
        raise no_release(self.rule)

    @property
    def normaliser(self) -> Normaliser:
        """There is none: `ExperimentError`."""
        raise no_release(self.rule)


def _unprefixed(check: Callable[[Mapping[str, np.ndarray]], None]) -> Callable[[Mapping[str, np.ndarray]], None]:
    """A check of the memory, for a checkpoint's arrays."""
    return lambda arrays: check({name.removeprefix(_MEMORY): array for name, array in arrays.items()})


class WeightLearner:
    """Hands the rule its episodes, and keeps count."""

    stopping = "stopping after the generation in flight (again: at once)"

    def __init__(self, experiment: Experiment, threads: Threads, seed: int) -> None:
        self.experiment, self.threads = experiment, threads
        self._rule = experiment.build_weight_rule(seed)
        self._stop: Sequence[int] = ()
        self._graph: LavaRule | None = None
        if experiment.engine == "lava":
            self._graph = LavaRule(experiment, self._rule, seed)
            self.stopping = self._graph.stopping
        task = experiment.build_task()
        self._without_network = WithoutNetwork(task, seed) if isinstance(task, EpisodeTask) else None
        self._n_inputs = getattr(experiment.build_task(), "n_observations", 0)
        self.state = WeightState(0, experiment.rule, self._rule.start())

    @property
    def stop(self) -> Sequence[int]:
        """See `learners.protocol.Learner.stop`."""
        return self._stop

    @stop.setter
    def stop(self, received: Sequence[int]) -> None:
        self._stop = received
        if self._graph is not None:
            self._graph.stop = received

    def prepare(self) -> None:
        """See `learners.protocol.Learner.prepare`."""
        (self._rule if self._graph is None else self._graph).prepare(self.state.memory)
        if self._without_network is not None:
            self._without_network.prepare()

    def evaluate(self, episodes: int) -> Outcome:
        """See `learners.protocol.Learner.evaluate`."""
        return self._outcome(self._rule.evaluate(self.state.memory, self.state.generation, episodes, self.threads))

    def advance(self, evaluation: Outcome | None, compare: bool = False) -> Record:
        """See `learners.protocol.Learner.advance`; a generation has no networks to compare."""
        state = self.state
        measured = self._measure_once() if state.generation == 0 else {}
        played = self._play()
        outcome = self._outcome(played)
        state.sampled_return = outcome.mean
        state.env_steps += int(played.steps.sum())
        state.updates += played.updates
        record = {
            "generation": state.generation,
            "sampled_return": state.sampled_return,
            "sampled_std": outcome.std,
            **(evaluation_record(evaluation) if evaluation else {}),
            **measured,
            "measures": played.measures,
            "env_steps": state.env_steps,
            "updates": state.updates,
            **({"faults": dict(outcome.all_faults)} if outcome.all_faults else {}),
        }
        state.generation += 1
        return record

    def _measure_once(self) -> Record:
        """The baselines."""
        play, episodes = self._without_network, self.experiment.evaluation_episodes
        if play is None:
            data = load_data(self.experiment.task, self.experiment.data, self.experiment.environment.observation_noise)
            return baselines_record(guess=guess(data, episodes))
        nothing = play_few(lambda count, first: play.play(count, first, 0.0), episodes)
        return baselines_record(nothing=nothing, random=play_few(play.play, episodes))

    def _play(self) -> Played:
        """The training episodes of a generation, and what is learned from them."""
        state, episodes = self.state, self.experiment.population
        if self._graph is not None:
            return self._graph.learn(state.memory, state.generation, episodes)
        return self._rule.learn(state.memory, state.generation, episodes, self.threads)

    def final_record(self, evaluation: Outcome) -> Record:
        """See `learners.protocol.Learner.final_record`."""
        state = self.state
        return {
            "generation": state.generation,
            **evaluation_record(evaluation),
            "env_steps": state.env_steps,
            "updates": state.updates,
            "seconds": state.seconds,
        }

    def summary(self) -> Record:
        """See `learners.protocol.Learner.summary`."""
        return {"updates": self.state.updates, "weights_sha256": weights_sha256(weights(self.state.memory))}

    def close(self) -> None:
        """See `learners.protocol.Learner.close`."""
        if self._graph is not None:
            self._graph.close()
        self.threads.close()

    def _outcome(self, played: Played) -> Outcome:
        seen = Observations.none(self._n_inputs)
        return Outcome(played.returns, played.steps, seen, np.zeros(len(EVENTS), np.int64))


def weights_sha256(learned: Memory) -> str:
    """SHA-256 of all weights: little-endian, in the order of their names."""
    digest = hashlib.sha256()
    for _, array in sorted(learned.items()):
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
