"""CPU models of the stochastic-release synapses."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.lanes import aligned_zeros
from rsrp_lava.kernels.population import (
    count_population,
    deliver_population,
    deliver_vector,
    draw_population,
    drive_population,
)
from rsrp_lava.kernels.random_bits import RELEASE
from rsrp_lava.kernels.release import bit_planes, draw_release, pack_bits, unpack_bits
from rsrp_lava.processes.population import HEADER, OwnModel, PopulationModel, require_integers
from rsrp_lava.processes.stochastic_synapse.process import (
    InputSynapses,
    ReadoutSynapses,
    RecurrentSynapses,
    StochasticDense,
)


class PlainDenseModel(OwnModel):
    """One network, plain vectors; sends the last step's sum first, so that recurrent graphs cannot deadlock.

    Subclasses say in which numbers.
    """

    dtype: Any
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float32)
    release: np.ndarray = LavaPyType(np.ndarray, np.int8)

    def build(self) -> None:
        """Draw the releases."""
        p, (seed, generation, sample) = self.parameters["p"], self.parameters["key"]
        planes = bit_planes(p, self.parameters["p_bits"])
        self.rows = np.zeros(planes.shape[1], np.uint64)
        draw_release(planes, seed, generation, sample, RELEASE, self.rows)
        self.drawn = unpack_bits(self.rows, p.shape).astype(np.int8)
        self.excitatory = pack_bits(self.parameters["signs"][None, :] > 0)
        self.weight = self.dtype(self.parameters["weight"])
        self.sum = np.zeros(p.shape[1], self.dtype)

    def step(self) -> None:
        """One step."""
        if self.time_step == 1:
            self.release = self.drawn.copy()  # Lava sets Vars after __init__
        elif not np.array_equal(self.release, self.drawn):  # it was set from outside
            self.drawn = self.release.copy()
            self.rows = pack_bits(self.drawn != 0)
        self.a_out.send(self.sum)
        deliver_vector(pack_bits(self.s_in.recv()[None, :] > 0), self.excitatory, self.rows, self.weight, self.sum)


@implements(proc=StochasticDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class StochasticDenseModel(PlainDenseModel):
    """float32."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    dtype = np.float32


@implements(proc=StochasticDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StochasticDenseFixedModel(PlainDenseModel):
    """int32."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    dtype = np.int32

    def build(self) -> None:
        """`ExperimentError` for a weight that is no integer."""
        require_integers("StochasticDense", "weight", self.parameters["weight"], -(2**31), 2**31 - 1)
        super().build()


class StochasticSynapsesModel(PopulationModel):
    """Draws, keeps θ for the episode, learns. Subclasses deliver."""

    p_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """Draw the first episode's releases."""
        self.synapses = self.parameters["synapses"]
        self.rows = aligned_zeros(self.total * self.synapses.words, np.uint64).reshape(self.total, -1)
        self.out = np.zeros((self.total, self.parameters["out_shape"]), self.out_dtype)
        self._draw()

    def _draw(self) -> None:
        s = self.synapses
        draw_population(s.source(), s.seed, s.generation, RELEASE + s.index, self.rows[: self.samples])
        self.rows[self.samples :] = s.deterministic()
        self.out[:] = 0

    def learn(self) -> None:
        """Δρ from the broadcast, the new state to the host, new releases for the next episode."""
        message = self.r_in.recv()
        generation, _, _, scale = message[:HEADER]
        if self.synapses.plastic:
            units = message[HEADER : HEADER + self.samples].astype(np.int32)
            state = self.synapses.learn(self.rows[: self.samples], units, scale)
            self.p_out.send(self.parameters["part"].filled(state))
        self.synapses.generation = int(generation)
        self._draw()


class GradedInputModel(StochasticSynapsesModel):
    """Graded input, once an environment step. Subclasses say in which numbers."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float32)
    e_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def build(self) -> None:
        """Nothing has been cut yet."""
        super().build()
        self.events = np.zeros(len(EVENTS), np.int64)

    def step(self) -> None:
        """Currents of the new observations."""
        if self.substep == 0:
            inputs = self.parameters["constants"].input
            drive_population(inputs, self.s_in.recv(), self.rows, self.alive, self.out, self.events)
            self.a_out.send(self.out)

    def learn(self) -> None:
        """Report what was cut, then learn."""
        self.e_out.send(self.events)
        self.events[:] = 0
        super().learn()


@implements(proc=InputSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class InputSynapsesModel(GradedInputModel):
    """float32 currents."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    out_dtype = np.float32


@implements(proc=InputSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class InputSynapsesFixedModel(GradedInputModel):
    """int32 currents: bias mantissas, shifted."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    out_dtype = np.int32


@implements(proc=RecurrentSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class RecurrentSynapsesModel(StochasticSynapsesModel):
    """Sends what the spikes of the previous step delivered, then takes this step's."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint64)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int16)
    out_dtype = np.int16

    def step(self) -> None:
        """One simulation step."""
        self.a_out.send(self.out)
        excitatory = self.parameters["constants"].excitatory
        deliver_population(self.s_in.recv(), excitatory, self.rows, self.alive, self.out)


@implements(proc=ReadoutSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class ReadoutSynapsesModel(StochasticSynapsesModel):
    """Delivers this step's spikes, or, with a delay, those of the previous step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint64)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    out_dtype = np.int32

    def step(self) -> None:
        """One simulation step."""
        constants, n_outputs = self.parameters["constants"], self.synapses.projection.n_post
        if constants.readout_delay:
            self.a_out.send(self.out)
        count_population(self.s_in.recv(), constants.excitatory, self.rows, n_outputs, self.alive, self.out)
        if not constants.readout_delay:
            self.a_out.send(self.out)
