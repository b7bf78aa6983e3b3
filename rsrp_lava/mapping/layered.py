"""A layered network's constants for the kernels."""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.convolution import Convolutions
from rsrp_lava.kernels.layered import LayeredConstants, PixelLayer
from rsrp_lava.kernels.release import pack_bits
from rsrp_lava.network import LayeredNetwork


def layered_constants(network: LayeredNetwork, mean: float, std: float, largest: int = 255) -> LayeredConstants:
    """Constants of `kernels.layered`, for pixels x of 0 … `largest` that are normalised as (x / largest − mean) / std.

    Computed in float64 and rounded once.
    """
    sizes = network.sizes
    scale = 1 / np.sqrt(np.array(sizes[:-1], np.float64))
    factors = [scale[layer] * network.inhibition(layer) for layer in range(1, len(sizes) - 1)]
    if network.options.conv:
        first = convolutions_of(network, mean, largest)
        shift = int(first.shift) if first.filters2 else 0
        unit = 2.0**shift / (largest * std)  # of a feature; `kernels.layered` doubles activations, convolutions do not
        factors = [np.full(sizes[0], scale[0] * unit / 2), *factors]
        return LayeredConstants(
            first, np.int64(len(network.options.conv)), np.array(sizes, np.int64), *_rest(network, factors)
        )
    positive = np.arange(sizes[0]) < network.n_inputs
    pixels = PixelLayer(
        np.int64(sizes[0]),
        np.bool_(network.signed),
        np.float32(scale[0] / (largest * std)),
        np.float32(-scale[0] * mean / std),
        pack_bits(positive[None, :]),
    )
    return LayeredConstants(pixels, np.int64(1), np.array(sizes[1:], np.int64), *_rest(network, factors))


def _rest(network: LayeredNetwork, factors: list[np.ndarray]) -> tuple[np.bool_, np.ndarray]:
    return np.bool_(network.signed), np.concatenate([*factors, np.zeros(0)]).astype(np.float32)


def convolutions_of(network: LayeredNetwork, mean: float, largest: int = 255) -> Convolutions:
    """Constants of `kernels.convolution`.

    Between two convolutions activations are integers of at most L = ⌊65535 / (9 · filters)⌋, so that sums fit in 16 bits
    (32 filters: 227, 64: 113). Their unit is the smallest power of two of pixel units with which three quarters of the
    largest possible sum fit; what is beyond is cut off.
    """
    filters = (*network.options.conv, 0)[:2]
    height, width, channels = network.shape
    limit = (2**16 - 1) // (9 * filters[0])
    shift = 0
    while 0.75 * 9 * channels * largest > limit << shift:
        shift += 1
    i = np.int64
    return Convolutions(
        i(height), i(width), i(channels), i(filters[0]), i(filters[1]), np.float64(largest * mean), i(shift), i(limit)
    )
