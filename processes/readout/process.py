"""The readout as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.processes.population import PopulationProcess


class Readout(PopulationProcess):
    """Leaky integrators without a threshold.

        trace ← α_out trace + (1 − α_out)/dt · a_in
        a_out = R_out · trace                      at the last substep of an environment step

    Ports
    -----
    a_in : int32, (S, counts)          signed number of released synapses that carry a spike, padded to whole lanes
    a_out : float32, (S, n_outputs)
    e_out : int64, (3,)                what integers lost (kernels/arithmetic.EVENTS), in the learning phase

    State: trace, (S, counts): filtered rate of signed releases; float32, 1/ms, or int32 in a chip's units.

    Parameters: `constants` (ReadoutConstants or FixedReadout).
    """

    def __init__(self, *, samples: int, evaluation: int, n_outputs: int, counts: int, **parameters: Any) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_outputs=n_outputs, **parameters)
        self.a_in = InPort(shape=(samples + evaluation, counts))
        self.a_out = OutPort(shape=(samples + evaluation, n_outputs))
        self.e_out = OutPort(shape=(len(EVENTS),))
