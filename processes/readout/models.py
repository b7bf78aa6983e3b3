"""CPU model of the readout."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.population import integrate_population, scale_population
from rsrp_lava.processes.population import PopulationModel
from rsrp_lava.processes.readout.process import Readout


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class ReadoutModel(PopulationModel):
    """float32."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)

    def build(self) -> None:
        """Traces of all samples."""
        self.trace = np.zeros((self.total, self.parameters["n_outputs"]), np.float32)
        self.output = np.zeros_like(self.trace)

    def step(self) -> None:
        """Integrate; at the end of the environment step, act."""
        alpha_out, trace_gain, output_weight = self.parameters["constants"]
        integrate_population(self.a_in.recv(), alpha_out, trace_gain, self.alive, self.trace)
        if self.last_substep:
            scale_population(self.trace, output_weight, self.output)
            self.a_out.send(self.output)

    def learn(self) -> None:
        """Start the next episode from zero."""
        self.r_in.recv()
        self.trace[:] = 0
