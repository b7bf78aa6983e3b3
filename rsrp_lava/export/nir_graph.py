"""A deployed network as a NIR graph (https://neuroir.org), which other simulators and tool chains of chips read.

    input ─> input_synapses ─> neurons { input ─> lif <─> w_rec,  lif ─> output }
          ─> [neurons_delay] ─> readout_synapses ─> [readout_traces] ─> output

A file lists nodes by name, and snnTorch's reader needs every node after its sources, so names are in alphabetical order.

NIR's equations are continuous and a file holds no time step, so every reader discretises its own way. A *dialect* is a
choice of constants with which one family of readers arrives at our difference equations:

    I ← a I + (1 − a) w_in S,   v ← b v + (1 − b)(v_leak + r I),   spike = v > v_threshold,   v ← v_reset where spike

No file is right for all readers, and most do not notice that one is not for them: docs/nir.md has what each does with each.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsrp_lava.errors import EngineError, MappingError, RunFolderError, unknown_name
from rsrp_lava.export.deployment import Deployment
from rsrp_lava.export.nir_units import EffectiveNetwork, arithmetic, effective_network
from rsrp_lava.files import reason, replace_file
from rsrp_lava.network import release_sha256

if TYPE_CHECKING:
    import nir

#: Version of the metadata, and the entry in it that is checked when a file is read (files of earlier versions have none).
FORMAT, DIGEST = 1, "graph_sha256"
#: Entries of the recurrent matrix of all networks together: 512 MiB.
_LARGEST_MATRIX = 2**27


@dataclass(frozen=True)
class Dialect:
    """How a reader turns a time constant into what is left of a state after one of its steps."""

    summary: str
    readers: str  #: who plays it as our kernel does, and how it is read there; it goes into the file too
    dt_s: float | None  #: the step that its reader takes for granted; None: the network's own
    euler: bool  #: kept = 1 − dt / tau; otherwise exp(−dt / tau)
    at_rest: bool  #: potentials are counted from the reset, because the reader assumes v_leak = v_reset = 0
    unit_gain: bool  #: r = tau_mem / dt, so that a step adds I itself to v; otherwise r = 1
    readout: bool  #: the reader has leaky integrators and delays; otherwise the host integrates what readout_synapses send

    def tau_s(self, kept: float, dt_s: float) -> float:
        """The time constant from which the reader computes `kept`, a number in [0, 1)."""
        dt_s = self.dt_s or dt_s
        if self.euler:
            return dt_s / (1 - kept)
        return -dt_s / math.log(kept) if kept > 0 else dt_s / 1000  # e^−1000 is 0 in float64

    def kept(self, tau_s: float, dt_s: float) -> float:
        """Inverse of `tau_s`."""
        dt_s = self.dt_s or dt_s
        return 1 - dt_s / tau_s if self.euler else math.exp(-dt_s / tau_s)


DIALECTS = {
    "physical": Dialect(
        "seconds and our potentials; exact solution over a step, exp(−dt/tau)",
        readers="none as it is (Norse, Rockpool and others take it for another network): people, and programs of your own",
        dt_s=None,
        euler=False,
        at_rest=False,
        unit_gain=False,
        readout=True,
    ),
    "snntorch": Dialect(
        "dt = 0.1 ms, 1 − dt/tau, r = tau_mem/dt, w_in = tau_syn/dt",
        readers="snnTorch and SpikingJelly, import_from_nir(graph); Norse only with from_nir(graph, dt=1e-4)",
        dt_s=1e-4,
        euler=True,
        at_rest=True,
        unit_gain=True,
        readout=False,
    ),
    "norse": Dialect(
        "dt = 1 ms, 1 − dt/tau, r = 1",
        readers="Norse, norse.torch.from_nir(graph) with its own dt",
        dt_s=1e-3,
        euler=True,
        at_rest=True,
        unit_gain=False,
        readout=False,
    ),
}

#: What is written unless a dialect is chosen: its reader needs no setting, and snnTorch, SpikingJelly and Sinabs refuse it.
DEFAULT_DIALECT = "norse"


def get_dialect(name: str) -> Dialect:
    """The dialect of that name; `MappingError` names the nearest one if there is none."""
    if name not in DIALECTS:
        raise MappingError(unknown_name("dialect", name, DIALECTS))
    return DIALECTS[name]


def import_nir() -> Any:
    """The package `nir`; `EngineError` says how to install it."""
    try:
        import nir
    except ImportError:
        raise EngineError('nir: the package is not installed; pip install "rsrp-lava[nir]"') from None
    return nir


def write_nir(deployment: Deployment, path: str | Path, dialect: str = DEFAULT_DIALECT) -> Path:
    """Write `to_nir(deployment, dialect)` to an HDF5 file that `nir.read` reads back equal; returns its path.

    Raises what `to_nir` raises, and `RunFolderError` if the file cannot be written.
    """
    graph, packed = to_nir(deployment, dialect), io.BytesIO()
    import_nir().write(packed, graph)  # into memory: HDF5 does not outlive a disk that fills up
    try:
        replace_file(Path(path), packed.getvalue())
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({reason(error)}); choose another file") from None
    return Path(path)


def to_nir(deployment: Deployment, dialect: str = DEFAULT_DIALECT) -> nir.NIRGraph:
    """The NIR graph of a deployed network.

    Parameters
    ----------
    deployment : K networks of N neurons become one population of K · N neurons with a block-diagonal recurrent matrix
    dialect : one of DIALECTS

    Returns
    -------
    nir.NIRGraph. Its input is [x, −x] of the standardised observation x as `rsrp_lava.export.nir_player.input_stream` sends
    it; float32 weights in units of the current, (post, pre); float64 constants for every neuron; time constants in seconds
    of the reader. Metadata holds the release probabilities and all that NIR has no place for (docs/nir.md).

    Raises `EngineError` without the package nir, and `MappingError` for an unknown dialect, neurons that NIR cannot express
    (a linear leak, a reset by subtraction), or an ensemble whose matrix would not fit.
    """
    nir, chosen = import_nir(), get_dialect(dialect)
    network = effective_network(deployment)
    dt_s = deployment.network.options.dt_ms * 1e-3
    neurons = len(deployment.synapses) * deployment.constants.n_neurons
    if neurons**2 > _LARGEST_MATRIX:
        raise MappingError(
            f"nir: {neurons} neurons of all networks make a matrix of more than {_LARGEST_MATRIX} entries; use fewer samples"
        )
    scale = 1 - network.membrane_kept if chosen.unit_gain else 1.0
    units = {
        "input": network.input_weight * scale,
        "recurrent": network.recurrent_weight * scale,
        "readout": network.readout_weight,
    }
    weights = _weights(deployment, units)
    nodes = {
        "input": nir.Input({"input": np.array([weights["input"].shape[1]])}),
        "input_synapses": nir.Linear(weights["input"]),
        "neurons": _recurrent(nir, _neurons(nir, network, chosen, dt_s, neurons), weights["recurrent"]),
    }
    nodes |= _readout(nir, weights["readout"], network.readout_kept, deployment.constants.readout_delay, chosen, dt_s)
    graph = nir.NIRGraph(
        nodes=nodes,
        edges=list(zip(list(nodes)[:-1], list(nodes)[1:], strict=True)),
        metadata=_metadata(deployment, network, dialect, units),
    )
    graph.metadata[DIGEST] = graph_sha256(graph)
    return graph


def graph_sha256(graph: nir.NIRGraph) -> str:
    """SHA-256 of all that a graph's file holds, but for this digest in its metadata; numbers as HDF5 gives them back."""
    found = hashlib.sha256()

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            found.update(f"{name}\0{{".encode())
            for key in sorted(value):
                if key != DIGEST:
                    add(str(key), value[key])
            found.update(b"}")
        elif isinstance(value, list | tuple):
            add(name, dict(enumerate(map(_plain, value))))
        elif value is not None:
            value = _plain(value)
            array = np.asarray(value)
            content = value.encode() if isinstance(value, str) else array.tobytes()
            kind = "text" if isinstance(value, str) else f"{array.dtype.str} {array.shape}"
            found.update(f"{name}\0{kind}\0{len(content)}\0".encode() + content)

    add("", graph.to_dict())
    return found.hexdigest()


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _weights(deployment: Deployment, units: dict[str, float]) -> dict[str, np.ndarray]:
    """Matrices (post, pre) of all networks: float32, each synapse's count times its unit, signed by its source."""
    sign = np.where(deployment.network.excitatory, 1, -1)[:, None]
    of_each = [
        {name: counts if name == "input" else sign * counts for name, counts in synapses.items()}
        for synapses in deployment.synapses
    ]
    n = len(sign)
    recurrent = np.zeros((len(of_each) * n, len(of_each) * n), np.float32)
    for k, counts in enumerate(of_each):
        recurrent[k * n : (k + 1) * n, k * n : (k + 1) * n] = counts["recurrent"].T * units["recurrent"]
    return {
        "input": np.concatenate([c["input"].T for c in of_each]).astype(np.float32) * np.float32(units["input"]),
        "recurrent": recurrent,
        "readout": (np.concatenate([c["readout"] for c in of_each]).T * units["readout"]).astype(np.float32),
    }


def _neurons(nir: Any, network: EffectiveNetwork, dialect: Dialect, dt_s: float, neurons: int) -> Any:
    """Neurons for which the reader's step is ours: (1 − a) w_in = 1, and (1 − b) r = 1 where weights hold the gain."""
    origin = network.v_reset if dialect.at_rest else 0.0
    return nir.CubaLIF(
        tau_syn=np.full(neurons, dialect.tau_s(network.synapse_kept, dt_s)),
        tau_mem=np.full(neurons, dialect.tau_s(network.membrane_kept, dt_s)),
        r=np.full(neurons, 1 / (1 - network.membrane_kept) if dialect.unit_gain else 1.0),
        v_leak=np.full(neurons, network.v_reset - origin),
        v_threshold=np.full(neurons, network.v_threshold - origin),
        v_reset=np.full(neurons, network.v_reset - origin),
        w_in=np.full(neurons, 1 / (1 - network.synapse_kept)),
    )


def _recurrent(nir: Any, neurons: Any, weight: np.ndarray) -> Any:
    """The subgraph of four nodes that readers know as a recurrent layer."""
    shape = np.array([len(weight)])
    return nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": shape}),
            "lif": neurons,
            "output": nir.Output({"output": shape}),
            "w_rec": nir.Linear(weight),
        },
        edges=[("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )


def _readout(nir: Any, weight: np.ndarray, kept: float, delay: int, dialect: Dialect, dt_s: float) -> dict[str, Any]:
    outputs, neurons = weight.shape
    nodes = {"readout_synapses": nir.Linear(weight)}
    if dialect.readout:
        if delay:
            nodes = {"neurons_delay": nir.Delay(np.full(neurons, delay * dt_s))} | nodes
        tau = np.full(outputs, dialect.tau_s(kept, dt_s))
        nodes["readout_traces"] = nir.LI(tau=tau, r=np.ones(outputs), v_leak=np.zeros(outputs))
    return nodes | {"output": nir.Output({"output": np.array([outputs])})}


def _metadata(deployment: Deployment, network: EffectiveNetwork, dialect: str, units: dict[str, float]) -> dict[str, Any]:
    options, profile = deployment.network.options, deployment.profile
    origin = network.v_reset if DIALECTS[dialect].at_rest else 0.0
    return {
        "format": FORMAT,
        "rsrp_lava_version": version("rsrp-lava"),
        "nir_version": import_nir().version,
        "dialect": dialect,
        "readers": DIALECTS[dialect].readers,
        "dt_ms": options.dt_ms,
        "substeps": deployment.constants.substeps,
        "networks": len(deployment.synapses),
        "release": deployment.release,
        "release_sha256": release_sha256(deployment.probabilities),
        "release_probabilities": {name: rho.astype(np.float32) for name, rho in deployment.probabilities.items()},
        "profile": profile.name,
        "profile_sha256": profile.digest,
        "normaliser": {"mean": deployment.mean, "inverse_std": deployment.inverse_std, "largest_z": deployment.largest_z},
        "initial_potential": {"low": -origin, "high": 1.0 - origin},
        "potential_origin": origin,
        "units": units,
        "readout": {"kept": network.readout_kept, "delay_steps": deployment.constants.readout_delay},
        "arithmetic": arithmetic(deployment),
        "provenance": {key: _storable(value) for key, value in deployment.provenance.items() if value is not None},
    }


def _storable(value: Any) -> Any:
    """What HDF5 keeps as it is; anything else as JSON."""
    if isinstance(value, str | int | float | np.ndarray):
        return value
    return json.dumps(value, sort_keys=True, default=str)
