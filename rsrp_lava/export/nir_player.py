"""Play a task with nothing but a NIR file: an independent check, in NumPy, of what the file says.

`arithmetic="real"` takes the graph literally: the difference equations of its dialect (nir_graph.py) in float64, as a
reader would. `arithmetic="profile"` also rounds as the metadata says that the network's numbers are rounded.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsrp_lava.errors import MappingError, RunFolderError, unknown_name
from rsrp_lava.export.nir_arithmetic import ARITHMETICS, GraphConstants
from rsrp_lava.export.nir_graph import DIALECTS, DIGEST, graph_sha256, import_nir
from rsrp_lava.files import read_file, reason
from rsrp_lava.tasks import EpisodeTask

if TYPE_CHECKING:
    import nir

#: Bytes of the largest file that is read, unless its size is known: twice what `deploy` allows a matrix, and the rest.
LARGEST_FILE = 2**31
_NEURON = ("tau_syn", "tau_mem", "r", "w_in", "v_leak", "v_threshold", "v_reset")


class NirPlayer:
    """The network of a graph that `to_nir` made, run environment step by environment step.

    Parameters
    ----------
    graph : as `nir.read` returns it
    arithmetic : "profile" or "real"
    """

    def __init__(self, graph: nir.NIRGraph, arithmetic: str = "profile") -> None:
        self.constants = graph_constants(graph)
        kind = self.constants.metadata["arithmetic"]["kind"] if arithmetic == "profile" else arithmetic
        if kind not in ARITHMETICS:
            raise MappingError(unknown_name("arithmetic", arithmetic, ["profile", "real"]))
        self._arithmetic = ARITHMETICS[kind](self.constants)
        self.substeps = int(self.constants.metadata["substeps"])
        self._delay = int(self.constants.metadata["readout"]["delay_steps"])
        self._spikes = np.zeros(self.constants.n_neurons, bool)

    def start(self, uniform: np.ndarray) -> None:
        """Begin an episode; `uniform`: float64, shape (neurons,), initial potentials in our units."""
        self._spikes = np.zeros(self.constants.n_neurons, bool)
        self._arithmetic.start(uniform)

    def advance(self, observation: np.ndarray) -> np.ndarray:
        """One environment step with an observation as the task gives it; returns the spikes, bool, (substeps, neurons)."""
        self._arithmetic.present(standardise(self.constants.metadata, observation))
        train = np.empty((self.substeps, self.constants.n_neurons), bool)
        for t in range(self.substeps):
            before, self._spikes = self._spikes, self._arithmetic.step(self._spikes)
            self._arithmetic.integrate(before if self._delay else self._spikes)
            train[t] = self._spikes
        return train

    def output(self) -> np.ndarray:
        """float32, shape (outputs,)."""
        return self._arithmetic.output().astype(np.float32)


def play_graph(player: NirPlayer, task: EpisodeTask, state: np.ndarray, uniform: np.ndarray) -> tuple[float, np.ndarray]:
    """One episode from a task state and initial potentials: (return, spikes: bool, shape (simulation steps, neurons))."""
    player.start(uniform.ravel())
    state, observation = state.copy(), np.zeros(task.n_observations)
    earned, ended, trains = 0.0, False, list[np.ndarray]()
    while len(trains) < task.max_steps and not ended:
        task.observe(state, observation)
        trains.append(player.advance(observation))
        reward, ended = task.step(state, player.output())
        earned += reward
    return earned, np.concatenate(trains)


def input_stream(graph: nir.NIRGraph, observations: np.ndarray) -> np.ndarray:
    """What to send to the graph's input, one row a simulation step, for observations as the task gives them.

    Our observation current does not pass the synapses' filter, a CubaLIF's whole input does. The stream undoes the filter: a
    step after which 1 − kept of the current would be left, and the kept rest of the step before,

        s_t = x_t − kept · x_{t−1},    x = [z, −z] of the standardised observation z, constant during an environment step.

    Parameters
    ----------
    graph : a graph of `to_nir`
    observations : shape (environment steps, n_observations), from the start of an episode

    Returns
    -------
    float64, shape (environment steps · substeps, 2 · n_observations)
    """
    constants = graph_constants(graph)
    z = standardise(constants.metadata, observations).astype(np.float64)
    x = np.repeat(np.concatenate([z, -z], axis=1), int(constants.metadata["substeps"]), axis=0)
    before = np.concatenate([np.zeros_like(x[:1]), x[:-1]])
    return x - constants.synapse_kept * before


def standardise(metadata: dict[str, Any], observation: np.ndarray) -> np.ndarray:
    """(x − mean) / std within ± largest_z, along the last axis, as float32.

    Where mean and deviation are still 0 and 1, what is beyond is 0.

    Files of earlier versions have no limit, and mean and deviation in float32, in which they are then subtracted.
    """
    normaliser = metadata["normaliser"]
    mean, inverse_std, limit = normaliser["mean"], normaliser["inverse_std"], float(normaliser.get("largest_z", np.inf))
    z = (observation.astype(mean.dtype) - mean) * inverse_std
    unknown = (mean == 0) & (inverse_std == 1) & (abs(z) > limit)
    return np.where(unknown, 0, np.clip(z, -limit, limit)).astype(np.float32)


def read_nir(path: str | Path, most_bytes: int = LARGEST_FILE) -> nir.NIRGraph:
    """`nir.read` of a file whose arrays take at most `most_bytes`, and are those that its digest is of, if it has one.

    Raises `RunFolderError` for any other file.
    """
    package = import_nir()
    try:
        packed = io.BytesIO(read_file(path, most_bytes))
        _check_size(packed, most_bytes)
        graph = package.read(packed)
    except Exception as error:  # a damaged file can fail in any way
        raise RunFolderError(f"{path}: is not a readable NIR file ({reason(error)}); export the network again") from None
    written = graph.metadata.get(DIGEST)
    if written is not None and written != graph_sha256(graph):
        raise RunFolderError(f"{path}: is damaged (its digest does not match); export the network again")
    return graph


def _check_size(packed: io.BytesIO, most_bytes: int) -> None:
    """`ValueError` unless the arrays fit, and are in the file itself, once each."""
    import h5py

    total, seen = 0, set()
    with h5py.File(packed, "r") as file:
        waiting: list[Any] = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name[:80]!r} is a link")
                item = group[name]
                place = h5py.h5o.get_info(item.id).addr
                if place in seen:
                    raise ValueError(f"{name[:80]!r} is there twice")
                seen.add(place)
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                elif isinstance(item, h5py.Dataset):
                    if item.external or item.is_virtual:
                        raise ValueError(f"{name[:80]!r} is in another file")
                    total += item.nbytes
                if total > most_bytes:
                    raise ValueError(f"its arrays take more than {most_bytes:,} bytes")


def graph_constants(graph: nir.NIRGraph) -> GraphConstants:
    """The difference equations of a graph of `to_nir`. Raises `MappingError` for any other graph."""
    metadata = graph.metadata
    try:
        dialect, dt_s = DIALECTS[metadata["dialect"]], float(metadata["dt_ms"]) * 1e-3
        recurrent = graph.nodes["neurons"].nodes
        neurons, w_in, w_out = recurrent["lif"], graph.nodes["input_synapses"].weight, graph.nodes["readout_synapses"].weight
        w_rec = recurrent["w_rec"].weight
    except KeyError as error:
        raise MappingError(f"nir: the graph has no {error}; write it with this version of rsrp_lava") from None
    of_neurons = {name: _only(name, values) for name, values in vars(neurons).items() if name in _NEURON}
    a, b = (dialect.kept(of_neurons[name], dt_s) for name in ("tau_syn", "tau_mem"))
    readout = graph.nodes.get("readout_traces")
    kept = dialect.kept(_only("tau", readout.tau), dt_s) if readout is not None else float(metadata["readout"]["kept"])
    current = (1 - a) * of_neurons["w_in"] * of_neurons["r"]  # of a weight of 1, as it arrives at the membrane
    return GraphConstants(
        synapse_kept=a,
        membrane_kept=b,
        readout_kept=kept,
        input_weight=w_in.T * current,
        recurrent_weight=w_rec.T * current,
        readout_weight=w_out.T.astype(np.float64),
        units={name: float(unit) * (1 if name == "readout" else current) for name, unit in metadata["units"].items()},
        v_threshold=of_neurons["v_threshold"],
        v_leak=of_neurons["v_leak"],
        v_reset=of_neurons["v_reset"],
        metadata=metadata,
    )


def _only(name: str, values: np.ndarray) -> float:
    if not (values == values.flat[0]).all():
        raise MappingError(f"nir: {name} differs between neurons; a graph of rsrp_lava has one value for all")
    return float(values.flat[0])
