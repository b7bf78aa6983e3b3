"""SVPG: the policy gradient as a local rule of recurrent winner-take-all circuits.

What the circuits infer is in `rules/winner_take_all.py`. Every circuit draws a spike, that of the last circuit is the
action, and each synapse learns from its own two ends and one number that all are told:

    ΔW_ji = η mean[A q_j (v_i − q_i)],  and as much of the other direction, between units;   Δb_i = η mean[A (v_i − q_i)]

A of a decision: its reward to go, Σ γᵏ r_{t+k}, minus what the critic expects, plus β (−log q_a) where the entropy of the
policy is rewarded: the gradient of that entropy is the gradient of this reward. The critic is nothing, a running mean, or
a small network (rules/critic.py), with which A = Q(s, a) − Σ_k q_k Q(s, k). With images an episode is one decision.

Given q_j, the mean update of a synapse onto an action's unit is the gradient of reward. That of a hidden circuit has mean 0:
its spike is drawn independently of the action's. Weights between them are symmetric, so what the action learns of the
hidden units the hidden units hear from the actions, but synapses from inputs onto hidden units only drift.

Biases may learn from A v_i instead (`bias_update: spikes`), as in the code of 2022. Where only errors are punished, A ≤ 0,
this also lowers the biases of units in proportion to how much they are in use, so that no class is left unchosen.

Yang, Guo, Fang, Liu, "Biologically plausible variational policy gradient with spiking recurrent winner-take-all networks",
BMVC 2022, arXiv 2210.13225; IEEE TPAMI 2025. The equations are those of the authors' code as summarised by others, as their
text was not at hand. Ours: noise is drawn once a decision and on inputs only (theirs anew every iteration, also on rates),
each decision ends its own iterations, the reward of the entropy (theirs has a further q_a), plain REINFORCE once a batch
(theirs of 2025 can also be PPO), the mean over all steps of the batch, how the critic is fed, and that in spiking inference
the presynaptic factor of an input is s_k, the probability of its spike. Evaluation takes the most probable action, with the
noise of the inputs and, in spiking inference, of the spikes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import logarithm
from rsrp_lava.kernels.random_bits import EVALUATION, fill_start
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, WeightRule
from rsrp_lava.rules.critic import Critic, CriticOptions, fill_values, first_critic, train_critic
from rsrp_lava.rules.episodes import EpisodeRule
from rsrp_lava.rules.pictures import PictureRule
from rsrp_lava.rules.winner_take_all import (
    Circuits,
    Inference,
    Key,
    Steps,
    act,
    best_action,
    bounds_of,
    connections,
    first_circuits,
    infer,
    learn_biases,
    learn_rows,
    room,
    spike_window,
)
from rsrp_lava.tasks.actions import choose
from rsrp_lava.tasks.base import ClassifyTask, Task
from rsrp_lava.tasks.data import Labelled
from rsrp_lava.threads import Threads

_CRITICS = ("none", "running_mean", "network")
_RUNNING_MEAN, _NETWORK = 1, 2
#: Steps of a minibatch of the critic.
_MINIBATCH = 64
#: Images, and rows of synapses, a thread takes before it asks for more.
_IMAGES, _ROWS = 16, 256
#: Steps there is room for at first.
_STEPS = 1024
_LEAST = 1e-300  # a probability that was drawn can be 0 by rounding


class SvpgOptions(RuleOptions):
    """Constants of the rule. Those of the circuits are published for images; recipes of tasks have the others."""

    circuits: int = Field(20, ge=0, le=4096, description="hidden circuits")
    neurons: int = Field(10, ge=2, le=4096, description="units of a hidden circuit")
    inference: Literal["rate", "spiking"] = Field("rate", description="how the circuits find their rates")
    tolerance: float = Field(0.005, ge=0, description="mean change of a rate that ends the iterations")
    iterations: int = Field(50, ge=1, le=50, description="the most iterations of the rates")
    spike_steps: int = Field(200, ge=1, le=10_000, description="steps of spiking inference")
    window: Literal["uniform", "double_exponential"] = Field("uniform", description="postsynaptic potential of a spike")
    window_steps: int = Field(50, ge=1, le=10_000, description="its length")
    tau_rise_steps: float = Field(2.0, gt=0, description="of the double exponential")
    tau_decay_steps: float = Field(8.0, gt=0, description="of the double exponential")
    critic: Literal["none", "running_mean", "network"] = Field("none", description="what a reward is compared with")
    reward_baseline: float = Field(0.0, description="taken from every reward; 1: where it is 0 or 1, only errors teach")
    average_rate: float = Field(0.1, gt=0, le=1, description="of the running mean, an update")
    discount: float = Field(0.97, ge=0, le=1, description="γ of later rewards")
    critic_rate: float = Field(1e-3, gt=0, description="learning rate of the critic's network (Adam)")
    critic_hidden: int = Field(64, ge=1, le=4096, description="units of each of its two hidden layers")
    critic_epochs: int = Field(5, ge=1, le=1000, description="how often it sees the steps of an update")
    entropy: float = Field(0.0, ge=0, description="β, the reward of the policy's entropy")
    optimizer: Literal["sgd", "rmsprop"] = Field("sgd", description="how a gradient becomes a step")
    rmsprop_decay: float = Field(0.99, ge=0, lt=1, description="of the running mean square gradient")
    batch: int = Field(100, ge=1, le=2**16, description="episodes (images) an update")
    input_noise: float = Field(0.02, ge=0, description="standard deviation of the noise on inputs")
    noisy_inputs: Literal["active", "all"] = Field("active", description="whether inputs that are 0 get noise too")
    sparsity: float = Field(0.1, ge=0, le=1, description="part of the pairs of hidden circuits without synapses")
    action_sparsity: float = Field(0.0, ge=0, le=1, description="part of the hidden circuits without synapses to actions")
    bias_update: Literal["gradient", "spikes"] = Field("gradient", description="A (v − q), or A v as in the code of 2022")
    first_weights: float = Field(0.0, ge=0, description="weights start uniform in [0, this)")
    observation_scale: tuple[float, ...] = Field(
        (), description="factor of each observation, then clipped to ±1 and mapped to [0, 1]; none: 1"
    )

    @model_validator(mode="after")
    def _check(self) -> SvpgOptions:
        if self.inference == "spiking" and self.spike_steps < self.window_steps:
            raise ValueError(
                f"rule_options.spike_steps: {self.spike_steps} are fewer than the window's {self.window_steps}, so no rate "
                "would follow from a spike; raise it, or lower window_steps"
            )
        if self.window == "double_exponential" and not self.tau_rise_steps < self.tau_decay_steps:
            raise ValueError("rule_options.tau_rise_steps: must be below tau_decay_steps; lower it")
        if self.window == "double_exponential" and self.window_steps < 2:
            raise ValueError("rule_options.window_steps: a double exponential begins at 0 and needs 2 or more; raise it")
        return self


@njit(nogil=True)
def _see(observation, scale, inputs):
    """Inputs of the circuits: observations by their scale, from [−1, 1], where they are clipped, to [0, 1]."""
    for k in range(inputs.shape[0]):
        inputs[k] = 0.5 * (min(max(observation[k] * scale[k], -1.0), 1.0) + 1.0)


@njit(nogil=True)
def _longer(array):
    """The array, with as much room again."""
    return np.concatenate((array, np.zeros_like(array)))


@njit(nogil=True)
def _all_longer(rewards, surprise, actions, follows):
    """Each of them, with as much room again."""
    return _longer(rewards), _longer(surprise), _longer(actions), _longer(follows)


@njit(nogil=True)
def _returns_to_go(rewards, follows, discount, returns):
    for t in range(rewards.shape[0] - 1, -1, -1):
        returns[t] = rewards[t]
        if follows[t] >= 0:
            returns[t] += discount * returns[follows[t]]


@njit(nogil=True)
def _factors(which, average_rate, mean_return, critic, critic_options, decisions, factors):
    """A of every decision, without the entropy; the critic learns."""
    inputs, policies, actions, rewards, follows = decisions
    if which == _NETWORK:
        train_critic(critic, critic_options, inputs, policies, actions, rewards, follows)
        values = np.zeros(policies.shape)
        fill_values(critic, critic_options.n_hidden, inputs, values)
        for t in range(rewards.shape[0]):
            expected = 0.0
            for a in range(policies.shape[1]):
                expected += policies[t, a] * values[t, a]
            factors[t] = values[t, actions[t]] - expected
        return
    _returns_to_go(rewards, follows, critic_options.discount, factors)
    if which == _RUNNING_MEAN:
        total = 0.0
        for t in range(rewards.shape[0]):
            total += factors[t]
        now = total / rewards.shape[0]
        before = now if np.isnan(mean_return[0]) else mean_return[0]
        factors -= before
        mean_return[0] = before + average_rate * (now - before)


@kernel
def learn_episodes(functions, parts, constants, task_sizes, key, task_state, played):
    """See `EpisodeRule`. parts: (Circuits, Steps, Critic, mean return, connected, scale of the observations)
    constants: (Inference, CriticOptions, critic, average rate, reward baseline, β, biases by spikes, batch)"""
    reset, observe, step = functions.value
    circuits, steps, critic, mean_return, connected, scale = parts
    inference, critic_options, which, average_rate, reward_baseline, entropy, by_spikes, batch = constants
    n_random, n_observed, n_outputs, n_actions, max_steps = task_sizes
    returns, lengths = played
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    work, n_units = room(circuits, inference), circuits.bias.shape[0]
    inputs, rates, errors = np.zeros((_STEPS, n_observed)), np.zeros((_STEPS, n_units)), np.zeros((_STEPS, n_units))
    rewards, surprise = np.zeros(_STEPS), np.zeros(_STEPS)
    actions, follows = np.zeros(_STEPS, np.int64), np.zeros(_STEPS, np.int64)
    for first in range(0, returns.shape[0], batch):
        n = 0
        for episode in range(first, min(first + batch, returns.shape[0])):
            fill_start(key[0], key[1], 0, episode, False, random)
            reset(task_state, random)
            total, t, ended = 0.0, np.int64(0), False
            while t < max_steps and not ended:
                if n == rewards.shape[0]:
                    inputs, rates, errors = _longer(inputs), _longer(rates), _longer(errors)
                    rewards, surprise, actions, follows = _all_longer(rewards, surprise, actions, follows)
                observe(task_state, observation)
                _see(observation, scale, inputs[n])
                decision = Key(key[0], key[1], episode, 0, t)
                infer(circuits, inference, decision, inputs[n], work, rates[n])
                actions[n] = act(circuits.bounds, decision, work, rates[n], errors[n])
                surprise[n] = -logarithm(max(rates[n, n_units - n_actions + actions[n]], _LEAST))
                choose(output, actions[n])
                reward, ended = step(task_state, output)
                rewards[n], follows[n] = reward - reward_baseline, n + 1
                total += reward
                n, t = n + 1, t + 1
            follows[n - 1] = -1 if ended else -2
            returns[episode], lengths[episode] = total, t
        factors, policies = np.zeros(n), rates[:n, n_units - n_actions :]
        decisions = (inputs[:n], policies, actions[:n], rewards[:n], follows[:n])
        _factors(which, average_rate, mean_return, critic, critic_options, decisions, factors)
        for k in range(n):
            factors[k] += entropy * surprise[k]
            for i in range(n_units):
                errors[k, i] *= factors[k]
        used = np.flatnonzero(factors)
        learn_rows(circuits, connected, steps, rates[:n], inputs[:n], errors[:n], used, 0, n_units + n_observed)
        if by_spikes:
            for k in range(n):
                for i in range(n_units):
                    errors[k, i] += factors[k] * rates[k, i]
        learn_biases(circuits, steps, errors[:n])


@kernel
def evaluate_episodes(functions, parts, constants, task_sizes, key, task_state, first, played):
    """See `EpisodeRule`: the most probable action at every step."""
    reset, observe, step = functions.value
    circuits, scale, inference = parts[0], parts[5], constants[0]
    n_random, n_observed, n_outputs, _, max_steps = task_sizes
    returns, lengths = played
    random, observation, output = np.empty(n_random), np.zeros(n_observed), np.zeros(n_outputs, np.float32)
    work, inputs, rates = room(circuits, inference), np.zeros(n_observed), np.zeros(circuits.bias.shape[0])
    for episode in range(returns.shape[0]):
        fill_start(key[0], key[1], EVALUATION, first + episode, False, random)
        reset(task_state, random)
        total, t, ended = 0.0, np.int64(0), False
        while t < max_steps and not ended:
            observe(task_state, observation)
            _see(observation, scale, inputs)
            decision = Key(key[0], key[1], first + episode, EVALUATION, t)
            infer(circuits, inference, decision, inputs, work, rates)
            choose(output, best_action(circuits.bounds, rates))
            reward, ended = step(task_state, output)
            total += reward
            t += 1
        returns[episode], lengths[episode] = total, t


@kernel
def see_images(circuits, inference, key, shown, first, begin, end, decided):
    """Decide on images `begin` … `end` − 1 of a batch that starts with number `first` of the generation.

    key : (seed, generation);  shown : (images, labels), uint8
    decided : (inputs, rates, errors v − q, surprise −log q_a, rewards), float64, a row an image, written
    """
    images, labels = shown
    inputs, rates, errors, surprise, rewards = decided
    work, bounds = room(circuits, inference), circuits.bounds
    n_hidden = bounds[bounds.shape[0] - 2]
    for n in range(begin, end):
        decision = Key(key[0], key[1], first + n, 0, 0)
        for k in range(images.shape[1]):
            inputs[n, k] = images[n, k] / 255.0
        infer(circuits, inference, decision, inputs[n], work, rates[n])
        action = act(bounds, decision, work, rates[n], errors[n])
        surprise[n] = -logarithm(max(rates[n, n_hidden + action], _LEAST))
        rewards[n] = 1.0 if action == labels[n] else 0.0


@kernel
def answer_images(circuits, inference, key, shown, first, rewards):
    """The most probable class of every test image: `rewards` is 1 where it is right, else 0."""
    images, labels = shown
    work, inputs, rates = room(circuits, inference), np.zeros(images.shape[1]), np.zeros(circuits.bias.shape[0])
    for n in range(images.shape[0]):
        for k in range(images.shape[1]):
            inputs[k] = images[n, k] / 255.0
        infer(circuits, inference, Key(key[0], key[1], first + n, EVALUATION, 0), inputs, work, rates)
        rewards[n] = 1.0 if best_action(circuits.bounds, rates) == labels[n] else 0.0


class _Net:
    """The circuits of one problem: how they start, and memory as the kernels want it."""

    def __init__(self, n_inputs: int, n_actions: int, problem: Problem, options: SvpgOptions) -> None:
        self._n_inputs, self._n_actions, self._seed, self._options = n_inputs, n_actions, problem.seed, options
        self._rate = problem.learning_rate
        self.bounds = bounds_of(options.circuits, options.neurons, n_actions)
        self.connected = connections(self.bounds, options.sparsity, options.action_sparsity, problem.seed)

    def start(self) -> Memory:
        """Before the first generation."""
        o = self._options
        first = first_circuits(self._n_inputs, self.bounds, self.connected, o.first_weights, self._seed)
        memory = {f"weights/{name}": getattr(first, name) for name in ("input", "recurrent", "bias")}
        if o.optimizer == "rmsprop":
            memory |= {f"mean_squares/{name.partition('/')[2]}": np.zeros_like(w) for name, w in memory.items()}
        if o.critic == "running_mean":
            memory["mean_return"] = np.full(1, np.nan)
        if o.critic == "network":
            critic = first_critic(self._n_inputs, o.critic_hidden, self._n_actions, self._seed)
            memory |= {f"critic/{name}": array for name, array in critic._asdict().items()}
        return memory

    def restore(self, memory: Memory) -> None:
        """Synapses between units: those there are, both directions as the first of them."""
        upper = np.triu(memory["weights/recurrent"])
        memory["weights/recurrent"][:] = np.where(self.connected, upper + upper.T, 0.0)

    def circuits(self, memory: Memory) -> Circuits:
        """What was learned."""
        return Circuits(memory["weights/recurrent"], memory["weights/input"], memory["weights/bias"], self.bounds)

    def steps(self, memory: Memory) -> Steps:
        """The optimizer."""
        o, empty = self._options, np.zeros((1, 0))
        recurrent, of_input = memory.get("mean_squares/recurrent", empty), memory.get("mean_squares/input", empty)
        bias = memory.get("mean_squares/bias", empty[0])
        return Steps(self._rate, o.optimizer == "rmsprop", o.rmsprop_decay, recurrent, of_input, bias)

    @property
    def inference(self) -> Inference:
        """How rates are found."""
        o = self._options
        window = spike_window(o.window, o.window_steps, o.tau_rise_steps, o.tau_decay_steps)
        everywhere = o.noisy_inputs == "all"
        spiking = o.inference == "spiking"
        return Inference(spiking, o.tolerance, o.iterations, o.spike_steps, window, o.input_noise, everywhere)


class _Episodes(EpisodeRule):
    """Of tasks with episodes: an update after every `batch` of them."""

    learn_kernel, evaluate_kernel = learn_episodes, evaluate_episodes
    options: SvpgOptions

    def __init__(self, problem: Problem, options: SvpgOptions) -> None:
        super().__init__(problem, options)
        self._scale = self.per_observation("observation_scale", 1.0)
        self.net = _Net(self.task.n_observations, self.task.n_actions, problem, options)

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        return self.net.start()

    def parts(self, memory: Memory) -> tuple:
        """See `EpisodeRule`."""
        critic = Critic(*(memory.get(f"critic/{name}", np.zeros(0)) for name in Critic._fields))
        mean_return = memory.get("mean_return", np.zeros(1))
        net = self.net
        return (net.circuits(memory), net.steps(memory), critic, mean_return, net.connected, self._scale)

    @property
    def constants(self) -> tuple:
        """See `EpisodeRule`."""
        o = self.options
        critic = CriticOptions(o.critic_hidden, o.critic_rate, o.critic_epochs, _MINIBATCH, o.discount)
        numbers = (_CRITICS.index(o.critic), o.average_rate, o.reward_baseline, o.entropy, o.bias_update == "spikes")
        return (self.net.inference, critic, *numbers, o.batch)

    def updates(self, played: Played) -> int:
        """One a batch."""
        return -(-len(played.returns) // self.options.batch)


class _Pictures(PictureRule):
    """Of images: an update after every `batch` of them. Threads share the images, then the rows of synapses."""

    options: SvpgOptions

    def __init__(self, problem: Problem, options: SvpgOptions) -> None:
        super().__init__(problem, options)
        if options.critic == "network":
            raise ExperimentError("rule_options.critic: network is for tasks with episodes; choose none or running_mean")
        if options.observation_scale:
            raise ExperimentError("rule_options.observation_scale: is for tasks with episodes; leave it out")
        height, width, channels = self.task.shape
        self.net = _Net(height * width * channels, self.task.n_outputs, problem, options)

    @property
    def batch(self) -> int:
        """See `PictureRule`."""
        return self.options.batch

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        return self.net.start()

    def prepare(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.prepare`: on a copy, one image."""
        copy, one = {name: array.copy() for name, array in memory.items()}, self.data.test
        shown, threads = Labelled(one.images[:1], one.labels[:1]), Threads(1)
        self.learn_batch(copy, shown, 0, 0, np.zeros(1), threads)
        self.answer(memory, shown, 0, 0, np.zeros(1))

    def learn_batch(
        self, memory: Memory, shown: Labelled, generation: int, first: int, rewards: np.ndarray, threads: Threads
    ) -> None:
        """See `PictureRule`."""
        circuits, inference, steps, o = self.net.circuits(memory), self.net.inference, self.net.steps(memory), self.options
        n_inputs, n_units = circuits.input.shape
        n, key = len(shown), (self.problem.seed, generation)
        inputs, rates, errors, surprise = (
            np.empty((n, n_inputs)),
            np.empty((n, n_units)),
            np.empty((n, n_units)),
            np.empty(n),
        )
        decided, pictures = (inputs, rates, errors, surprise, rewards), (shown.images, shown.labels)

        def see(begin: int, end: int) -> None:
            see_images(circuits, inference, key, pictures, first, begin, end, decided)

        def teach(begin: int, end: int) -> None:
            learn_rows(circuits, self.net.connected, steps, rates, inputs, errors, used, begin, end)

        threads.map_ranges(see, n, _IMAGES)
        factors = (rewards - o.reward_baseline - self._expected(memory, rewards)) + o.entropy * surprise
        errors *= factors[:, None]
        used = np.flatnonzero(factors)
        threads.map_ranges(teach, n_units + n_inputs, _ROWS)
        learn_biases(circuits, steps, errors + factors[:, None] * rates if o.bias_update == "spikes" else errors)

    def _expected(self, memory: Memory, rewards: np.ndarray) -> float:
        """What the critic expects of a decision, minus the reward's baseline; it hears the batch's rewards."""
        if self.options.critic == "none":
            return 0.0
        average, now = memory["mean_return"], sum(rewards.tolist()) / len(rewards) - self.options.reward_baseline
        before = now if np.isnan(average[0]) else float(average[0])
        average[0] = before + self.options.average_rate * (now - before)
        return before

    def answer(self, memory: Memory, shown: Labelled, generation: int, first: int, rewards: np.ndarray) -> None:
        """See `PictureRule`."""
        key, pictures = (self.problem.seed, generation), (shown.images, shown.labels)
        answer_images(self.net.circuits(memory), self.net.inference, key, pictures, first, rewards)


class Svpg(WeightRule):
    """The rule, for images or for episodes."""

    summary = "spiking variational policy gradient, winner-take-all circuits (Yang et al. 2022)"
    Options = SvpgOptions
    automatic_rate = 0.1
    settings = PictureRule.settings
    options: SvpgOptions

    def __init__(self, problem: Problem, options: SvpgOptions) -> None:
        super().__init__(problem, options)
        kind = _Pictures if isinstance(problem.task, ClassifyTask) else _Episodes
        self._rule: _Pictures | _Episodes = kind(problem, options)

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """See `rules.base.WeightRule.refusal`."""
        return None if isinstance(task, ClassifyTask) else super().refusal(task)

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        return self._rule.start()

    def prepare(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.prepare`."""
        self._rule.prepare(memory)

    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.learn`."""
        return self._rule.learn(memory, generation, episodes, threads)

    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.evaluate`."""
        return self._rule.evaluate(memory, generation, episodes, threads)

    def restore(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.restore`."""
        self._rule.net.restore(memory)
