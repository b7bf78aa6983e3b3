"""Test images as episodes of one step, for deployed spiking networks: seen, classified, done.

| | |
|---|---|
| observation | pixels, 0 … 255, less the data set's `zero` |
| action | the class with the largest output (the first of equal ones) |
| reward | 1 for the right class, else 0 |
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rsrp_lava.tasks.actions import first_largest
from rsrp_lava.tasks.base import ClassifyTask, EpisodeTask
from rsrp_lava.tasks.data import DataSet


@njit
def reset(state, random):
    """Episodes start from `EpisodeTask.starts`."""
    state[:] = 0.0


@njit
def observe(state, observation):
    """The pixels; the label comes first."""
    for k in range(observation.shape[0]):
        observation[k] = np.float32(state[1 + k])


@njit
def step(state, output):
    """Classify."""
    return 1.0 if first_largest(output) == np.int64(state[0]) else 0.0, True


def picture_episodes(task: ClassifyTask, data: DataSet) -> EpisodeTask:
    """One episode a test image, in their order: its state is the label, then the pixels."""
    pixels = data.test.images.astype(np.float64) - data.zero
    starts = np.concatenate([data.test.labels[:, None].astype(np.float64), pixels], axis=1)
    return EpisodeTask(
        name=task.name,
        summary=task.summary,
        n_observations=data.n_inputs,
        n_outputs=task.n_outputs,
        state_size=starts.shape[1],
        random_size=1,
        max_steps=1,
        return_scale=task.return_scale,
        n_actions=task.n_outputs,
        reset=reset,
        observe=observe,
        step=step,
        starts=starts,
    )
