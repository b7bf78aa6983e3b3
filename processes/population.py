"""What all processes that carry a population have in common: the phase line, substeps, error reports.

One Lava time step is one simulation step (0.5 ms). The environment leads: at the first step of every environment step it
sends on the *phase line* which samples still play (`alive`). When none does, that time step has no spikes: all processes ask
for Lava's learning phase, in which returns, broadcast and updates pass over ports.
"""

from __future__ import annotations

import os
import traceback
from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi1HwCfg, Loihi2HwCfg

from rsrp_lava.errors import EngineError

#: Entries of the broadcast before the scalars: next generation, whether samples play in it (1 or 0), scale of the scalars.
HEADER = 3


def broadcast_size(samples: int, n_inputs: int) -> int:
    """Length of the broadcast vector: header, one scalar a sample, mean and inverse deviation of the observations."""
    return HEADER + samples + 2 * n_inputs


def require_backend(run_cfg: Any) -> None:
    """Raise `EngineError` if `run_cfg` asks for hardware that is not there; Lava would run on the CPU without a word."""
    from lava.utils import loihi

    if isinstance(run_cfg, (Loihi1HwCfg, Loihi2HwCfg)) and not loihi.is_installed():
        raise EngineError(
            f"hardware backend not installed: {type(run_cfg).__name__} needs Intel's lava-loihi extension; "
            "install it (INRC members), or simulate with Loihi2SimCfg"
        )


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


class PopulationModel(PyLoihiProcessModel):
    """Follows the phase line and counts substeps; subclasses write `step` (a simulation step) and `learn`.

    An exception is handed to `report` with its traceback and the process's name before Lava swallows it.
    """

    g_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint8)
    r_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.parameters = proc_params
        self.samples: int = proc_params["samples"]
        self.total = self.samples + proc_params["evaluation"]
        self.substep = 0
        self.learning = False
        self.alive = np.ones(self.total, np.uint8)
        self._guarded(self.build)

    def build(self) -> None:
        """Allocate state."""

    def step(self) -> None:
        """One simulation step: read ports, call a kernel, write ports."""
        raise NotImplementedError

    def learn(self) -> None:
        """The learning phase after an episode."""
        raise NotImplementedError

    def receive_alive(self) -> np.ndarray:
        """Which samples play in this environment step."""
        return self.g_in.recv()

    def run_spk(self) -> None:
        """Lava's spiking phase."""
        self._guarded(self._spike_phase)

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

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except Exception:
            report = self.parameters.get("report")
            if report is not None:
                name = self.parameters.get("label", type(self).__name__)
                report(process=name, pid=os.getpid(), traceback=traceback.format_exc())
            raise
