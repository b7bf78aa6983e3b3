"""Where the evaluation episodes of a run start: the same random numbers that the engines draw."""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.deployed import NETWORK_STRIDE
from rsrp_lava.kernels.random_bits import EVALUATION, MEMBRANE, TASK, fill_uniform
from rsrp_lava.tasks import EpisodeTask


def start_of(
    task: EpisodeTask, n_neurons: int, networks: int, seed: int, generation: int, episode: int
) -> tuple[np.ndarray, np.ndarray]:
    """Task state (float64) and uniform numbers of the initial potentials (float64, shape (networks, n_neurons))."""
    random, state = np.empty(task.random_size), np.zeros(task.state_size)
    fill_uniform(seed, generation, episode, TASK + EVALUATION, random)
    if task.starts is None:
        task.reset(state, random)
    else:
        state[:] = task.starts[episode]
    uniform = np.empty((networks, n_neurons))
    for k in range(networks):
        fill_uniform(seed, generation, k * NETWORK_STRIDE + episode, MEMBRANE + EVALUATION, uniform[k])
    return state, uniform
