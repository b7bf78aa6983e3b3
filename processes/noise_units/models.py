"""CPU models of the units that add noise."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.noise import decide, disturb, hidden_activity
from rsrp_lava.processes.noise_units.process import HiddenUnits, PolicyUnits
from rsrp_lava.processes.population import EpisodeModel


class UnitsModel(EpisodeModel):
    """Subclasses say what becomes of the sums."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)
    n_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    q_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """Room for a step."""
        super().build()
        self.sums = np.zeros((2, self.parameters["n_units"]))
        self.noise, self.everyone = np.zeros(self.parameters["n_units"]), np.zeros(self.parameters["everyone"])

    def receive_sums(self) -> float:
        """What comes in, with the noise; returns Σ |ξ|² so far."""
        self.sums[:] = self.a_in.recv()
        first, noise_std = self.parameters["first"], self.parameters["noise_std"]
        square = disturb(self.sums, self.key, self.t, noise_std, first, self.everyone, self.noise)
        self.n_out.send(self.noise)
        return float(self.q_in.recv()[0] + square)


@implements(proc=HiddenUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class HiddenUnitsModel(UnitsModel):
    """Of a hidden layer."""

    x_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    q_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)

    def step(self) -> None:
        """One environment step."""
        squares = self.receive_sums()
        hidden_activity(self.sums, self.parameters["slope"])
        self.x_out.send(self.sums)
        self.q_out.send(np.array([squares]))
        super().step()


@implements(proc=PolicyUnits, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PolicyUnitsModel(UnitsModel):
    """Of the last layer."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    d_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """Room for the policy and the action."""
        super().build()
        self.policy = np.zeros(self.parameters["n_units"])
        self.output = np.zeros((1, self.parameters["n_outputs"]), np.float32)

    def step(self) -> None:
        """One environment step."""
        squares = self.receive_sums()
        action, difference = decide(self.sums, self.parameters["method"], self.key, self.t, self.policy)
        self.parameters["choose"](self.output[0], action)
        self.a_out.send(self.output)
        self.d_out.send(np.array([difference, squares]))
        super().step()
