"""Observations as input spikes, as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import Part, PopulationProcess


class BinEncoder(PopulationProcess):
    """Input neurons of reward-modulated STDP (rules/r_stdp.py): each observation has some, one a bin.

        at the first substep of an environment step: standardise s_in, and find the bin of every observation
        s_out = 1 with the spike probability of a substep where the neuron's bin is the one, else 0

    Ports
    -----
    s_in : float32, (1, n_inputs);  s_out : float64, (n_neurons,), 0 or 1
    p_out : int64, the collected vector (processes/population.Part): `seen`, after the last episode of a generation

    State: `seen`, float64, (3, n_inputs): how many observations there were, their means, the sums of squared differences
    from them, in the units of the observations. An episode is standardised by what was seen before it.

    Parameters: `seen`, `coding` (kernels/r_stdp.Coding), `part`, `seed`.
    """

    def __init__(self, *, n_neurons: int, n_inputs: int, part: Part, **parameters: Any) -> None:
        super().__init__(samples=1, evaluation=0, n_inputs=n_inputs, n_neurons=n_neurons, part=part, **parameters)
        self.s_in = InPort(shape=(1, n_inputs))
        self.s_out = OutPort(shape=(n_neurons,))
        self.p_out = OutPort(shape=(part.total,))
