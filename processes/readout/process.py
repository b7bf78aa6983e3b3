"""The readout as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import PopulationProcess


class Readout(PopulationProcess):
    """Leaky integrators without a threshold.

        trace ← α_out trace + (1 − α_out)/dt · a_in
        a_out = R_out · trace                      at the last substep of an environment step

    Ports
    -----
    a_in : int32, (S, n_outputs)       signed number of released synapses that carry a spike
    a_out : float32, (S, n_outputs)

    State: trace, float32, (S, n_outputs): filtered rate of signed releases, 1/ms.

    Parameters: `constants` = (alpha_out, trace_gain, output_weight), float32.
    """

    def __init__(self, *, samples: int, evaluation: int, n_outputs: int, **parameters: Any) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_outputs=n_outputs, **parameters)
        self.a_in = InPort(shape=(samples + evaluation, n_outputs))
        self.a_out = OutPort(shape=(samples + evaluation, n_outputs))
