"""Run what was exported beside our own kernel, on whole episodes, and compare every spike."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.export.deployment import Deployment
from rsrp_lava.export.lava import run_folder
from rsrp_lava.export.nir_player import NirPlayer, play_graph, read_nir
from rsrp_lava.export.npz import play_arrays, read_npz
from rsrp_lava.export.play import play_each
from rsrp_lava.export.starts import start_of
from rsrp_lava.tasks import EpisodeTask

#: Called after every episode with (episodes done, episodes).
Progress = Callable[[int, int], None]
#: Of every episode what it earned, and its spikes.
Played = Generator[tuple[float, np.ndarray], None, None]


def verify(
    target: str,
    path: Path,
    deployment: Deployment,
    task: EpisodeTask,
    *,
    episodes: int,
    seed: int,
    generation: int,
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """Compare an exported artefact (`lava`: its folder; `npz`, `nir`: its file) with our kernel, spike by spike.

    Returns
    -------
    dict: episodes, steps (simulation steps compared), spikes (of our kernel), mismatches (neuron-steps that differ, a
    longer episode's rest included), mean_return (of the artefact), kernel_mean_return
    """
    theirs = {"lava": _lava, "nir": _nir, "npz": _npz}[target]
    starts = _starts(deployment, task, episodes, seed, generation)
    ours = play_each(deployment, task, episodes, seed=seed, generation=generation, record=True)
    with closing(theirs(path, deployment, task, starts)) as played:
        return _compare(ours, played, episodes, progress)


def verify_nir(
    path: str | Path,
    deployment: Deployment,
    task: EpisodeTask,
    episodes: int,
    seed: int,
    generation: int,
    *,
    arithmetic: str = "profile",
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """`verify` of a NIR file, played in NumPy from what the file says and nothing else.

    `arithmetic` "profile" rounds as the metadata says that the network's numbers are rounded: no spike may differ. "real"
    takes the graph literally, in float64, as its readers do: spikes differ once rounding has moved a potential over the
    threshold, and in closed loop everything after that.

    Raises `EngineError` without the package nir, `RunFolderError` for a file that cannot be read, `MappingError` for a
    graph that is not ours.
    """
    starts = _starts(deployment, task, episodes, seed, generation)
    ours = play_each(deployment, task, episodes, seed=seed, generation=generation, record=True)
    return _compare(ours, _nir(Path(path), deployment, task, starts, arithmetic), episodes, progress)


def largest_bytes(deployment: Deployment) -> int:
    """What the arrays of any export of a network may take: the synapses of its copies in one matrix, twice in float64."""
    networks = len(deployment.synapses)
    n, rest = networks * deployment.constants.n_neurons, sum(p.n_pre * p.n_post for p in deployment.network.projections)
    return 2**20 + 16 * (n * n + (networks + 1) * rest)


def _starts(
    deployment: Deployment, task: EpisodeTask, episodes: int, seed: int, generation: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    n, networks = deployment.constants.n_neurons, len(deployment.synapses)
    return [start_of(task, n, networks, seed, generation, episode) for episode in range(episodes)]


def _compare(
    ours: Iterator[tuple[float, int, int, np.ndarray]],
    theirs: Played,
    episodes: int,
    progress: Progress,
) -> dict[str, Any]:
    mismatches, steps, spikes, returns = 0, 0, 0, []
    for done, ((expected, _, fired, train), (earned, other)) in enumerate(zip(ours, theirs, strict=True), 1):
        common = min(len(train), len(other))
        mismatches += int((train[:common] != other[:common]).sum())
        mismatches += int(train[common:].sum() + other[common:].sum())
        steps += len(train)
        spikes += fired
        returns.append((earned, expected))
        progress(done, episodes)
    mean_return, kernel_mean_return = np.mean(returns, axis=0).tolist()
    return {
        "episodes": episodes,
        "steps": steps,
        "spikes": spikes,
        "mismatches": mismatches,
        "mean_return": mean_return,
        "kernel_mean_return": kernel_mean_return,
    }


def _npz(path: Path, deployment: Deployment, task: EpisodeTask, starts: list[Any]) -> Played:
    arrays = read_npz(path, largest_bytes(deployment))
    for state, uniform in starts:
        yield play_arrays(arrays, task, state, uniform)


def _nir(path: Path, deployment: Deployment, task: EpisodeTask, starts: list[Any], arithmetic: str = "profile") -> Played:
    player = NirPlayer(read_nir(path, largest_bytes(deployment)), arithmetic)
    for state, uniform in starts:
        yield play_graph(player, task, state, uniform)


def _lava(path: Path, deployment: Deployment, task: EpisodeTask, starts: list[Any]) -> Played:
    q = deployment.quantised
    assert q is not None
    origin = deployment.network.options.v_reset
    exact = np.array([np.floor((uniform - origin) * q.potential_unit) for _, uniform in starts])
    limit = deployment.constants.lif.v_limit
    potentials = np.clip(exact, -limit, limit).astype(np.int64)
    states = np.array([state for state, _ in starts])
    observations = np.zeros((len(states), task.n_observations))
    for state, observation in zip(states, observations, strict=True):
        task.observe(state, observation)
    for result, spikes in run_folder(path, states, observations, potentials):
        yield result["return"], spikes
