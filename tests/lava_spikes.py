"""Record packed spikes of the Lava graph: `python lava_spikes.py START.pickle SPIKES.npy STEPS` (Lava forks)."""

import os
import pickle
import sys
from unittest import mock

import numpy as np

from endless_task import ENDLESS

if __name__ == "__main__":
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from recorder.process import Recorder
    from rsrp_lava.engines import lava_graph
    from rsrp_lava.experiment import Experiment

    with open(sys.argv[1], "rb") as file:
        start = pickle.load(file)
    steps = int(sys.argv[3])
    mock.patch.object(Experiment, "compiled_task", return_value=ENDLESS).start()  # refuses a name that is gone
    lava_graph.compile_kernels(start)
    graph = lava_graph.build_graph(start, None, None)
    lif = graph["LIF"]
    samples = start.experiment.population + start.experiment.evaluation_episodes
    recorder = Recorder(shape=(samples, lif.s_out.shape[1]), path=sys.argv[2], steps=steps)
    lif.s_out.connect(recorder.s_in)
    lif.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="floating_pt"))
    assert np.load(sys.argv[2]).shape[0] == steps
    lif.stop()
    os._exit(0)
