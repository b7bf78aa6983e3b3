"""Synapses with a current of their own, fixed or learning by reward-modulated STDP, as Lava processes."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import Part, PopulationProcess


class CurrentSynapses(PopulationProcess):
    """Fixed synapses, and the current they feed, at every substep:

        u ← e^(−dt/τ_syn) u + Σ_i w_i s_in_i,   u_out = u

    Ports (n_pre sources, n_post targets)
    -------------------------------------
    s_in : float64, (n_pre,), spikes, 0 or 1;  u_out : float64, (n_post,)
    p_out : int64, the collected vector (processes/population.Part): w, after the last episode of a generation

    State: w, float64, (n_pre, n_post);  u, float64, (n_post,), in units of potential, 0 at the start of an episode.

    Parameters: `weights`, `lif` (kernels/r_stdp.Lif), `part`, `seed`.
    """

    def __init__(self, *, shape: tuple[int, ...], n_inputs: int, part: Part, **parameters: Any) -> None:
        super().__init__(samples=1, evaluation=0, n_inputs=n_inputs, shape=shape, part=part, **parameters)
        n_pre, n_post = shape
        self.s_in = InPort(shape=(n_pre,))
        self.u_out = OutPort(shape=(n_post,))
        self.p_out = OutPort(shape=(part.total,))


class StdpSynapses(CurrentSynapses):
    """… that learn, with inhibition among the targets: rules/r_stdp.py has the equations and their sources.

        u ← … − c S                                  S: spikes of the other actions' targets, a substep ago
        x ← e^(−dt/τ₊) x + s_in                      y ← e^(−dt/τ₋) y + b_in
        e ← e^(−dt/τ_e) e + A₊ x b_in − A₋ y s_in
        learning phase: w ← clip(w + η M (e − ē))    M: the scalar of the broadcast

    b_in : float64, (n_post,), spikes of the targets in this substep, 0 or 1

    State, besides: traces x, (n_pre,), and y, (n_post,); eligibility e, (n_pre, n_post); all float64, 0 at the start of an
    episode.

    Parameters: `stdp`, `teaching` (kernels/r_stdp.py), `n_actions`.
    """

    def __init__(self, *, shape: tuple[int, ...], **parameters: Any) -> None:
        super().__init__(shape=shape, **parameters)
        self.b_in = InPort(shape=(shape[1],))
