"""CPU model of the environment."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rsrp_lava.kernels.population import answer_population, observe_population, reset_population, step_population
from rsrp_lava.kernels.random_bits import EVALUATION
from rsrp_lava.kernels.rollout import no_outputs, task_functions
from rsrp_lava.processes.environment.process import ENDED, OUT_OF_TIME, PLAYING, Environment
from rsrp_lava.processes.population import PopulationModel


@implements(proc=Environment, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt", "fixed_pt")
class EnvironmentModel(PopulationModel):
    """Steps every sample's episode with the task's own compiled functions."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)
    g_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8)
    t_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)

    def build(self) -> None:
        """Start the first episodes."""
        self.task = self.parameters["task"]
        self.seed, generation = self.parameters["key"]
        self.states = np.zeros((self.total, self.task.state_size))
        self.observations = np.zeros((self.total, self.parameters["n_inputs"]))
        self.functions = task_functions(self.task.reset, self.task.observe, self.task.step)
        self._start(generation, self.parameters["playing"], 0)

    def _start(self, generation: int, playing: bool, first: int) -> None:
        shared, size = self.task.shared_starts, self.task.random_size
        samples, evaluation = self.states[: self.samples], self.states[self.samples :]
        reset_population(self.functions, self.seed, generation, 0, first, shared, samples, size)
        reset_population(self.functions, self.seed, generation, EVALUATION, 0, shared, evaluation, size)
        self.returns, self.steps = np.zeros(self.total), np.zeros(self.total, np.int64)
        self.ended = np.zeros(self.total, np.uint8)
        self.answers = np.tile(no_outputs(self.task.n_outputs), (self.total, 1))
        self.playing = np.ones(self.total, np.uint8)
        self.playing[: self.samples] = playing
        self.started = False

    def receive_alive(self) -> np.ndarray:
        """Act on the network's output and tell everyone who still plays."""
        alive = self.playing
        if self.started:
            outputs, limit = self.a_in.recv(), self.task.max_steps
            answer_population(outputs, self.playing, self.answers)
            step_population(self.functions, self.states, outputs, limit, self.playing, self.returns, self.steps, self.ended)
            if self.parameters["every_step"]:
                alive = np.zeros_like(self.playing)
        self.started = True
        self.g_out.send(alive)
        self.g_in.recv()
        return alive

    def step(self) -> None:
        """Show the new observations."""
        if self.substep == 0:
            observe_population(self.functions, self.states, self.alive, self.observations)
            self.s_out.send(self.observations)

    def learn(self) -> None:
        """Report, then start the next episodes; in the middle of one, go on."""
        how = np.where(self.playing, PLAYING, np.where(self.ended, ENDED, OUT_OF_TIME))
        self.t_out.send(np.column_stack([self.returns, self.steps, how, self.answers]).astype(np.float64))
        generation, playing, first = self.r_in.recv()[:3]
        if self.parameters["every_step"] and self.playing.any():
            self.returns[:], self.started = 0, False
        else:
            self._start(int(generation), bool(playing), int(first))
