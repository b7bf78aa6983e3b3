"""What all processes that carry a population have in common: the phase line, substeps, error reports.

One Lava time step is one simulation step (0.5 ms; of rules that keep weights, what engines/lava_rules.py says). The
environment leads: at the first step of every environment step it sends on the *phase line* which samples still play
(`alive`). When none does, that time step has no spikes: all processes ask for Lava's learning phase, in which returns,
broadcast and updates pass over ports.
"""

from __future__ import annotations

import os
import traceback
from typing import Any, NamedTuple

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi1HwCfg, Loihi2HwCfg

from rsrp_lava.errors import EngineError, ExperimentError
from rsrp_lava.kernels.rollout import no_outputs

#: Entries of the broadcast before the scalars: the first four of `Told`.
HEADER = 4


def broadcast_size(samples: int, n_inputs: int) -> int:
    """Length of the broadcast vector: header, one scalar a sample, mean and inverse deviation of the observations."""
    return HEADER + samples + 2 * n_inputs


def played_size(n_outputs: int) -> int:
    """Numbers that the environment tells of a sample: return, steps, how its episode is, and its answers."""
    return 3 + len(no_outputs(n_outputs))


class Told(NamedTuple):
    """What the reward broadcaster tells everyone after an episode, and whether it then collects what they have become."""

    generation: int  #: of what is played next
    playing: bool  #: whether training samples play in it
    first: int  #: number of its first sample; of a rule that plays one episode after the other, of the episode
    scale: float  #: of the scalars
    scalars: np.ndarray  #: shape (samples,)
    statistics: np.ndarray  #: mean and inverse deviation of the observations, shape (2 · n_inputs,)
    collect: bool

    def message(self) -> np.ndarray:
        """As one vector, float64."""
        return np.concatenate([np.array(self[:HEADER], np.float64), self.scalars, self.statistics])


class Part(NamedTuple):
    """Where a process's state is in the one vector in which the states of all are collected.

    Everyone sends the whole vector, zeros where the others' parts are: Lava adds what arrives at a port. It is sent as the
    bits of float64 numbers, int64, because adding zero leaves those as they are, also a −0 and a NaN.
    """

    first: int
    size: int
    total: int

    def filled(self, state: np.ndarray) -> np.ndarray:
        """The vector with this part's numbers (float64)."""
        vector = np.zeros(self.total, np.int64)
        vector[self.first : self.first + self.size] = np.ascontiguousarray(state, np.float64).ravel().view(np.int64)
        return vector


def parts_of(sizes: list[int]) -> list[Part]:
    """Parts one after the other."""
    total = sum(sizes)
    return [Part(sum(sizes[:k]), size, total) for k, size in enumerate(sizes)]


def require_backend(run_cfg: Any) -> None:
    """Raise `EngineError` if `run_cfg` asks for hardware that is not there; Lava would run on the CPU without a word."""
    from lava.utils import loihi

    if isinstance(run_cfg, (Loihi1HwCfg, Loihi2HwCfg)) and not loihi.is_installed():
        raise EngineError(
            f"hardware backend not installed: {type(run_cfg).__name__} needs Intel's lava-loihi extension; "
            "install it (INRC members), or simulate with Loihi2SimCfg"
        )


def require_integers(process: str, name: str, values: Any, least: int, most: int) -> None:
    """`ExperimentError` unless a parameter is made of integers in this range."""
    values = np.asarray(values)
    if not np.all((values == np.floor(values)) & (values >= least) & (values <= most)):  # not of nan either
        raise ExperimentError(f"{process} under fixed_pt: {name} = {values} must be integers, {least} to {most}")


class OwnProcess(AbstractProcess):
    """A process of this package. Like every Lava process it runs on a chip only if the backend is there, but it says so."""

    def create_runtime(self, run_cfg: Any = None, executable: Any = None, compile_config: Any = None) -> None:
        """Lava's `create_runtime`, which `run` calls, after checking the backend."""
        require_backend(run_cfg)
        super().create_runtime(run_cfg, executable, compile_config)


class PopulationProcess(OwnProcess):
    """A process that carries a population: arrays lead with the sample axis, training samples first, then evaluation.

    Its state is no Lava Var: Lava would copy that of all samples to read or set it. What the host needs goes over ports.
    """

    def __init__(self, *, samples: int, evaluation: int, n_inputs: int, substeps: int, **parameters: Any) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_inputs=n_inputs, substeps=substeps, **parameters)
        self.g_in = InPort(shape=(samples + evaluation,))
        self.r_in = InPort(shape=(broadcast_size(samples, n_inputs),))


class OwnModel(PyLoihiProcessModel):
    """What `build` raises is raised again at the first step: Lava waits for ever for a model that cannot be made.

    An exception is printed, or handed to `report` with its traceback and the process's name, before Lava swallows it.
    """

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.parameters = proc_params
        self._wrong: Exception | None = None
        try:
            self._guarded(self.build)
        except Exception as error:
            self._wrong = error

    def build(self) -> None:
        """Check the parameters, allocate state."""

    def step(self) -> None:
        """One simulation step: read ports, call a kernel, write ports."""
        raise NotImplementedError

    def run_spk(self) -> None:
        """Lava's spiking phase."""
        if self._wrong is not None:
            raise self._wrong
        self._guarded(self._spike_phase)

    def _spike_phase(self) -> None:
        self.step()

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except Exception:
            report = self.parameters.get("report")
            if report is None:
                traceback.print_exc()  # Lava only says that there was one
            else:
                name = self.parameters.get("label", type(self).__name__)
                report(process=name, pid=os.getpid(), traceback=traceback.format_exc())
            raise


class PopulationModel(OwnModel):
    """Follows the phase line and counts substeps; subclasses write `step` (a simulation step) and `learn`."""

    g_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint8)
    r_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def __init__(self, proc_params: Any) -> None:
        self.samples: int = proc_params["samples"]
        self.total = self.samples + proc_params["evaluation"]
        self.substep = 0
        self.learning = False
        self.alive = np.ones(self.total, np.uint8)
        super().__init__(proc_params)

    def learn(self) -> None:
        """The learning phase after an episode."""
        raise NotImplementedError

    def receive_alive(self) -> np.ndarray:
        """Which samples play in this environment step."""
        return self.g_in.recv()

    def lrn_guard(self) -> bool:
        """Lava asks whether this time step has a learning phase."""
        return self.learning

    def run_lrn(self) -> None:
        """Lava's learning phase."""
        self._guarded(self.learn)
        self.learning = False

    def _spike_phase(self) -> None:
        if self.substep == 0:
            self.alive = self.receive_alive()
            self.learning = not self.alive.any()
            if self.learning:
                return
        self.step()
        self.substep = (self.substep + 1) % self.parameters["substeps"]

    @property
    def last_substep(self) -> bool:
        """Is this the last simulation step of the environment step?"""
        return self.substep == self.parameters["substeps"] - 1


class EpisodeModel(PopulationModel):
    """Of one network that plays one episode after the other. Random numbers have the key (seed, generation, episode)."""

    def build(self) -> None:
        """Nothing is played before the first broadcast."""
        self.key = (self.parameters["seed"], -1, -1)
        self.t = 0  # environment steps of the episode that are over

    def step(self) -> None:
        """Count environment steps; subclasses come last to this."""
        if self.last_substep:
            self.t += 1

    def learn(self) -> None:
        """Hear the broadcast, learn, and report after the last episode of a generation; then perhaps another one begins."""
        message = self.r_in.recv()
        self.teach(message[HEADER])
        part = self.parameters.get("part")
        if part is not None and not message[1]:
            self.p_out.send(part.filled(self.state()))
        key = (self.key[0], int(message[0]), int(message[2]))
        if key != self.key:
            self.key, self.t = key, 0
            self.rest()

    def teach(self, factor: float) -> None:
        """What is told: the third factor."""

    def state(self) -> np.ndarray:
        """What the checkpoint has of this process, float64."""
        raise NotImplementedError

    def rest(self) -> None:
        """State as it is before an episode."""
