"""The action that most spikes vote for, as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import PopulationProcess


class SpikeVote(PopulationProcess):
    """Counts the spikes of every action's motor neurons.

        counts += s_in, summed over an action's neurons;   0 before an environment step
        a_out = the action with the most, of equal ones one at random       at the last substep of an environment step

    Ports (n_motor neurons, those of an action side by side)
    --------------------------------------------------------
    s_in : float64, (n_motor,), 0 or 1
    a_out : float32, (1, n_outputs)     to the environment: the action, as its outputs

    State: counts, float64, (n_actions,).

    Parameters: `n_actions`, `choose` (writes the outputs that stand for an action), `seed`.
    """

    def __init__(self, *, n_motor: int, n_outputs: int, n_inputs: int, **parameters: Any) -> None:
        super().__init__(samples=1, evaluation=0, n_inputs=n_inputs, n_outputs=n_outputs, **parameters)
        self.s_in = InPort(shape=(n_motor,))
        self.a_out = OutPort(shape=(1, n_outputs))
