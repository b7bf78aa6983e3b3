"""Our single-network processes beside stock Lava's, fed the same spikes; prints what differs as JSON (Lava forks).

Usage: python lava_stock.py floating_pt|fixed_pt
"""

import json
import os
import sys

import numpy as np

if __name__ == "__main__":
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIF as StockLIF
    from lava.proc.monitor.process import Monitor

    from rsrp_lava.kernels.release import bit_planes, draw_release, unpack_bits
    from rsrp_lava.processes.lif.process import LIF
    from rsrp_lava.processes.stochastic_synapse.process import StochasticDense

    n, n_in, steps = 100, 40, 800
    random = np.random.default_rng(5)
    spikes = (random.random((n_in, steps)) < 0.1).astype(float)
    p = random.uniform(0.1, 0.9, (n_in, n)).astype(np.float32)
    signs = np.where(np.arange(n_in) < 28, 1, -1)
    planes = bit_planes(p, 16)
    rows = np.zeros(planes.shape[1], np.uint64)
    draw_release(planes, 1, 2, 3, 0, rows)
    released = unpack_bits(rows, p.shape)

    tag = sys.argv[1]
    floating = tag == "floating_pt"
    constants = {"du": 0.1, "dv": 0.05, "vth": 20.0} if floating else {"du": 389, "dv": 200, "vth": 1500}
    weight, bias = (0.75, 0.2) if floating else (50, -150)
    chains, monitors = [], {}
    ours = (StochasticDense(p=p, signs=signs, weight=weight, key=(1, 2, 3)), LIF(shape=(n,), bias=bias, **constants))
    stock = (
        # weights of ±50 are even, so Dense's MIXED mode keeps them
        Dense(weights=weight * (released * signs[:, None]).T),
        StockLIF(shape=(n,), bias_mant=bias, **constants),
    )
    for name, (synapses, neurons) in {"ours": ours, "stock": stock}.items():
        source = RingBuffer(data=spikes)
        source.s_out.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        for port in (synapses.a_out, neurons.s_out):
            monitors[name, port.name] = Monitor()
            monitors[name, port.name].probe(port, steps)
        monitors[name, "v"] = Monitor()
        monitors[name, "v"].probe(neurons.v, steps)
        neurons.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag=tag))
        chains.append(neurons)

    def read(name, what):
        (process,) = monitors[name, what].get_data().values()
        (data,) = process.values()
        return data

    report = {
        "currents": float(np.abs(read("ours", "a_out") - read("stock", "a_out")).max()),
        "spikes": int(read("stock", "s_out").sum()),
        "mismatches": int((read("ours", "s_out") != read("stock", "s_out")).sum()),
        "potential": float(np.abs(read("ours", "v") - read("stock", "v")).max()),
    }
    print(json.dumps(report), flush=True)
    for chain in chains:
        chain.stop()
    os._exit(0)
