"""Run in a process of its own: `release` set between two runs, against stock Dense whose weights are set. Prints JSON."""

import json
import sys

import numpy as np


def main() -> None:
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer

    from rsrp_lava.processes.lif.process import LIF
    from rsrp_lava.processes.stochastic_synapse.process import StochasticDense

    # An even weight: stock Dense rounds odd ones away in fixed point.
    random, (pre, post), tag = np.random.default_rng(5), (70, 3), sys.argv[1]
    spikes = (random.random((pre, 9)) < 0.5).astype(np.float32)
    masks = [random.integers(0, 2, (pre, post)) for _ in range(2)]
    currents = []
    for ours in (False, True):
        synapses = (
            StochasticDense(p=np.ones((pre, post)), weight=2) if ours else Dense(weights=2 * np.ones((post, pre), int))
        )
        neurons, source = LIF(shape=(post,), vth=2**16, du=0), RingBuffer(data=spikes)
        source.s_out.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        seen = []
        for mask in (None, *masks):
            if mask is not None:
                (synapses.release if ours else synapses.weights).set(mask if ours else 2 * mask.T)
            for _ in range(3):
                neurons.run(RunSteps(1), Loihi2SimCfg(select_tag=tag))
                seen.append(neurons.u.get().tolist())
        if ours:
            assert (synapses.release.get() == masks[1]).all()
        neurons.stop()
        currents.append(seen)
    print(json.dumps(currents))


if __name__ == "__main__":
    main()
