"""A Lava worker in which something is made to fail.

FAULT="label of the process:phase" (phase: step or learn): the process raises, and FAULT_TIME, a file, holds when.
FAULT="compile:children": compiling anything once the graph is being built raises.
"""

import os
import time
from pathlib import Path

from rsrp_lava.engines import lava_worker

if __name__ == "__main__":
    from rsrp_lava.processes.population import PopulationModel

    label, phase = os.environ["FAULT"].split(":")
    guarded = PopulationModel._guarded

    def fail(self, work):
        here = "learn" if work.__name__ == "learn" else "step"
        late = self.time_step > 20  # after some steps, not while building
        if late and self.parameters["label"] == label and here == phase:
            return guarded(self, injected)
        return guarded(self, work)

    def injected():
        Path(os.environ["FAULT_TIME"]).write_text(str(time.time()))
        raise ValueError("injected fault")

    def compile_then_forbid(start):
        compile_kernels(start)
        Dispatcher.compile = forbidden

    def forbidden(self, signature):
        raise RuntimeError(f"{self.py_func.__name__}{signature} compiled after the fork")

    if label == "compile":
        from numba.core.dispatcher import Dispatcher

        from rsrp_lava.engines import lava_graph

        compile_kernels = lava_graph.compile_kernels
        lava_graph.compile_kernels = compile_then_forbid
    else:
        PopulationModel._guarded = fail
    lava_worker.main()
