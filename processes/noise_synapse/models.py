"""CPU models of the synapses that learn from noise."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.noise import layer_sums, note_step, start_signals, teach_alone
from rsrp_lava.processes.noise_synapse.process import NoiseInputSynapses, NoiseSynapses
from rsrp_lava.processes.population import EpisodeModel


class LayerModel(EpisodeModel):
    """Subclasses say what comes in."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    n_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    d_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    p_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """Weights as the run has them, and no trace."""
        super().build()
        n_in, n_out = self.parameters["shape"]
        self.weights = self.parameters["weights"].copy()
        self.trace = np.zeros((n_in, n_out))
        self.signals, self.sums = np.zeros((2, n_in)), np.zeros((2, n_out))

    def receive_signals(self) -> None:
        """Activity of the sources, in both networks."""
        self.signals[:] = self.s_in.recv()

    def step(self) -> None:
        """Forward; then what the step leaves in the trace."""
        method, immediate = self.parameters["method"], self.parameters["immediate"]
        self.receive_signals()
        layer_sums(self.weights, self.signals, self.sums)
        self.a_out.send(self.sums)
        noise, (difference, squares) = self.n_in.recv(), self.d_in.recv()
        note_step(self.trace, self.signals, noise, method, immediate, difference, squares)
        super().step()

    def teach(self, factor: float) -> None:
        """W += η δ e."""
        teach_alone(self.weights, self.trace, factor)

    def state(self) -> np.ndarray:
        """The weights."""
        return self.weights


@implements(proc=NoiseSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class NoiseSynapsesModel(LayerModel):
    """Between units."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)


@implements(proc=NoiseInputSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class NoiseInputSynapsesModel(LayerModel):
    """From the observation."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def receive_signals(self) -> None:
        """The observation."""
        start_signals(self.s_in.recv()[0], self.parameters["scale"], self.signals)
