"""CPU model of the reward broadcaster."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.processes.population import HEADER, PopulationModel, broadcast_size
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
    p_in0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    p_in1: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    p_in2: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """Nothing is kept but the history that some transforms compare with."""
        self.previous_mean = self.parameters["previous_mean"]

    def step(self) -> None:
        """The network's business."""

    def learn(self) -> None:
        """Tell the engine; transform, broadcast, collect."""
        link, n = self.parameters["link"], self.samples
        returns, sums, events = self.t_in.recv(), self.m_in.recv(), self.e_in.recv()
        link.send(("played", returns[:, 0], returns[:, 1].astype(np.int64), sums, events))
        order = link.recv()
        message = np.zeros(broadcast_size(n, self.parameters["n_inputs"]))
        broadcast = self.parameters["transform"](returns[:n, 0], self.previous_mean)
        self.previous_mean = order.previous_mean
        message[:HEADER] = order.generation, order.playing, broadcast.scale
        message[HEADER : HEADER + n] = broadcast.units
        message[HEADER + n :] = np.concatenate([order.mean, order.inverse_std])
        self.r_out.send(message)
        self.r_in.recv()
        ports = (self.p_in0, self.p_in1, self.p_in2)
        sizes = self.parameters["state_sizes"]
        link.send(("learned", [port.recv() for port, size in zip(ports, sizes, strict=True) if size]))
