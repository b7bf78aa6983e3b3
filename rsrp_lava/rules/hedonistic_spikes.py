"""Hedonistic synapses that draw at every spike: release, facilitation and a trace of their own in every synapse.

The network is the package's (network.py): leaky integrate-and-fire neurons, each with one sign for all its synapses, that
see [x, −x] of an observation x in units of its running deviation. Its outputs are the task's. A synapse from source i to
target j has a release parameter q_ij, which is learned, a trace e_ij, and one vesicle. At every spike of i,

    p_ij = σ(q_ij + c_i)               for synapses whose vesicle is there; others do nothing
    release with probability p_ij      e_ij ← e_ij + 1 − p_ij,   and no vesicle for tau_recovery_ms
    or fail                            e_ij ← e_ij − p_ij
    c_i ← c_i + Δc                     afterwards, whatever was released

and between spikes de/dt = −e / tau_eligibility, dc/dt = −c / tau_facilitation. All synapses of a neuron see the same spikes,
so c is one number a neuron. With reward r (the return at the end of an episode, or, immediate, the reward of every step)

    h = r − r̄,   r̄ ← r̄ + γ h,   s² ← s² + γ (h² − s²)
    q_ij ← q_ij + η (h / s) e_ij       with reward_unit one: η h e_ij

As e sums ∂ log P / ∂q of what was drawn, the expected h e is the gradient of the expected return if e never decays, with
facilitation and recovery or without. Discrete time: at every simulation step all e and c decay, then synapses are tried; a
vesicle is back as soon as tau_recovery_ms have passed. A reward comes right after the last simulation step of its step.

Seung, "Learning in spiking neural networks by reinforcement of stochastic synaptic transmission", Neuron 40:1063 (2003). Its
text was not at hand: the equations of p, e, c and q are those known of it. Ours: the network and all constants; r̄ and s; a
recovery of fixed length (it could be drawn). Inputs are currents, which have no spikes: an observation is one spike of every
input, of size ±x, at the first simulation step; what a synapse releases then flows until the next observation. Evaluation
draws as training does, or (`evaluation: deterministic`) releases where p > 1/2.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit
from pydantic import Field

from rsrp_lava.kernels.arithmetic import integrate, neuron_step, read_output
from rsrp_lava.kernels.compiling import copy, kernel
from rsrp_lava.kernels.exact_math import exponential, fill_normal
from rsrp_lava.kernels.lanes import aligned_zeros
from rsrp_lava.kernels.random_bits import EVALUATION, MEMBRANE, SPIKES, WEIGHTS, fill_start, fill_uniform, threefry
from rsrp_lava.kernels.running import clipped, divisor, with_one_more
from rsrp_lava.mapping.floating import floating_constants
from rsrp_lava.network import Network
from rsrp_lava.rules.base import Memory, Played, RuleOptions
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.tasks.base import EpisodeTask, Task


class HedonisticOptions(RuleOptions):
    """Constants of the synapse; times in milliseconds of the network's time (16.6 an environment step)."""

    tau_eligibility_ms: float = Field(1e6, gt=0, description="time constant of the trace e; the default hardly decays")
    facilitation: float = Field(0.1, ge=0, description="Δc: what a spike adds to q for the spikes after it; 0: none")
    tau_facilitation_ms: float = Field(50.0, gt=0, description="time constant of the facilitation c")
    tau_recovery_ms: float = Field(2.0, ge=0, le=1e6, description="how long a vesicle is missing after a release; 0: never")
    reward_timing: Literal["delayed", "immediate"] = Field("delayed", description="after the episode, or at every step")
    average_rate: float = Field(0.05, gt=0, le=1, description="γ of the running mean and deviation of the reward")
    reward_unit: Literal["deviation", "one"] = Field("deviation", description="h over its running deviation s, or as it is")
    initial_std: float = Field(0.5, ge=0, description="standard deviation of q at the start; its mean is 0")
    evaluation: Literal["drawn", "deterministic"] = Field("drawn", description="draw releases, or release where p > 1/2")


class SynapseConstants(NamedTuple):
    """Constants of learning and release, a simulation step."""

    learning_rate: float
    immediate: bool
    average_rate: float
    scaled: bool  #: h is divided by its running deviation
    trace_left: np.ndarray  #: what is left of e after 0, 1, … simulation steps
    calcium_left: float  #: exp(−dt / tau_facilitation)
    facilitation: float
    recovery_steps: int
    deterministic: bool  #: evaluation releases where p > 1/2


class Synapses(NamedTuple):
    """Synapses of the inputs, or of the neurons. Row i: the targets of source i, of neurons the outputs last."""

    q: np.ndarray  #: float64, shape (sources, targets)
    odds: np.ndarray  #: e⁻q
    trace: np.ndarray  #: what will be left of e at the end of the environment step
    ready: np.ndarray  #: int64, the simulation step from which the vesicle is there
    calcium: np.ndarray  #: c, shape (sources,)
    received: np.ndarray  #: float32, shape (targets,): sum of what was released
    uniform: np.ndarray  #: room for the draws of one row, a multiple of four


class Neurons(NamedTuple):
    """State of the neurons and the readout, in the types of `kernels.arithmetic`."""

    u: np.ndarray
    v: np.ndarray
    drive: np.ndarray
    delivered: np.ndarray
    trace: np.ndarray
    output: np.ndarray
    events: np.ndarray  #: of integer arithmetic, unused


@njit(nogil=True)
def _new_synapses(q):
    """Synapses with these release parameters, at rest."""
    sources, targets = q.shape
    synapses = Synapses(
        q,
        np.empty((sources, targets)),
        np.zeros((sources, targets)),
        np.zeros((sources, targets), np.int64),
        np.zeros(sources),
        np.zeros(targets, np.float32),
        np.full((targets + 3) // 4 * 4, 0.5),
    )
    _fill_odds(synapses)
    return synapses


@njit(nogil=True)
def _fill_odds(synapses):
    """odds = e⁻q, so that σ(q + c) = 1 / (1 + odds · e⁻ᶜ) costs no exponential a synapse and spike."""
    for i in range(synapses.q.shape[0]):
        for j in range(synapses.q.shape[1]):
            synapses.odds[i, j] = exponential(-synapses.q[i, j])


@njit(nogil=True)
def _new_neurons(network, n_outputs):
    """Neurons at rest."""
    lanes = 64 * network.excitatory.shape[0]
    return Neurons(
        aligned_zeros(lanes, np.float32),
        aligned_zeros(lanes, np.float32),
        aligned_zeros(lanes, np.float32),
        aligned_zeros(lanes, np.float32),
        np.zeros(n_outputs, np.float32),
        np.zeros(n_outputs, np.float32),
        np.zeros(3, np.int64),
    )


@njit(nogil=True)
def _start(synapses, neurons, potentials):
    """Membrane potentials (float64 in [0, 1)) at the start of an episode, everything else at rest."""
    for part in synapses:
        part.trace[:] = 0.0
        part.ready[:] = 0
        part.calcium[:] = 0.0
        part.received[:] = np.float32(0)
    neurons.u[:] = np.float32(0)
    neurons.trace[:] = np.float32(0)
    for j in range(potentials.shape[0]):
        neurons.v[j] = np.float32(potentials[j])


@njit(nogil=True)
def _draw_row(key, row, when, uniform):
    """Uniform numbers in [0, 1) for the synapses of source `row` at simulation step `when`; key: four words.

    The four words of block b are a quarter of the array apart, so that blocks are computed side by side.
    """
    seed, generation, episode, stream = key
    k0, k1, k2, k3 = np.uint64(seed), np.uint64(generation), np.uint64(episode), np.uint64(stream)
    blocks = uniform.shape[0] // 4
    for b in range(blocks):
        words = threefry(k0, k1, k2, k3, np.uint64(row * blocks + b), np.uint64(when))
        for lane in range(4):
            uniform[lane * blocks + b] = np.float64(np.int64(words[lane] >> np.uint64(11))) * 2.0**-53


@njit(nogil=True)
def _spike(synapses, source, size, when, left, constants):
    """A spike arrives at all synapses of a source: those that have a vesicle are tried with `synapses.uniform`.

    `size`: what a release delivers;  `left`: what is left of a trace at the end of the environment step.
    """
    odds, trace, ready = synapses.odds[source], synapses.trace[source], synapses.ready[source]
    received, uniform = synapses.received, synapses.uniform
    facilitated = exponential(-synapses.calcium[source])
    back = when + constants.recovery_steps
    for j in range(trace.shape[0]):
        p = 1.0 / (1.0 + odds[j] * facilitated)
        there = ready[j] <= when
        released = there & (uniform[j] < p)
        trace[j] += left * ((1.0 if released else 0.0) - (p if there else 0.0))
        received[j] += size if released else np.float32(0)
        ready[j] = back if released else ready[j]
    synapses.calcium[source] += constants.facilitation


@njit(nogil=True)
def _act(synapses, neurons, network, constants, key, drawn, t, observation):
    """Environment step `t`: from an observation, in deviations, to `neurons.output`; key: four words, as of `_draw_row`.

    Traces decay once, for all simulation steps to come; what is added in one of them decays for the rest of them.
    """
    inputs, between = synapses
    seed, generation, episode, stream = key
    n_inputs, n_outputs, n_neurons = observation.shape[0], neurons.output.shape[0], network.n_neurons
    for part in synapses:
        trace = part.trace
        trace *= constants.trace_left[network.substeps]
    for substep in range(network.substeps):
        when = t * network.substeps + substep
        left = constants.trace_left[network.substeps - 1 - substep]
        for part in synapses:
            calcium = part.calcium
            calcium *= constants.calcium_left
        if substep == 0:
            inputs.received[:] = np.float32(0)
            for k in range(2 * n_inputs):
                if drawn:
                    _draw_row((seed, generation, episode, stream), k, when, inputs.uniform)
                x = observation[k] if k < n_inputs else -observation[k - n_inputs]
                _spike(inputs, k, x, when, left, constants)
            for j in range(n_neurons):
                neurons.drive[j] = network.input.weight * inputs.received[j]
        copy(between.received, neurons.delivered[:n_neurons])
        between.received[:] = np.float32(0)
        for word in range(network.excitatory.shape[0]):
            arrays = (neurons.u, neurons.v, neurons.drive, neurons.delivered)
            spikes = neuron_step(network.lif, 64 * word, arrays, neurons.events)
            for i in range(64 * word, min(64 * word + 64, n_neurons)):
                if (spikes >> np.uint64(i % 64)) & np.uint64(1):
                    if drawn:
                        _draw_row((seed, generation, episode, stream + 1), i, when, between.uniform)
                    excites = (network.excitatory[word] >> np.uint64(i % 64)) & np.uint64(1)
                    _spike(between, i, np.float32(1) if excites else np.float32(-1), when, left, constants)
        integrate(network.readout, between.received[n_neurons : n_neurons + n_outputs], neurons.trace, neurons.events)
    read_output(network.readout, neurons.trace, neurons.output)


@njit(nogil=True)
def _standardise(observation, seen, learning, z):
    """z = an observation in units of the running deviation (kernels/running.py); `learning`: it is counted first.

    observation : float64;  seen : (count, mean, sum of squared deviations);  z : float32, written
    """
    count, mean, squares = seen
    if learning:
        count[0] += 1.0
    for d in range(observation.shape[0]):
        x = observation[d]
        if learning:
            mean[d], squares[d] = with_one_more(x, count[0], mean[d], squares[d])
        deviation = np.sqrt(squares[d] / max(count[0], 1.0))
        z[d] = np.float32(clipped((x - mean[d]) / divisor(mean[d], deviation)))


@njit(nogil=True)
def _teach(synapses, step):
    """q += step · e of all synapses."""
    for part in synapses:
        q = part.q
        q += step * part.trace
        _fill_odds(part)


@njit(nogil=True)
def _surprise(reward, average, constants):
    """h, as a part of its running deviation if asked for; then the average moves. The first reward is no surprise.

    average : (r̄, running mean of h²), r̄ nan before the first reward
    """
    if np.isnan(average[0]):
        average[0] = reward
    h = reward - average[0]
    average[0] += constants.average_rate * h
    average[1] += constants.average_rate * (h * h - average[1])
    return h / np.sqrt(average[1]) if constants.scaled and average[1] > 0 else h


@kernel
def learn_episodes(functions, parts, constants, task_sizes, key, task_state, played):
    """See `EpisodeRule`. parts: (q of inputs, q of neurons, average of the reward, seen of observations);
    constants: (NetworkConstants, SynapseConstants)."""
    reset, observe, step = functions.value
    q_inputs, q_neurons, average, seen = parts
    network, rule = constants
    n_random, n_observed, n_outputs, _, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    random, potentials = np.empty(n_random), np.empty(network.n_neurons)
    observation, z = np.zeros(n_observed), np.zeros(n_observed, np.float32)
    synapses, neurons = (_new_synapses(q_inputs), _new_synapses(q_neurons)), _new_neurons(network, n_outputs)
    for episode in range(returns.shape[0]):
        fill_start(seed, generation, 0, episode, False, random)
        fill_uniform(seed, generation, episode, MEMBRANE, potentials)
        reset(task_state, random)
        _start(synapses, neurons, potentials)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            _standardise(observation, seen, True, z)
            _act(synapses, neurons, network, rule, (seed, generation, episode, SPIKES), True, t, z)
            reward, ended = step(task_state, neurons.output)
            total += reward
            t += 1
            if rule.immediate:
                _teach(synapses, rule.learning_rate * _surprise(reward, average, rule))
        if not rule.immediate:
            _teach(synapses, rule.learning_rate * _surprise(total, average, rule))
        returns[episode], steps[episode] = total, t


@kernel
def evaluate_episodes(functions, parts, constants, task_sizes, key, task_state, first, played):
    """See `EpisodeRule`: releases are drawn, or certain where p > 1/2."""
    reset, observe, step = functions.value
    q_inputs, q_neurons, _, seen = parts
    network, rule = constants
    n_random, n_observed, n_outputs, _, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    random, potentials = np.empty(n_random), np.empty(network.n_neurons)
    observation, z = np.zeros(n_observed), np.zeros(n_observed, np.float32)
    synapses, neurons = (_new_synapses(q_inputs), _new_synapses(q_neurons)), _new_neurons(network, n_outputs)
    drawn = not rule.deterministic  # else a row's numbers stay 1/2
    for episode in range(returns.shape[0]):
        sample = first + episode
        fill_start(seed, generation, EVALUATION, sample, False, random)
        fill_uniform(seed, generation, sample, MEMBRANE + EVALUATION, potentials)
        reset(task_state, random)
        _start(synapses, neurons, potentials)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            _standardise(observation, seen, False, z)
            _act(synapses, neurons, network, rule, (seed, generation, sample, SPIKES + EVALUATION), drawn, t, z)
            reward, ended = step(task_state, neurons.output)
            total += reward
            t += 1
        returns[episode], steps[episode] = total, t


class HedonisticSpikes(EpisodeRule):
    """See the equations above."""

    summary = "hedonistic synapses that draw at every spike, with facilitation and a trace (Seung 2003)"
    Options = HedonisticOptions
    automatic_rate = 0.01
    settings = frozenset({"network"})
    silent = -200.0  # σ(q) < 10⁻⁸⁶: it never releases
    learn_kernel, evaluate_kernel = learn_episodes, evaluate_episodes
    options: HedonisticOptions

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """See `rules.base.WeightRule.refusal`. The network's outputs are the task's, so that actions may be numbers."""
        return None if isinstance(task, EpisodeTask) else "it plays episodes that are compiled, and this task has none"

    @property
    def network(self) -> Network:
        """The network, for this task."""
        return Network(self.problem.network, self.task.n_observations, self.task.n_outputs)

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        n_inputs, n_neurons, memory = self.task.n_observations, self.problem.network.n_neurons, {}
        shapes = {"input": (2 * n_inputs, n_neurons), "neurons": (n_neurons, n_neurons + self.task.n_outputs)}
        for part, (name, shape) in enumerate(shapes.items()):
            drawn = np.empty(shape[0] * shape[1])
            fill_normal(self.problem.seed, 0, part, WEIGHTS, 0, drawn)
            memory[f"weights/{name}"] = drawn.reshape(shape) * self.options.initial_std
        seen = {"seen/count": np.zeros(1), "seen/mean": np.zeros(n_inputs), "seen/squares": np.zeros(n_inputs)}
        return {**memory, "average": np.array([np.nan, 0.0]), **seen}

    def parts(self, memory: Memory) -> tuple:
        """See `EpisodeRule`."""
        seen = (memory["seen/count"], memory["seen/mean"], memory["seen/squares"])
        return (memory["weights/input"], memory["weights/neurons"], memory["average"], seen)

    @property
    def constants(self) -> tuple[Any, SynapseConstants]:
        """See `EpisodeRule`."""
        o, network, dt = self.options, self.network, self.problem.network.dt_ms
        rule = SynapseConstants(
            learning_rate=self.problem.learning_rate,
            immediate=o.reward_timing == "immediate",
            average_rate=o.average_rate,
            scaled=o.reward_unit == "deviation",
            trace_left=np.array([exponential(-k * dt / o.tau_eligibility_ms) for k in range(network.substeps + 1)]),
            calcium_left=exponential(-dt / o.tau_facilitation_ms),
            facilitation=o.facilitation,
            recovery_steps=math.ceil(o.tau_recovery_ms / dt - 1e-9),
            deterministic=o.evaluation == "deterministic",
        )
        return (floating_constants(network), rule)

    def updates(self, played: Played) -> int:
        """One an episode, or one a step."""
        return len(played.steps) if self.options.reward_timing == "delayed" else int(played.steps.sum())
