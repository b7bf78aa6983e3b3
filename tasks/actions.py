"""Actions from a network's outputs: one of several choices, or a number in a range."""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.compiling import kernel


@kernel
def first_largest(output):
    """Index of the largest output, the first of equal ones."""
    best = 0
    for o in range(output.shape[0]):
        if output[o] > output[best]:
            best = o
    return best


@kernel
def choose(output, action):
    """Outputs with which a task takes the action of that number; one output stands for two actions, by its sign."""
    if output.shape[0] == 1:
        output[0] = np.float32(1) if action == 1 else np.float32(-1)
        return
    for o in range(output.shape[0]):
        output[o] = np.float32(1) if o == action else np.float32(0)


@kernel
def in_range(output, low, high):
    """An output from −1 to 1, clipped, as an action from `low` to `high`: float32, as the actions of Gymnasium's `Box`."""
    one, low, high = np.float32(1), np.float32(low), np.float32(high)
    return low + (min(max(output, -one), one) + one) / np.float32(2) * (high - low)
