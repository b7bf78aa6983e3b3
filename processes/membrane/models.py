"""CPU model of the membranes."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.r_stdp import fire_alone
from rsrp_lava.processes.membrane.process import Membranes
from rsrp_lava.processes.population import EpisodeModel


@implements(proc=Membranes, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class MembranesModel(EpisodeModel):
    """Integrate and fire."""

    u_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """At rest."""
        super().build()
        self.v, self.spikes = np.zeros(self.parameters["n_neurons"]), np.zeros(self.parameters["n_neurons"])

    def rest(self) -> None:
        """No potential."""
        self.v[:] = 0

    def step(self) -> None:
        """One substep."""
        fire_alone(self.parameters["lif"], self.u_in.recv(), self.v, self.spikes)
        self.s_out.send(self.spikes)
        super().step()
