"""The fused engine: networks and task compiled into one kernel, samples spread over threads."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from rsrp_lava.engines.baseline import WithoutNetwork
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.arithmetic import EVENTS, NetworkConstants
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.held import Held
from rsrp_lava.kernels.random_bits import EVALUATION
from rsrp_lava.kernels.rollout import Synapses, Tally, no_outputs, play_episodes, specialise, task_functions
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import Network, ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser, Observations, Scaling
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.threads import Spares, Threads


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
        episodes: int = 1,
    ) -> None:
        """`episodes`: that a training sample plays; evaluation samples play one."""
        self.network, self.task, self.seed, self.draw, self.threads = network, task, seed, draw, threads
        self._constants, self._episodes = constants, episodes
        self._without_network = WithoutNetwork(task, seed)
        self._states = Spares(task.open_state)  # kept: a simulation's is expensive to make

    def prepare(self, start: object = None) -> None:
        """See `engines.protocol.Engine.prepare`."""
        network, task = self.network, self.task
        half = network.initial_probabilities(
            {p.name: np.zeros((p.n_pre, p.n_post), bool) for p in network.projections if not p.plastic}
        )
        tally = self._tally(0)
        with self._states.one() as state:
            for deterministic in (False, True):  # they differ in type where a shift register draws
                arguments = self._arguments(half, Normaliser.start(task.n_observations), 0, deterministic)
                specialise(play_episodes, self._functions, *arguments, state.values, (0, 0), tally)
        self._without_network.prepare()

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
        """See `engines.protocol.Engine.play`."""
        if samples < 1:
            raise ExperimentError(f"samples: {samples} must be 1 or more; a population of none has no mean")
        arguments = self._arguments(probabilities, normaliser, generation, deterministic, episodes)
        returns, steps = np.zeros(samples), np.zeros(samples, np.int64)
        # One tally per thread: its sums go on from piece to piece.
        tallies = Spares(lambda: self._tally(0, summed=not deterministic))

        def work(begin: int, end: int) -> None:
            with tallies.one() as tally, self._states.one() as state:
                these = tally._replace(returns=returns[begin:end], steps=steps[begin:end])
                play_episodes(self._functions, *arguments, state.values, (first + begin, first + end), these)

        self.threads.map_ranges(work, samples, self.task.samples_per_piece)
        seen = Observations.none(self.task.n_observations)
        if not deterministic:
            seen = Observations.joined([Observations.of(tally.observation_sums) for tally in tallies.made])
        events, outputs = (
            np.sum([getattr(tally, name) for tally in tallies.made], axis=0) for name in ("events", "outputs")
        )
        return Outcome(returns, steps, seen, events, outputs=outputs)

    def play_blindly(self, episodes: int, first: int = 0) -> Outcome:
        """See `engines.protocol.Engine.play_blindly`."""
        return self._without_network.play(episodes, first)

    @functools.cached_property
    def _functions(self) -> Held:
        return task_functions(self.task.reset, self.task.observe, self.task.step)

    def _tally(self, samples: int, summed: bool = True) -> Tally:
        sums, events = np.zeros((self.task.n_observations * summed, PLACES), np.int64), np.zeros(len(EVENTS), np.int64)
        return Tally(np.zeros(samples), np.zeros(samples, np.int64), sums, events, no_outputs(self.task.n_outputs))

    def _arguments(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Scaling,
        generation: int,
        deterministic: bool,
        episodes: int | None = None,
    ) -> tuple[Any, ...]:
        """What all pieces of one `play` share, in the order of `play_episodes`."""
        task = self.task
        sources = self.draw.sources(self.network.projections, probabilities, deterministic, self.threads.map_ranges)
        episodes = 1 if deterministic else episodes or self._episodes
        sizes = (task.random_size, task.n_observations, task.n_outputs, task.max_steps, episodes, int(task.shared_starts))
        key = (self.seed, generation, EVALUATION if deterministic else 0)
        return (Synapses(*sources), self._constants, normaliser.mean, normaliser.inverse_std, sizes, key)

    def close(self) -> None:
        """See `engines.protocol.Engine.close`."""
        self.threads.close()


__all__ = ["FusedEngine"]
