"""The fused engine: networks and task compiled into one kernel, samples spread over threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from rsrp_lava.engines.protocol import Normaliser, Observations, Outcome
from rsrp_lava.engines.threads import Threads
from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.arithmetic import EVENTS, NetworkConstants
from rsrp_lava.kernels.random_bits import EVALUATION
from rsrp_lava.kernels.rollout import STATISTIC_UNIT, Synapses, Tally, play_episodes, specialise
from rsrp_lava.mapping.release import ReleaseDraw, fixed_release
from rsrp_lava.network import Network, ReleaseProbabilities
from rsrp_lava.tasks import EpisodeTask

#: Samples a piece of work: small, because episodes end at different times.
_SAMPLES_PER_PIECE = 8


class FusedEngine:
    """Plays a compiled task with samples of a network, every sample's episode in one go on one thread."""

    name = "fused"
    learn = None
    stopping = "stopping after the generation in flight (again: at once)"
    stop: Sequence[int] = ()

    def __init__(
        self,
        network: Network,
        constants: NetworkConstants,
        task: EpisodeTask,
        seed: int,
        draw: ReleaseDraw,
        threads: Threads,
    ) -> None:
        self.network, self.task, self.seed, self.draw, self.threads = network, task, seed, draw, threads
        self._constants = constants
        self._functions = (task.reset, task.observe, task.step)

    def prepare(self, state: object = None) -> None:
        """See `engines.protocol.Engine.prepare`."""
        network, task = self.network, self.task
        half = network.initial_probabilities(
            {p.name: np.zeros((p.n_pre, p.n_post), bool) for p in network.projections if not p.plastic}
        )
        tally = Tally(np.zeros(0), np.zeros(0, np.int64), *self._sums())
        for deterministic in (False, True):  # they differ in type where a shift register draws
            arguments = self._arguments(half, Normaliser.start(task.n_observations), 0, deterministic)
            specialise(play_episodes, self._functions, *arguments, (0, 0), tally)

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Normaliser,
        generation: int,
        samples: int,
        deterministic: bool = False,
    ) -> Outcome:
        """See `engines.protocol.Engine.play`."""
        if samples < 1:
            raise ExperimentError(f"samples: {samples} must be 1 or more; a population of none has no mean")
        arguments = self._arguments(probabilities, normaliser, generation, deterministic)
        returns, steps = np.zeros(samples), np.zeros(samples, np.int64)
        observed, events = self._sums()
        adding = threading.Lock()

        def work(first: int, last: int) -> None:
            tally = Tally(returns, steps, *self._sums())
            play_episodes(self._functions, *arguments, (first, last), tally)
            with adding:
                observed[:] += tally.observation_sums
                events[:] += tally.events

        self.threads.map_ranges(work, samples, _SAMPLES_PER_PIECE)
        count = float(steps.sum())
        total = observed.astype(np.float64) * STATISTIC_UNIT
        return Outcome(returns, steps, Observations(count, total[0] / count, total[1] / count), events)

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((2, self.task.n_observations), np.int64), np.zeros(len(EVENTS), np.int64)

    def _arguments(
        self, probabilities: ReleaseProbabilities, normaliser: Normaliser, generation: int, deterministic: bool
    ) -> tuple[Any, ...]:
        """What all pieces of one `play` share, in the order of `play_episodes`."""
        task = self.task
        sources = (
            fixed_release(p, probabilities[p.name] > 0.5) if deterministic else self.draw.source(p, probabilities[p.name])
            for p in self.network.projections
        )
        mean = normaliser.mean.astype(np.float32)
        inverse_std = (1.0 / normaliser.std).astype(np.float32)
        sizes = (task.state_size, task.random_size, task.n_observations, task.n_outputs, task.max_steps)
        key = (self.seed, generation, EVALUATION if deterministic else 0)
        return (Synapses(*sources), self._constants, mean, inverse_std, sizes, key)

    def close(self) -> None:
        """See `engines.protocol.Engine.close`."""
        self.threads.close()


__all__ = ["FusedEngine"]
