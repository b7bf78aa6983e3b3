"""The numbers in which `nir_player` computes: real (float64), or rounded as where the network runs (float32, integers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rsrp_lava.errors import MappingError


@dataclass(frozen=True)
class GraphConstants:
    """A graph as difference equations; matrices are float64, (pre, post), times what the reader multiplies them with.

    I ← synapse_kept I + input + weights of the spikes,   v ← membrane_kept v + (1 − membrane_kept)(v_leak + I)
    """

    synapse_kept: float
    membrane_kept: float
    readout_kept: float
    input_weight: np.ndarray
    recurrent_weight: np.ndarray
    readout_weight: np.ndarray
    units: dict[str, float]  #: what a synapse that counts once weighs in these matrices
    v_threshold: float
    v_leak: float
    v_reset: float
    metadata: dict[str, Any]

    @property
    def n_neurons(self) -> int:
        return len(self.recurrent_weight)

    def counts(self, name: str) -> np.ndarray:
        """How often each synapse counts, signed: its weight in units. int64. Raises `MappingError` if that is no integer."""
        multiples = getattr(self, f"{name}_weight") / self.units[name]
        rounded = np.rint(multiples)
        if not np.allclose(multiples, rounded, rtol=0, atol=0.01):
            raise MappingError(f"nir: {name} weights are not multiples of their unit; export the network again")
        return rounded.astype(np.int64)


class Arithmetic(Protocol):
    """A network's state in some kind of numbers."""

    def start(self, uniform: np.ndarray) -> None:
        """Begin an episode from these potentials, in our units (float64, shape (neurons,))."""

    def present(self, z: np.ndarray) -> None:
        """Hold a standardised observation from the next step on."""

    def step(self, spikes: np.ndarray) -> np.ndarray:
        """One simulation step after `spikes` (bool, shape (neurons,)); returns the new ones."""

    def integrate(self, spikes: np.ndarray) -> None:
        """One step of the readout, which hears of `spikes`."""

    def output(self) -> np.ndarray:
        """Outputs of the network."""


class RealArithmetic:
    """float64, and the graph taken literally: the input stream passes the synapses' filter."""

    def __init__(self, constants: GraphConstants) -> None:
        self.c = constants
        self._low = float(constants.metadata["initial_potential"]["low"])

    def start(self, uniform: np.ndarray) -> None:
        n_inputs, n_outputs = len(self.c.input_weight), self.c.readout_weight.shape[1]
        self.current, self.v = np.zeros_like(uniform), self._low + uniform
        self.x = self.x_before = np.zeros(n_inputs)
        self.trace = np.zeros(n_outputs)

    def present(self, z: np.ndarray) -> None:
        self.x = np.concatenate([z, -z]).astype(np.float64)

    def step(self, spikes: np.ndarray) -> np.ndarray:
        c = self.c
        stream, self.x_before = self.x - c.synapse_kept * self.x_before, self.x
        self.current = c.synapse_kept * self.current + stream @ c.input_weight + c.recurrent_weight[spikes].sum(axis=0)
        self.v = c.membrane_kept * self.v + (1 - c.membrane_kept) * (c.v_leak + self.current)
        fired = self.v > c.v_threshold
        self.v[fired] = c.v_reset
        return fired

    def integrate(self, spikes: np.ndarray) -> None:
        kept = self.c.readout_kept
        self.trace = kept * self.trace + (1 - kept) * self.c.readout_weight[spikes].sum(axis=0)

    def output(self) -> np.ndarray:
        return self.trace


class Float32Arithmetic:
    """The same equations in float32, the input current apart: sums in the order of bit planes, then of inputs."""

    def __init__(self, constants: GraphConstants) -> None:
        c, f, origin = constants, np.float32, float(constants.metadata["potential_origin"])
        self._inputs, self._recurrent, self._readout = (c.counts(name) for name in ("input", "recurrent", "readout"))
        self._planes = range(max(1, int(self._inputs.max(initial=0)).bit_length()))
        self._alpha_syn, self._alpha_mem, self._gain = f(c.synapse_kept), f(c.membrane_kept), f(1 - c.membrane_kept)
        self._r_in, self._r = f(c.units["input"]), f(c.units["recurrent"])
        self._threshold, self._leak, self._reset = (f(v + origin) for v in (c.v_threshold, c.v_leak, c.v_reset))
        gain = float(c.metadata["arithmetic"]["readout_gain"])
        self._alpha_out, self._readout_gain = f(c.readout_kept), f(gain)
        self._scale = f(c.units["readout"] * (1 - c.readout_kept) / gain)

    def start(self, uniform: np.ndarray) -> None:
        self.u, self.drive = np.zeros(len(uniform), np.float32), np.zeros(len(uniform), np.float32)
        self.v = uniform.astype(np.float32)
        self.trace = np.zeros(self._readout.shape[1], np.float32)

    def present(self, z: np.ndarray) -> None:
        drive = np.zeros_like(self.drive)
        for plane in self._planes:
            for x, counts in zip(np.concatenate([z, -z]), self._inputs, strict=True):
                drive[counts >> plane & 1 == 1] += x * np.float32(1 << plane)
        self.drive = self._r_in * drive

    def step(self, spikes: np.ndarray) -> np.ndarray:
        arrived = self._recurrent[spikes].sum(axis=0).astype(np.float32)
        self.u = self._alpha_syn * self.u + self._r * arrived
        self.v = self._alpha_mem * self.v + self._gain * (self._leak + self.u + self.drive)
        fired = self.v > self._threshold
        self.v[fired] = self._reset
        return fired

    def integrate(self, spikes: np.ndarray) -> None:
        arrived = self._readout[spikes].sum(axis=0).astype(np.float32)
        self.trace = self._alpha_out * self.trace + self._readout_gain * arrived

    def output(self) -> np.ndarray:
        return self._scale * self.trace


class IntegerArithmetic:
    """A chip's integers, found again in the graph: weights times current_unit, potentials times potential_unit."""

    def __init__(self, constants: GraphConstants) -> None:
        c = self.c = constants
        self._m = constants.metadata["arithmetic"]
        self._current_unit, self._potential_unit = float(self._m["current_unit"]), float(self._m["potential_unit"])
        self._origin = c.v_reset + float(c.metadata["potential_origin"])
        self._inputs = c.counts("input")
        self._weight = c.counts("recurrent") * round(c.units["recurrent"] * self._current_unit)
        self._threshold = round((c.v_threshold - c.v_reset) * self._potential_unit)
        self._readout_scale = np.float32(self._m["readout_scale"])
        per_spike = round(c.units["readout"] * (1 - c.readout_kept) / float(self._m["readout_scale"]))
        self._readout = c.counts("readout") * per_spike
        self._check_input(c)

    def _check_input(self, c: GraphConstants) -> None:
        shift = int(self._m["input_shift"]) - int(self._m["input_fraction_bits"])
        stated = float(self._m["input_per_unit"]) * 2.0**shift / self._current_unit
        if not np.isclose(stated, c.units["input"], rtol=1e-6):
            raise MappingError(
                f"nir: the graph's input weight is {c.units['input']:g}, its metadata say {stated:g}; export it again"
            )

    def start(self, uniform: np.ndarray) -> None:
        self.u, self.drive = np.zeros(len(uniform), np.int64), np.zeros(len(uniform), np.int64)
        self.v = np.floor((uniform - self._origin) * self._potential_unit).astype(np.int64)
        self.trace = np.zeros(self._readout.shape[1], np.int64)

    def present(self, z: np.ndarray) -> None:
        """Each component is rounded; a single one stops at ± 2^17, the shifted sum at the chip's limit."""
        limit, largest = int(self._m["input_limit"]), np.float32(2**17)
        x = np.rint(np.clip(z * np.float32(self._m["input_per_unit"]), -largest, largest)).astype(np.int64)
        total = np.concatenate([x, -x]) @ self._inputs >> int(self._m["input_fraction_bits"])
        self.drive = np.clip(total, -limit, limit) << int(self._m["input_shift"])

    def step(self, spikes: np.ndarray) -> np.ndarray:
        u = self._decay(self.u, self.c.synapse_kept) + self._weight[spikes].sum(axis=0)
        self.u = self._overflow(u, "u")
        self.v = self._overflow(self._decay(self.v, self.c.membrane_kept) + self.u + self.drive, "v")
        fired = self.v > self._threshold
        self.v[fired] = 0
        return fired

    def integrate(self, spikes: np.ndarray) -> None:
        trace = self._decay(self.trace, self.c.readout_kept) + self._readout[spikes].sum(axis=0)
        self.trace = self._overflow(trace, "v")

    def output(self) -> np.ndarray:
        return self._readout_scale * self.trace.astype(np.float32)

    def _decay(self, x: np.ndarray, kept: float) -> np.ndarray:
        """x · kept, rounded as the chip does."""
        if kept == 0:
            return np.zeros_like(x)
        if self._m["decay_form"] == "shift":
            step = x >> round(-np.log2(1 - kept))
            return x - np.where(x > 0, np.maximum(step, 1), step)
        bits = int(self._m["decay_bits"])
        product = x * round(kept * 2**bits)
        if self._m["decay_rounding"] == "toward_zero":
            return np.sign(product) * (np.abs(product) >> bits)
        return product + (2 ** (bits - 1) if self._m["decay_rounding"] == "nearest" else 0) >> bits

    def _overflow(self, x: np.ndarray, state: str) -> np.ndarray:
        limit = 2 ** (int(self._m[f"{state}_bits"]) - 1)
        how = self._m[f"{state}_overflow"]
        if how == "saturate":
            return np.clip(x, 1 - limit, limit - 1)
        first = 1 - limit if how == "wrap_above" else -limit
        return (x - first) % (2 * limit) + first


#: By the kind that a graph's metadata name.
ARITHMETICS: dict[str, Callable[[GraphConstants], Arithmetic]] = {
    "real": RealArithmetic,
    "float32": Float32Arithmetic,
    "integer": IntegerArithmetic,
}
