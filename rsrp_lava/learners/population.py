"""A population of sampled networks, played by an engine, that learns by its release probabilities: RSRP and its kin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsrp_lava.arrays import Layout, Values
from rsrp_lava.engines.protocol import Engine, Outcome
from rsrp_lava.experiment import Experiment
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.ranges import in_turn
from rsrp_lava.learners.baselines import baselines_record, play_few
from rsrp_lava.learners.protocol import Record, evaluation_record
from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Update, entropy_bits, histogram, release_credit, stored_credit, update_ratio
from rsrp_lava.learning.transforms import TRANSFORMS, mean_reward
from rsrp_lava.network import Projection, ReleaseProbabilities, release_sha256
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.run_folder import Checkpoint
from rsrp_lava.threads import Threads

_NORMALISER = "normaliser/"
#: Of numbers that optimizers keep, by name: squares and sums of weights, and products of factors below 1.
_LIMITS = {"square": (0.0,), "signal": (0.0,), "decay": (0.0, 1.0)}
#: Networks that are played a second time to compare them.
_COMPARED = 128


@dataclass
class State:
    """All that learning changes. A checkpoint holds exactly this."""

    generation: int
    probabilities: ReleaseProbabilities
    optimizer: dict[str, OptimizerState]
    normaliser: Normaliser
    previous_mean: float | None = None
    sampled_return: float | None = None
    env_steps: int = 0
    substeps: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, experiment: Experiment) -> State:
        """Before the first generation: every probability one half, a reservoir drawn."""
        from rsrp_lava.mapping.release import reservoir_release

        network, rule = experiment.build_network(), experiment.build_rule()
        frozen = {p.name: reservoir_release(p, experiment.seed) for p in network.projections if not p.plastic}
        probabilities = network.initial_probabilities(frozen)
        optimizer = {p.name: rule.start((p.n_pre, p.n_post)) for p in network.projections if p.plastic}
        return cls(0, probabilities, optimizer, Normaliser.start(network.n_observed, network.unscaled))

    def to_checkpoint(self, experiment: Experiment) -> Checkpoint:
        """The state as arrays and numbers."""
        arrays = {f"release/{name}": rho for name, rho in self.probabilities.items()}
        for name, slots in self.optimizer.items():
            arrays |= {f"optimizer/{name}/{slot}": array for slot, array in slots.items()}
        arrays |= {_NORMALISER + name: array for name, array in self.normaliser.to_arrays().items()}
        numbers = {
            "previous_mean": self.previous_mean,
            "sampled_return": self.sampled_return,
            "env_steps": self.env_steps,
            "substeps": self.substeps,
            "seconds": self.seconds,
        }
        return Checkpoint(experiment.fingerprint, self.generation, arrays, numbers)

    @classmethod
    def layouts(cls, experiment: Experiment) -> list[Layout]:
        """What a checkpoint of the experiment may hold: that of this version, then that of earlier ones."""
        network, rule, arrays = experiment.build_network(), experiment.build_rule(), {}
        for projection in network.projections:
            shape = (projection.n_pre, projection.n_post)
            arrays[f"release/{projection.name}"] = Values(np.dtype(np.float32), shape, 0.0, 1.0)
            if projection.plastic:
                for slot, array in rule.start(shape).items():
                    arrays[f"optimizer/{projection.name}/{slot}"] = Values.like(array, *_LIMITS.get(slot, ()))
        whole, real = frozenset({"env_steps", "substeps"}), frozenset({"previous_mean", "sampled_return", "seconds"})
        count = frozenset({"normaliser_count"})  # of an earlier version
        return [
            Layout({**arrays, **normaliser.arrays}, whole, real | count, normaliser.check)
            for normaliser in Normaliser.layouts(network.n_observed, _NORMALISER)
        ]

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, experiment: Experiment) -> State:
        """Inverse of `to_checkpoint`."""
        arrays, numbers = checkpoint.arrays, dict(checkpoint.numbers)
        optimizer: dict[str, OptimizerState] = {p.name: {} for p in experiment.build_network().projections if p.plastic}
        for key, array in arrays.items():
            if key.startswith("optimizer/"):
                _, name, slot = key.split("/")
                optimizer[name][slot] = array
        release = {key.removeprefix("release/"): rho for key, rho in arrays.items() if key.startswith("release/")}
        sums = {key.removeprefix(_NORMALISER): array for key, array in arrays.items() if key.startswith(_NORMALISER)}
        if "normaliser_count" in numbers:  # an earlier version
            sums["count"] = np.array(numbers.pop("normaliser_count"))
        normaliser = Normaliser.from_arrays(sums, experiment.build_network().unscaled)
        return cls(checkpoint.generation, release, optimizer, normaliser, **numbers)


class PopulationLearner:
    """One generation: draw, play, rank, broadcast, update."""

    def __init__(self, experiment: Experiment, engine: Engine, pool: Threads) -> None:
        self.experiment, self.engine, self.pool = experiment, engine, pool
        self.state = State.start(experiment)
        self.stopping = engine.stopping

    @property
    def stop(self) -> Sequence[int]:
        """See `learners.protocol.Learner.stop`."""
        return self.engine.stop

    @stop.setter
    def stop(self, received: Sequence[int]) -> None:
        self.engine.stop = received

    def prepare(self) -> None:
        """See `learners.protocol.Learner.prepare`."""
        self.engine.prepare(self.state)
        if self.engine.learn is not None:
            return
        two_samples = TRANSFORMS["centered_rank"](np.array([0.0, 1.0]), None)
        half, synapse = np.full((1, 1), 0.5, np.float32), Projection("one synapse", 1, 1, "post")
        draw = self.experiment.build_draw()
        release_credit(half, draw.source(synapse, half), two_samples, draw.p_bits, (0, 0, 0), in_turn)
        credit = stored_credit(half, two_samples, draw.p_bits, np.zeros((2, 1), np.uint64))
        rule = self.experiment.build_rule()
        rule.update(half, credit, two_samples, rule.start(half.shape))

    def evaluate(self, episodes: int) -> Outcome:
        """Episodes with θ = [ρ > ½]."""
        state = self.state
        return self.engine.play(state.probabilities, state.normaliser, state.generation, episodes, deterministic=True)

    def advance(self, evaluation: Outcome | None, compare: bool = False) -> Record:
        """See `learners.protocol.Learner.advance`."""
        experiment, engine, state = self.experiment, self.engine, self.state
        entropy, shapes = self._entropy(), self._histograms()
        sampled = engine.play(state.probabilities, state.normaliser, state.generation, experiment.population)
        measured = self._measure_once(evaluation) | (self._compare(sampled) if compare else {})
        normaliser, mean = state.normaliser.update(sampled.observations), mean_reward(sampled.returns)
        compared_with = state.previous_mean if mean is None else mean  # one that failed leaves the history
        if engine.learn is not None:
            updates = engine.learn(state.generation + 1, normaliser, compared_with or 0.0)
        else:
            updates = self._learn(sampled)
        for name, update in updates.items():
            state.probabilities[name], state.optimizer[name] = update.probability, update.optimizer
        state.normaliser, state.previous_mean = normaliser, compared_with
        state.sampled_return = mean
        state.env_steps += int(sampled.steps.sum())
        played = int(sampled.steps.sum()) + (int(evaluation.steps.sum()) if evaluation else 0)
        state.substeps += played * engine.network.substeps
        record = {
            "generation": state.generation,
            "sampled_return": state.sampled_return,
            "sampled_std": sampled.std,
            "tied_returns": tied_share(sampled.returns),
            **(evaluation_record(evaluation) if evaluation else {}),
            **answers_record("sampled", sampled),
            **(answers_record("evaluation", evaluation) if evaluation else {}),
            **measured,
            "entropy_bits": entropy,
            "update_ratio": {name: update_ratio([update]) for name, update in updates.items()},
            "update_ratio_in_all": update_ratio(updates.values()),
            **shapes,
            "env_steps": state.env_steps,
            **_engine_record([sampled, evaluation] if evaluation else [sampled]),
        }
        profile = experiment.hardware
        if profile.arithmetic == "integer":
            events = sampled.events + (evaluation.events if evaluation else 0)
            record["events"] = dict(zip(EVENTS, events.tolist(), strict=True))
        if profile.learning_storage.p_bits is not None:
            record |= _storage_record(updates)
        state.generation += 1
        return record

    def final_record(self, evaluation: Outcome) -> Record:
        """See `learners.protocol.Learner.final_record`."""
        state = self.state
        return {
            "generation": state.generation,
            **evaluation_record(evaluation),
            "entropy_bits": self._entropy(),
            **self._histograms(),
            "env_steps": state.env_steps,
            "seconds": state.seconds,
        }

    def summary(self) -> Record:
        """See `learners.protocol.Learner.summary`."""
        state = self.state
        return {
            "network_substeps_per_second": round(state.substeps / state.seconds) if state.seconds else None,
            "release_sha256": release_sha256(state.probabilities),
        }

    def close(self) -> None:
        """See `learners.protocol.Learner.close`."""
        self.engine.close()
        self.pool.close()

    def _measure_once(self, evaluation: Outcome | None) -> Record:
        """At generation 0 the baselines. Nothing releases in its evaluation, so no output is ever other than 0."""
        if self.state.generation > 0 or evaluation is None:
            return {}
        episodes = self.experiment.evaluation_episodes
        if self.experiment.classifies:
            return baselines_record(guess=self.engine.play_blindly(episodes))
        return baselines_record(nothing=evaluation, random=play_few(self.engine.play_blindly, episodes))

    def _compare(self, sampled: Outcome) -> Record:
        """Part of the variance of returns that comes from the networks: some are played again, with other starts.

        Correlation of both returns of a network; the rest of the variance is that of starts and of chance. Not for engine
        lava, whose graph plays a generation once, and images, which all networks see alike.
        """
        experiment, state = self.experiment, self.state
        if self.engine.learn is not None or experiment.classifies:
            return {}
        n, episodes = min(experiment.population, _COMPARED), experiment.environment.episodes_per_sample
        twice = self.engine.play(state.probabilities, state.normaliser, state.generation, n, episodes=2 * episodes)
        first = sampled.returns[:n]
        return {"network_share": share_of_networks(first, 2 * twice.returns - first)}

    def _learn(self, sampled: Outcome) -> dict[str, Update]:
        """Rank, broadcast, update: what every plastic projection becomes."""
        experiment, state = self.experiment, self.state
        rule, draw = experiment.build_rule(state.generation), experiment.build_draw()
        broadcast = TRANSFORMS[experiment.reward_transform](sampled.returns, state.previous_mean)
        updates = {}
        for index, projection in enumerate(self.engine.network.projections):
            if projection.plastic:
                name = projection.name
                rows = projection.to_rows(state.probabilities[name])
                key = (experiment.seed, state.generation, index)
                if sampled.released is not None:
                    credit = stored_credit(rows, broadcast, draw.p_bits, sampled.released[index], self.pool.map_ranges)
                else:
                    source = draw.source(projection, state.probabilities[name], self.pool.map_ranges)
                    credit = release_credit(rows, source, broadcast, draw.p_bits, key, self.pool.map_ranges)
                by_synapse = projection.from_rows(credit)
                rho, optimizer = state.probabilities[name], state.optimizer[name]
                updates[name] = rule.update(rho, by_synapse, broadcast, optimizer, key, self.pool.map_ranges)
        return updates

    def _entropy(self) -> dict[str, float]:
        return {name: entropy_bits(rho, self.pool.map_ranges) for name, rho in self.state.probabilities.items()}

    def _histograms(self) -> Record:
        """Of the release probabilities there are, in the generations that were chosen for it."""
        if self.state.generation not in self.experiment.histograms_at:
            return {}
        return {"histogram": {name: histogram(rho).tolist() for name, rho in self.state.probabilities.items()}}


def share_of_networks(first: np.ndarray, second: np.ndarray) -> float | None:
    """Part of the variance of returns that is the networks': the intraclass correlation of two returns of each network.

        (s₊² − s₋²) / (s₊² + s₋²),   s±²: variance of first ± second              (Fisher 1925, §38, of pairs)

    A negative estimate is 0; networks that failed do not count. None if no returns differ, or there are fewer than three.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return None
    plus, minus = (float(of_pairs[both].var()) for of_pairs in (first + second, first - second))
    return max(0.0, (plus - minus) / (plus + minus)) if plus + minus > 0 else None


def tied_share(returns: np.ndarray) -> float:
    """Part of the samples that have the return which most have; failed ones count as one return."""
    return float(np.unique(returns, return_counts=True)[1].max() / len(returns))


def answers_record(whose: str, played: Outcome) -> Record:
    """Parts of the environment steps in which every output was 0, was at its limit, and was the commonest choice."""
    if played.outputs is None or not played.outputs[2:].any():
        return {}
    silent, at_limit, *choices = (played.outputs / played.outputs[2:].sum()).tolist()
    return {f"{whose}_outputs": {"silent": silent, "at_limit": at_limit, "same_choice": max(choices)}}


def _storage_record(updates: dict[str, Update]) -> Record:
    """What few-bit probabilities do: the part of the updates that rounding took away, and of synapses stuck at 0 or 1."""
    asked, lost = (sum(getattr(update, field) for update in updates.values()) for field in ("asked", "lost"))
    plastic = [update.probability for update in updates.values()]
    stuck = sum(int(((rho == 0) | (rho == 1)).sum()) for rho in plastic)
    return {"lost_updates": lost / max(1, asked), "stuck": stuck / sum(rho.size for rho in plastic)}


def _engine_record(played: list[Outcome]) -> Record:
    """What went wrong, and what other processes cost, if anything."""
    faults, traffic = sum((part.all_faults for part in played), Counter[str]()), sum(part.traffic_bytes for part in played)
    return {**({"faults": dict(faults)} if faults else {}), **({"traffic_bytes": traffic} if traffic else {})}
