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

from rsrp_lava.errors import refuse_bool

#: Release probabilities of every projection by name: float32, shape (n_pre, n_post).
ReleaseProbabilities = dict[str, np.ndarray]


#: Sizes of the constants below, which are far from what a network has.
_LEAST, _MOST = 1e-9, 1e9
_MOST_SUBSTEPS = 10**6


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
    one_hot_inputs: Literal["unscaled", "standardised"] = Field(
        "standardised", description="one-hot parts of observations: 0 and 1 as they are, or standardised as numbers are"
    )

    _no_bool = field_validator("*", mode="before")(refuse_bool)

    @field_validator("*")
    @classmethod
    def _computable(cls, value: Any, info: Any) -> Any:
        """Products of these constants are float32, in which numbers far beyond these limits become 0 or infinite."""
        least = 0 if info.field_name in ("v_reset", "excitatory_ratio") else _LEAST
        if isinstance(value, float) and not least <= abs(value) <= _MOST:
            raise ValueError(f"network.{info.field_name}: {value:g} must have a size from {least:g} to {_MOST:g}")
        return value

    @model_validator(mode="after")
    def _check(self) -> NetworkOptions:
        if self.sim_time_ms / self.dt_ms > _MOST_SUBSTEPS:
            raise ValueError(
                f"network.dt_ms: steps of {self.dt_ms:g} ms in sim_time_ms = {self.sim_time_ms:g} are "
                f"{self.sim_time_ms / self.dt_ms:,.0f} an environment step, limit {_MOST_SUBSTEPS:,}; give a larger dt_ms"
            )
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

    @property
    def words(self) -> int:
        """64-bit words of its releases: rows of bits, each padded to whole words."""
        rows, columns = self.rows_shape
        return rows * -(-columns // 64)

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

    With `pictures` it is a layer between pixels and classes: inputs are 0 … 255, and recurrent synapses never release.
    `one_hot` names the observations that are one-hot: (first, size) of each part, of which one observation is 1.
    """

    options: NetworkOptions
    n_inputs: int
    n_outputs: int
    reservoir: bool = False
    pictures: bool = False
    one_hot: tuple[tuple[int, int], ...] = ()

    @property
    def unscaled(self) -> np.ndarray:
        """bool, shape (n_inputs,): observations that are not standardised, as they belong to one-hot parts."""
        unscaled = np.zeros(self.n_inputs, bool)
        if self.options.one_hot_inputs == "unscaled":
            for first, size in self.one_hot:
                unscaled[first : first + size] = True
        return unscaled

    @property
    def n_active(self) -> int:
        """Inputs that are on at a time: all that are standardised, and one of every one-hot part."""
        parts = self.one_hot if self.options.one_hot_inputs == "unscaled" else ()
        return self.n_inputs - sum(size - 1 for _, size in parts)

    @property
    def projections(self) -> tuple[Projection, ...]:
        n = self.options.n_neurons
        return (
            Projection("input", 2 * self.n_inputs, n, "pre" if self.pictures else "post"),
            Projection("recurrent", n, n, "post", plastic=not (self.reservoir or self.pictures)),
            Projection("readout", n, self.n_outputs, "pre"),
        )

    @property
    def largest_input(self) -> float:
        """Of one component of the observation that integers have room for: five standard deviations, or a white pixel.

        Rarer ones, up to kernels/running.LARGEST_Z, fit if others are smaller; what does not is cut and counted (input_cut).
        """
        return 255.0 if self.pictures else 5.0

    @property
    def input_reach(self) -> float:
        """Of all components together, for integers: all of them at their largest; a quarter of a picture's pixels white."""
        return self.largest_input * self.n_active / (4 if self.pictures else 1)

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
        """R_in = K_in · v_threshold · tau_mem · √(2 / (s · n_active)); not doubled for −x (released code).

        The sum over inputs then has the same size whatever their number: standardised inputs have a mean square of 1, all
        inputs of a one-hot part together too. Of pixels: for one that is white.
        """
        o = self.options
        weight = o.input_gain * o.v_threshold * o.tau_mem_ms * math.sqrt(2 / (o.expected_sparsity * self.n_active))
        return weight / 255 if self.pictures else weight

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
        """One half everywhere; a frozen projection's are its release (`frozen`, bool), 0 or 1, those of pictures 0."""
        half = {p.name: np.full((p.n_pre, p.n_post), 0.5, np.float32) for p in self.projections}
        if self.pictures:
            return {**half, "recurrent": np.zeros_like(half["recurrent"])}
        return {p.name: half[p.name] if p.plastic else frozen[p.name].astype(np.float32) for p in self.projections}


class LayeredOptions(BaseModel):
    """Layers of binary weights without spikes: the paper's plain networks (Sun et al. 2025 §2.4, §3.2)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conv: tuple[Annotated[int, Field(ge=16, le=512, multiple_of=16)], ...] = Field(
        (), max_length=2, description="filters of one or two 3 × 3 convolutions, each with relu and 2 × 2 max-pooling"
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=32767)], ...] = Field(
        (64,), description="neurons of the hidden layers; none for no hidden layer"
    )
    ei: Literal["none", "1:1", "2:1", "3:1"] = Field(
        "none", description="none: weights ±1; E:I: weights 0 and 1, of so many excitatory for every inhibitory neuron"
    )
    neurons: Literal["relu", "lif"] = Field(
        "relu", description="relu: no spikes; lif: one layer of spiking neurons, for chips"
    )
    mirror_input: bool = Field(False, description="feed [x, −x], so that weights of 0 and 1 see both signs")

    @field_validator("conv", "hidden", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'128,64' from the command line, one number, a list, or none."""
        if isinstance(value, str):
            return [] if value.strip() == "none" else [part for part in value.split(",") if part.strip()]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check(self) -> LayeredOptions:
        if self.conv and (self.ei != "none" or self.mirror_input):
            raise ValueError("layers.conv: convolutions have weights of ±1; leave ei and mirror_input out")
        if self.neurons == "lif":
            if self.ei == "none" or not self.mirror_input:
                raise ValueError(
                    "layers.neurons: synapses of lif neurons are 0 or 1 and have the sign of their neuron; set ei to 1:1, "
                    "2:1 or 3:1, and mirror_input"
                )
            if self.conv or len(self.hidden) != 1:
                raise ValueError("layers.neurons: lif makes one hidden layer; give hidden one number, and leave conv out")
        return self


def _pooled(size: int) -> int:
    """Places that are left of so many after a 3 × 3 convolution without padding and 2 × 2 pooling."""
    return (size - 2) // 2


@dataclass(frozen=True)
class LayeredNetwork:
    """A feed-forward network for pictures of `shape` (height, width, channels) and `n_outputs` classes, without biases.

        y_l = scale_l W_l x_{l−1},   x_l = 2 relu(y_l),   scores = y of the last layer;   scale_l = 1 / √(inputs of layer l)

    W is ±1, or with `ei` 0 and 1: then inhibitory hidden neurons (they come last) count −E/I times (Sun et al. 2025 §3.3;
    released code, modules/linear.py). Convolutions have scale 1 and x = maxpool(relu(y)) (modules/CNN.py).
    """

    options: LayeredOptions
    shape: tuple[int, int, int]
    n_outputs: int

    def __post_init__(self) -> None:
        """`ValueError` for pictures that are too small for the convolutions, or of other than 1 or 3 channels."""
        if self.options.conv and self.shape[2] not in (1, 3):
            raise ValueError(f"layers.conv: convolutions take 1 or 3 channels, not {self.shape[2]}; leave conv out")
        if min(self.feature_shape) < 1:
            height, width, _ = self.shape
            raise ValueError(
                f"layers.conv: nothing is left of {height} × {width} pixels after {len(self.options.conv)} convolutions "
                "with pooling; use fewer"
            )

    @property
    def n_inputs(self) -> int:
        """Pixels times channels."""
        return math.prod(self.shape)

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """What the convolutions make of a picture: (height, width, filters). Each leaves ⌊(size − 2)/2⌋ of a side."""
        height, width, channels = self.shape
        for filters in self.options.conv:
            height, width, channels = _pooled(height), _pooled(width), filters
        return height, width, channels

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs (twice as many if they are mirrored, or the features of the convolutions) and neurons of every layer."""
        features = math.prod(self.feature_shape) * (1 + self.options.mirror_input)
        return (features, *self.options.hidden, self.n_outputs)

    @property
    def signed(self) -> bool:
        """Weights are ±1, not 0 and 1."""
        return self.options.ei == "none"

    @property
    def projections(self) -> tuple[Projection, ...]:
        """`input`, `hidden…`, `readout`, as many as there are; with convolutions `conv1`, `conv2`, `hidden…`, `readout`.

        A convolution's are shared by all places: shape (9 · channels, filters), in the order (row, column, channel).
        """
        sizes, convolutions, channels = self.sizes, [], self.shape[2]
        for k, filters in enumerate(self.options.conv, 1):
            convolutions.append(Projection(f"conv{k}", 9 * channels, filters, "pre"))
            channels = filters
        n_inner = len(sizes) - 2 - (not convolutions)
        inner = ["hidden"] if n_inner == 1 else [f"hidden{k}" for k in range(1, n_inner + 1)]
        names = [*inner, "readout"] if convolutions else ["input", *inner, "readout"][-(len(sizes) - 1) :]
        return (*convolutions, *(Projection(name, sizes[k], sizes[k + 1], "pre") for k, name in enumerate(names)))

    @property
    def substeps(self) -> int:
        """There is no time: one pass an image."""
        return 1

    @property
    def n_observed(self) -> int:
        """None: pixels are normalised by what is known of the data set."""
        return 0

    @property
    def unscaled(self) -> np.ndarray:
        """bool, shape (n_observed,)."""
        return np.zeros(0, bool)

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
        digest.update(np.ascontiguousarray(rho, "<f4").reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
