"""Networks that learn from noise: NRL, and what it is measured against, RMHL and REINFORCE.

A network without spikes and without biases: x_0 the observation times `observation_scale`, a_l = W_l x_{l−1},
x_l = LeakyReLU(a_l), policy π = softmax(a_L). The noisy network adds ξ_l ~ N(0, σ²) to every a_l, the last included. With
the reward prediction error δ = (R − R̄)/|R| of an episode, R̄ ← R̄ + γ (R − R̄), each rule adds η δ e_l to W_l; e_l sums over
the steps:

    nrl        Δ ξ_l x̃_{l−1}ᵀ n_l / Σ_k |ξ_k|²,   Δ = log π̃(a) − log π(a),   a drawn from π, x̃ the noisy activations
    rmhl       ξ_l x̃_{l−1}ᵀ,   a drawn from π̃
    reinforce  ∂ log π(a) / ∂W_l,   a drawn from π

n_l is the number of units of layer l. With `reward_timing: immediate` every step's reward teaches by itself: δ = r − r̄,
r̄ anew in every episode, and NRL takes |ξ_l|² of each layer, x of the clean network and no n_l.

García Fernández, Ahmad, van Gerven, "Noise-based reward-modulated learning", arXiv 2503.23972 (2025). The equations are
those of the authors' code, as their text was not at hand; ours: an episode with R = 0 is divided by 1, and weights start
from the seed of the run.
"""

from __future__ import annotations

import itertools
from typing import ClassVar, Literal

import numpy as np
from numba import njit
from pydantic import Field

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import fill_normal
from rsrp_lava.kernels.noise import (
    NRL,
    REINFORCE,
    RMHL,
    add_outer,
    draw_action,
    episode_step,
    log_policy,
    noise_factor,
    rectify,
    reward_step,
    sum_of_squares,
    take_noise,
    teach,
    weighted_sums,
)
from rsrp_lava.kernels.random_bits import EVALUATION, WEIGHTS, fill_start
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, weights
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.tasks.actions import choose


class NoiseOptions(RuleOptions):
    """Constants of the three rules; the defaults are the published code's."""

    hidden: tuple[int, ...] = Field((128,), description="units of the hidden layers")
    noise_std: float = Field(1e-3, gt=0, description="σ of the noise added to every unit")
    average_rate: float = Field(0.66, gt=0, le=1, description="γ of the running mean reward")
    negative_slope: float = Field(0.1, ge=0, le=1, description="of LeakyReLU")
    reward_timing: Literal["delayed", "immediate"] = Field("delayed", description="after the episode, or at every step")
    observation_scale: tuple[float, ...] = Field((), description="factor of each observation; none: 1")


@njit(nogil=True)
def _forward(weights, slope, noise, x):
    """Activations of every layer one after the other into `x`, which begins with the observation; the last are the scores.

    `noise`: of all units but the observation's, or empty.
    """
    n_observed = weights[0].shape[0]
    before, after = 0, n_observed
    for layer in range(len(weights)):
        w = weights[layer]
        a = x[after : after + w.shape[1]]
        weighted_sums(w, x[before:after], a)
        if noise.shape[0]:
            for j in range(w.shape[1]):
                a[j] += noise[after - n_observed + j]
        if layer < len(weights) - 1:
            rectify(a, slope)
        before, after = after, after + w.shape[1]


@njit(nogil=True)
def _add_outer(traces, factors, post, pre):
    """traces_l += factor_l pre_{l−1} post_lᵀ of all layers; `post` begins with the first layer, `pre` with x_0."""
    before, after = 0, 0
    for layer in range(len(traces)):
        n_in, n_out = traces[layer].shape
        add_outer(traces[layer], factors[layer], pre[before : before + n_in], post[after : after + n_out])
        before, after = before + n_in, after + n_out


@njit(nogil=True)
def _noise_factors(difference, noise, weights, immediate, factors):
    """Of NRL's traces, layer by layer: Δ n_l / Σ_k |ξ_k|², or Δ / |ξ_l|²."""
    after, total = 0, 0.0
    for layer in range(len(weights)):
        n_units = weights[layer].shape[1]
        square = sum_of_squares(noise[after : after + n_units])
        after += n_units
        total += square
        if immediate:
            factors[layer] = noise_factor(difference, 1, square)
    if not immediate:
        for layer in range(len(weights)):
            factors[layer] = noise_factor(difference, weights[layer].shape[1], total)


@njit(nogil=True)
def _backward(weights, slope, x, policy, action, errors):
    """∂ log π(a) / ∂a_l of all units but the observation's, into `errors`."""
    n_observed = weights[0].shape[0]
    place = errors.shape[0] - policy.shape[0]
    for k in range(policy.shape[0]):
        errors[place + k] = (1.0 if k == action else 0.0) - policy[k]
    for layer in range(len(weights) - 1, 0, -1):
        w = weights[layer]
        below = place - w.shape[0]
        for i in range(w.shape[0]):
            total = 0.0
            for j in range(w.shape[1]):
                total += w[i, j] * errors[place + j]
            errors[below + i] = total if x[n_observed + below + i] > 0 else slope * total
        place = below


@njit(nogil=True)
def _teach(weights, traces, step):
    """W += step · e of all layers; the traces are used up."""
    for layer in range(len(weights)):
        teach(weights[layer], traces[layer], step)


@kernel
def learn_episodes(functions, parts, constants, task_sizes, key, task_state, played):
    """See `EpisodeRule`. parts: weights (a tuple of arrays (n_in, n_out)), traces of zeros of these shapes, mean reward
    (float64, shape (1,), nan before the first); constants: (method, immediate, η, σ, γ, slope, scale of observations, shape
    (n_observations,))."""
    reset, observe, step = functions.value
    weights, traces, mean_reward = parts
    method, immediate, learning_rate, noise_std, average_rate, slope, scale = constants
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    n_units = n_observed
    for layer in range(len(weights)):
        n_units += weights[layer].shape[1]
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    x, noisy, noise, silence = np.zeros(n_units), np.zeros(n_units), np.zeros(n_units - n_observed), np.zeros(0)
    errors, policy, factors = np.zeros(n_units - n_observed), np.zeros(n_actions), np.ones(len(weights))
    for episode in range(returns.shape[0]):
        fill_start(seed, generation, 0, episode, False, random)
        reset(task_state, random)
        total, average, t, ended = 0.0, np.nan, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            for k in range(n_observed):
                x[k] = noisy[k] = scale[k] * observation[k]
            if method != REINFORCE:
                take_noise((seed, generation, episode), t, noise_std, noise)
                _forward(weights, slope, noise, noisy)
            if method != RMHL:
                _forward(weights, slope, silence, x)
            scores = (noisy if method == RMHL else x)[n_units - n_actions :]
            action = draw_action(scores, policy, (seed, generation, episode), t)
            if method == NRL:
                difference = log_policy(noisy[n_units - n_actions :], action) - log_policy(scores, action)
                _noise_factors(difference, noise, weights, immediate, factors)
                _add_outer(traces, factors, noise, x if immediate else noisy)
            elif method == RMHL:
                _add_outer(traces, factors, noise, noisy)
            else:
                _backward(weights, slope, x, policy, action, errors)
                _add_outer(traces, factors, errors, x)
            choose(output, action)
            reward, ended = step(task_state, output)
            total += reward
            t += 1
            if immediate:
                taught, average = reward_step(reward, average, learning_rate, average_rate)
                _teach(weights, traces, taught)
        if not immediate:
            taught, mean_reward[0] = episode_step(total, mean_reward[0], learning_rate, average_rate)
            _teach(weights, traces, taught)
        returns[episode], steps[episode] = total, t


@kernel
def evaluate_episodes(functions, parts, constants, task_sizes, key, task_state, first, played):
    """See `EpisodeRule`: the most probable action at every step."""
    reset, observe, step = functions.value
    weights, (slope, scale) = parts[0], constants[5:]
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    returns, steps = played
    n_units = n_observed
    for layer in range(len(weights)):
        n_units += weights[layer].shape[1]
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    x, silence = np.zeros(n_units), np.zeros(0)
    for episode in range(returns.shape[0]):
        fill_start(key[0], key[1], EVALUATION, first + episode, False, random)
        reset(task_state, random)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            for k in range(n_observed):
                x[k] = scale[k] * observation[k]
            _forward(weights, slope, silence, x)
            choose(output, np.argmax(x[n_units - n_actions :]))
            reward, ended = step(task_state, output)
            total += reward
            t += 1
        returns[episode], steps[episode] = total, t


class Nrl(EpisodeRule):
    """See the equations above; weights start as Glorot's normal ones (variance 2 / (n_in + n_out))."""

    summary = "noise-based reward-modulated learning: a directional derivative from noise (García Fernández et al. 2025)"
    Options = NoiseOptions
    automatic_rate = 0.05
    lava: ClassVar[str | None] = "noise"
    learn_kernel, evaluate_kernel = learn_episodes, evaluate_episodes
    method: ClassVar[int] = NRL
    options: NoiseOptions

    def __init__(self, problem: Problem, options: NoiseOptions) -> None:
        super().__init__(problem, options)
        self.scale = self.per_observation("observation_scale", 1.0)

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        sizes, memory = (self.task.n_observations, *self.options.hidden, self.task.n_actions), {}
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            drawn = np.empty(n_in * n_out)
            fill_normal(self.problem.seed, 0, layer, WEIGHTS, 0, drawn)
            memory[f"weights/layer{layer + 1}"] = drawn.reshape(n_in, n_out) * np.sqrt(2.0 / (n_in + n_out))
        return {**memory, "mean_reward": np.full(1, np.nan)}

    def parts(self, memory: Memory) -> tuple:
        """See `EpisodeRule`."""
        layers = tuple(weights(memory).values())
        return (layers, tuple(map(np.zeros_like, layers)), memory["mean_reward"])

    @property
    def constants(self) -> tuple:
        """See `EpisodeRule`."""
        o, rate = self.options, self.problem.learning_rate
        immediate = o.reward_timing == "immediate"
        return (self.method, immediate, rate, o.noise_std, o.average_rate, o.negative_slope, self.scale)

    def updates(self, played: Played) -> int:
        """One an episode, or one a step."""
        return len(played.steps) if self.options.reward_timing == "delayed" else int(played.steps.sum())


class Rmhl(Nrl):
    """Reward-modulated Hebbian learning: the noise itself times the activity that came in."""

    summary = "reward-modulated Hebbian learning: noise times activity times reward, the baseline of nrl"
    method = RMHL


class Reinforce(Nrl):
    """REINFORCE (Williams 1992), its gradient by backpropagation."""

    summary = "REINFORCE by backpropagation, on the network of nrl (Williams 1992)"
    method = REINFORCE
    lava = None  # its errors come from the layers above, not from what a synapse sees
