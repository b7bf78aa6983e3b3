"""The host-side process that turns returns into the broadcast every synapse learns from."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.processes.population import Part, PopulationProcess, broadcast_size, played_size


class RewardBroadcaster(PopulationProcess):
    """Collects returns, transforms them, and broadcasts one scalar a sample. Runs on the host.

        u = judge(returns)                     in the learning phase
        r_out = (next generation, whether samples play in it, its first sample, scale, u_1 … u_N,
                 mean and inverse deviation of observations)

    What becomes of the returns is the judge's: ranks (rules of release probabilities), or the third factor of a rule that
    keeps weights. The engine outside the graph hears of every generation over `link` and answers what to play next; it never
    touches the state of a process, and ends the whole session when it has seen enough.

    Ports
    -----
    t_in : float64, (S, 3 + answers)    returns, steps, how episodes are, and answers, from the environment
    m_in : int64, (n_inputs, PLACES)    sums of observations, from the encoder, if there is one
    e_in : int64, (3,)             what integers lost, summed over all senders
    r_out : float64                broadcast, to everyone (processes/population.Told)
    p_in : int64                   new state of everything that learns, for the checkpoint (processes/population.Part)

    State: the judge's, such as the mean return of the last generation's samples (float64, in units of reward).

    Parameters: `judge` (link, what came over t_in, m_in and e_in → Told), `link` (a multiprocessing connection), `parts`.
    """

    def __init__(
        self, *, samples: int, evaluation: int, n_inputs: int, n_outputs: int, parts: list[Part], **parameters: Any
    ) -> None:
        super().__init__(samples=samples, evaluation=evaluation, n_inputs=n_inputs, parts=parts, **parameters)
        self.t_in = InPort(shape=(samples + evaluation, played_size(n_outputs)))
        self.m_in = InPort(shape=(n_inputs, PLACES))
        self.e_in = InPort(shape=(len(EVENTS),))
        self.r_out = OutPort(shape=(broadcast_size(samples, n_inputs),))
        self.p_in = InPort(shape=(parts[0].total,))
