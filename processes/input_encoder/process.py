"""Standardising observations as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.processes.population import PopulationProcess


class InputEncoder(PopulationProcess):
    """Standardises observations with the mean and deviation the broadcast carries, and sums what training samples saw.

        z = (x − mean) / std of an observation x     at the first substep of an environment step (kernels/rollout.normalise)
        sums += (1, x, x²)                           exactly (kernels/exact_sums.py), training samples only

    Ports
    -----
    s_in : float64, (S, n_inputs);  s_out : float32, (S, n_inputs)
    m_out : int64, (n_inputs, PLACES)                sums, in the learning phase

    State: mean and 1 / std, float64, (n_inputs,), in the units of the observations; sums, int64.
    """

    def __init__(self, *, samples: int, evaluation: int, n_inputs: int, **parameters: Any) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_inputs=n_inputs, **parameters)
        self.s_in = InPort(shape=(samples + evaluation, n_inputs))
        self.s_out = OutPort(shape=(samples + evaluation, n_inputs))
        self.m_out = OutPort(shape=(n_inputs, PLACES))
