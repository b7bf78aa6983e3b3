"""CPU models of the synapses with a current."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.r_stdp import count_alone, excite_alone, inhibit_alone, pair_alone, teach_alone
from rsrp_lava.processes.population import EpisodeModel
from rsrp_lava.processes.stdp_synapse.process import CurrentSynapses, StdpSynapses


class CurrentModel(EpisodeModel):
    """Weights and current; subclasses say what a substep is."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    u_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    p_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """Weights as the run has them."""
        super().build()
        self.weights = self.parameters["weights"].copy()
        self.current = np.zeros(self.parameters["shape"][1])

    def rest(self) -> None:
        """No current."""
        self.current[:] = 0

    def receive_spikes(self) -> np.ndarray:
        """Spikes of the sources, and what they do to the current."""
        spikes = self.s_in.recv()
        excite_alone(self.parameters["lif"].synapse_decay, self.weights, spikes, self.current)
        return spikes

    def state(self) -> np.ndarray:
        """The weights."""
        return self.weights


@implements(proc=CurrentSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class CurrentSynapsesModel(CurrentModel):
    """Fixed weights."""

    def step(self) -> None:
        """One substep."""
        self.receive_spikes()
        self.u_out.send(self.current)
        super().step()


@implements(proc=StdpSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class StdpSynapsesModel(CurrentModel):
    """Weights that learn."""

    b_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """No traces."""
        super().build()
        n_pre, n_post = self.parameters["shape"]
        self.pre_trace, self.post_trace = np.zeros(n_pre), np.zeros(n_post)
        self.eligibility, self.fired = np.zeros((n_pre, n_post)), np.zeros(self.parameters["n_actions"])

    def rest(self) -> None:
        """As it is before an episode."""
        super().rest()
        for state in (self.pre_trace, self.post_trace, self.eligibility, self.fired):
            state[:] = 0

    def step(self) -> None:
        """One substep."""
        spikes = self.receive_spikes()
        inhibit_alone(self.parameters["lif"].inhibition, self.fired, self.current)
        self.u_out.send(self.current)
        back = self.b_in.recv()
        count_alone(back, self.fired)
        pair_alone(self.parameters["stdp"], spikes, back, self.pre_trace, self.post_trace, self.eligibility)
        super().step()

    def teach(self, factor: float) -> None:
        """The eligibility becomes weight, as the third factor says."""
        teach_alone(self.weights, self.eligibility, factor, self.parameters["teaching"])
