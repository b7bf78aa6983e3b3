"""CPU models of the leaky integrate-and-fire neurons."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.errors import ExperimentError
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.fixed_point import FixedLif, MultiplyTowardZero, ResetToZero, Saturate, WrapAbove
from rsrp_lava.kernels.lanes import aligned_zeros
from rsrp_lava.kernels.neurons import LifConstants
from rsrp_lava.kernels.population import fixed_lif_vector, lif_population, lif_vector, start_membranes
from rsrp_lava.kernels.random_bits import EVALUATION
from rsrp_lava.processes.lif.process import LIF, LIFPopulation
from rsrp_lava.processes.population import OwnModel, PopulationModel, require_integers


@implements(proc=LIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class LIFModel(OwnModel):
    """One network, plain vectors."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    u: np.ndarray = LavaPyType(np.ndarray, np.float32)
    v: np.ndarray = LavaPyType(np.ndarray, np.float32)

    def build(self) -> None:
        """Constants as float32."""
        self.constants = LifConstants(*(np.float32(value) for value in self.parameters["constants"]))
        self.bias = self.parameters["bias"].astype(np.float32)
        self.spikes = np.zeros(self.parameters["shape"], np.float32)

    def step(self) -> None:
        """One step."""
        lif_vector(self.u, self.v, self.bias, self.a_in.recv(), self.constants, self.spikes)
        self.s_out.send(self.spikes)


@implements(proc=LIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class LIFFixedModel(OwnModel):
    """One network, plain vectors of Loihi's integers."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def build(self) -> None:
        """Registers; `ExperimentError` if the chip has none for these parameters."""
        _, _, _, gain, _, v_reset = self.parameters["constants"]
        if gain != 1 or v_reset != 0:
            raise ExperimentError("LIF under fixed_pt: gain must be 1 and v_reset 0, as on Loihi; scale vth and bias")
        limits = {"du": (0, 4095), "dv": (0, 4095), "vth": (0, 131071)}
        registers = dict(zip(limits, self.parameters["registers"], strict=True))
        for name, (least, most) in limits.items():
            require_integers("LIF", name, registers[name], least, most)
        require_integers("LIF", "bias", self.parameters["bias"], -(2**23), 2**23 - 1)
        self.constants = loihi_neuron(*(int(value) for value in registers.values()))
        self.bias = self.parameters["bias"].astype(np.int32)
        self.spikes = np.zeros(self.parameters["shape"], np.int32)

    def step(self) -> None:
        """One step."""
        fixed_lif_vector(self.u, self.v, self.bias, self.a_in.recv(), self.constants, self.spikes)
        self.s_out.send(self.spikes)


def loihi_neuron(du: int, dv: int, vth: int) -> FixedLif:
    """Constants of stock Lava's LIF (fixed_pt), with the widths of profile loihi2."""
    neuron = load_profile("loihi2").neuron
    assert neuron is not None
    one, mask = 2**neuron.decay.bits, np.int32(2**neuron.decay.bits - 1)
    limit = 2 ** (neuron.u.bits - 1)
    bits, i = np.int32(neuron.decay.bits), np.int32
    return FixedLif(
        u_decay=MultiplyTowardZero(i(one - du - neuron.decay.u_offset), bits, mask),
        u_overflow=WrapAbove(i(limit)),
        weight=i(1 << neuron.input_shift),
        v_decay=MultiplyTowardZero(i(one - dv - neuron.decay.v_offset), bits, mask),
        v_overflow=Saturate(i(1 - limit), i(limit - 1)),
        threshold=i(vth << neuron.threshold.shift),
        reset=ResetToZero(i(0)),
        v_scale=np.float64(1),
        v_origin=np.float64(0),
        v_limit=i(limit - 1),
    )


class NeuronsModel(PopulationModel):
    """A population of networks. Subclasses say in which numbers."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int16)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint64)
    e_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    dtype: type

    def build(self) -> None:
        """State of all samples, aligned for the kernels."""
        words = self.parameters["words"]
        lanes = (self.total, 64 * words)
        self.u, self.v, self.drive = (aligned_zeros(self.total * 64 * words, self.dtype).reshape(lanes) for _ in range(3))
        self.spikes = aligned_zeros(self.total * words, np.uint64).reshape(self.total, words)
        self.events = np.zeros(len(EVENTS), np.int64)
        self.seed, generation = self.parameters["key"]
        self._start(generation)

    def _start(self, generation: int) -> None:
        self.u[:], self.v[:], self.spikes[:] = 0, 0, 0
        lif = self.parameters["constants"]
        for phase, v in ((0, self.v[: self.samples]), (EVALUATION, self.v[self.samples :])):
            start_membranes(lif, self.seed, generation, phase, self.parameters["n_neurons"], v)

    def step(self) -> None:
        """One simulation step."""
        if self.substep == 0:
            self.drive[:] = self.drive_in.recv()
        delivered, lif = self.a_in.recv(), self.parameters["constants"]
        lif_population(lif, self.u, self.v, self.drive, delivered, self.alive, self.spikes, self.events)
        self.s_out.send(self.spikes)

    def learn(self) -> None:
        """Report what was lost; start the next episode from new potentials."""
        self.e_out.send(self.events)
        self.events[:] = 0
        self._start(int(self.r_in.recv()[0]))


@implements(proc=LIFPopulation, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class LIFPopulationModel(NeuronsModel):
    """float32."""

    drive_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float32)
    dtype = np.float32


@implements(proc=LIFPopulation, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class LIFPopulationFixedModel(NeuronsModel):
    """int32, as the profile's chip computes."""

    drive_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    dtype = np.int32
