"""Standardising observations as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import PopulationProcess


class InputEncoder(PopulationProcess):
    """Standardises observations with the mean and deviation the broadcast carries, and sums what training samples saw.

        x = (observation − mean) / std               at the first substep of an environment step
        sums += (Σ x, Σ x²)                          in integer units (kernels/rollout.py), training samples only

    Ports
    -----
    s_in : float32, (S, n_inputs);  s_out : float32, (S, n_inputs)
    m_out : int64, (2, n_inputs)                     sums, in the learning phase

    State: mean and 1 / std, float32, (n_inputs,), in the units of the observations; sums, int64, in 2^-20 standard
    deviations (and their squares).
    """

    def __init__(self, *, samples: int, evaluation: int, n_inputs: int, **parameters: Any) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_inputs=n_inputs, **parameters)
        self.s_in = InPort(shape=(samples + evaluation, n_inputs))
        self.s_out = OutPort(shape=(samples + evaluation, n_inputs))
        self.m_out = OutPort(shape=(2, n_inputs))
