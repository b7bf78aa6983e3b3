"""Leaky integrate-and-fire neurons as Lava processes."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.variable import Var

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.processes.population import OwnProcess, PopulationProcess


class LIF(OwnProcess):
    """Current-based leaky integrate-and-fire neurons, float32; connects to stock processes (Dense, RingBuffer, Monitor).

        u ← (1 − du) u + a_in
        v ← (1 − dv) v + gain (v_reset + u + bias)
        s_out = v > vth;   v ← v_reset where s_out

    With `gain` = 1 and `v_reset` = 0 this is stock Lava's LIF (floating_pt), which computes in float64; with
    `gain` = dv it is the neuron of the RSRP network (kernels/neurons.py).

    Parameters
    ----------
    shape : (n,)
    du, dv : decay of current and potential a step, 0 … 1
    vth, v_reset, gain, bias : scalars; bias also (n,)

    Ports and Vars
    --------------
    a_in : float32, (n,);  s_out : float32, (n,), 0 or 1
    u, v : float32, (n,)            current and potential, in the units of vth
    """

    def __init__(
        self,
        *,
        shape: tuple[int],
        du: float = 0.0,
        dv: float = 0.0,
        vth: float = 10.0,
        v_reset: float = 0.0,
        gain: float = 1.0,
        bias: float | np.ndarray = 0.0,
        v: float | np.ndarray = 0.0,
    ) -> None:
        if len(shape) != 1:
            raise ExperimentError(f"LIF shape: {shape} must be (n,): one vector of neurons; connect ports through `flatten`")
        super().__init__(
            shape=shape, constants=(1 - du, 1.0, 1 - dv, gain, vth, v_reset), bias=np.broadcast_to(bias, shape).copy()
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.u = Var(shape=shape, init=0)
        self.v = Var(shape=shape, init=v)


class LIFPopulation(PopulationProcess):
    """The same neurons for a population of networks, spikes packed 64 to a word.

        u ← α_syn u + R · a_in
        v ← α_mem v + (1 − α_mem) (v_reset + u + drive)
        spike = v > v_threshold (strict);   v ← v_reset where spike

    Ports (S samples, W words of 64 neurons)
    ----------------------------------------
    a_in : int16, (S, 64 W)        signed number of released synapses that carried a spike
    drive_in : float32, (S, 64 W)  input current, at the first substep of an environment step; int32 under `fixed_pt`
    s_out : uint64, (S, W)         spikes, neuron i in bit i % 64 of word i // 64
    e_out : int64, (3,)            what integers lost (kernels/arithmetic.EVENTS), in the learning phase

    State: float32, (S, 64 W)
    -------------------------
    u : synaptic current, v : membrane potential, drive : input current, all in units of potential (v_threshold is 1 of them
    by default); u and drive already carry the membrane's resistance. Under `fixed_pt` they are int32 and the arithmetic is
    the chip's (kernels/fixed_point.py)

    Parameters: `constants` (LifConstants or FixedLif), `n_neurons`, `key` (seed, generation).
    """

    def __init__(self, *, samples: int, evaluation: int, words: int, **parameters: Any) -> None:
        super().__init__(samples=samples, evaluation=evaluation, words=words, **parameters)
        total = samples + evaluation
        self.a_in = InPort(shape=(total, 64 * words))
        self.drive_in = InPort(shape=(total, 64 * words))
        self.s_out = OutPort(shape=(total, words))
        self.e_out = OutPort(shape=(len(EVENTS),))
