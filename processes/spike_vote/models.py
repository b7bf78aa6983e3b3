"""CPU model of the vote."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.r_stdp import count_alone, vote_alone
from rsrp_lava.processes.population import EpisodeModel
from rsrp_lava.processes.spike_vote.process import SpikeVote


@implements(proc=SpikeVote, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class SpikeVoteModel(EpisodeModel):
    """Acts once an environment step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)

    def build(self) -> None:
        """No votes."""
        super().build()
        self.fired, self.counts = np.zeros(self.parameters["n_actions"]), np.zeros(self.parameters["n_actions"])
        self.output = np.zeros((1, self.parameters["n_outputs"]), np.float32)

    def step(self) -> None:
        """One substep."""
        if self.substep == 0:
            self.counts[:] = 0
        count_alone(self.s_in.recv(), self.fired)
        self.counts += self.fired
        if self.last_substep:
            self.parameters["choose"](self.output[0], vote_alone(self.counts, self.key, self.t))
            self.a_out.send(self.output)
        super().step()
