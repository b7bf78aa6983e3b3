"""CPU model of the input encoder."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.population import normalise_population
from rsrp_lava.processes.input_encoder.process import InputEncoder
from rsrp_lava.processes.population import HEADER, PopulationModel


@implements(proc=InputEncoder, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class InputEncoderModel(PopulationModel):
    """Works at the first substep of an environment step only."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """Start with the normaliser of the run's state."""
        self.mean, self.inverse_std = self.parameters["normaliser"]
        self.sums = np.zeros((len(self.mean), PLACES), np.int64)
        self.not_summed = self.sums[:0]
        self.z = np.zeros((self.total, len(self.mean)), np.float32)

    def step(self) -> None:
        """Standardise and pass on."""
        if self.substep == 0:
            observations = self.s_in.recv()
            n, scaling = self.samples, (self.mean, self.inverse_std)
            for part, sums in ((slice(0, n), self.sums), (slice(n, None), self.not_summed)):
                normalise_population(observations[part], *scaling, self.alive[part], self.z[part], sums)
            self.s_out.send(self.z)

    def learn(self) -> None:
        """Report the sums; take the next mean and deviation from the broadcast."""
        self.m_out.send(self.sums)
        values = self.r_in.recv()[HEADER + self.samples :]
        self.mean, self.inverse_std = values[: len(self.mean)].copy(), values[len(self.mean) :].copy()
        self.sums[:] = 0
