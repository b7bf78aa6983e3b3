"""Membranes of neurons whose synapses keep the current, as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import PopulationProcess


class Membranes(PopulationProcess):
    """Leaky integrate-and-fire neurons without a current, at every substep:

        v ← α v + (1 − α) u_in;   s_out = v > threshold;   v ← 0 where s_out

    Ports (n neurons)
    -----------------
    u_in : float64, (n,), in units of potential;  s_out : float64, (n,), 0 or 1

    State: v, float64, (n,), in units of potential, 0 at the start of an episode.

    Parameters: `lif` (kernels/r_stdp.Lif), `seed`.
    """

    def __init__(self, *, n_neurons: int, n_inputs: int, **parameters: Any) -> None:
        super().__init__(samples=1, evaluation=0, n_inputs=n_inputs, n_neurons=n_neurons, **parameters)
        self.u_in = InPort(shape=(n_neurons,))
        self.s_out = OutPort(shape=(n_neurons,))
