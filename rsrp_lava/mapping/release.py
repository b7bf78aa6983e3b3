"""How a profile's synapses draw: from release probabilities to what the kernels draw with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rsrp_lava.hardware_profiles.schema import Release
from rsrp_lava.kernels.generators import SharedDraw, ShiftRegister, shift_register
from rsrp_lava.kernels.random_bits import RESERVOIR
from rsrp_lava.kernels.ranges import MapRanges, in_turn
from rsrp_lava.kernels.release import bit_planes, draw_release, pack_bits, thresholds, unpack_bits
from rsrp_lava.network import Projection, ReleaseProbabilities

#: What `draw_release` draws from.
Source = np.ndarray | SharedDraw | ShiftRegister


@dataclass(frozen=True)
class ReleaseDraw:
    """A comparator of `p_bits` against random bits of some generator (kernels/generators.py)."""

    p_bits: int = 16
    scope: str = "synapse"  #: or "axon": one draw for all synapses of an axon
    register_width: int | None = None  #: of the shift register; None: ideal random bits
    stride: int = 1
    inclusive: bool = False  #: released where draw ≤ threshold, not only below it

    @classmethod
    def of(cls, release: Release, p_bits: int) -> ReleaseDraw:
        """As a profile says, with a comparator of `p_bits`."""
        width = release.generator.width if release.generator.kind == "lfsr" else None
        return cls(p_bits, release.scope, width, release.generator.stride, release.compare == "le")

    def sources(
        self,
        projections: Iterable[Projection],
        probabilities: ReleaseProbabilities,
        deterministic: bool,
        map_ranges: MapRanges = in_turn,
    ) -> tuple[Source, ...]:
        """Of all projections; `deterministic`: θ = [ρ > ½] in every sample."""
        if deterministic:
            return tuple(fixed_release(p, probabilities[p.name] > 0.5) for p in projections)
        return tuple(self.source(p, probabilities[p.name], map_ranges) for p in projections)

    def source(self, projection: Projection, probability: np.ndarray, map_ranges: MapRanges = in_turn) -> Source:
        """What samples of a projection draw from; a frozen one's release is fixed."""
        if not projection.plastic:
            return fixed_release(projection, probability > 0.5)
        rows = projection.to_rows(probability)
        row_words = -(-projection.rows_shape[1] // 64)
        if self.register_width is not None:
            codes = thresholds(rows, self.p_bits)
            return shift_register(
                codes, projection.rows_shape, self.p_bits, self.register_width, self.stride, self.inclusive
            )
        planes = bit_planes(rows, self.p_bits, map_ranges)
        return SharedDraw(planes, row_words, projection.packed == "post") if self.scope == "axon" else planes


def fixed_release(projection: Projection, released: np.ndarray) -> np.ndarray:
    """A release that is the same in every sample: one plane; `released`: bool, shape (n_pre, n_post)."""
    return pack_bits(projection.to_rows(released))[None, :]


def reservoir_release(projection: Projection, seed: int) -> np.ndarray:
    """A frozen projection's release: one draw at probability one half, the same for every sample and generation."""
    planes = bit_planes(np.full(projection.rows_shape, 0.5, np.float32), p_bits=1)
    words = np.zeros(planes.shape[1], np.uint64)
    draw_release(planes, seed, 0, 0, RESERVOIR, words)
    return projection.from_rows(unpack_bits(words, projection.rows_shape))
