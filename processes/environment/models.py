"""CPU model of the environment."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.population import observe_population, reset_population, step_population
from rsrp_lava.kernels.random_bits import EVALUATION
from rsrp_lava.processes.environment.process import Environment
from rsrp_lava.processes.population import PopulationModel


@implements(proc=Environment, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class EnvironmentModel(PopulationModel):
    """Steps every sample's episode with the task's own compiled functions."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float32)
    g_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8)
    t_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """Start the first episodes."""
        self.task = self.parameters["task"]
        self.seed, generation = self.parameters["key"]
        self.states = np.zeros((self.total, self.task.state_size))
        self.observations = np.zeros((self.total, self.parameters["n_inputs"]), np.float32)
        self._start(generation, self.parameters["playing"])

    def _start(self, generation: int, playing: bool) -> None:
        self.functions = (self.task.reset, self.task.observe, self.task.step)
        for phase, states in ((0, self.states[: self.samples]), (EVALUATION, self.states[self.samples :])):
            reset_population(
                self.functions, self.seed, generation, phase, self.task.shared_starts, states, self.task.random_size
            )
        self.returns, self.steps = np.zeros(self.total), np.zeros(self.total, np.int64)
        self.playing = np.ones(self.total, np.uint8)
        self.playing[: self.samples] = playing
        self.started = False

    def receive_alive(self) -> np.ndarray:
        """Act on the network's output and tell everyone who still plays."""
        if self.started:
            outputs = self.a_in.recv()
            step_population(
                self.functions, self.states, outputs, self.task.max_steps, self.playing, self.returns, self.steps
            )
        self.started = True
        self.g_out.send(self.playing)
        self.g_in.recv()
        return self.playing

    def step(self) -> None:
        """Show the new observations."""
        if self.substep == 0:
            observe_population(self.functions, self.states, self.alive, self.observations)
            self.s_out.send(self.observations)

    def learn(self) -> None:
        """Report, then start the next episodes."""
        self.t_out.send(np.stack([self.returns, self.steps.astype(np.float64)], axis=1))
        generation, playing = self.r_in.recv()[:2]
        self._start(int(generation), bool(playing))
