"""Reward-modulated STDP: spike pairs leave an eligibility at their synapse, and one number for all says what becomes of it.

Observations are coded in bins: each has `bins` input neurons, of which the one whose bin it is in fires, as a Poisson
process. All of them excite the motor neurons, LIF, of which every action has some; those of one action inhibit those of the
others. An environment step lasts `sim_time_ms`; the action with the most spikes is taken, of equal ones one at random. In
every substep dt

    u ← e^(−dt/τ_syn) u + Σ_i w_i s_i − c S,   v ← α v + (1 − α) u,   α = e^(−dt/τ_mem);   v > v_threshold: spike, v = 0
    x ← e^(−dt/τ₊) x + s_pre                   y ← e^(−dt/τ₋) y + s_post
    e ← e^(−dt/τ_e) e + A₊ x s_post − A₋ y s_pre

where s are spikes (0 or 1), S the spikes of the other actions a substep ago and c the inhibition. A pair of spikes in one
substep counts as pre before post. When the third factor M comes, after every step (`reward_timing: immediate`) or after the
episode (`delayed`; e is then used up),

    w_ij ← clip(w_ij + η M (e_ij − ē_i)),      ē_i: mean over all motor neurons (0 without `conserve_output`)

    critic            M of a step                                    M of an episode
    reward            r                                              R / the task's return scale
    prediction_error  r − r̄; after the last, which ended the         (R − R̄) / D
                      episode, also −r̄: no more rewards
    angle             decrease of CartPole's √(angle² + 0.7 velocity²), published; below

|M| ≤ 1; r̄, R̄ and D, of |R − R̄|, are running means: r̄ ← r̄ + γ (r − r̄). With ē_i an input cannot win over all motor neurons at
once: what the synapses to one action gain, those to the others lose. Without it rewards strengthen whatever is done most.
The prediction knows no observation, so what is done most still gains where more than the average is earned, and a run can
settle on one action.

`hidden` neurons, LIF, may stand between: inputs excite them through fixed random synapses, and theirs learn. More neurons
than inputs then excite the motor neurons, so weights and learning rate want to be smaller (`initial_weight` 0.3,
`weight_max` 1, rate 0.001 for 200 hidden neurons on CartPole).

Sources: three factors, Florian, Neural Computation 19 (2007), and Izhikevich, Cerebral Cortex 17 (2007); traces as in
BindsNET's MSTDPET; bins, their 50 Hz and 50 ms, counting of spikes and the critic `angle` (3 times the decrease, 1.5 times
that if positive; 1 on arrival within 0.01 rad and rad/s, 0 while there): Haşegan et al., bioRxiv 2021.11.20.469405 (2022),
and its code, the baseline of Sun et al. (2025). Ours: motor neurons that take inputs and inhibit each other directly, in
place of six populations with channels; real traces for binary tags; ē_i for their opposite update of the move not taken (×
−0.8) and their normalisations; a random action for a tie, which they punish; prediction errors; 10 bins for 20; all
constants of the neurons.

Evaluation plays the same network, its input spikes random as ever, without learning.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import exponential
from rsrp_lava.kernels.r_stdp import (
    ANGLE,
    Coding,
    Lif,
    Stdp,
    Teaching,
    count,
    encode,
    episode_factor,
    excite,
    fire,
    fire_inputs,
    inhibit,
    most,
    note,
    pair,
    standardisation,
    step_factor,
    teach,
)
from rsrp_lava.kernels.random_bits import ACTION, EVALUATION, WEIGHTS, fill_start, fill_uniform, uniform
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.tasks.actions import choose

_CRITICS = ("reward", "prediction_error", "angle")


class RStdpOptions(RuleOptions):
    """Constants of network and rule."""

    bins: int = Field(10, ge=2, description="input neurons an observation")
    observation_std: tuple[float, ...] = Field(
        (), description="standard deviation of each observation; none: that of all observed while training"
    )
    observation_mean: tuple[float, ...] = Field((), description="their means, with observation_std; none: 0")
    input_rate_hz: float = Field(50.0, gt=0, description="of an input neuron while its bin is the one")
    dt_ms: float = Field(1.0, gt=0, description="length of a substep")
    sim_time_ms: float = Field(50.0, gt=0, description="length of an environment step")
    motor_neurons: int = Field(20, ge=1, description="of every action")
    inhibition: float = Field(0.5, ge=0, description="weight of a motor neuron's spike at those of other actions")
    hidden: int = Field(0, ge=0, description="neurons between input and motor neurons; 0: none")
    hidden_probability: float = Field(0.05, ge=0, le=1, description="that an input excites a hidden neuron")
    hidden_weight: float = Field(12.0, ge=0, description="of these synapses, which are fixed")
    tau_mem_ms: float = Field(20.0, gt=0, description="of the membrane potential")
    tau_syn_ms: float = Field(5.0, gt=0, description="of the synaptic current")
    v_threshold: float = Field(1.0, gt=0, description="of the membrane potential, which is reset to 0")
    weight_min: float = Field(0.0, description="of plastic synapses")
    weight_max: float = Field(3.0, description="of plastic synapses")
    initial_weight: float = Field(1.0, description="mean of the first weights")
    initial_spread: float = Field(0.2, ge=0, description="first weights are uniform in mean · (1 ± this)")
    tau_plus_ms: float = Field(20.0, gt=0, description="τ₊, of the trace of input spikes")
    tau_minus_ms: float = Field(20.0, gt=0, description="τ₋, of the trace of motor spikes")
    a_plus: float = Field(1.0, description="eligibility of a motor spike right after an input spike")
    a_minus: float = Field(0.5, description="… of an input spike right after a motor spike; taken away")
    tau_eligibility_ms: float = Field(20_000.0, gt=0, description="τ_e, of the eligibility")
    conserve_output: bool = Field(True, description="learning leaves the sum of an input's weights as it is, but for bounds")
    critic: Literal["reward", "prediction_error", "angle"] = Field(
        "prediction_error", description="the third factor; angle: of cartpole only, with reward_timing immediate"
    )
    reward_timing: Literal["delayed", "immediate"] = Field("delayed", description="after the episode, or at every step")
    average_rate: float = Field(0.1, gt=0, le=1, description="γ of the running means of the prediction error")

    @model_validator(mode="after")
    def _check(self) -> RStdpOptions:
        if self.observation_mean and not self.observation_std:
            raise ValueError("observation_mean: is used with observation_std only; give both, or none")
        if min(self.observation_std, default=1.0) <= 0:
            raise ValueError(f"observation_std: {self.observation_std} — must be positive")
        if not self.weight_min < self.weight_max:
            raise ValueError(f"weight_max: {self.weight_max:g} must be above weight_min, {self.weight_min:g}")
        if self.substeps < 1:
            raise ValueError(f"sim_time_ms: {self.sim_time_ms:g} is shorter than half of dt_ms, {self.dt_ms:g}")
        if self.input_rate_hz * self.dt_ms > 1000:
            raise ValueError(
                f"input_rate_hz: at most one spike a substep, {1000 / self.dt_ms:g} Hz, not {self.input_rate_hz:g}"
            )
        if self.critic == "angle" and self.reward_timing != "immediate":
            raise ValueError("reward_timing: critic angle judges every step; set it to immediate")
        return self

    @property
    def substeps(self) -> int:
        """Substeps of an environment step."""
        return round(self.sim_time_ms / self.dt_ms)


class Cells(NamedTuple):
    """State of the network; all but `active` is 0 when an episode starts. `pre` are the neurons whose synapses learn."""

    active: np.ndarray  #: int64, shape (d_in,): the input neuron that fires
    inputs: np.ndarray  #: spikes, as the next two float64, 0 or 1
    pre: np.ndarray  #: `inputs`, or of the hidden neurons
    motor: np.ndarray
    hidden_u: np.ndarray
    hidden_v: np.ndarray
    u: np.ndarray  #: of the motor neurons
    v: np.ndarray
    pre_trace: np.ndarray
    motor_trace: np.ndarray
    eligibility: np.ndarray  #: shape (n_pre, n_motor)
    fired: np.ndarray  #: shape (n_actions,): spikes of an action's neurons in the last substep
    counts: np.ndarray  #: … in this environment step


@njit(nogil=True)
def _cells(n_observed, n_inputs, n_hidden, n_motor, n_actions):
    inputs = np.zeros(n_inputs)
    pre = np.zeros(n_hidden) if n_hidden else inputs
    n_pre = pre.shape[0]
    return Cells(
        np.zeros(n_observed, np.int64),
        inputs,
        pre,
        np.zeros(n_motor),
        np.zeros(n_hidden),
        np.zeros(n_hidden),
        np.zeros(n_motor),
        np.zeros(n_motor),
        np.zeros(n_pre),
        np.zeros(n_motor),
        np.zeros((n_pre, n_motor)),
        np.zeros(n_actions),
        np.zeros(n_actions),
    )


@njit(nogil=True)
def _rest(cells):
    """The network as it is before an episode."""
    for state in (cells.hidden_u, cells.hidden_v, cells.u, cells.v, cells.pre_trace, cells.motor_trace, cells.fired):
        state[:] = 0.0
    cells.eligibility[:] = 0.0


@njit(nogil=True)
def _simulate(cells, weights, hidden_weights, coding, lif, stdp, plastic, key, phase, t):
    """The substeps of environment step t; key: (seed, generation, episode)."""
    cells.counts[:] = 0.0
    for substep in range(lif.substeps):
        fire_inputs(cells.active, coding.spike_probability, key, phase, t * lif.substeps + substep, cells.inputs)
        if hidden_weights.shape[1]:
            excite(lif.synapse_decay, hidden_weights, cells.inputs, cells.hidden_u)
            fire(lif, cells.hidden_u, cells.hidden_v, cells.pre)
        excite(lif.synapse_decay, weights, cells.pre, cells.u)
        inhibit(lif.inhibition, cells.fired, cells.u)
        fire(lif, cells.u, cells.v, cells.motor)
        count(cells.motor, cells.fired)
        for action in range(cells.fired.shape[0]):
            cells.counts[action] += cells.fired[action]
        if plastic:
            pair(stdp, cells.pre, cells.motor, cells.pre_trace, cells.motor_trace, cells.eligibility)


@njit(nogil=True)
def _imbalance(observation):
    """CartPole's distance from an upright, still pole; 0 within 0.01 rad and rad/s."""
    angle, velocity = float(observation[2]), float(observation[3])
    if abs(angle) < 0.01 and abs(velocity) < 0.01:
        return 0.0
    return math.sqrt(angle * angle + 0.7 * velocity * velocity)


@njit(nogil=True)
def _angle_factor(before, after):
    """Haşegan's critic, of two imbalances."""
    if after == 0.0:
        return 1.0 if before > 0 else 0.0
    decrease = 3.0 * (before - after)
    return 1.5 * decrease if decrease > 0 else decrease


@kernel
def learn_episodes(functions, parts, constants, task_sizes, key, task_state, played):
    """See `EpisodeRule`. parts: weights (n_pre, n_motor), those into hidden neurons (n_in, n_hidden), running means
    (float64, shape (2,): r̄ or R̄, D; nan before the first), `seen` (see `note`); constants: Coding, Lif, Stdp, Teaching."""
    reset, observe, step = functions.value
    weights, hidden_weights, expected, seen = parts
    coding, lif, stdp, teaching = constants
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    cells = _cells(n_observed, hidden_weights.shape[0], hidden_weights.shape[1], weights.shape[1], n_actions)
    mean, deviation = np.zeros(n_observed), np.ones(n_observed)
    for episode in range(returns.shape[0]):
        fill_start(seed, generation, 0, episode, False, random)
        reset(task_state, random)
        standardisation(coding, seen, mean, deviation)
        _rest(cells)
        total, t, ended = 0.0, np.int64(0), False
        observe(task_state, observation)
        while t < max_steps and not ended:
            note(observation, seen)
            encode(observation, mean, deviation, coding.edges, cells.active)
            _simulate(cells, weights, hidden_weights, coding, lif, stdp, True, (seed, generation, episode), 0, t)
            choose(output, most(cells.counts, uniform(seed, generation, episode, ACTION, t)))
            before = _imbalance(observation) if teaching.critic == ANGLE else 0.0
            reward, ended = step(task_state, output)
            observe(task_state, observation)
            total += reward
            t += 1
            if teaching.critic == ANGLE:
                teach(weights, cells.eligibility, _angle_factor(before, _imbalance(observation)), teaching)
            elif teaching.immediate:
                teach(weights, cells.eligibility, step_factor(teaching, reward, ended, expected), teaching)
        if not teaching.immediate:
            teach(weights, cells.eligibility, episode_factor(teaching, total, expected), teaching)
        returns[episode], steps[episode] = total, t


@kernel
def evaluate_episodes(functions, parts, constants, task_sizes, key, task_state, first, played):
    """See `EpisodeRule`: as `learn_episodes`, without learning."""
    reset, observe, step = functions.value
    weights, hidden_weights, _, seen = parts
    coding, lif, stdp, _ = constants
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    cells = _cells(n_observed, hidden_weights.shape[0], hidden_weights.shape[1], weights.shape[1], n_actions)
    mean, deviation = np.zeros(n_observed), np.ones(n_observed)
    standardisation(coding, seen, mean, deviation)
    for place in range(returns.shape[0]):
        episode = first + place
        fill_start(seed, generation, EVALUATION, episode, False, random)
        reset(task_state, random)
        _rest(cells)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            encode(observation, mean, deviation, coding.edges, cells.active)
            key_of_episode = (seed, generation, episode)
            _simulate(cells, weights, hidden_weights, coding, lif, stdp, False, key_of_episode, EVALUATION, t)
            choose(output, most(cells.counts, uniform(seed, generation, episode, ACTION + EVALUATION, t)))
            reward, ended = step(task_state, output)
            total += reward
            t += 1
        returns[place], steps[place] = total, t


class RStdp(EpisodeRule):
    """See the equations above."""

    summary = (
        "reward-modulated STDP of LIF neurons: eligibility of spike pairs times a prediction error (Haşegan et al. 2022)"
    )
    Options = RStdpOptions
    automatic_rate = 0.01
    lava = "r_stdp"
    learn_kernel, evaluate_kernel = learn_episodes, evaluate_episodes
    options: RStdpOptions

    def __init__(self, problem: Problem, options: RStdpOptions) -> None:
        super().__init__(problem, options)
        if options.critic == "angle" and self.task.name != "cartpole":
            raise ExperimentError(
                f"rule_options.critic: angle looks at the pole of cartpole, which {self.task.name} has not; "
                "use prediction_error or reward"
            )
        self._std = self.per_observation("observation_std", None)
        self._mean = self.per_observation("observation_mean", 0.0)

    @classmethod
    def lava_refusal(cls, options: RuleOptions) -> str | None:
        """See `rules.base.WeightRule.lava_refusal`."""
        if getattr(options, "critic", None) == "angle":
            return "critic: angle looks at the pole, of which engine lava's reward broadcaster hears nothing; use another"
        return None

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        o, n_observed, seed = self.options, self.task.n_observations, self.problem.seed
        n_inputs, n_motor = n_observed * o.bins, o.motor_neurons * self.task.n_actions
        drawn = np.empty((o.hidden or n_inputs, n_motor))
        fill_uniform(seed, 0, 0, WEIGHTS, drawn.ravel())
        connected = np.empty((n_inputs, o.hidden))
        fill_uniform(seed, 0, 1, WEIGHTS, connected.ravel())
        weights = o.initial_weight * (1.0 + o.initial_spread * (2.0 * drawn - 1.0))
        return {
            "weights/motor": np.clip(weights, o.weight_min, o.weight_max),
            "hidden": np.where(connected < o.hidden_probability, o.hidden_weight, 0.0),
            "expected": np.full(2, np.nan),
            "seen": np.zeros((3, n_observed)),
        }

    def restore(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.restore`: within the limits."""
        motor = memory["weights/motor"]
        np.clip(motor, self.options.weight_min, self.options.weight_max, out=motor)

    def parts(self, memory: Memory) -> tuple:
        """See `EpisodeRule`."""
        return tuple(memory[name] for name in ("weights/motor", "hidden", "expected", "seen"))

    @property
    def constants(self) -> tuple:
        """See `EpisodeRule`."""
        o = self.options

        def decay(tau_ms: float) -> float:
            return float(exponential(-o.dt_ms / tau_ms))

        # Rounded, because the quantiles take logarithms of the C library, which differ in their last bit.
        edges = np.array([round(NormalDist().inv_cdf(k / o.bins), 6) for k in range(1, o.bins)])
        return (
            Coding(edges, self._mean, self._std, o.input_rate_hz * o.dt_ms / 1000),
            Lif(o.substeps, decay(o.tau_syn_ms), decay(o.tau_mem_ms), o.v_threshold, o.inhibition),
            Stdp(decay(o.tau_plus_ms), decay(o.tau_minus_ms), decay(o.tau_eligibility_ms), o.a_plus, o.a_minus),
            Teaching(
                _CRITICS.index(o.critic),
                o.reward_timing == "immediate",
                self.problem.learning_rate,
                o.average_rate,
                self.task.return_scale,
                o.weight_min,
                o.weight_max,
                o.conserve_output,
            ),
        )

    def updates(self, played: Played) -> int:
        """One an episode, or one a step."""
        return len(played.steps) if self.options.reward_timing == "delayed" else int(played.steps.sum())
