"""The host-side process that turns returns into the broadcast every synapse learns from."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.processes.population import PopulationProcess, broadcast_size


class RewardBroadcaster(PopulationProcess):
    """Collects returns, transforms them (ranks), and broadcasts one scalar a sample. Runs on the host.

        u_i = transform(R_1 … R_N)_i           in the learning phase
        r_out = (next generation, whether samples play in it, scale, u_1 … u_N, mean and inverse deviation of observations)

    The engine outside the graph hears of every generation over `link` and answers what to play next; it never touches the
    state of a process, and ends the whole session when it has seen enough.

    Ports
    -----
    t_in : float64, (S, 2)         returns and steps, from the environment
    m_in : int64, (2, n_inputs)    sums of observations, from the encoder
    e_in : int64, (3,)             what integers lost, summed over all senders
    r_out : float64                broadcast, to everyone (processes/population.py)
    p_in0, p_in1, … : float64      new state of each plastic projection, for the checkpoint

    State: mean return of the last generation's samples (float64, in units of reward).

    Parameters: `transform` (returns, previous mean → Broadcast), `previous_mean`, `link` (a multiprocessing connection),
    `state_sizes` of the plastic projections.
    """

    def __init__(
        self, *, samples: int, evaluation: int, n_inputs: int, state_sizes: tuple[int, ...], **parameters: Any
    ) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_inputs=n_inputs, state_sizes=state_sizes, **parameters)
        self.t_in = InPort(shape=(samples + evaluation, 2))
        self.m_in = InPort(shape=(2, n_inputs))
        self.e_in = InPort(shape=(len(EVENTS),))
        self.r_out = OutPort(shape=(broadcast_size(samples, n_inputs),))
        self.p_in0, self.p_in1, self.p_in2 = (InPort(shape=(max(1, size),)) for size in state_sizes)
