"""Rules of the field that keep weights, one file each: the equations, and the small network they run on."""

from __future__ import annotations

from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, WeightRule, weights
from rsrp_lava.rules.evolution import Es
from rsrp_lava.rules.hedonistic_spikes import HedonisticSpikes
from rsrp_lava.rules.neuron_agents import NeuronAgents
from rsrp_lava.rules.noise import Nrl, Reinforce, Rmhl
from rsrp_lava.rules.ppo_lstm import PpoLstm
from rsrp_lava.rules.r_stdp import RStdp
from rsrp_lava.rules.reparameterized import Reparameterized
from rsrp_lava.rules.stdp import Stdp
from rsrp_lava.rules.svpg import Svpg

#: By name, in the order `rsrp-lava rules` prints them.
WEIGHT_RULES: dict[str, type[WeightRule]] = {
    "es": Es,
    "hedonistic_spikes": HedonisticSpikes,
    "r_stdp": RStdp,
    "nrl": Nrl,
    "rmhl": Rmhl,
    "reinforce": Reinforce,
    "svpg": Svpg,
    "neuron_agents": NeuronAgents,
    "reparameterized": Reparameterized,
    "ppo_lstm": PpoLstm,
    "stdp": Stdp,
}

__all__ = ["WEIGHT_RULES", "Memory", "Played", "Problem", "RuleOptions", "WeightRule", "weights"]
