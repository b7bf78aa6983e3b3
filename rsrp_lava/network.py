"""The network: populations, projections, constants, signs, and where its release probabilities are kept. No arithmetic of
spikes: engines turn this description into kernels' arrays or Lava processes.

The default is the recurrent spiking network of Wang et al. 2023 and Sun et al. 2025 (released class `ConnSNN`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

#: Release probabilities of every projection by name: float32, shape (n_pre, n_post).
ReleaseProbabilities = dict[str, np.ndarray]


def refuse_bool(value: Any) -> Any:
    """For settings that are numbers: `true` would be read as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "input should be a number")
    return value


class NetworkOptions(BaseModel):
    """Size and constants of the recurrent spiking network; times in milliseconds, potentials in units of the threshold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    n_neurons: int = Field(256, ge=2, le=32767, description="LIF neurons in the recurrent population")
    excitatory_ratio: float = Field(0.5, ge=0, le=1, description="fraction of neurons that excite; they come first")
    dt_ms: float = Field(0.5, gt=0, description="length of a simulation step")
    sim_time_ms: float = Field(16.6, gt=0, description="simulated time an environment step, rounded to whole steps")
    tau_syn_ms: float = Field(5.0, gt=0, description="time constant of the synaptic current")
    tau_mem_ms: float = Field(10.0, gt=0, description="time constant of the membrane potential")
    tau_out_ms: float = Field(10.0, gt=0, description="time constant of the readout")
    v_threshold: float = Field(1.0, gt=0, description="a neuron spikes above this potential")
    v_reset: float = Field(0.0, description="potential after a spike, and resting potential")
    input_gain: float = Field(0.1, gt=0, description="K_in of the paper")
    recurrent_gain: float = Field(1.0, gt=0, description="K_h of the paper")
    output_gain: float = Field(5.0, gt=0, description="K_out of the paper")
    expected_sparsity: float = Field(0.5, gt=0, le=1, description="release probability the gains are scaled for")

    _no_bool = field_validator("*", mode="before")(refuse_bool)

    @model_validator(mode="after")
    def _check(self) -> NetworkOptions:
        if self.v_reset >= self.v_threshold:
            raise ValueError(
                f"network.v_reset: {self.v_reset:g} must be below v_threshold = {self.v_threshold:g}, "
                "or neurons at rest would spike for ever"
            )
        return self


@dataclass(frozen=True)
class Projection:
    """Synapses from one population to another, all to all, self-connections included."""

    name: str
    n_pre: int
    n_post: int
    #: Which neurons of a row of packed bits: targets ("post": the work is one row a spike) or sources ("pre": one popcount
    #: an output, for few outputs).
    packed: Literal["pre", "post"]
    #: A plastic projection draws its synapses for every sample; a frozen one releases where its probability is 1.
    plastic: bool = True

    @property
    def rows_shape(self) -> tuple[int, int]:
        """(rows, columns) of the packed bits."""
        return (self.n_pre, self.n_post) if self.packed == "post" else (self.n_post, self.n_pre)

    def to_rows(self, per_synapse: np.ndarray) -> np.ndarray:
        """(n_pre, n_post) → (rows, columns) in the order of packing."""
        return np.ascontiguousarray(per_synapse if self.packed == "post" else per_synapse.T)

    def from_rows(self, rows: np.ndarray) -> np.ndarray:
        """Inverse of `to_rows`."""
        return np.ascontiguousarray(rows if self.packed == "post" else rows.T)


@dataclass(frozen=True)
class Network:
    """A recurrent spiking network for `n_inputs` observations and `n_outputs` outputs.

    Projections, in this order (their index is part of the key of their random draws):

    - `input`, shape (2 · n_inputs, n_neurons): the observation x and −x, so that non-negative synapses see both signs;
    - `recurrent`, shape (n_neurons, n_neurons): the sign is the presynaptic neuron's (Dale's law), synapses are 0 or 1;
    - `readout`, shape (n_neurons, n_outputs).
    """

    options: NetworkOptions
    n_inputs: int
    n_outputs: int
    reservoir: bool = False

    @property
    def projections(self) -> tuple[Projection, ...]:
        n = self.options.n_neurons
        return (
            Projection("input", 2 * self.n_inputs, n, "post"),
            Projection("recurrent", n, n, "post", plastic=not self.reservoir),
            Projection("readout", n, self.n_outputs, "pre"),
        )

    @property
    def n_observed(self) -> int:
        """Observations whose running mean and deviation are kept."""
        return self.n_inputs

    @property
    def excitatory(self) -> np.ndarray:
        """bool, shape (n_neurons,): the first round(ratio · n) neurons excite, the others inhibit."""
        o = self.options
        return np.arange(o.n_neurons) < round(o.n_neurons * o.excitatory_ratio)

    @property
    def substeps(self) -> int:
        """Simulation steps an environment step: round(16.6 / 0.5) = 33."""
        return max(1, round(self.options.sim_time_ms / self.options.dt_ms))

    def decay(self, tau_ms: float) -> float:
        """exp(−dt / tau): what is left after one simulation step."""
        return math.exp(-self.options.dt_ms / tau_ms)

    @property
    def input_weight(self) -> float:
        """R_in = K_in · v_threshold · tau_mem · √(2 / (s · n_inputs)); n_inputs is not doubled (released code)."""
        o = self.options
        return o.input_gain * o.v_threshold * o.tau_mem_ms * math.sqrt(2 / (o.expected_sparsity * self.n_inputs))

    @property
    def recurrent_weight(self) -> float:
        """R = K_h · v_threshold · tau_mem / tau_syn · √(2 / (s · n_neurons))."""
        o = self.options
        scale = math.sqrt(2 / (o.expected_sparsity * o.n_neurons))
        return o.recurrent_gain * o.v_threshold * o.tau_mem_ms / o.tau_syn_ms * scale

    @property
    def output_weight(self) -> float:
        """R_out = K_out · √(1 / (s · n_neurons))."""
        o = self.options
        return o.output_gain * math.sqrt(1 / (o.expected_sparsity * o.n_neurons))

    def initial_probabilities(self, frozen: dict[str, np.ndarray]) -> ReleaseProbabilities:
        """One half everywhere; a frozen projection's are its release (`frozen`, bool): 0 or 1."""
        return {
            p.name: np.full((p.n_pre, p.n_post), 0.5, np.float32) if p.plastic else frozen[p.name].astype(np.float32)
            for p in self.projections
        }


class LayeredOptions(BaseModel):
    """Layers of binary weights without spikes: the paper's plain networks (Sun et al. 2025 §2.4, §3.2)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: tuple[Annotated[int, Field(ge=1, le=32767)], ...] = Field((64,), description="neurons of the hidden layers")
    ei: Literal["none", "1:1", "2:1", "3:1"] = Field(
        "none", description="none: weights ±1; E:I: weights 0 and 1, of so many excitatory for every inhibitory neuron"
    )
    mirror_input: bool = Field(False, description="feed [x, −x], so that weights of 0 and 1 see both signs")

    @field_validator("hidden", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'128,64' from the command line, one number, or a list."""
        if isinstance(value, str):
            return [part for part in value.split(",") if part.strip()]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class LayeredNetwork:
    """A feed-forward network for `n_inputs` pixels and `n_outputs` classes, without biases.

        y_l = scale_l W_l x_{l−1},   x_l = 2 relu(y_l),   scores = y of the last layer;   scale_l = 1 / √(inputs of layer l)

    W is ±1, or with `ei` 0 and 1: then inhibitory hidden neurons (they come last) count −E/I times (Sun et al. 2025 §3.3;
    released code, modules/linear.py).
    """

    options: LayeredOptions
    n_inputs: int
    n_outputs: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of every layer, inputs first (twice as many if they are mirrored)."""
        return (self.n_inputs * (1 + self.options.mirror_input), *self.options.hidden, self.n_outputs)

    @property
    def signed(self) -> bool:
        """Weights are ±1, not 0 and 1."""
        return self.options.ei == "none"

    @property
    def projections(self) -> tuple[Projection, ...]:
        """`input`, `hidden…`, `readout`; of a network without hidden layers only `readout`."""
        sizes = self.sizes
        inner = [f"hidden{k}" for k in range(1, len(sizes) - 2)]
        names = ["input", *(["hidden"] if len(inner) == 1 else inner), "readout"][-(len(sizes) - 1) :]
        return tuple(Projection(name, sizes[k], sizes[k + 1], "pre") for k, name in enumerate(names))

    @property
    def release_words(self) -> tuple[int, ...]:
        """64-bit words of each projection's releases: a row of bits a neuron, padded to whole words."""
        return tuple(p.n_post * -(-p.n_pre // 64) for p in self.projections)

    @property
    def substeps(self) -> int:
        """There is no time: one pass an image."""
        return 1

    @property
    def n_observed(self) -> int:
        """None: pixels are normalised by what is known of the data set."""
        return 0

    def inhibition(self, layer: int) -> np.ndarray:
        """float64, shape (neurons of the hidden layer,): what each neuron counts for the next layer, 1 or −E/I."""
        n = self.sizes[layer]
        if self.signed:
            return np.ones(n)
        ratio = int(self.options.ei.split(":")[0])
        return np.where(np.arange(n) < round(n * ratio / (ratio + 1)), 1.0, -float(ratio))

    def initial_probabilities(self, frozen: dict[str, np.ndarray]) -> ReleaseProbabilities:
        """One half everywhere."""
        return {p.name: np.full((p.n_pre, p.n_post), 0.5, np.float32) for p in self.projections}


def release_sha256(probabilities: ReleaseProbabilities) -> str:
    """SHA-256 of all release probabilities: little-endian float32, in the order of the projections."""
    digest = hashlib.sha256()
    for rho in probabilities.values():
        digest.update(np.ascontiguousarray(rho, "<f4").tobytes())
    return digest.hexdigest()
