"""CPU model of the readout."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.lanes import aligned_zeros
from rsrp_lava.kernels.population import integrate_population, output_population, state_array
from rsrp_lava.processes.population import PopulationModel
from rsrp_lava.processes.readout.process import Readout


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class ReadoutModel(PopulationModel):
    """float32 or int32 traces, as the constants say."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    e_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """Traces of all samples."""
        self.constants = self.parameters["constants"]
        one = state_array(self.constants, self.parameters["n_outputs"])
        self.trace = aligned_zeros(self.total * len(one), one.dtype.type).reshape(self.total, -1)
        self.output = np.zeros((self.total, self.parameters["n_outputs"]), np.float32)
        self.events = np.zeros(len(EVENTS), np.int64)

    def step(self) -> None:
        """Integrate; at the end of the environment step, act."""
        integrate_population(self.constants, self.a_in.recv(), self.alive, self.trace, self.events)
        if self.last_substep:
            output_population(self.constants, self.trace, self.output)
            self.a_out.send(self.output)

    def learn(self) -> None:
        """Report what was lost; start the next episode from zero."""
        self.e_out.send(self.events)
        self.events[:] = 0
        self.r_in.recv()
        self.trace[:] = 0
