"""Play whole episodes of a task with a deployed network in our own kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rsrp_lava.export.deployment import Deployment
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.deployed import Recording, play_deployed
from rsrp_lava.kernels.random_bits import EVALUATION
from rsrp_lava.kernels.rollout import task_functions
from rsrp_lava.tasks import EpisodeTask


@dataclass(frozen=True)
class Played:
    """What a deployed network did in its episodes."""

    returns: np.ndarray  #: float64, shape (episodes,)
    steps: np.ndarray  #: int64, shape (episodes,): environment steps
    spikes: np.ndarray  #: int64, shape (episodes,)
    trains: list[np.ndarray]  #: of each episode: bool, shape (simulation steps, K · n_neurons), if recorded
    events: dict[str, int]  #: what integers lost (kernels/arithmetic.EVENTS)


def play(
    deployment: Deployment,
    task: EpisodeTask,
    episodes: int,
    *,
    seed: int,
    generation: int,
    record: bool = False,
) -> Played:
    """Play `episodes` evaluation episodes; those of (seed, generation) start as `engine.play` starts them.

    With `record`, every spike of every episode is kept: a byte a neuron and simulation step. `play_each` keeps none.
    """
    events = np.zeros(len(EVENTS), np.int64)
    played = play_each(deployment, task, episodes, seed=seed, generation=generation, record=record, events=events)
    *results, trains = zip(*played, strict=True)
    returns, steps, spikes = (np.array(column) for column in results)
    return Played(returns, steps, spikes, list(trains) if record else [], dict(zip(EVENTS, events.tolist(), strict=True)))


def play_each(
    deployment: Deployment,
    task: EpisodeTask,
    episodes: int,
    *,
    seed: int,
    generation: int,
    record: bool,
    events: np.ndarray | None = None,
) -> Iterator[tuple[float, int, int, np.ndarray]]:
    """`play`, one episode after the other: return, environment steps, spikes, and with `record` the spike trains.

    `events`: int64, added to (kernels/arithmetic.EVENTS).
    """
    planes, constants = deployment.planes(), deployment.constants
    words, n = len(constants.excitatory), constants.n_neurons
    functions = task_functions(task.reset, task.observe, task.step)
    sizes = (task.state_size, task.random_size, task.n_observations, task.n_outputs, task.max_steps)
    key = (seed, generation, EVALUATION)
    events = np.zeros(len(EVENTS), np.int64) if events is None else events
    networks = len(deployment.synapses)
    recording = Recording(np.zeros((task.max_steps * constants.substeps if record else 0, networks * words), np.uint64))
    starts = np.zeros((0, task.state_size)) if task.starts is None else task.starts
    scaling = (deployment.mean, deployment.inverse_std, deployment.largest_z)
    shared = (planes, constants, *scaling, sizes, key, starts)
    for episode in range(episodes):
        earned, steps, spikes = play_deployed(functions, *shared, episode, recording, events)
        packed = recording.spikes[: steps * constants.substeps]
        bits = np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little").astype(bool)
        train = bits.reshape(len(packed), networks, 64 * words)[:, :, :n].reshape(len(packed), networks * n)
        yield earned, steps, spikes, train
