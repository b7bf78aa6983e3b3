"""Synapses that learn from the noise of their targets, as Lava processes."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import Part, PopulationProcess


class NoiseSynapses(PopulationProcess):
    """Synapses of one layer, in the network without noise (row 0) and in the one with it (row 1). Node perturbation:
    rules/noise.py has the equations and their source.

        a_out = s_in · W                            at every environment step, as what follows
        nrl   e += Δ n / Σ_k |ξ_k|² · x̃ ξᵀ          x̃: row 1 of s_in, ξ: n_in, n targets; Δ and Σ_k |ξ_k|²: d_in
        rmhl  e += x̃ ξᵀ
        learning phase: W += η δ e, e = 0           η δ: the scalar of the broadcast

    With immediate rewards nrl takes the noise of its own targets only, Δ / |ξ|², and row 0 for x̃.

    Ports (n_in sources, n_out targets)
    -----------------------------------
    s_in : float64, (2, n_in)        activity of the sources; of `NoiseInputSynapses` (1, n_in), the observation
    a_out : float64, (2, n_out)
    n_in : float64, (n_out,)         noise of the targets in this step
    d_in : float64, (2,)             Δ and Σ_k |ξ_k|² of the whole network in this step, from the readout
    p_out : int64, the collected vector (processes/population.Part): W, after the last episode of a generation

    State: W and the trace e, float64, (n_in, n_out).

    Parameters: `weights`, `method` (kernels/noise.py), `immediate`, `part`, `seed`.
    """

    def __init__(self, *, shape: tuple[int, ...], part: Part, n_inputs: int, **parameters: Any) -> None:
        super().__init__(samples=1, evaluation=0, substeps=1, n_inputs=n_inputs, shape=shape, part=part, **parameters)
        n_in, n_out = shape
        self.s_in = InPort(shape=self.source_shape(n_in))
        self.a_out = OutPort(shape=(2, n_out))
        self.n_in = InPort(shape=(n_out,))
        self.d_in = InPort(shape=(2,))
        self.p_out = OutPort(shape=(part.total,))

    @staticmethod
    def source_shape(n_in: int) -> tuple[int, int]:
        """Of what comes in."""
        return (2, n_in)


class NoiseInputSynapses(NoiseSynapses):
    """Those of the first layer: the observation is the same in both networks.

    Parameters besides: `scale`, float64, (n_in,), the factor of each observation.
    """

    @staticmethod
    def source_shape(n_in: int) -> tuple[int, int]:
        """Of what comes in."""
        return (1, n_in)
