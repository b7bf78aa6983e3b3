"""A deployment as plain arrays: one .npz file without pickles, and a player of its own in NumPy.

The player reads nothing but the file and shares no code with the kernels: it is what the kernels are checked against.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.arrays import open_arrays
from rsrp_lava.errors import MappingError
from rsrp_lava.export.deployment import Deployment
from rsrp_lava.files import reason, replace_file
from rsrp_lava.kernels.arithmetic import LARGEST_INPUT
from rsrp_lava.mapping.quantise import readout_neuron
from rsrp_lava.tasks import EpisodeTask

#: Version of the arrays' layout.
FORMAT_VERSION = 1
#: Bytes of the largest network that is read, unless its size is known: twice the 2^27 synapses that `deploy` allows itself.
LARGEST_NETWORK = 2**30
#: Numbers that every file has, and texts.
_EITHER, _TEXTS = ("substeps", "readout_delay", "largest_input"), ("neuron", "readout_neuron")
_INTEGER = (
    *("du", "dv", "readout_du", "readout_dv", "vth", "weight_exponent", "readout_exponent", "bias_exponent"),
    *("bias_limit", "per_unit", "fraction_bits", "potential_unit", "potential_origin", "readout_scale", *_TEXTS),
)
_FLOATING = (
    *("alpha_syn", "alpha_mem", "weight", "gain", "v_threshold", "v_reset"),
    *("input_weight", "alpha_out", "trace_gain", "output_weight"),
)


def arrays_of(deployment: Deployment, task: EpisodeTask) -> dict[str, np.ndarray]:
    """Everything a host and a chip need to run the network, by name.

    `input` (K, 2 n_inputs, n): how often an input synapse counts; `recurrent` (K, n, n) and `readout` (K, n, n_outputs):
    signed weights, presynaptic neuron first, as mantissas (integer profiles) or synapses that count (floating point).
    `about`: JSON text: task, profile, release mode, provenance.
    """
    sign = np.where(deployment.network.excitatory, 1, -1)[None, :, None]
    stacked = {
        p.name: np.stack([synapses[p.name] for synapses in deployment.synapses]) for p in deployment.network.projections
    }
    about = {
        "format_version": FORMAT_VERSION,
        "task": task.name,
        "gymnasium_id": task.gymnasium_id,
        "action": "range" if task.action_range else "sign" if task.n_outputs == 1 else "argmax",
        "action_range": task.action_range,
        "pictures": task.starts is not None,
        "max_steps": task.max_steps,
        "release": deployment.release,
        "profile": deployment.profile.name,
        "arithmetic": deployment.profile.arithmetic,
        "provenance": deployment.provenance,
    }
    arrays: dict[str, Any] = {
        "about": json.dumps(about),
        "input": stacked["input"].astype(np.int16),
        "recurrent": (sign * stacked["recurrent"] * deployment.weight_unit).astype(np.int32),
        "readout": (sign * stacked["readout"] * deployment.readout_unit).astype(np.int32),
        "mean": deployment.mean,
        "inverse_std": deployment.inverse_std,
        "largest_z": deployment.largest_z,
        "substeps": deployment.constants.substeps,
        "readout_delay": deployment.constants.readout_delay,
        "largest_input": LARGEST_INPUT,
    }
    arrays |= _integer_constants(deployment) if deployment.quantised else _floating_constants(deployment)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _integer_constants(deployment: Deployment) -> dict[str, Any]:
    q, neuron = deployment.quantised, deployment.profile.neuron
    assert q is not None
    assert neuron is not None
    return {
        "du": q.u_decay.register,
        "dv": q.v_decay.register,
        "readout_du": 2**neuron.decay.bits - neuron.decay.u_offset,
        "readout_dv": q.readout_decay.register,
        "vth": q.threshold,
        "weight_exponent": q.weight_exponent,
        "readout_exponent": q.readout_exponent,
        "bias_exponent": q.bias_exponent,
        "bias_limit": q.bias_limit,
        "per_unit": np.float32(q.per_unit),
        "fraction_bits": int(deployment.constants.input.fraction_bits),
        "potential_unit": q.potential_unit,
        "potential_origin": deployment.network.options.v_reset,
        "readout_scale": np.float32(q.readout_scale),
        "neuron": json.dumps(neuron.model_dump()),
        "readout_neuron": json.dumps(readout_neuron(deployment.profile).model_dump()),
    }


def _floating_constants(deployment: Deployment) -> dict[str, Any]:
    c = deployment.constants
    return {
        **{name: getattr(c.lif, name) for name in c.lif._fields},
        "input_weight": c.input.weight,
        "alpha_out": c.readout.alpha_out,
        "trace_gain": c.readout.trace_gain,
        "output_weight": c.readout.output_weight,
    }


def write_npz(deployment: Deployment, task: EpisodeTask, path: Path) -> None:
    """Write the arrays. Raises `OSError`."""
    write_arrays(path, arrays_of(deployment, task))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Arrays as an .npz file, with a digest of them. Raises `OSError`."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays, sha256=np.array(_digest(arrays)))
    replace_file(path, packed.getvalue())


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over name, kind, shape and content of every array, by name."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes())
    return found.hexdigest()


def read_npz(path: Path, most_bytes: int = LARGEST_NETWORK) -> dict[str, np.ndarray]:
    """Read the arrays back; `MappingError` if the file is none of ours, damaged, or of arrays of more than `most_bytes`."""
    way_out = "write one with rsrp-lava deploy --to npz"
    try:
        with open_arrays(path, most_bytes) as stored:
            arrays = {name: stored.read(name) for name in stored.kinds}
        version = json.loads(str(arrays["about"]))["format_version"] if "about" in arrays else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MappingError(f"{path}: is no exported network ({reason(error)}); {way_out}") from None
    if not isinstance(version, int):
        raise MappingError(f"{path}: is no exported network (it says nothing about itself); {way_out}")
    if version > FORMAT_VERSION:
        raise MappingError(f"{path}: has format version {version}, this program reads up to {FORMAT_VERSION}; update it")
    if (written := arrays.pop("sha256", None)) is not None and str(written) != _digest(arrays):
        raise MappingError(f"{path}: is damaged (its checksum does not match); {way_out}")
    _check_kinds(path, arrays)
    return arrays


def _check_kinds(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """`MappingError` unless these are the arrays of `arrays_of`, and fit together."""
    networks, rows, n = arrays["input"].shape if arrays.get("input", np.zeros(0)).ndim == 3 else (0, 0, 0)
    n_outputs = arrays["readout"].shape[-1] if arrays.get("readout", np.zeros(0)).ndim == 3 else 0
    shapes = {
        "input": (networks, rows, n),
        "recurrent": (networks, n, n),
        "readout": (networks, n, n_outputs),
        "mean": (rows // 2,),
        "inverse_std": (rows // 2,),
    }
    names = _INTEGER if "neuron" in arrays else _FLOATING
    for name in (*shapes, *_EITHER, *names):
        array, shape = arrays.get(name), shapes.get(name, ())
        if array is None or array.shape != shape or 0 in shape or (array.dtype.kind not in "iuf" and name not in _TEXTS):
            found = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise MappingError(
                f"{path}: is no exported network ({name} is {found}, not numbers {shape}); "
                "write one with rsrp-lava deploy --to npz"
            )


class ArrayPlayer:
    """One simulation step after the other, in NumPy, from the arrays alone."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.a = arrays
        self.networks, _, self.n = arrays["input"].shape
        self.integer = "neuron" in arrays
        self.neuron = json.loads(str(arrays["neuron"])) if self.integer else None
        self.reader = json.loads(str(arrays["readout_neuron"])) if self.integer else None
        self.n_outputs = arrays["readout"].shape[2]

    def start(self, uniform: np.ndarray) -> None:
        """State before the first step; uniform: float64, shape (K, n), in [0, 1)."""
        shape, dtype = (self.networks, self.n), np.int64 if self.integer else np.float32
        self.u, self.spikes = np.zeros(shape, dtype), np.zeros(shape, bool)
        self.trace = np.zeros(self.n_outputs, dtype)
        if self.neuron is not None:
            limit = 2 ** (self.neuron["v"]["bits"] - 1) - 1
            start = np.floor((uniform - self.a["potential_origin"]) * self.a["potential_unit"])
            self.v = np.clip(start, -limit, limit).astype(np.int64)
        else:
            self.v = uniform.astype(np.float32)

    def see(self, observation: np.ndarray) -> None:
        """Input current of the next environment step."""
        a = self.a
        # In float64 and within ± largest_z; files of earlier versions have float32 numbers and no limit.
        z = (observation.astype(a["mean"].dtype) - a["mean"]) * a["inverse_std"]
        limit = a.get("largest_z", np.inf)
        unknown = (a["mean"] == 0) & (a["inverse_std"] == 1) & (abs(z) > limit)
        z = np.where(unknown, 0, np.clip(z, -limit, limit)).astype(np.float32)
        if not self.integer:
            total = np.zeros((self.networks, self.n), np.float32)
            for row, x in zip(a["input"].transpose(1, 0, 2), np.concatenate([z, -z]), strict=True):
                total = total + x * row.astype(np.float32)
            self.drive = a["input_weight"] * total
            return
        x = np.rint(np.clip(z * a["per_unit"], -a["largest_input"], a["largest_input"])).astype(np.int64)
        total = np.concatenate([x, -x]) @ a["input"].astype(np.int64) >> int(a["fraction_bits"])
        self.drive = np.clip(total, -a["bias_limit"], a["bias_limit"]).astype(np.int64) << int(a["bias_exponent"])

    def step(self) -> np.ndarray:
        """One simulation step; returns the spikes (bool, shape (K, n))."""
        arrived = self._arrive()
        if self.a["readout_delay"]:
            self._read(arrived[1])
        delivered = arrived[0]
        if self.integer:
            self._integer_step(delivered)
        else:
            self._floating_step(delivered)
        if not self.a["readout_delay"]:
            self._read(self._arrive()[1])
        return self.spikes

    def output(self) -> np.ndarray:
        """The network's output (float32)."""
        return self.a["readout_scale" if self.integer else "output_weight"] * self.trace.astype(np.float32)

    def _arrive(self) -> tuple[np.ndarray, np.ndarray]:
        delivered = np.zeros((self.networks, self.n), np.int64)
        read = np.zeros(self.n_outputs, np.int64)
        for k in range(self.networks):
            delivered[k] = self.a["recurrent"][k][self.spikes[k]].sum(axis=0)
            read += self.a["readout"][k][self.spikes[k]].sum(axis=0)
        return delivered, read

    def _floating_step(self, delivered: np.ndarray) -> None:
        a = self.a
        self.u = a["alpha_syn"] * self.u + a["weight"] * delivered.astype(np.float32)
        self.v = a["alpha_mem"] * self.v + a["gain"] * (a["v_reset"] + self.u + self.drive)
        self.spikes = self.v > a["v_threshold"]
        self.v = np.where(self.spikes, a["v_reset"], self.v)

    def _integer_step(self, delivered: np.ndarray) -> None:
        a, neuron = self.a, self.neuron
        assert neuron is not None
        shift = neuron["input_shift"] + int(a["weight_exponent"])
        kept = _decay(self.u, int(a["du"]), "u_offset", neuron["decay"]) if neuron["synaptic_current"] else 0
        self.u = _overflow(kept + (delivered << shift), neuron["u"])
        self.v = _overflow(_decay(self.v, int(a["dv"]), "v_offset", neuron["decay"]) + self.u + self.drive, neuron["v"])
        threshold = int(a["vth"]) << neuron["threshold"]["shift"]
        self.spikes = self.v > threshold if neuron["threshold"]["compare"] == "gt" else self.v >= threshold
        self.v = np.where(self.spikes, 0 if neuron["reset"] == "zero" else self.v - threshold, self.v)

    def _read(self, arrived: np.ndarray) -> None:
        if not self.integer:
            self.trace = self.a["alpha_out"] * self.trace + self.a["trace_gain"] * arrived.astype(np.float32)
            return
        assert self.reader is not None
        shift = self.reader["input_shift"] + int(self.a["readout_exponent"])
        trace = _decay(self.trace, int(self.a["readout_dv"]), "v_offset", self.reader["decay"]) + (arrived << shift)
        self.trace = _overflow(trace, self.reader["v"])


def _decay(x: np.ndarray, register: int, offset: str, d: dict[str, Any]) -> np.ndarray:
    if d["form"] == "shift":
        down = x >> register
        return x - np.where((x > 0) & (down < 1), 1, down)
    if d["form"] == "linear":
        return np.sign(x) * np.maximum(np.abs(x) - register, 0)
    product = x * (2 ** d["bits"] - register - d[offset])
    if d["rounding"] == "toward_zero":
        return np.sign(product) * (np.abs(product) >> d["bits"])
    return product + (2 ** (d["bits"] - 1) if d["rounding"] == "nearest" else 0) >> d["bits"]


def _overflow(x: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    limit = 2 ** (state["bits"] - 1)
    if state["overflow"] == "saturate_at_zero":
        return np.clip(x, 0, 2 * limit - 1)
    if state["overflow"] == "saturate":
        return np.clip(x, 1 - limit, limit - 1)
    below = (x + limit) % (2 * limit) - limit  # −limit ≤ x < limit
    return np.where(below == -limit, limit, below) if state["overflow"] == "wrap_above" else below


def play_arrays(
    arrays: dict[str, np.ndarray],
    task: EpisodeTask,
    state: np.ndarray,
    uniform: np.ndarray,
    progress: Callable[[], None] = lambda: None,
) -> tuple[float, np.ndarray]:
    """One episode from a task state and initial potentials: (return, spikes: bool, shape (simulation steps, K · n))."""
    player = ArrayPlayer(arrays)
    player.start(uniform)
    state, observation = state.copy(), np.zeros(task.n_observations)
    earned, trains, ended = 0.0, [], False
    for _ in range(task.max_steps):
        task.observe(state, observation)
        player.see(observation)
        for _ in range(int(arrays["substeps"])):
            trains.append(player.step().ravel())
        reward, ended = task.step(state, player.output())
        earned += reward
        progress()
        if ended:
            break
    return earned, np.array(trains)
