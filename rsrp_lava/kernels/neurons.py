"""One step of 64 neurons. The equations are written once, for one neuron, and compiled for a vector of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .lanes import lanewise, where


class LifConstants(NamedTuple):
    """Constants of a population of current-based leaky integrate-and-fire neurons (float32 each)."""

    alpha_syn: np.float32  #: exp(−dt / tau_syn): what is left of the synaptic current after one step
    weight: np.float32  #: R: synaptic current of one released recurrent synapse
    alpha_mem: np.float32  #: exp(−dt / tau_mem)
    gain: np.float32  #: 1 − alpha_mem
    v_threshold: np.float32
    v_reset: np.float32


@lanewise()
def lif_step(u, v, drive, count, c):
    """One step of the current-based LIF neuron (released code of Wang et al. 2023, `ConnSNN`), float32, in this order.

        u ← α_syn u + R n            n: signed number of released synapses that carried a spike of the previous step
        v ← α_mem v + (1 − α_mem) (v_reset + u + drive)
        spike = v > v_threshold      strict
        v ← v_reset where spike

    `u` and `v` (float32) are updated; `drive` (float32) is a constant input current, `count` (int16) is n.
    """
    u = c.alpha_syn * u + c.weight * count
    v = c.alpha_mem * v + c.gain * (c.v_reset + u + drive)
    spike = v > c.v_threshold
    return spike, {"u": u, "v": where(spike, c.v_reset, v)}
