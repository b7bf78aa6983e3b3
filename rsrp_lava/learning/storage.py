"""How release probabilities are kept between updates: as float32, or as codes of a few bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsrp_lava.kernels.random_bits import ROUNDING, fill_uniform_part


@dataclass(frozen=True)
class Storage:
    """Codes c of B bits, p = c / 2^B, or float32 (`p_bits` None).

        nearest:     c = round(2^B p), ties to even
        stochastic:  c = ⌊2^B p⌋ + [U < 2^B p − ⌊2^B p⌋], U uniform in [0, 1): the expected code is exact (Gupta et al. 2015)

    U is a pure function of (seed, generation, projection, synapse). `zero` and `one` say whether p may become 0 or 1; such
    a synapse always does the same, so θ − p is 0 and it never learns again.
    """

    p_bits: int | None = None
    rounding: str = "nearest"
    zero: bool = False
    one: bool = False

    def store(self, probability: np.ndarray, key: tuple[int, int, int], first: int = 0) -> np.ndarray:
        """Probabilities (float64) as they are kept, float32 (exact: B ≤ 24); key: (seed, generation, projection).

        `first`: number of the first synapse, a multiple of 4, where these are a part of a projection.
        """
        if self.p_bits is None:
            return probability.astype(np.float32)
        scaled = probability * 2.0**self.p_bits
        if self.rounding == "nearest":
            codes = np.rint(scaled)
        else:
            seed, generation, projection = key
            uniform = np.empty(scaled.size)
            fill_uniform_part(seed, generation, 0, ROUNDING + projection, first, uniform)
            below = np.floor(scaled)
            codes = below + (uniform.reshape(scaled.shape) < scaled - below)  # ⌊scaled + U⌋ could round up to a whole code
        codes = np.clip(codes, 0 if self.zero else 1, 2**self.p_bits - (0 if self.one else 1))
        return (codes / 2.0**self.p_bits).astype(np.float32)


#: Probabilities are kept as they are.
FLOAT32 = Storage()
