"""Environments that are stepped in Python: one environment, one thread; shards.py spreads samples over processes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.errors import EngineError
from rsrp_lava.kernels.arithmetic import EVENTS, NetworkConstants
from rsrp_lava.kernels.baseline import random_output
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.held import Held, hold
from rsrp_lava.kernels.random_bits import EVALUATION, MEMBRANE, fill_start, fill_uniform
from rsrp_lava.kernels.rollout import (
    NetworkState,
    Synapses,
    Tally,
    act,
    allocate_state,
    draw_sample,
    no_outputs,
    start_episode,
)
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import Network, ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser, Observations, Scaling
from rsrp_lava.tasks import GymTask
from rsrp_lava.tasks.gym import Environment, EpisodeFault


class _Playing(NamedTuple):
    """What the samples of one `play` share."""

    synapses: Synapses
    state: NetworkState
    tally: Tally
    held: Held  #: for `act`: (state, constants, mean and 1 / standard deviation of observations, tally)


class GymEngine:
    """Plays each sample's episodes in one environment, with a call of a kernel an environment step."""

    name = "fused"
    learn = None
    stopping = "stopping after the generation in flight (again: at once)"
    stop: Sequence[int] = ()

    def __init__(self, network: Network, constants: NetworkConstants, task: GymTask, seed: int, draw: ReleaseDraw) -> None:
        self.network, self.task, self.seed = network, task, seed
        #: Makes the environment; may be replaced by what makes one that is watched (recording.py).
        self.open_environment: Callable[[], Environment] = functools.partial(Environment, task.gymnasium_id, task.options)
        #: Called before every call of the environment.
        self.pulse: Callable[[], None] = lambda: None
        self._constants, self._draw = constants, draw
        self._environment: Environment | None = None

    def prepare(self, start: object = None) -> None:
        """See `engines.protocol.Engine.prepare`."""
        frozen = {p.name: np.zeros((p.n_pre, p.n_post), bool) for p in self.network.projections if not p.plastic}
        half = self.network.initial_probabilities(frozen)
        observation = np.zeros(self.task.n_observations)
        for deterministic in (False, True):  # they differ in type where a shift register draws
            playing = self._open(half, Normaliser.start(self.task.n_observations), deterministic)
            for potentials, _ in self._start(playing, (self.seed, 0, 0), 0, 1):
                start_episode(playing.state, self._constants, potentials)
                act(playing.held, observation)
        random_output(self.seed, 0, 0, 1.0, np.zeros(self.task.n_outputs, np.float32))

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
        """See `engines.protocol.Engine.play`. A sample whose environment fails returns NaN, if it is to rank worst.

        Raises `EngineError` if it is not.
        """
        playing = self._open(probabilities, normaliser, deterministic)
        returns, steps, faults = np.zeros(samples), np.zeros(samples, np.int64), Counter[str]()
        key = (self.seed, generation, EVALUATION if deterministic else 0)
        episodes = 1 if deterministic else episodes or self.task.options.episodes_per_sample
        for k in range(samples):
            try:
                for potentials, seed in self._start(playing, key, first + k, episodes):
                    start_episode(playing.state, self._constants, potentials)
                    earned, played = self._episode(playing, seed)
                    returns[k] += earned / episodes
                    steps[k] += played
                if not np.isfinite(returns[k]):
                    raise EpisodeFault("not_finite", f"finite rewards add up to {returns[k]}")
            except EpisodeFault as fault:
                if self.task.options.on_error == "fail":
                    raise EngineError(
                        f"{self.task.name}: {fault} (generation {generation}, sample {first + k}); mend the environment, or "
                        "go on without such samples: environment.on_error worst_rank (--on-error worst_rank)"
                    ) from fault
                returns[k] = np.nan
                faults[fault.kind] += 1
                self.close()  # what is left of it may be broken
        tally = playing.tally
        seen = Observations.none(self.task.n_observations) if deterministic else Observations.of(tally.observation_sums)
        return Outcome(returns, steps, seen, tally.events, faults=faults, outputs=tally.outputs)

    def play_blindly(self, episodes: int, first: int = 0) -> Outcome:
        """See `engines.protocol.Engine.play_blindly`. In environments that are made for it, and closed after it."""
        returns, steps = np.zeros(episodes), np.zeros(episodes, np.int64)
        self.close()
        for k in range(episodes):
            start = np.empty(1)
            fill_start(self.seed, 0, EVALUATION, first + k, False, start)
            try:
                returns[k], steps[k] = self._random_episode(first + k, int(start[0] * 2**31))
            except EpisodeFault:  # it counts where networks meet it
                returns[k] = np.nan
                self.close()
        self.close()
        return Outcome(returns, steps, Observations.none(self.task.n_observations), np.zeros(len(EVENTS), np.int64))

    def _random_episode(self, episode: int, seed: int) -> tuple[float, int]:
        """Return and environment steps."""
        environment, output = self._opened(), np.zeros(self.task.n_outputs, np.float32)
        environment.reset(seed)
        total, steps, ended = 0.0, 0, False
        while steps < self.task.max_steps and not ended:
            random_output(self.seed, episode, steps, 1.0, output)
            self.pulse()
            _, reward, ended = environment.step(output)
            total += reward
            steps += 1
        return total, steps

    def _open(self, probabilities: ReleaseProbabilities, normaliser: Scaling, deterministic: bool) -> _Playing:
        synapses = Synapses(*self._draw.sources(self.network.projections, probabilities, deterministic))
        d = self.task.n_observations
        state = allocate_state(synapses, self._constants, d, self.task.n_outputs)
        sums, events = np.zeros((0 if deterministic else d, PLACES), np.int64), np.zeros(len(EVENTS), np.int64)
        tally = Tally(np.zeros(0), np.zeros(0, np.int64), sums, events, no_outputs(self.task.n_outputs))
        held = hold((state, self._constants, normaliser.mean, normaliser.inverse_std, tally))
        return _Playing(synapses, state, tally, held)

    def _start(
        self, playing: _Playing, key: tuple[int, int, int], sample: int, episodes: int
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Draw a sample's synapses; of each of its episodes the initial potentials and the environment's seed."""
        seed, generation, phase = key
        draw_sample(playing.state, playing.synapses, key, sample)
        potentials, seeds = np.empty((episodes, self._constants.n_neurons)), np.empty(episodes)
        fill_uniform(seed, generation, sample, MEMBRANE + phase, potentials.reshape(-1))
        fill_start(seed, generation, phase, sample, self.task.options.starts == "shared", seeds)
        return zip(potentials, (seeds * 2**31).astype(int).tolist(), strict=True)

    def _episode(self, playing: _Playing, seed: int) -> tuple[float, int]:
        """Return and environment steps of one episode."""
        environment, held, output = self._opened(), playing.held, playing.state.output
        observation, total, steps, ended = environment.reset(seed), 0.0, 0, False
        while steps < self.task.max_steps and not ended:
            if not act(held, observation):
                raise EpisodeFault("not_finite", f"observation {steps} of the episode with seed {seed} is not finite")
            self.pulse()
            observation, reward, ended = environment.step(output)
            total += reward
            steps += 1
        return total, steps

    def _opened(self) -> Environment:
        self.pulse()
        if self._environment is None:
            self._environment = self.open_environment()
        self.pulse()
        return self._environment

    def close(self) -> None:
        """Close the environment; the next episode makes a new one."""
        if self._environment is not None:
            environment, self._environment = self._environment, None
            environment.close()


__all__ = ["GymEngine"]
