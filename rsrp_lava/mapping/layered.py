"""A layered network in float32: its constants for the kernels."""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.layered import LayeredConstants
from rsrp_lava.kernels.release import pack_bits
from rsrp_lava.network import LayeredNetwork


def layered_constants(network: LayeredNetwork, mean: float, std: float, largest: int = 255) -> LayeredConstants:
    """Constants of `kernels.layered`, for pixels x of 0 … `largest` that are normalised as (x / largest − mean) / std.

    Computed in float64 and rounded once.
    """
    sizes = network.sizes
    layers = len(sizes) - 1
    scale = 1 / np.sqrt(np.array(sizes[:-1], np.float64))
    positive = np.arange(sizes[0]) < network.n_inputs
    factors = [scale[layer] * network.inhibition(layer) for layer in range(1, layers)]
    return LayeredConstants(
        np.array(sizes, np.int64),
        np.full(layers, network.signed),
        np.float32(scale[0] / (largest * std)),
        np.float32(-scale[0] * mean / std),
        pack_bits(positive[None, :]),
        np.concatenate([*factors, np.zeros(0)]).astype(np.float32),
    )
