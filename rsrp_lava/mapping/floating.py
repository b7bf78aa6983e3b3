"""The constants of a network in floating point: what the profile `ideal` runs."""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.arithmetic import InputConstants, NetworkConstants, ReadoutConstants
from rsrp_lava.kernels.neurons import LifConstants
from rsrp_lava.kernels.release import pack_bits
from rsrp_lava.network import Network


def floating_constants(network: Network) -> NetworkConstants:
    """The network's constants as the kernels take them: float32, each rounded once from float64."""
    o = network.options
    alpha_mem, alpha_out = network.decay(o.tau_mem_ms), network.decay(o.tau_out_ms)
    return NetworkConstants(
        lif=LifConstants(
            alpha_syn=np.float32(network.decay(o.tau_syn_ms)),
            weight=np.float32(network.recurrent_weight),
            alpha_mem=np.float32(alpha_mem),
            gain=np.float32(1 - alpha_mem),
            v_threshold=np.float32(o.v_threshold),
            v_reset=np.float32(o.v_reset),
        ),
        input=InputConstants(np.float32(network.input_weight)),
        readout=ReadoutConstants(
            alpha_out=np.float32(alpha_out),
            trace_gain=np.float32((1 - alpha_out) / o.dt_ms),
            output_weight=np.float32(network.output_weight),
        ),
        recurrent=int(not network.pictures),
        readout_delay=0,
        substeps=network.substeps,
        excitatory=pack_bits(network.excitatory[None, :]),
        n_neurons=o.n_neurons,
    )
