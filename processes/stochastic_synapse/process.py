"""Stochastic-release synapses as Lava processes."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.variable import Var

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.processes.population import OwnProcess, Part, PopulationProcess

#: Presynaptic neurons whose released synapses an int16 can count.
_MOST_SOURCES = 2**15 - 1


class StochasticDense(OwnProcess):
    """All-to-all synapses of one network that release or not; in place of stock Dense between stock or own processes.

        θ_ij ~ Bernoulli(p_ij)                        drawn once, from (seed, generation, sample)
        a_out_j = weight · Σ_i sign_i θ_ij s_in_i     of the spikes of the previous step, as stock Dense does

    Parameters
    ----------
    p : (n_pre, n_post), 0 … 1       release probabilities, rounded to the comparator's steps
    signs : (n_pre,), ±1            sign of each presynaptic neuron
    weight : float                  what one released synapse adds (`fixed_pt`: an integer)
    key : (seed, generation, sample);  p_bits : width of the comparator

    Ports and Vars
    --------------
    s_in : float32, (n_pre,), 0 or 1;  a_out : float32, (n_post,) (`fixed_pt`: int32)
    release : int8, (n_pre, n_post)     θ; what is set while it runs (0: knocked out) releases from the next step on
    """

    def __init__(
        self,
        *,
        p: np.ndarray,
        signs: np.ndarray | None = None,
        weight: float = 1.0,
        key: tuple[int, int, int] = (0, 0, 0),
        p_bits: int = 16,
    ) -> None:
        p = np.asarray(p)
        signs = np.ones(len(p)) if signs is None else np.asarray(signs)
        _check(p, signs)
        n_pre, n_post = p.shape
        super().__init__(p=p.astype(np.float32), signs=signs, weight=weight, key=key, p_bits=p_bits)
        self.s_in = InPort(shape=(n_pre,))
        self.a_out = OutPort(shape=(n_post,))
        self.release = Var(shape=(n_pre, n_post), init=0)


def _check(p: np.ndarray, signs: np.ndarray) -> None:
    """`ExperimentError` for probabilities and signs that the kernels would take for others."""
    problem = None
    if p.ndim != 2 or 0 in p.shape:
        problem = f"p: shape {p.shape} must be (n_pre, n_post), both 1 or more"
    elif len(p) > _MOST_SOURCES:
        problem = f"p: {len(p)} presynaptic neurons must be {_MOST_SOURCES} or fewer (sums are int16); split them"
    elif not ((p >= 0) & (p <= 1)).all():
        problem = f"p: {p[~((p >= 0) & (p <= 1))][0]} must be a probability, 0 to 1"
    elif signs.shape != (len(p),):
        problem = f"signs: shape {signs.shape} must be {(len(p),)}, one a row of p"
    elif not np.isin(signs, (-1, 1)).all():
        problem = f"signs: {signs[~np.isin(signs, (-1, 1))][0]} must be 1 (excites) or -1 (inhibits)"
    if problem:
        raise ExperimentError(f"StochasticDense {problem}")


class StochasticSynapses(PopulationProcess):
    """Synapses of a population of networks that release or not, and learn where they are.

        θ_ij ~ Bernoulli(ρ_ij)                        for every sample, once an episode
        a_out_j = Σ_i sign_i θ_ij s_in_i              of the previous step (recurrent), of this one (readout),
                                                      or of graded input, scaled, once an environment step (input)
        learning phase: Δρ_ij from ρ_ij, θ_ij and the one scalar a sample that the broadcast carries

    Evaluation samples release where ρ > ½.

    Ports (S samples)
    -----------------
    s_in : input: float32, (S, n_inputs); else uint64, (S, words of the presynaptic population)
    a_out : input: float32 or int32, recurrent: int16, (S, lanes of the postsynaptic population);
            readout: int32, (S, lanes of the readout)
    p_out : int64, the collected vector (processes/population.Part): new ρ and optimizer state, for the host's checkpoint

    State: ρ, float32, (n_pre, n_post), a probability; the optimizer's; θ, one bit a synapse and sample, packed 64 to a word.

    Parameters: `synapses` (its probabilities and rule: engines/lava_graph.py), `constants` (NetworkConstants), `part`.
    """

    def __init__(
        self, *, samples: int, evaluation: int, in_shape: int, out_shape: int, part: Part, **parameters: Any
    ) -> None:
        super().__init__(samples=samples, evaluation=evaluation, out_shape=out_shape, part=part, **parameters)
        total = samples + evaluation
        self.s_in = InPort(shape=(total, in_shape))
        self.a_out = OutPort(shape=(total, out_shape))
        self.p_out = OutPort(shape=(part.total,))


class InputSynapses(StochasticSynapses):
    """Graded observations to neurons, once an environment step: float32 in, float32 current out (int32 under `fixed_pt`).

    e_out : int64, (3,)     what integers lost (kernels/arithmetic.EVENTS), in the learning phase
    """

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.e_out = OutPort(shape=(len(EVENTS),))


class RecurrentSynapses(StochasticSynapses):
    """Spikes to neurons, one step late: packed words in, int16 counts out."""


class ReadoutSynapses(StochasticSynapses):
    """Spikes to few outputs: packed words in, int32 counts out."""
