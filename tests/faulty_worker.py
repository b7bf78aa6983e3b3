"""A Lava worker in which something is made to fail: FAULT="label of the process:phase".

step, learn  the process raises, and FAULT_TIME, a file, holds when; FAULT_TEXT is the message
build        the process is killed while Lava starts it
half         the process is killed while it sends a message to the engine
FAULT="lava:import": Lava cannot be imported. FAULT="compile:children": compiling while the graph is being built raises.
"""

import os
import signal
import struct
import sys
import time
from pathlib import Path

from rsrp_lava.engines import lava_worker


def main(*arguments):
    label, phase = os.environ["FAULT"].split(":")
    if label == "lava":
        sys.modules["lava"] = None
    elif label == "compile":
        forbid_compiling_in_children()
    else:
        break_process(label, phase)
    lava_worker.main(*arguments)


def break_process(label, phase):
    from rsrp_lava.processes.population import PopulationModel

    guarded = PopulationModel._guarded

    def fail(self, work):
        here = work.__name__ if work.__name__ in ("build", "learn") else "step"
        late = here == "build" or self.time_step > 20  # after some steps
        if late and self.parameters["label"] == label and here == {"half": "learn"}.get(phase, phase):
            return {"build": kill, "half": lambda: send_half(self)}.get(phase, lambda: guarded(self, injected))()
        return guarded(self, work)

    PopulationModel._guarded = fail


def injected():
    Path(os.environ["FAULT_TIME"]).write_text(str(time.time()))
    raise ValueError("injected fault" + os.environ.get("FAULT_TEXT", ""))


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def send_half(process):
    os.write(process.parameters["link"].fileno(), struct.pack("!i", 1000) + b"the first bytes of a thousand")
    kill()


def forbid_compiling_in_children():
    from numba.core.dispatcher import Dispatcher

    from rsrp_lava.engines import lava_graph, lava_rules

    def forbidden(self, signature):
        raise RuntimeError(f"{self.py_func.__name__}{signature} compiled after the fork")

    def then_forbid(compile_kernels):
        def compile_then_forbid(start):
            compile_kernels(start)
            Dispatcher.compile = forbidden

        return compile_then_forbid

    for graphs in (lava_graph, lava_rules):
        graphs.compile_kernels = then_forbid(graphs.compile_kernels)
