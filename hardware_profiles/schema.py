"""What a profile says about a chip: the fields, their units and their limits. `loader.py` reads the files."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Status = Literal["documented", "emulator-consistent", "inferred"]


def fact(unit: str | None = None, **limits: Any) -> Any:
    """A field whose value carries a unit, a source and a status in the file."""
    return Field(json_schema_extra={"unit": unit}, **limits)


class Section(BaseModel):
    """A part of a profile; every field is a fact of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class State(Section):
    """A state variable of `bits` bits."""

    bits: int = fact("bit", ge=8, le=30, description="width, sign included if there is one")
    overflow: Literal["saturate", "saturate_at_zero", "wrap_above", "wrap_below"] = fact(
        description="with L = 2^(bits−1): saturate at ±(L − 1); wrap_above: −L < x ≤ L; wrap_below: −L ≤ x < L; "
        "saturate_at_zero (unsigned): 0 ≤ x < 2L"
    )


class Decay(Section):
    """How states leak."""

    form: Literal["multiply", "shift", "linear"] = fact(description="multiply: x·(2^bits − d)/2^bits; shift: x − (x >> d)")
    bits: int = fact("bit", ge=1, le=15, description="width of the decay constant d (multiply, linear) or of the shift")
    rounding: Literal["toward_zero", "floor", "nearest"] = fact(description="of the product")
    u_offset: int = fact("1", ge=0, le=1, description="added to the register of u")
    v_offset: int = fact("1", ge=0, le=1, description="added to the register of v")


class Threshold(Section):
    """threshold = mantissa << shift."""

    bits: int = fact("bit", ge=1, le=29, description="width of the mantissa, unsigned")
    shift: int = fact("bit", ge=0, le=16)
    compare: Literal["gt", "ge"] = fact(description="a neuron spikes where v > threshold, or v ≥ threshold")


class Bias(Section):
    """bias = mantissa << exponent. Graded input arrives as bias, new every environment step."""

    bits: int = fact("bit", ge=2, le=30, description="width of the mantissa, signed")
    max_exponent: int = fact("bit", ge=0, le=16)
    writable: bool = fact(description="can the host change it while the network runs?")


class Neuron(Section):
    """Integer leaky integrate-and-fire neurons."""

    u: State
    v: State
    synaptic_current: bool = fact(description="false: u does not outlast a step")
    decay: Decay
    input_shift: int = fact("bit", ge=0, le=16, description="synaptic input is shifted left by this")
    threshold: Threshold
    bias: Bias
    reset: Literal["zero", "subtract"] = fact(description="v after a spike: 0, or v − threshold")
    readable: bool = fact(description="can the host read v while the network runs? If not, it integrates the spikes itself")
    max_refractory: int = fact("step", ge=0, description="longest refractory time; the network uses none")


class Synapse(Section):
    """Weights and delays."""

    weight_bits: list[int] = fact("bit", min_length=1, description="widths of a weight's magnitude that can be stored")
    sign_modes: list[Literal["mixed", "excitatory", "inhibitory", "per_source", "signed"]] = fact(
        min_length=1,
        description="signed: a sign bit beside the magnitude; mixed: the sign takes the lowest bit, so weights are even; "
        "excitatory, inhibitory: one sign a block; per_source: a register a source",
    )
    weights_per_target: int | None = fact(
        "1",
        ge=1,
        description="different weights at one neuron, which holds them: a synapse is one bit; null: it has its own",
    )
    rounding: Literal["floor", "toward_zero", "nearest"] = fact(description="of weights to their width")
    min_delay: int = fact("step", ge=0, le=63)
    max_delay: int = fact("step", ge=0, le=63)
    max_exponent: int = fact(
        "bit", ge=0, le=16, description="the weights of a projection are shifted left together by up to this"
    )

    @model_validator(mode="after")
    def _check(self) -> Synapse:
        if not all(1 <= bits <= 16 for bits in self.weight_bits):
            raise ValueError(f"weight_bits: {self.weight_bits} must be between 1 and 16")
        if self.min_delay > self.max_delay:
            raise ValueError(f"min_delay: {self.min_delay} is above max_delay: {self.max_delay}")
        return self


class Generator(Section):
    """Where random bits come from."""

    kind: Literal["counter", "lfsr"] = fact(description="counter: ideal bits (Threefry); lfsr: a shift register a row")
    width: int = fact("bit", ge=4, le=32, description="of the register")
    stride: int = fact("step", ge=1, le=64, description="register steps between draws")


class Release(Section):
    """Stochastic release."""

    support: Literal["synapse", "neuron", "none"] = fact(description="what can draw: a synapse, a neuron, nothing")
    p_bits: int = fact("bit", ge=2, le=32, description="width of the comparator that draws a release")
    levels_per_target: int | None = fact("1", ge=1, description="different probabilities at one neuron; null: no limit")
    compare: Literal["lt", "le"] = fact(description="released where draw < code, or draw ≤ code")
    scope: Literal["synapse", "axon"] = fact(description="a draw for every synapse, or one for all synapses of an axon")
    generator: Generator


class LearningStorage(Section):
    """How probabilities are kept between updates."""

    p_bits: int | None = fact("bit", ge=2, le=24, description="codes of p = code / 2^p_bits; null: float32")
    rounding: Literal["nearest", "stochastic"] = fact(description="of an update to a code")
    zero: bool = fact(description="can p be 0? A synapse there never releases and never learns again")
    one: bool = fact(description="can p be 1?")


class Limits(Section):
    """What a core and a chip hold; null: no limit, or none known."""

    cores: int | None = fact("1", ge=1)
    neurons_per_core: int | None = fact("1", ge=1)
    inputs_per_core: int | None = fact("1", ge=1, description="axons that end in a core")
    outputs_per_core: int | None = fact("1", ge=1, description="axons that leave a core")
    synapse_bits_per_core: int | None = fact("bit", ge=1)
    synapses_per_chip: int | None = fact("1", ge=1)
    fan_in: int | None = fact("1", ge=1, description="synapses that end in a neuron")
    fan_out: int | None = fact("1", ge=1, description="synapses that leave a neuron")
    external_inputs: int | None = fact("1", ge=1)
    external_outputs: int | None = fact("1", ge=1)
    distinct_decays_per_core: int | None = fact("1", ge=1, description="pairs of du and dv")
    distinct_thresholds_per_core: int | None = fact("1", ge=1)
    block_synapses: int = fact("1", ge=1, description="synapses a block of memory")
    block_header_bits: int = fact("bit", ge=0, description="bits a block takes besides its synapses")
    block_align_bits: int = fact("bit", ge=1, description="blocks are rounded up to this")
    synapse_extra_bits: int = fact("bit", ge=0, description="bits a synapse takes besides its weight")


class Provenance(Section):
    """How far the profile can be trusted."""

    validated_on_silicon: Literal[False]
    summary: str = Field(min_length=10)
    not_modeled: list[str]


class Profile(Section):
    """The arithmetic and the limits of a chip; `facts` says where every number comes from."""

    name: str
    summary: str
    provenance: Provenance
    arithmetic: Literal["float32", "integer"] = fact()
    neuron: Neuron | None
    synapse: Synapse
    release: Release
    learning_storage: LearningStorage
    limits: Limits
    #: Dotted path of a number → its unit, source and status.
    facts: dict[str, Fact] = Field(exclude=True, repr=False)
    #: SHA-256 of all values, sources aside.
    digest: str = Field("", exclude=True)

    @model_validator(mode="after")
    def _check(self) -> Profile:
        if self.arithmetic == "integer" and self.neuron is None:
            raise ValueError("neuron: is missing; arithmetic: integer needs it")
        return self

    @property
    def p_bits(self) -> int:
        """Width of the comparator."""
        return self.release.p_bits


class Fact(Section):
    """Where a number comes from."""

    model_config = ConfigDict(str_strip_whitespace=True)

    unit: str | None = None
    source: str = Field(min_length=3)
    status: Status


Profile.model_rebuild()
