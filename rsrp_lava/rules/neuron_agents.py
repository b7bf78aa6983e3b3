"""Every neuron an agent: spiking units that vote on the action, each reinforced by the same temporal-difference error.

Units have no memory and no bias, and spike s = ±1: with z = Σ_i w_i x_i of what comes in, P(s = +1) = σ(2z). Several actors
vote. An actor has a module for every action: hidden units that see the observation, and one output unit that sees their
spikes. The action with the most output units at +1 wins (the first of equal ones); with probability ε it is replaced by
one drawn uniformly. A critic that is linear in features φ of the observation, V(s) = v·φ(s), says what came of it:

    δ = r + γ V(s′) − V(s),   e ← γ λ e + φ(s),   v ← v + α_v δ e
    c = ∂ log P(s) / ∂w = 2 s x / (1 + exp(2 z s)) = 2 ([s = +1] − σ(2z)) x
    w ← w + α δ c    of all units of the modules of the executed action
    w ← w − α δ c    of those of another action whose output unit is at +1;  + α δ c where it is at −1

Features are Fourier's (Konidaris, Osentoski, Thomas 2011): cos(π k·u) for all vectors k of integers from 0 to an order,
u the observation as parts of its range; or the observation itself, which is a table of values where it is one-hot. α
falls to a part of itself while the mean return of the last training episodes is above a limit. An evaluation does not
explore, but its units spike at random as ever.

Aenugu, "Training spiking neural networks using reinforcement learning", arXiv 2005.05941 (2020). The equations are those
of its predecessor's code (arXiv 1910.06489), as the text was not at hand; the defaults are its constants for CartPole.
Ours: observations are clipped to their range for the critic; `mask_terminal`, V(s′) = 0 after a terminal state (the
code has V(s′) there too, and a time limit is no terminal state in either); `unexecuted: own_spike`, + α δ c of all
units, whose mean is the gradient of the expected reward where δ is the reward; `inputs: scaled`; and the same units for
all tasks (the code's for the gridworld and the mountain car see codes of ±1 instead). With γ = 1 and without the mask,
as published, every step of CartPole is a surprise of + 1 and V grows without end: 500 steps are learned within 1,000
episodes, and forgotten at once, and for good, by one seed of five. With the mask alone they are forgotten too. With the
mask and γ = 0.99 (the recipe of CartPole) learning is slower, and nothing is forgotten.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from pydantic import Field, field_validator

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.compiling import copy, kernel
from rsrp_lava.kernels.exact_math import sigmoid, sine_cosine_of_turn
from rsrp_lava.kernels.random_bits import (
    ACTION,
    EVALUATION,
    NOISE,
    WEIGHTS,
    fill_start,
    fill_uniform,
    fill_uniform_at,
    uniform,
)
from rsrp_lava.rules.base import Memory, Problem, RuleOptions
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.tasks.actions import choose

_MOST_FEATURES = 2**20


class NeuronAgentsOptions(RuleOptions):
    """Constants of actors and critic; the defaults are the published code's, for CartPole."""

    actors: int = Field(10, ge=1, description="actors that vote")
    hidden: int = Field(200, ge=1, description="hidden units of a module; an actor has a module for every action")
    initial_weight: float = Field(0.01, ge=0, description="weights of the units start uniform between 0 and this")
    inputs: Literal["raw", "scaled"] = Field("raw", description="what units see: the observation, or its range as −1 … 1")
    exploration: float = Field(0.1, ge=0, le=1, description="ε: part of the training steps whose action is drawn uniformly")
    unexecuted: Literal["reversed", "own_spike"] = Field(
        "reversed", description="what modules of other actions learn: to be silent, or as those of the executed one"
    )
    critic: Literal["fourier", "linear"] = Field(
        "fourier", description="features of the critic: Fourier's, or the observation"
    )
    fourier_order: int = Field(5, ge=1, description="largest frequency of Fourier's features, half periods a range")
    observation_range: tuple[tuple[float, float], ...] = Field(
        (), description="[low, high] of every number of the observation, or one for all"
    )
    critic_rate: float = Field(0.001, ge=0, description="α_v: step size of the critic")
    critic_start: float = Field(0.0, ge=0, description="weights of the critic start uniform between 0 and this")
    discount: float = Field(1.0, ge=0, le=1, description="γ")
    trace_decay: float = Field(0.5, ge=0, le=1, description="λ of the critic's trace")
    mask_terminal: bool = Field(False, description="whether a terminal state has no value, or what the critic says")
    drop_above: float | None = Field(None, description="mean return of the last episodes above which α is lower")
    drop_window: int = Field(10, ge=1, description="how many episodes that are")
    drop_factor: float = Field(0.01, ge=0, le=1, description="by how much α is lower then")

    @field_validator("observation_range")
    @classmethod
    def _ordered(cls, ranges: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(low >= high for low, high in ranges):
            raise ValueError("rule_options.observation_range: low must be below high, such as [[-3, 3], [-10, 10]]")
        return ranges


@njit(nogil=True, error_model="numpy")
def _look(observation, ranges, scaled, order, inputs, features, imaginary):
    """What the units and the critic see of an observation; `imaginary`: room for the sines."""
    for k in range(observation.shape[0]):
        inputs[k] = observation[k]
    if order:
        _fill_fourier(inputs, ranges, order, features, imaginary)
    else:
        copy(inputs, features)
    if scaled:
        for k in range(inputs.shape[0]):
            low, high = ranges[k, 0], ranges[k, 1]
            inputs[k] = 2.0 * (inputs[k] - low) / (high - low) - 1.0


@njit(nogil=True, error_model="numpy")
def _fill_fourier(observation, ranges, order, cosines, sines):
    """cos(π k·u) and sin(π k·u) of all k, the last number of k counting fastest.

    They are the parts of Π_d exp(iπ u_d)^k_d, so products suffice: one number of the observation after the other, in place
    from the back, as entry i makes entries i (order + 1) and after.
    """
    cosines[0], sines[0], n = 1.0, 0.0, 1
    for d in range(observation.shape[0]):
        low, high = ranges[d, 0], ranges[d, 1]
        u = (min(max(observation[d], low), high) - low) / (high - low)
        sine, cosine = sine_cosine_of_turn(0.5 * u)
        for i in range(n - 1, -1, -1):
            real, imaginary = cosines[i], sines[i]
            for k in range(order + 1):
                cosines[i * (order + 1) + k], sines[i * (order + 1) + k] = real, imaginary
                real, imaginary = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        n *= order + 1


@njit(nogil=True, error_model="numpy")
def _spike(drawn, z, spikes):
    """Spikes of units, from uniform numbers; z becomes c / x, what their weights learn from an input of 1."""
    for j in range(z.shape[0]):
        p = sigmoid(2.0 * z[j])
        spikes[j] = 1.0 if drawn[j] < p else -1.0
        z[j] = 2.0 * ((1.0 if drawn[j] < p else 0.0) - p)


@njit(nogil=True, error_model="numpy")
def _act(inputs, hidden_weights, output_weights, drawn, hidden, output, votes):
    """All units spike, and the actors vote: the action that wins.

    hidden, output: (spikes, c / x), written. Hidden unit h of module m is at h · modules + m, the module of action a of
    actor k at k · actions + a.
    """
    (hidden_spikes, hidden_slopes), (output_spikes, output_slopes) = hidden, output
    n_hidden, n_modules, n_actions = output_weights.shape[0], output_weights.shape[1], votes.shape[0]
    hidden_slopes[:] = 0.0
    for i in range(inputs.shape[0]):
        if inputs[i] != 0:
            w, x = hidden_weights[i], inputs[i]
            for j in range(w.shape[0]):
                hidden_slopes[j] += x * w[j]
    _spike(drawn, hidden_slopes, hidden_spikes)
    output_slopes[:] = 0.0
    for h in range(n_hidden):
        w, spikes = output_weights[h], hidden_spikes[h * n_modules : (h + 1) * n_modules]
        for m in range(n_modules):
            output_slopes[m] += spikes[m] * w[m]
    _spike(drawn[n_hidden * n_modules :], output_slopes, output_spikes)
    votes[:] = 0
    for m in range(n_modules):
        if output_spikes[m] > 0:
            votes[m % n_actions] += 1
    return np.argmax(votes)


@njit(nogil=True, error_model="numpy")
def _explored(action, n_actions, exploration, drawn):
    """The action, or with probability `exploration` any of them: one uniform number decides both."""
    return min(np.int64(drawn / exploration * n_actions), n_actions - 1) if drawn < exploration else action


@njit(nogil=True, error_model="numpy")
def _teach(inputs, hidden_weights, output_weights, hidden, output, action, n_actions, reverses, step, steps):
    """w ← w ± step · c of all units; `steps`: room for ± step of every module."""
    (hidden_spikes, hidden_slopes), (output_spikes, output_slopes) = hidden, output
    n_hidden, n_modules = output_weights.shape
    for m in range(n_modules):
        reversed_ = reverses and m % n_actions != action and output_spikes[m] > 0
        steps[m] = -step if reversed_ else step
    for h in range(n_hidden):
        slopes = hidden_slopes[h * n_modules : (h + 1) * n_modules]
        for m in range(n_modules):
            slopes[m] *= steps[m]
    for m in range(n_modules):
        steps[m] *= output_slopes[m]
    for h in range(n_hidden):
        w, spikes = output_weights[h], hidden_spikes[h * n_modules : (h + 1) * n_modules]
        for m in range(n_modules):
            w[m] += steps[m] * spikes[m]
    for i in range(inputs.shape[0]):
        if inputs[i] != 0:
            w, x = hidden_weights[i], inputs[i]
            for j in range(w.shape[0]):
                w[j] += x * hidden_slopes[j]


@njit(nogil=True, error_model="numpy")
def _value(critic, features):
    total = 0.0
    for k in range(critic.shape[0]):
        total += critic[k] * features[k]
    return total


@njit(nogil=True, error_model="numpy")
def _lower_above(recent, limit):
    """Whether the mean of the recent returns is above the limit; those that are nan have not been."""
    total, n = 0.0, 0
    for k in range(recent.shape[0]):
        if not np.isnan(recent[k]):
            total += recent[k]
            n += 1
    return n > 0 and total / n > limit


@kernel
def learn_episodes(functions, parts, constants, task_sizes, key, task_state, played):
    """See `EpisodeRule`. parts: weights of the hidden units (n_observations, units), of the output units (hidden, modules),
    of the critic (features,), the last returns, nan before there were any, and ranges of observations (n_observations, 2);
    constants: (scaled, order or 0, ε) as of `evaluate_episodes`, (reverses, α, α_v, γ, λ, masks), (limit, factor)."""
    reset, observe, step = functions.value
    hidden_weights, output_weights, critic, recent, ranges = parts
    (scaled, order, exploration), (reverses, rate, critic_rate, discount, decay, masks), (drop_above, drop_factor) = (
        constants
    )
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    seed, generation = key
    returns, steps = played
    n_units, n_modules = hidden_weights.shape[1], output_weights.shape[1]
    random, observation, chosen = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    inputs, inputs_after = np.zeros(n_observed), np.zeros(n_observed)
    features, features_after, imaginary = np.zeros(critic.shape[0]), np.zeros(critic.shape[0]), np.zeros(critic.shape[0])
    trace, drawn, module_steps = np.zeros(critic.shape[0]), np.zeros(n_units + n_modules), np.zeros(n_modules)
    hidden, output = (np.zeros(n_units), np.zeros(n_units)), (np.zeros(n_modules), np.zeros(n_modules))
    votes = np.zeros(n_actions, np.int64)
    for episode in range(returns.shape[0]):
        fill_start(seed, generation, 0, episode, False, random)
        reset(task_state, random)
        observe(task_state, observation)
        _look(observation, ranges, scaled, order, inputs, features, imaginary)
        trace[:] = 0.0
        episode_rate = rate * drop_factor if _lower_above(recent, drop_above) else rate
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            fill_uniform_at(seed, generation, episode, NOISE, t, drawn)
            action = _act(inputs, hidden_weights, output_weights, drawn, hidden, output, votes)
            action = _explored(action, n_actions, exploration, uniform(seed, generation, episode, ACTION, t))
            choose(chosen, action)
            reward, ended = step(task_state, chosen)
            observe(task_state, observation)
            _look(observation, ranges, scaled, order, inputs_after, features_after, imaginary)
            value_after = 0.0 if ended and masks else _value(critic, features_after)
            error = reward + discount * value_after - _value(critic, features)
            for k in range(critic.shape[0]):
                trace[k] = discount * decay * trace[k] + features[k]
                critic[k] += critic_rate * error * trace[k]
            change = episode_rate * error
            _teach(inputs, hidden_weights, output_weights, hidden, output, action, n_actions, reverses, change, module_steps)
            copy(inputs_after, inputs)
            copy(features_after, features)
            total += reward
            t += 1
        copy(recent[1:], recent[:-1])
        recent[-1] = total
        returns[episode], steps[episode] = total, t


@kernel
def evaluate_episodes(functions, parts, constants, task_sizes, key, task_state, first, played):
    """See `EpisodeRule`: the vote at every step, without exploring."""
    reset, observe, step = functions.value
    hidden_weights, output_weights, _, _, ranges = parts
    scaled = constants[0][0]
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    returns, steps = played
    n_units, n_modules = hidden_weights.shape[1], output_weights.shape[1]
    random, observation, chosen = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    inputs, features, drawn = np.zeros(n_observed), np.zeros(n_observed), np.zeros(n_units + n_modules)
    hidden, output = (np.zeros(n_units), np.zeros(n_units)), (np.zeros(n_modules), np.zeros(n_modules))
    votes = np.zeros(n_actions, np.int64)
    for episode in range(returns.shape[0]):
        fill_start(key[0], key[1], EVALUATION, first + episode, False, random)
        reset(task_state, random)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            _look(observation, ranges, scaled, 0, inputs, features, features)
            fill_uniform_at(key[0], key[1], first + episode, NOISE + EVALUATION, t, drawn)
            choose(chosen, _act(inputs, hidden_weights, output_weights, drawn, hidden, output, votes))
            reward, ended = step(task_state, chosen)
            total += reward
            t += 1
        returns[episode], steps[episode] = total, t


class NeuronAgents(EpisodeRule):
    """See the equations above."""

    summary = "every neuron a reinforcement-learning agent: actors of ±1 units vote, a critic teaches all (Aenugu 2020)"
    Options = NeuronAgentsOptions
    automatic_rate = 0.001
    learn_kernel, evaluate_kernel = learn_episodes, evaluate_episodes
    options: NeuronAgentsOptions

    def __init__(self, problem: Problem, options: RuleOptions) -> None:
        super().__init__(problem, options)
        o, n = self.options, self.task.n_observations
        if (o.critic == "fourier" or o.inputs == "scaled") and len(o.observation_range) not in (1, n):
            raise ExperimentError(
                f"rule_options.observation_range: critic fourier and inputs scaled need [low, high] of each of the {n} "
                f"numbers of {self.task.name}'s observation (or one for all), not {len(o.observation_range)} of them; give "
                "them, or choose critic linear and inputs raw"
            )
        if self._n_features > _MOST_FEATURES:
            raise ExperimentError(
                f"rule_options.fourier_order: {o.fourier_order} makes {o.fourier_order + 1}^{n} features, more than "
                f"{_MOST_FEATURES}; lower it, or choose critic linear"
            )

    @property
    def _n_features(self) -> int:
        n = self.task.n_observations
        return (self.options.fourier_order + 1) ** n if self.options.critic == "fourier" else n

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        o = self.options
        shape = (o.hidden, o.actors, self.task.n_actions)
        hidden = self._uniform(0, o.initial_weight, self.task.n_observations, *shape)
        output = self._uniform(1, o.initial_weight, *shape)
        critic = self._uniform(2, o.critic_start, self._n_features)
        learned = {"weights/hidden": hidden, "weights/output": output, "weights/critic": critic}
        return {**learned, "recent_returns": np.full(o.drop_window, np.nan)}

    def _uniform(self, layer: int, largest: float, *shape: int) -> np.ndarray:
        drawn = np.empty(int(np.prod(shape)))
        fill_uniform(self.problem.seed, 0, layer, WEIGHTS, drawn)
        return drawn.reshape(shape) * largest

    def parts(self, memory: Memory) -> tuple:
        """See `EpisodeRule`."""
        hidden, output = memory["weights/hidden"], memory["weights/output"]
        n_observed, n_hidden = hidden.shape[:2]
        ranges = np.empty((n_observed, 2))
        ranges[:] = self.options.observation_range or (0.0, 1.0)
        weights = hidden.reshape(n_observed, -1), output.reshape(n_hidden, -1), memory["weights/critic"]
        return (*weights, memory["recent_returns"], ranges)

    @property
    def constants(self) -> tuple:
        """See `EpisodeRule`."""
        o = self.options
        acting = (o.inputs == "scaled", o.fourier_order if o.critic == "fourier" else 0, o.exploration)
        learning = (o.unexecuted == "reversed", self.problem.learning_rate, o.critic_rate, o.discount, o.trace_decay)
        return (acting, (*learning, o.mask_terminal), (np.inf if o.drop_above is None else o.drop_above, o.drop_factor))

    def updates(self, played) -> int:
        """One a step."""
        return int(played.steps.sum())


__all__ = ["NeuronAgents", "NeuronAgentsOptions"]
