"""Units that add noise to what comes in, as Lava processes."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import PopulationProcess


class NoiseUnits(PopulationProcess):
    """Units of one layer, in the network without noise (row 0) and in the one with it (row 1).

        a_in[1] += ξ,   ξ ~ N(0, σ²)                 at every environment step, from the key (seed, generation, episode)

    Ports (n units)
    ---------------
    a_in : float64, (2, n)
    n_out : float64, (n,)        ξ, back to the synapses
    q_in : float64, (1,)         Σ |ξ|² of the layers before; of the first layer it is not connected

    Parameters: `first` (number of its first unit among the `everyone` of the network), `noise_std`, `seed`.
    """

    def __init__(self, *, n_units: int, n_inputs: int, **parameters: Any) -> None:
        super().__init__(samples=1, evaluation=0, substeps=1, n_inputs=n_inputs, n_units=n_units, **parameters)
        self.a_in = InPort(shape=(2, n_units))
        self.n_out = OutPort(shape=(n_units,))
        self.q_in = InPort(shape=(1,))


class HiddenUnits(NoiseUnits):
    """… of a hidden layer:

        x_out = LeakyReLU(a_in)

    x_out : float64, (2, n);  q_out : float64, (1,), Σ |ξ|² of the layers up to this one

    Parameter: `slope` (for what is negative).
    """

    def __init__(self, *, n_units: int, **parameters: Any) -> None:
        super().__init__(n_units=n_units, **parameters)
        self.x_out = OutPort(shape=(2, n_units))
        self.q_out = OutPort(shape=(1,))


class PolicyUnits(NoiseUnits):
    """… of the last layer, one an action:

        π = softmax(a_in[0]),   a ~ π                rmhl: of row 1
        Δ = log π̃(a) − log π(a)                      π̃: of row 1; rmhl: 1, not used

    a_out : float32, (1, n_outputs)     to the environment: the action a, as its outputs
    d_out : float64, (2,)               Δ and Σ_k |ξ_k|²

    Parameters: `method` (kernels/noise.py), `choose` (writes the outputs that stand for an action).
    """

    def __init__(self, *, n_units: int, n_outputs: int, **parameters: Any) -> None:
        super().__init__(n_units=n_units, n_outputs=n_outputs, **parameters)
        self.a_out = OutPort(shape=(1, n_outputs))
        self.d_out = OutPort(shape=(2,))
