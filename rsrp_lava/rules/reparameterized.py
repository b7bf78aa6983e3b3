"""Stochastic spiking units trained through the reparameterisation trick: backpropagation of the policy gradient.

Hidden unit j of layer l has the potential a_l = W_l s_{l−1} + b_l (s_0 the observation) and spikes with probability
σ(a). Its randomness is drawn apart from its parameters, as logistic noise ℓ = log u − log(1 − u), u uniform in (0, 1):

    spike        [a + ℓ > 0], which has probability σ(a)
    relaxed      y = σ((a + ℓ)/τ), a binary concrete number that becomes the spike as τ → 0;  ∂y/∂a = y (1 − y)/τ
    s            the spike, whose derivative is taken to be that of y (`spikes: straight_through`), or y (`relaxed`)

In every environment step the network is drawn `substeps` times; the readout is linear in the rate s̄, the mean of the last
layer's s: scores W s̄ + b of the policy π = softmax, and one output more, the value V. After an episode, with u fixed, all
weights climb the gradient of

    J = 1/T Σ_t [ A_t log π(a_t) + h H(π) − ½ c (A_t + V_t⁻ − V_t)² ],   A_t and V_t⁻ = V_t held constant,
    A_t = δ_t + γ λ A_{t+1},   δ_t = (1 − γ) r_t + γ V_{t+1} − V_t

by Adam, or by plain steps. V is the discounted mean reward, (1 − γ) Σ γᵏ r: of the size of a reward, whatever γ. V of the
state after the last is 0 if the episode ended there, and that of the network if it was only cut short. With c = 0 the value
stays 0, and this is REINFORCE without a baseline. After every episode τ ← max(τ_least, τ · `temperature_decay`).

Given u, the action's law is differentiable, and the law of u has no parameters: with `relaxed` the gradient is that of the
expected return of the relaxed network, with `straight_through` an approximation of that of the spiking one. Evaluation
draws spikes (never y), and takes the most probable action.

Aenugu, "Training spiking neural networks using reinforcement learning", arXiv 2005.05941 (2020), her second approach. Of it
the abstract was at hand and no code; this is our reading of it. The relaxation is that of Maddison, Mnih, Teh ("The concrete
distribution", 2017) and Jang, Gu, Poole ("Categorical reparameterization with Gumbel-softmax", 2017), A_t of Schulman et al.
("High-dimensional continuous control using generalized advantage estimation", 2016). Ours: everything else, such as the
readout without spikes, substeps, standardised observations, the mean over steps in J (an episode counts the same whatever
its length, and steps are not discounted), and all constants.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from pydantic import Field, PositiveInt

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import fill_logistic, fill_normal, fill_softmax, logarithm, pick, sigmoid
from rsrp_lava.kernels.random_bits import ACTION, EVALUATION, NOISE, WEIGHTS, fill_start, uniform
from rsrp_lava.kernels.running import with_one_more
from rsrp_lava.rules.base import Memory, RuleOptions
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.tasks.actions import choose

_BETA1, _BETA2, _ADAM_EPSILON = 0.9, 0.999, 1e-8


class ReparameterizedOptions(RuleOptions):
    """Constants of the rule; all are ours."""

    hidden: tuple[PositiveInt, ...] = Field((64,), min_length=1, description="spiking units of the hidden layers")
    substeps: int = Field(4, ge=1, le=1024, description="draws of the network an environment step; rates are their means")
    spikes: Literal["straight_through", "relaxed"] = Field(
        "straight_through", description="what a unit sends on in training: its spike, or the relaxed one"
    )
    temperature: float = Field(1.0, gt=0, description="τ of the first episode")
    temperature_decay: float = Field(1.0, gt=0, le=1, description="factor on τ after every training episode")
    least_temperature: float = Field(0.1, gt=0, description="τ falls no further")
    discount: float = Field(0.99, ge=0, lt=1, description="γ")
    trace_decay: float = Field(1.0, ge=0, le=1, description="λ of the advantages; 1: returns, 0: one step ahead")
    value_weight: float = Field(0.5, ge=0, description="c, of the error of the value")
    entropy_bonus: float = Field(0.01, ge=0, description="h, of the policy's entropy")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="steps of Adam, or along the gradient itself")
    largest_gradient: float = Field(0.0, ge=0, description="norm to which a longer gradient is cut; 0: none is")
    standardize: bool = Field(True, description="observations less their running mean, over their running deviation")
    start_scale: float = Field(1.0, gt=0, description="deviation of a potential at the start, for inputs of variance 1")


class _Constants(NamedTuple):
    """The options, for the kernels."""

    relaxed: bool
    substeps: int
    temperature_decay: float
    least_temperature: float
    discount: float
    trace_decay: float
    value_weight: float
    entropy_bonus: float
    learning_rate: float
    adam: bool
    largest_gradient: float
    standardize: bool


class _Trace(NamedTuple):
    """What an episode was, by environment step; there is one more than can be, for the value of where it was cut short."""

    x: np.ndarray  #: float64, shape (max_steps + 1, n_observations): what the network observed
    sent: np.ndarray  #: shape (max_steps + 1, substeps, units of all hidden layers): s
    slopes: np.ndarray  #: of the same shape: ∂y/∂a
    rates: np.ndarray  #: shape (max_steps + 1, units of the last hidden layer): s̄
    scores: np.ndarray  #: shape (max_steps + 1, n_actions + 1): the readout; the last is V
    actions: np.ndarray  #: int64, shape (max_steps + 1,)
    rewards: np.ndarray  #: shape (max_steps + 1,)


@njit(nogil=True, error_model="numpy")
def _new_trace(weights, n_substeps, n_steps):
    """Room for episodes of so many steps. Memory that no episode reaches is never touched."""
    n_units = 0
    for layer in range(len(weights) - 1):
        n_units += weights[layer].shape[1]
    readout = weights[len(weights) - 1]
    return _Trace(
        np.empty((n_steps, weights[0].shape[0] - 1)),
        np.empty((n_steps, n_substeps, n_units)),
        np.empty((n_steps, n_substeps, n_units)),
        np.empty((n_steps, readout.shape[0] - 1)),
        np.empty((n_steps, readout.shape[1])),
        np.empty(n_steps, np.int64),
        np.empty(n_steps),
    )


@njit(nogil=True, error_model="numpy")
def _observe(observation, observed, learning, x):
    """x = (observation − mean)/deviation; `observed`: of every observation the number, mean and Σ(o − mean)², which
    `learning` adds to."""
    for k in range(x.shape[0]):
        if learning:
            observed[0, k] += 1.0
            observed[1, k], observed[2, k] = with_one_more(observation[k], observed[0, k], observed[1, k], observed[2, k])
        x[k] = (observation[k] - observed[1, k]) / math.sqrt(observed[2, k] / observed[0, k])


@njit(nogil=True, error_model="numpy")
def _drive(weights, source, potentials):
    """potentials = W source + b; `weights` holds Wᵀ, and b as its last row."""
    n_in = weights.shape[0] - 1
    for j in range(potentials.shape[0]):
        potentials[j] = weights[n_in, j]
    for i in range(n_in):
        if source[i] != 0:
            for j in range(potentials.shape[0]):
                potentials[j] += source[i] * weights[i, j]


@njit(nogil=True, error_model="numpy")
def _fire(potentials, noise, temperature, relaxed, slopes):
    """a → s in place, and ∂y/∂a."""
    for j in range(potentials.shape[0]):
        z = (potentials[j] + noise[j]) / temperature
        y = sigmoid(z)
        slopes[j] = y * (1.0 - y) / temperature
        potentials[j] = y if relaxed else (1.0 if z > 0 else 0.0)


@njit(nogil=True, error_model="numpy")
def _forward(weights, noise, temperature, relaxed, trace, t):
    """Step t of the trace, from its x on; `noise`: of all units in all substeps."""
    n_substeps, n_units = trace.sent.shape[1], trace.sent.shape[2]
    rates = trace.rates[t]
    for i in range(rates.shape[0]):
        rates[i] = 0.0
    for k in range(n_substeps):
        source, first = trace.x[t], 0
        for layer in range(len(weights) - 1):
            last = first + weights[layer].shape[1]
            sent = trace.sent[t, k, first:last]
            _drive(weights[layer], source, sent)
            _fire(sent, noise[k * n_units + first : (k + 1) * n_units], temperature, relaxed, trace.slopes[t, k, first:last])
            source, first = sent, last
        for i in range(rates.shape[0]):
            rates[i] += source[i] / n_substeps
    _drive(weights[len(weights) - 1], rates, trace.scores[t])


@njit(nogil=True, error_model="numpy")
def _add_outer(gradient, source, errors):
    """gradient += of a layer that was driven by `source`, for errors ∂J/∂a."""
    n_in = gradient.shape[0] - 1
    for i in range(n_in):
        if source[i] != 0:
            for j in range(errors.shape[0]):
                gradient[i, j] += source[i] * errors[j]
    for j in range(errors.shape[0]):
        gradient[n_in, j] += errors[j]


@njit(nogil=True, error_model="numpy")
def _backward(weights, gradients, trace, t, errors, hidden_errors):
    """gradients += of step t, for `errors` ∂J/∂scores; `hidden_errors`: room for those of all hidden units."""
    readout, n_substeps = len(weights) - 1, trace.sent.shape[1]
    _add_outer(gradients[readout], trace.rates[t], errors)
    for k in range(n_substeps):
        last, above, share = hidden_errors.shape[0], errors, 1.0 / n_substeps
        for layer in range(readout - 1, -1, -1):
            first = last - weights[layer].shape[1]
            here = hidden_errors[first:last]
            for i in range(here.shape[0]):
                total = 0.0
                for j in range(above.shape[0]):
                    total += weights[layer + 1][i, j] * above[j]
                here[i] = total * trace.slopes[t, k, first + i] * share
            below = first - weights[layer].shape[0] + 1
            _add_outer(gradients[layer], trace.sent[t, k, below:first] if layer else trace.x[t], here)
            last, above, share = first, here, 1.0


@njit(nogil=True, error_model="numpy")
def _score_errors(scores, action, advantage, constants, policy, errors):
    """∂(A log π(a) + h H(π) − ½ c (A + V⁻ − V)²)/∂scores; `policy`: room for π."""
    n_actions = policy.shape[0]
    fill_softmax(scores[:n_actions], policy)
    entropy = 0.0
    for k in range(n_actions):
        entropy -= policy[k] * logarithm(policy[k])
    for k in range(n_actions):
        chosen = 1.0 if k == action else 0.0
        errors[k] = advantage * (chosen - policy[k])
        errors[k] -= constants.entropy_bonus * policy[k] * (logarithm(policy[k]) + entropy)
    errors[n_actions] = constants.value_weight * advantage


@njit(nogil=True, error_model="numpy")
def _add_gradients(weights, gradients, trace, n_steps, ended, constants):
    """gradients += ∂J/∂W of an episode, from its end to its start."""
    n_actions = trace.scores.shape[1] - 1
    policy, errors, hidden_errors = np.zeros(n_actions), np.zeros(n_actions + 1), np.zeros(trace.sent.shape[2])
    advantage, next_value = 0.0, 0.0 if ended else trace.scores[n_steps, n_actions]
    for t in range(n_steps - 1, -1, -1):
        value = trace.scores[t, n_actions]
        surprise = (1.0 - constants.discount) * trace.rewards[t] + constants.discount * next_value - value
        advantage = surprise + constants.discount * constants.trace_decay * advantage
        next_value = value
        _score_errors(trace.scores[t], trace.actions[t], advantage, constants, policy, errors)
        for k in range(n_actions + 1):
            errors[k] /= n_steps
        _backward(weights, gradients, trace, t, errors, hidden_errors)


@njit(nogil=True, error_model="numpy")
def _cut(gradients, largest):
    """The factor that makes the norm of all gradients `largest`, if it is more; 1 for `largest` = 0."""
    square = 0.0
    for layer in range(len(gradients)):
        gradient = gradients[layer]
        for i in range(gradient.shape[0]):
            for j in range(gradient.shape[1]):
                square += gradient[i, j] * gradient[i, j]
    norm = math.sqrt(square)
    return largest / norm if 0 < largest < norm else 1.0


@njit(nogil=True, error_model="numpy")
def _climb(weights, gradients, moments, powers, constants):
    """A step along the gradients, which are used up; `powers`: β₁ᵗ and β₂ᵗ of Adam (Kingma, Ba 2015), as products."""
    cut = _cut(gradients, constants.largest_gradient)
    powers[0] *= _BETA1
    powers[1] *= _BETA2
    for layer in range(len(weights)):
        w, gradient, mean, square = weights[layer], gradients[layer], moments[0][layer], moments[1][layer]
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                g = cut * gradient[i, j]
                gradient[i, j] = 0.0
                if constants.adam:
                    mean[i, j] = _BETA1 * mean[i, j] + (1.0 - _BETA1) * g
                    square[i, j] = _BETA2 * square[i, j] + (1.0 - _BETA2) * (g * g)
                    deviation = math.sqrt(square[i, j] / (1.0 - powers[1]))
                    g = mean[i, j] / (1.0 - powers[0]) / (deviation + _ADAM_EPSILON)
                w[i, j] += constants.learning_rate * g


@kernel
def learn_episodes(functions, parts, constants, task_sizes, key, task_state, played):
    """See `EpisodeRule`. parts: weights and gradients (tuples of arrays, the gradients zero), Adam's moments (two such),
    powers (shape (2,)), τ (shape (1,)), observed (`_observe`); constants: `_Constants`."""
    reset, observe, step = functions.value
    weights, gradients, moments, powers, temperature, observed = parts
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    trace = _new_trace(weights, constants.substeps, max_steps + 1)
    noise, policy = np.empty(trace.sent.shape[1] * trace.sent.shape[2]), np.zeros(n_actions)
    for episode in range(returns.shape[0]):
        fill_start(seed, generation, 0, episode, False, random)
        reset(task_state, random)
        total, t, ended = 0.0, np.int64(0), False
        while not ended:
            observe(task_state, observation)
            _observe(observation, observed, constants.standardize, trace.x[t])
            fill_logistic(seed, generation, episode, NOISE, t, noise)
            _forward(weights, noise, temperature[0], constants.relaxed, trace, t)
            if t == max_steps:
                break
            fill_softmax(trace.scores[t, :n_actions], policy)
            trace.actions[t] = pick(policy, uniform(seed, generation, episode, ACTION, t))
            choose(output, trace.actions[t])
            trace.rewards[t], ended = step(task_state, output)
            total += trace.rewards[t]
            t += 1
        _add_gradients(weights, gradients, trace, t, ended, constants)
        _climb(weights, gradients, moments, powers, constants)
        temperature[0] = max(constants.least_temperature, temperature[0] * constants.temperature_decay)
        returns[episode], steps[episode] = total, t


@kernel
def evaluate_episodes(functions, parts, constants, task_sizes, key, task_state, first, played):
    """See `EpisodeRule`: units spike, and the most probable action is taken at every step."""
    reset, observe, step = functions.value
    weights, observed = parts[0], parts[5]
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    returns, steps = played
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    trace = _new_trace(weights, constants.substeps, 1)
    noise = np.empty(trace.sent.shape[1] * trace.sent.shape[2])
    for episode in range(returns.shape[0]):
        fill_start(key[0], key[1], EVALUATION, first + episode, False, random)
        reset(task_state, random)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            _observe(observation, observed, False, trace.x[0])
            fill_logistic(key[0], key[1], first + episode, NOISE + EVALUATION, t, noise)
            _forward(weights, noise, 1.0, False, trace, 0)
            choose(output, np.argmax(trace.scores[0, :n_actions]))
            reward, ended = step(task_state, output)
            total += reward
            t += 1
        returns[episode], steps[episode] = total, t


class Reparameterized(EpisodeRule):
    """See the equations above. A unit starts with weights and a bias of normal numbers, the readout at zero."""

    summary = "stochastic spiking units, policy gradient by the reparameterisation trick (our reading of Aenugu 2020)"
    Options = ReparameterizedOptions
    automatic_rate = 0.003
    learn_kernel, evaluate_kernel = learn_episodes, evaluate_episodes
    options: ReparameterizedOptions

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        hidden, n_observed = self.options.hidden, self.task.n_observations
        memory: Memory = {}
        for layer, (n_in, n_out) in enumerate(itertools.pairwise((n_observed, *hidden)), 1):
            drawn = np.empty((n_in + 1) * n_out)
            fill_normal(self.problem.seed, 0, layer, WEIGHTS, 0, drawn)
            memory[f"weights/layer{layer}"] = drawn.reshape(n_in + 1, n_out) * (self.options.start_scale / np.sqrt(n_in + 1))
        memory["weights/readout"] = np.zeros((hidden[-1] + 1, self.task.n_actions + 1))
        if self.options.optimizer == "adam":
            for name in self._names:
                memory["mean_" + name] = np.zeros_like(memory[name])
                memory["square_" + name] = np.zeros_like(memory[name])
        observed = np.stack([np.ones(n_observed), np.zeros(n_observed), np.ones(n_observed)])
        return {**memory, "powers": np.ones(2), "temperature": np.full(1, self.options.temperature), "observed": observed}

    @property
    def _names(self) -> list[str]:
        """Of what is learned, in the order of the layers."""
        return [*(f"weights/layer{layer}" for layer in range(1, len(self.options.hidden) + 1)), "weights/readout"]

    def parts(self, memory: Memory) -> tuple:
        """See `EpisodeRule`."""
        weights = tuple(memory[name] for name in self._names)
        gradients = tuple(map(np.zeros_like, weights))
        moments: tuple = (gradients, gradients)  # plain steps have none: these are not used
        if self.options.optimizer == "adam":
            moments = tuple(tuple(memory[moment + name] for name in self._names) for moment in ("mean_", "square_"))
        return (weights, gradients, moments, memory["powers"], memory["temperature"], memory["observed"])

    def measures(self, memory: Memory) -> dict[str, float]:
        """The size of the weights, and τ."""
        return {**super().measures(memory), "temperature": float(memory["temperature"][0])}

    @property
    def constants(self) -> _Constants:
        """See `EpisodeRule`."""
        o = self.options
        return _Constants(
            relaxed=o.spikes == "relaxed",
            substeps=o.substeps,
            temperature_decay=o.temperature_decay,
            least_temperature=o.least_temperature,
            discount=o.discount,
            trace_decay=o.trace_decay,
            value_weight=o.value_weight,
            entropy_bonus=o.entropy_bonus,
            learning_rate=self.problem.learning_rate,
            adam=o.optimizer == "adam",
            largest_gradient=o.largest_gradient,
            standardize=o.standardize,
        )
