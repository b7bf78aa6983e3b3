"""Rules that keep weights as graphs of Lava processes. Imports Lava: only the worker (lava_worker.py) imports this file.

One network plays one episode after the other. What learns keeps its weights and its trace to itself, and is told one scalar
after an episode (or after every environment step) by the reward broadcaster, as release probabilities are.

    nrl, rmhl:  environment → synapses → hidden units → … → synapses → policy units → environment
                each layer's noise goes back to its synapses, and Δ and Σ |ξ|² of the policy units to all of them
    r_stdp:     environment → bin encoder → [fixed synapses → hidden membranes →] plastic synapses ⇄ motor membranes → vote
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from rsrp_lava.engines.lava_graph import compile_environment
from rsrp_lava.engines.lava_messages import RuleStart
from rsrp_lava.kernels import noise, r_stdp
from rsrp_lava.processes.bin_encoder.process import BinEncoder
from rsrp_lava.processes.environment.process import ENDED, PLAYING, Environment
from rsrp_lava.processes.membrane.process import Membranes
from rsrp_lava.processes.noise_synapse.process import NoiseInputSynapses, NoiseSynapses
from rsrp_lava.processes.noise_units.process import HiddenUnits, PolicyUnits
from rsrp_lava.processes.population import Part, Told, parts_of
from rsrp_lava.processes.reward_broadcaster.process import RewardBroadcaster
from rsrp_lava.processes.spike_vote.process import SpikeVote
from rsrp_lava.processes.stdp_synapse.process import CurrentSynapses, StdpSynapses
from rsrp_lava.rules.base import WEIGHTS, Memory
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.rules.noise import Nrl
from rsrp_lava.rules.r_stdp import RStdp
from rsrp_lava.tasks.actions import choose


class ThirdFactor(Protocol):
    """From rewards to what every synapse is told."""

    every_step: bool  #: of every reward, not of the return after the episode
    memory: Memory  #: what the rule remembers of rewards, changed in place

    def start(self) -> None:
        """An episode begins."""

    def of_episode(self, total: float) -> float:
        """Of its return."""
        ...

    def of_step(self, reward: float, ended: bool) -> float:
        """Of one reward; `ended`: by itself, not for want of time."""
        ...


class EpisodeJudge:
    """Of the reward broadcaster: rewards of one episode after the other become the third factor.

    A generation is ordered by the engine when nothing plays; when its last episode is over, the engine is told.
    """

    def __init__(self, factor: ThirdFactor, n_inputs: int) -> None:
        self.factor = factor
        self.generation, self.episode = -1, 0
        self.returns, self.steps = np.zeros(0), np.zeros(0, np.int64)
        self.nothing = np.zeros(2 * n_inputs)

    def __call__(self, link: Any, played: np.ndarray, sums: np.ndarray, events: np.ndarray) -> Told:
        """See `RewardBroadcaster`; `sums` and `events` are of spiking populations."""
        if self.episode == len(self.returns):
            order = link.recv()
            self.generation, self.episode = order.generation, 0
            self.returns, self.steps = np.zeros(order.episodes), np.zeros(order.episodes, np.int64)
            self.factor.start()
            return self._told(0.0)
        reward, steps, how = played[0, :3]
        self.returns[self.episode] += reward
        self.steps[self.episode] = steps
        if self.factor.every_step:
            factor = self.factor.of_step(reward, how == ENDED)
            if how == PLAYING:
                return self._told(factor)
        else:
            factor = self.factor.of_episode(reward)
        self.episode += 1
        if self.episode < len(self.returns):
            self.factor.start()
            return self._told(factor)
        link.send(("played", self.returns, self.steps, self.factor.memory))
        return self._told(factor)

    def _told(self, factor: float) -> Told:
        over = self.episode == len(self.returns)
        episode = self.episode - over  # after the last one, no other begins
        return Told(self.generation, not over, episode, 1.0, np.array([factor]), self.nothing, collect=over)


def build_graph(start: RuleStart, link: Any, report: Any) -> dict[str, Any]:
    """All processes by name, connected. `link`: connection to the engine; `report`: called with what failed."""
    rule, memory = start.rule(), start.memory
    task, kind = rule.task, _graph_of(rule)
    factor = kind.factor(rule, memory)
    sizes = [0 if name in factor.memory else array.size for name, array in memory.items()]
    parts = dict(zip(memory, parts_of(sizes), strict=True))
    shared: dict[str, Any] = {"n_inputs": task.n_observations, "report": report, "seed": start.seed}
    alone: dict[str, Any] = {"samples": 1, "evaluation": 0}
    layers, substeps = kind.build(rule, memory, parts, shared), kind.substeps(rule)
    environment = Environment(
        label="environment",
        task=task,
        n_outputs=task.n_outputs,
        key=(start.seed, 0),
        playing=False,
        every_step=factor.every_step,
        substeps=substeps,
        **alone,
        **shared,
    )
    broadcaster = RewardBroadcaster(
        label="reward broadcaster",
        judge=EpisodeJudge(factor, task.n_observations),
        link=link,
        parts=list(parts.values()),
        n_outputs=task.n_outputs,
        substeps=substeps,
        **alone,
        **shared,
    )
    environment.s_out.connect(layers[0].s_in)
    layers[-1].a_out.connect(environment.a_in)
    everyone = [environment, *layers, broadcaster]
    environment.g_out.connect([process.g_in for process in everyone])
    broadcaster.r_out.connect([process.r_in for process in everyone])
    environment.t_out.connect(broadcaster.t_in)
    for process in layers:
        if process.proc_params.get("part") is not None:
            process.p_out.connect(broadcaster.p_in)
    return {process.proc_params["label"]: process for process in everyone}


def compile_kernels(start: RuleStart) -> None:
    """Compile (or load) every kernel of the graph, once, before Lava forks: children inherit the machine code."""
    rule = start.rule()
    compile_environment(rule.task)
    choose(np.zeros(rule.task.n_outputs, np.float32), 0)
    _graph_of(rule).compile(rule)


# ---------------------------------------------------------------------------------------------------------- nrl and rmhl


class RewardError:
    """η δ of rules/noise.py."""

    def __init__(self, rule: Nrl, memory: Memory) -> None:
        self.every_step = rule.options.reward_timing == "immediate"
        self.rates = (rule.problem.learning_rate, rule.options.average_rate)
        self.memory = {"mean_reward": memory["mean_reward"]}

    def start(self) -> None:
        """The mean reward of an episode's steps is its own."""
        self.average = np.nan

    def of_episode(self, total: float) -> float:
        """See `ThirdFactor`."""
        mean_reward = self.memory["mean_reward"]
        factor, mean_reward[0] = noise.episode_step(total, mean_reward[0], *self.rates)
        return float(factor)

    def of_step(self, reward: float, ended: bool) -> float:
        """See `ThirdFactor`."""
        factor, self.average = noise.reward_step(reward, self.average, *self.rates)
        return float(factor)


def _build_noise(rule: Nrl, memory: Memory, parts: dict[str, Part], shared: dict[str, Any]) -> list[Any]:
    """Synapses and units of every layer."""
    options, task = rule.options, rule.task
    immediate, names = options.reward_timing == "immediate", [name for name in memory if name.startswith(WEIGHTS)]
    everyone = sum(memory[name].shape[1] for name in names)
    layers: list[Any] = []
    first = 0
    for number, name in enumerate(names, start=1):
        weights, last = memory[name], number == len(names)
        make: Callable[..., Any] = NoiseSynapses if layers else functools.partial(NoiseInputSynapses, scale=rule.scale)
        synapses = make(
            label=f"synapses {number}",
            shape=weights.shape,
            weights=weights,
            method=rule.method,
            immediate=immediate,
            part=parts[name],
            **shared,
        )
        settings: dict[str, Any] = {
            "n_units": weights.shape[1],
            "first": first,
            "everyone": everyone,
            "noise_std": options.noise_std,
        }
        if last:
            settings |= {"n_outputs": task.n_outputs, "method": rule.method, "choose": choose}
            units = PolicyUnits(label="policy units", **settings, **shared)
        else:
            units = HiddenUnits(label=f"units {number}", slope=options.negative_slope, **settings, **shared)
        layers += [synapses, units]
        first += weights.shape[1]
    for synapses, units in zip(layers[::2], layers[1::2], strict=True):
        synapses.a_out.connect(units.a_in)
        units.n_out.connect(synapses.n_in)
    for units, synapses, next_units in zip(layers[1::2], layers[2::2], layers[3::2], strict=False):
        units.x_out.connect(synapses.s_in)
        units.q_out.connect(next_units.q_in)
    layers[-1].d_out.connect([synapses.d_in for synapses in layers[::2]])
    return layers


def _compile_noise(rule: Nrl) -> None:
    method, immediate = rule.method, rule.options.reward_timing == "immediate"
    vector, pair, matrix, key = np.zeros(1), np.zeros((2, 1)), np.zeros((1, 1)), (0, 0, 0)
    noise.start_signals(vector, vector, pair)
    noise.layer_sums(matrix, pair, pair)
    noise.disturb(pair, key, 0, 1.0, 0, vector, vector)
    noise.hidden_activity(pair, 0.5)
    noise.decide(pair, method, key, 0, vector)
    noise.note_step(matrix, pair, np.ones(1), method, immediate, np.float64(0), np.float64(1))
    noise.teach_alone(matrix, matrix.copy(), np.float64(0))
    noise.episode_step(np.float64(0), np.float64(0), 1.0, 1.0)
    noise.reward_step(np.float64(0), np.nan, 1.0, 1.0)


# ---------------------------------------------------------------------------------------------------------------- r_stdp


class StdpFactor:
    """M of rules/r_stdp.py."""

    def __init__(self, rule: RStdp, memory: Memory) -> None:
        self.teaching = rule.constants[3]
        self.every_step = self.teaching.immediate
        self.memory = {"expected": memory["expected"]}

    def start(self) -> None:
        """Running means go on from one episode to the next."""

    def of_episode(self, total: float) -> float:
        """See `ThirdFactor`."""
        return float(r_stdp.episode_factor_alone(self.teaching, total, self.memory["expected"]))

    def of_step(self, reward: float, ended: bool) -> float:
        """See `ThirdFactor`."""
        return float(r_stdp.step_factor_alone(self.teaching, reward, bool(ended), self.memory["expected"]))


def _build_r_stdp(rule: RStdp, memory: Memory, parts: dict[str, Part], shared: dict[str, Any]) -> list[Any]:
    """From the bins to the vote."""
    (coding, lif, stdp, teaching), task = rule.constants, rule.task
    shared = {**shared, "substeps": lif.substeps}
    weights, hidden = memory["weights/motor"], memory["hidden"]
    n_neurons, n_motor = hidden.shape[0], weights.shape[1]
    encoder = BinEncoder(
        label="bin encoder", n_neurons=n_neurons, seen=memory["seen"], coding=coding, part=parts["seen"], **shared
    )
    layers: list[Any] = [encoder]
    if hidden.size:
        settings = {"shape": hidden.shape, "weights": hidden, "lif": lif, "part": parts["hidden"]}
        fixed = CurrentSynapses(label="fixed synapses", **settings, **shared)
        membranes = Membranes(label="hidden membranes", n_neurons=hidden.shape[1], lif=lif, **shared)
        encoder.s_out.connect(fixed.s_in)
        fixed.u_out.connect(membranes.u_in)
        layers += [fixed, membranes]
    plastic = StdpSynapses(
        label="plastic synapses",
        shape=weights.shape,
        weights=weights,
        lif=lif,
        stdp=stdp,
        teaching=teaching,
        n_actions=task.n_actions,
        part=parts["weights/motor"],
        **shared,
    )
    motor = Membranes(label="motor membranes", n_neurons=n_motor, lif=lif, **shared)
    settings = {"n_motor": n_motor, "n_outputs": task.n_outputs, "n_actions": task.n_actions}
    vote = SpikeVote(label="vote", choose=choose, **settings, **shared)
    layers[-1].s_out.connect(plastic.s_in)
    plastic.u_out.connect(motor.u_in)
    motor.s_out.connect([plastic.b_in, vote.s_in])
    return [*layers, plastic, motor, vote]


def _compile_r_stdp(rule: RStdp) -> None:
    coding, lif, stdp, teaching = rule.constants
    n, n_actions = rule.task.n_observations, rule.task.n_actions
    per_action, vector, matrix, numbers = (
        np.zeros(n_actions),
        np.zeros(n_actions),
        np.zeros((n_actions, n_actions)),
        np.zeros(n),
    )
    key, active, observation = (0, 0, 0), np.zeros(n, np.int64), np.zeros(n)
    r_stdp.standardisation_alone(coding, np.ones((3, n)), numbers, np.ones(n))
    r_stdp.note_alone(observation, np.zeros((3, n)))
    r_stdp.encode_alone(observation, numbers, np.ones(n), coding.edges, active)
    r_stdp.fire_inputs_alone(np.zeros(n, np.int64), coding.spike_probability, key, 0, 0, vector)
    r_stdp.excite_alone(lif.synapse_decay, matrix, vector, vector.copy())
    r_stdp.inhibit_alone(lif.inhibition, per_action, vector)
    r_stdp.fire_alone(lif, vector, vector.copy(), vector.copy())
    r_stdp.count_alone(vector, per_action)
    r_stdp.pair_alone(stdp, vector, vector, vector.copy(), vector.copy(), matrix)
    r_stdp.teach_alone(matrix, matrix.copy(), 0.0, teaching)
    r_stdp.vote_alone(per_action, key, 0)
    r_stdp.episode_factor_alone(teaching, 0.0, np.zeros(2))
    r_stdp.step_factor_alone(teaching, 0.0, False, np.zeros(2))


class RuleGraph(NamedTuple):
    """How a rule becomes processes."""

    factor: Callable[[Any, Memory], ThirdFactor]
    build: Callable[[Any, Memory, dict[str, Part], dict[str, Any]], list[Any]]  #: from the observation to the action
    compile: Callable[[Any], None]
    substeps: Callable[[Any], int]  #: time steps of an environment step


#: By what a rule says it runs as (`WeightRule.lava`).
_GRAPHS = {
    "noise": RuleGraph(RewardError, _build_noise, _compile_noise, lambda rule: 1),
    "r_stdp": RuleGraph(StdpFactor, _build_r_stdp, _compile_r_stdp, lambda rule: rule.options.substeps),
}


def _graph_of(rule: EpisodeRule) -> RuleGraph:
    assert rule.lava is not None, "experiment.py refuses it"
    return _GRAPHS[rule.lava]
