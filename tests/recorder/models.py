import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from recorder.process import Recorder


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class RecorderModel(PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint64)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.proc_params = proc_params
        self.received = []

    def run_spk(self):
        self.received.append(self.s_in.recv())
        if self.time_step == self.proc_params["steps"]:
            np.save(self.proc_params["path"], np.array(self.received))
