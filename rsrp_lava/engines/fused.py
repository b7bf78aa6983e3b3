"""The fused engine: networks and task compiled into one kernel, samples spread over threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsrp_lava.engines.protocol import Normaliser, Observations, Outcome
from rsrp_lava.engines.threads import Threads
from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.neurons import LifConstants
from rsrp_lava.kernels.random_bits import EVALUATION, RESERVOIR
from rsrp_lava.kernels.release import bit_planes, draw_release, pack_bits, unpack_bits
from rsrp_lava.kernels.rollout import STATISTIC_UNIT, NetworkConstants, Synapses, Tally, play_episodes, specialise
from rsrp_lava.network import Network, Projection, ReleaseProbabilities
from rsrp_lava.tasks import EpisodeTask

#: Samples a piece of work: small, because episodes end at different times.
_SAMPLES_PER_PIECE = 8


def network_constants(network: Network) -> NetworkConstants:
    """The network's constants as the kernels take them: float32, each rounded once from float64."""
    o = network.options
    alpha_mem, alpha_out = network.decay(o.tau_mem_ms), network.decay(o.tau_out_ms)
    return NetworkConstants(
        lif=LifConstants(
            alpha_syn=np.float32(network.decay(o.tau_syn_ms)),
            weight=np.float32(network.recurrent_weight),
            alpha_mem=np.float32(alpha_mem),
            gain=np.float32(1 - alpha_mem),
            v_threshold=np.float32(o.v_threshold),
            v_reset=np.float32(o.v_reset),
        ),
        input_weight=np.float32(network.input_weight),
        alpha_out=np.float32(alpha_out),
        trace_gain=np.float32((1 - alpha_out) / o.dt_ms),
        output_weight=np.float32(network.output_weight),
        substeps=network.substeps,
        excitatory=pack_bits(network.excitatory[None, :]),
        n_neurons=o.n_neurons,
    )


def projection_planes(projection: Projection, probability: np.ndarray, p_bits: int, sampled: bool) -> np.ndarray:
    """Bit planes of a projection; one plane, the release [ρ > ½] itself, if it is frozen or not `sampled`."""
    rows = projection.to_rows(probability)
    if sampled and projection.plastic:
        return bit_planes(rows, p_bits)
    return pack_bits(rows > 0.5)[None, :]


def reservoir_release(projection: Projection, seed: int) -> np.ndarray:
    """A frozen projection's release: one draw at probability one half, the same for every sample and generation."""
    planes = bit_planes(np.full(projection.rows_shape, 0.5, np.float32), p_bits=1)
    words = np.zeros(planes.shape[1], np.uint64)
    draw_release(planes, seed, 0, 0, RESERVOIR, words)
    return projection.from_rows(unpack_bits(words, projection.rows_shape))


class FusedEngine:
    """Plays a compiled task with samples of a network, every sample's episode in one go on one thread."""

    name = "fused"
    learn = None
    stopping = "stopping after the generation in flight (again: at once)"
    stop: Sequence[int] = ()

    def __init__(self, network: Network, task: EpisodeTask, seed: int, p_bits: int, threads: Threads) -> None:
        self.network, self.task, self.seed, self.p_bits, self.threads = network, task, seed, p_bits, threads
        self._constants = network_constants(network)
        self._functions = (task.reset, task.observe, task.step)

    def prepare(self, state: object = None) -> None:
        """See `engines.protocol.Engine.prepare`."""
        network, task = self.network, self.task
        half = network.initial_probabilities(
            {p.name: np.zeros((p.n_pre, p.n_post), bool) for p in network.projections if not p.plastic}
        )
        arguments = self._arguments(half, Normaliser.start(task.n_observations), 0, deterministic=False)
        tally = Tally(np.zeros(0), np.zeros(0, np.int64), np.zeros((2, task.n_observations), np.int64))
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
        sums: list[np.ndarray] = []

        def work(first: int, last: int) -> None:
            observed = np.zeros((2, self.task.n_observations), np.int64)
            play_episodes(self._functions, *arguments, (first, last), Tally(returns, steps, observed))
            sums.append(observed)

        self.threads.map_ranges(work, samples, _SAMPLES_PER_PIECE)
        count = float(steps.sum())
        total = np.sum(sums, axis=0, dtype=np.int64).astype(np.float64) * STATISTIC_UNIT
        return Outcome(returns, steps, Observations(count, total[0] / count, total[1] / count))

    def _arguments(
        self, probabilities: ReleaseProbabilities, normaliser: Normaliser, generation: int, deterministic: bool
    ) -> tuple[Any, ...]:
        """What all pieces of one `play` share, in the order of `play_episodes`."""
        task = self.task
        planes = (
            projection_planes(p, probabilities[p.name], self.p_bits, not deterministic) for p in self.network.projections
        )
        mean = normaliser.mean.astype(np.float32)
        inverse_std = (1.0 / normaliser.std).astype(np.float32)
        sizes = (task.state_size, task.random_size, task.n_observations, task.n_outputs, task.max_steps)
        key = (self.seed, generation, EVALUATION if deterministic else 0)
        return (Synapses(*planes), self._constants, mean, inverse_std, sizes, key)

    def close(self) -> None:
        """See `engines.protocol.Engine.close`."""
        self.threads.close()


__all__ = ["FusedEngine", "network_constants", "projection_planes", "reservoir_release"]
