"""CPU model of the reward broadcaster."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.processes.population import PopulationModel
from rsrp_lava.processes.reward_broadcaster.process import RewardBroadcaster


@implements(proc=RewardBroadcaster, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class RewardBroadcasterModel(PopulationModel):
    """Idle while the network runs; works in the learning phase."""

    t_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    m_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    e_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    r_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    p_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)

    def step(self) -> None:
        """The network's business."""

    def learn(self) -> None:
        """Transform, broadcast, collect; the judge and what is collected go to the engine."""
        link = self.parameters["link"]
        told = self.parameters["judge"](link, self.t_in.recv(), self.m_in.recv(), self.e_in.recv())
        self.r_out.send(told.message())
        self.r_in.recv()
        if told.collect:
            state = self.p_in.recv().view(np.float64)
            link.send(("learned", [state[part.first : part.first + part.size] for part in self.parameters["parts"]]))
