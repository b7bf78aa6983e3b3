"""A trained network with its synapses fixed, in a profile's numbers: what every export writes and every check plays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rsrp_lava.errors import MappingError
from rsrp_lava.hardware_profiles import Profile
from rsrp_lava.kernels.arithmetic import NetworkConstants
from rsrp_lava.kernels.deployed import Planes
from rsrp_lava.kernels.random_bits import RELEASE
from rsrp_lava.kernels.release import draw_release, pack_bits, unpack_bits
from rsrp_lava.kernels.running import LARGEST_Z
from rsrp_lava.mapping import QuantisedNetwork, floating_constants, quantise
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import Network, Projection, ReleaseProbabilities

#: What becomes of the release probabilities of a network whose chip does not draw, by name.
RELEASE_MODES = {
    "threshold": "a synapse is there where ρ > ½ (the evaluation of training)",
    "frozen_sample": "one draw, as in training; several samples vote (the practice on TrueNorth)",
    "axonal": "one draw for all synapses of an axon: samples with correlated synapses",
    "mean_field": "weights of several bits, proportional to ρ",
}
#: Bits of ρ in the weights of the input, and of all synapses in floating point, under `mean_field`.
FRACTION_BITS = 6


@dataclass(frozen=True)
class Deployment:
    """K networks with fixed synapses that share one readout.

    Synapses are non-negative integers: how often a synapse counts, 0 or 1 except under `mean_field`. A recurrent or readout
    synapse of presynaptic neuron i then weighs sign_i · synapse · `weight_unit` (mantissa; `readout_unit`).
    """

    network: Network
    profile: Profile
    quantised: QuantisedNetwork | None  #: None in floating point
    release: str  #: one of RELEASE_MODES
    synapses: tuple[dict[str, np.ndarray], ...]  #: of each network: int64, shape (n_pre, n_post), by projection
    constants: NetworkConstants  #: for `kernels.deployed.play_deployed`
    mean: np.ndarray  #: float64, shape (n_inputs,): of the observations
    inverse_std: np.ndarray  #: float64, same shape
    weight_unit: int  #: recurrent mantissa of a synapse that counts once (1 in floating point)
    readout_unit: int
    provenance: dict[str, Any]
    probabilities: ReleaseProbabilities  #: what `synapses` were made from

    @property
    def largest_z(self) -> float:
        """Limit of a standardised observation's size; pixels are no such, and have none."""
        return math.inf if self.network.pictures else LARGEST_Z

    def planes(self) -> Planes:
        """Synapses as the kernels take them: the readout's in rows of a target each, the others' in rows of a source."""
        packed: dict[str, Literal["pre", "post"]] = {"input": "post", "recurrent": "post", "readout": "pre"}
        return Planes(*(self._planes(replace(p, packed=packed[p.name])) for p in self.network.projections))

    def _planes(self, projection: Projection) -> np.ndarray:
        largest = max(int(synapses[projection.name].max(initial=0)) for synapses in self.synapses)
        bits = range(max(1, largest.bit_length()))
        return np.stack(
            [
                np.concatenate([pack_bits(projection.to_rows(synapses[projection.name] >> b & 1 == 1)) for b in bits])
                for synapses in self.synapses
            ]
        )


def build_deployment(
    network: Network,
    profile: Profile,
    probabilities: ReleaseProbabilities,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    *,
    release: str = "threshold",
    samples: int = 1,
    draw: ReleaseDraw | None = None,
    key: tuple[int, int] = (0, 0),
    provenance: dict[str, Any] | None = None,
) -> Deployment:
    """Fix the synapses of a network in a profile's numbers.

    Parameters
    ----------
    probabilities : release probabilities ρ
    mean, inverse_std : of the observations
    release : one of RELEASE_MODES
    samples : networks of an ensemble (`frozen_sample`, `axonal`)
    draw : how samples are drawn; by default as `profile` says
    key : (seed, generation) of the draws
    provenance : written into every export

    Raises `MappingError` if the mode does not take several samples, or weights do not fit the chip's widths.
    """
    if samples > 1 and release not in ("frozen_sample", "axonal"):
        raise MappingError(f"samples: {samples} networks of release {release} would all be the same; use frozen_sample")
    quantised = quantise(network, profile, samples) if profile.arithmetic == "integer" else None
    constants = quantised.constants() if quantised else _mean_of(floating_constants(network), samples)
    weight_unit, readout_unit = (quantised.weight, quantised.readout_weight) if quantised else (1, 1)
    draw = draw or ReleaseDraw.of(profile.release, profile.release.p_bits)
    if release == "threshold":
        networks = [{name: (rho > 0.5).astype(np.int64) for name, rho in probabilities.items()}]
    elif release == "mean_field":
        networks, constants = _mean_field(network, probabilities, constants, quantised)
        weight_unit = readout_unit = 1
    else:
        scope = "axon" if release == "axonal" else draw.scope
        draw = ReleaseDraw(draw.p_bits, scope, draw.register_width, draw.stride, draw.inclusive)
        networks = [_sample(network, probabilities, draw, key, k) for k in range(samples)]
    return Deployment(
        network,
        profile,
        quantised,
        release,
        tuple(networks),
        constants,
        mean.astype(np.float64),
        inverse_std.astype(np.float64),
        weight_unit,
        readout_unit,
        dict(provenance or {}),
        probabilities,
    )


def _mean_of(constants: NetworkConstants, networks: int) -> NetworkConstants:
    """The readout's output is the mean of the networks that share it."""
    weight = constants.readout.output_weight / np.float32(networks)
    return constants._replace(readout=constants.readout._replace(output_weight=weight))


def _sample(
    network: Network, probabilities: ReleaseProbabilities, draw: ReleaseDraw, key: tuple[int, int], sample: int
) -> dict[str, np.ndarray]:
    """The releases that sample would have in training."""
    synapses = {}
    for index, projection in enumerate(network.projections):
        rows, columns = projection.rows_shape
        words = np.zeros(rows * -(-columns // 64), np.uint64)
        draw_release(draw.source(projection, probabilities[projection.name]), *key, sample, RELEASE + index, words)
        synapses[projection.name] = projection.from_rows(unpack_bits(words, projection.rows_shape)).astype(np.int64)
    return synapses


def _mean_field(
    network: Network,
    probabilities: ReleaseProbabilities,
    constants: NetworkConstants,
    quantised: QuantisedNetwork | None,
) -> tuple[list[dict[str, np.ndarray]], NetworkConstants]:
    """Weights round(ρ · w) instead of releases of weight w: the expected input of every neuron."""
    fraction = 2**FRACTION_BITS
    tops = {"input": fraction, "recurrent": fraction, "readout": fraction}
    if quantised is not None:
        tops |= {"recurrent": quantised.weight, "readout": quantised.readout_weight}
    synapses = {name: np.rint(rho.astype(np.float64) * tops[name]).astype(np.int64) for name, rho in probabilities.items()}
    largest = max(tops["recurrent"], tops["readout"]) * len(network.excitatory)
    if largest >= 2**31:
        raise MappingError(f"mean_field: sums of up to {largest} do not fit 32 bits; use fewer neurons, or threshold")
    lif, readout, inputs = constants.lif, constants.readout, constants.input
    if quantised is None:
        scale = np.float32(1 / fraction)
        lif = lif._replace(weight=lif.weight * scale)
        readout = readout._replace(trace_gain=readout.trace_gain * scale)
        inputs = inputs._replace(weight=inputs.weight * scale)
    else:
        lif = lif._replace(weight=np.int32(lif.weight // quantised.weight))
        readout = readout._replace(weight=np.int32(readout.weight // quantised.readout_weight))
        inputs = inputs._replace(fraction_bits=np.int32(inputs.fraction_bits + FRACTION_BITS))
    return [synapses], constants._replace(lif=lif, readout=readout, input=inputs)
