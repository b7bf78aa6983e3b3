"""CPU model of the observations' input neurons."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.r_stdp import encode_alone, fire_inputs_alone, note_alone, standardisation_alone
from rsrp_lava.processes.bin_encoder.process import BinEncoder
from rsrp_lava.processes.population import EpisodeModel


@implements(proc=BinEncoder, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class BinEncoderModel(EpisodeModel):
    """Draws spikes at every substep."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    p_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """What the run has seen so far."""
        super().build()
        n = self.parameters["n_inputs"]
        self.seen = self.parameters["seen"].copy()
        self.mean, self.deviation, self.active = np.zeros(n), np.ones(n), np.zeros(n, np.int64)
        self.spikes = np.zeros(self.parameters["n_neurons"])

    def rest(self) -> None:
        """Standardise the episode as what was seen before it says."""
        standardisation_alone(self.parameters["coding"], self.seen, self.mean, self.deviation)

    def step(self) -> None:
        """One substep."""
        coding = self.parameters["coding"]
        if self.substep == 0:
            observation = self.s_in.recv()[0]
            note_alone(observation, self.seen)
            encode_alone(observation, self.mean, self.deviation, coding.edges, self.active)
        substep = self.t * self.parameters["substeps"] + self.substep
        fire_inputs_alone(self.active, coding.spike_probability, self.key, 0, substep, self.spikes)
        self.s_out.send(self.spikes)
        super().step()

    def state(self) -> np.ndarray:
        """What was seen."""
        return self.seen
