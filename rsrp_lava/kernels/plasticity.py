"""What an update does to each synapse by itself: float64, in the written order of operations, without contraction.

Arrays have one dimension; a caller gives parts of a projection.
"""

from __future__ import annotations

import numpy as np

from .compiling import kernel


@kernel
def advance_momentum(gradient, before, decay, velocity):
    """velocity ← decay · before + gradient."""
    for k in range(gradient.shape[0]):
        velocity[k] = decay * before[k] + gradient[k]


@kernel
def advance_adam(gradient, before, betas, bias, epsilon, after, direction):
    """Moments of the gradient and their ratio (Kingma, Ba 2015, algorithm 1).

    Parameters
    ----------
    before, after : (mean, square), float64 arrays;  `after` and `direction` are written
    betas : (β₁, β₂);  bias : (1 − β₁^t, 1 − β₂^t)
    """
    mean, square = after
    for k in range(gradient.shape[0]):
        mean[k] = betas[0] * before[0][k] + (1 - betas[0]) * gradient[k]
        square[k] = betas[1] * before[1][k] + (1 - betas[1]) * (gradient[k] * gradient[k])
        direction[k] = (mean[k] / bias[0]) / (np.sqrt(square[k] / bias[1]) + epsilon)


@kernel
def move(rho, direction, rate, decay, moved):
    """moved ← ρ + rate · direction + decay · (½ − ρ)."""
    for k in range(rho.shape[0]):
        moved[k] = rho[k] + rate * direction[k] + decay * (0.5 - rho[k])


@kernel
def clip(rho, low, high, kept):
    """kept ← ρ rounded to float32, then clipped to [low, high], float32."""
    for k in range(rho.shape[0]):
        kept[k] = min(max(np.float32(rho[k]), low), high)


__all__ = ["advance_adam", "advance_momentum", "clip", "move"]
