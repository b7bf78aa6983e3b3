"""Episodes without a network: random actions, or none. What is learned is compared with what they earn."""

from __future__ import annotations

import numpy as np

from .compiling import kernel
from .random_bits import EVALUATION, RANDOM_ACTIONS, fill_start, fill_uniform_at


@kernel
def random_output(seed, episode, step, largest, output):
    """Outputs (float32) of an environment step, uniform in [−largest, largest): a function of seed, episode and step."""
    uniform = np.empty(output.shape[0])
    fill_uniform_at(seed, 0, episode, RANDOM_ACTIONS, step, uniform)
    for o in range(output.shape[0]):
        output[o] = np.float32(largest * (2.0 * uniform[o] - 1.0))


@kernel
def play_without_network(task, seed, sizes, largest, task_state, episodes, returns, steps):
    """Play the evaluation's episodes `episodes[0]` … `episodes[1] − 1` of generation 0 with random outputs.

    Parameters
    ----------
    task : the task's functions (rollout.task_functions)
    sizes : (random_size, n_out, max_steps)
    largest : float64; outputs are uniform in [−largest, largest): 1 for random actions, 0 for none
    task_state : float64, of the task, written
    returns : float64, steps : int64, shape (episodes,)      written
    """
    reset, _, step = task.value
    random, output = np.empty(sizes[0], np.float64), np.zeros(sizes[1], np.float32)
    for episode in range(episodes[0], episodes[1]):
        fill_start(seed, 0, EVALUATION, episode, 0, random)
        reset(task_state, random)
        total, played, ended = 0.0, np.int64(0), False
        while played < sizes[2] and not ended:
            random_output(seed, episode, played, largest, output)
            reward, ended = step(task_state, output)
            total += reward
            played += 1
        returns[episode - episodes[0]], steps[episode - episodes[0]] = total, played
