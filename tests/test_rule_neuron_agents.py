"""Rule neuron_agents: every step against a slow twin, its mean against the exact gradient, and that it learns."""

import itertools
import math

import numpy as np
import pytest

import naive
from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.network import NetworkOptions
from rsrp_lava.rules import Problem
from rsrp_lava.rules.neuron_agents import NeuronAgents, NeuronAgentsOptions
from rsrp_lava.tasks import EpisodeTask, get_task
from rsrp_lava.threads import Threads, available_threads

#: Streams of the rule: first weights, actions, spikes; and of starts.
WEIGHTS, ACTION, NOISE, TASK = 5000, 5001, 5002, 1001
RANGES = ((-3, 3), (-10, 10), (-1.5, 1.5), (-3, 3))
SMALL = {"actors": 3, "hidden": 4, "initial_weight": 1.0, "fourier_order": 2, "observation_range": RANGES}
#: Published for the gridworld.
GRIDWORLD = {
    "hidden": 2,
    "initial_weight": 1.0,
    "critic": "linear",
    "critic_rate": 0.1,
    "critic_start": 10.0,
    "trace_decay": 0.7,
    "discount": 0.9,
    "exploration": 0.01,
}


def build(task, rate=0.1, seed=3, **options):
    return NeuronAgents(Problem(task, rate, seed, NetworkOptions()), NeuronAgentsOptions(**options))


def learned(rule, episodes, memory=None, generation=0):
    memory = rule.start() if memory is None else memory
    rule.prepare(memory)
    return rule.learn(memory, generation, episodes, Threads(1)), memory


# One step after the other


class Twin:
    """The equations unit by unit, for any task; nothing of the rule is used but its options."""

    def __init__(self, task, rate, seed, o):
        self.task, self.rate, self.seed, self.o = task, rate, seed, o
        n, shape = task.n_observations, (o.hidden, o.actors, task.n_actions)
        self.hidden = self.first(0, n, *shape) * o.initial_weight
        self.output = self.first(1, *shape) * o.initial_weight
        self.frequencies = list(itertools.product(range(o.fourier_order + 1), repeat=n))
        self.critic = self.first(2, len(self.frequencies) if o.critic == "fourier" else n) * o.critic_start
        self.returns = []

    def first(self, layer, *shape):
        return naive.uniforms(self.seed, 0, layer, WEIGHTS, math.prod(shape)).reshape(shape)

    def scaled(self, observation):
        return [(min(max(x, lo), hi) - lo) / (hi - lo) for x, (lo, hi) in zip(observation, RANGES, strict=True)]

    def features(self, observation):
        if self.o.critic == "linear":
            return np.array(observation)
        u = self.scaled(observation)
        return np.array([math.cos(math.pi * sum(k * x for k, x in zip(c, u, strict=True))) for c in self.frequencies])

    def inputs(self, observation):
        return [2 * x - 1 for x in self.scaled(observation)] if self.o.inputs == "scaled" else list(observation)

    def observation(self, state):
        observation = np.zeros(self.task.n_observations)
        self.task.observe(state, observation)
        return observation.astype(float)

    def unit(self, weights, inputs, drawn):
        """A spike, and the slope of its log probability in each weight."""
        z = sum(w * x for w, x in zip(weights, inputs, strict=True))
        s = 1 if drawn < 1 / (1 + math.exp(-2 * z)) else -1
        return s, [2 * s * x / (1 + math.exp(2 * z * s)) for x in inputs]

    def drawn(self, stream, generation, episode, step, n):
        key = (self.seed, generation, episode, stream)
        words = [w for block in range(-(-n // 4)) for w in naive.threefry4x64(key, (block, step, 0, 0))]
        return [(word >> 11) / 2**53 for word in words[:n]]

    def play(self, generation, episode):
        o, n_actions = self.o, self.task.n_actions
        state = np.zeros(self.task.state_size)
        self.task.reset(state, naive.uniforms(self.seed, generation, episode, TASK, self.task.random_size))
        recent = self.returns[-o.drop_window :]
        rate = self.rate * (o.drop_factor if o.drop_above is not None and recent and np.mean(recent) > o.drop_above else 1)
        modules = list(itertools.product(range(o.actors), range(n_actions)))
        trace, total, ended, t = np.zeros_like(self.critic), 0.0, False, 0
        while t < self.task.max_steps and not ended:
            seen = self.observation(state)
            drawn = self.drawn(NOISE, generation, episode, t, (o.hidden + 1) * len(modules))
            votes, spikes, slopes = [0] * n_actions, {}, {}
            for m, (k, a) in enumerate(modules):
                layer = []
                for h in range(o.hidden):
                    s, slopes[k, a, h] = self.unit(self.hidden[:, h, k, a], self.inputs(seen), drawn[h * len(modules) + m])
                    layer.append(s)
                spikes[k, a], slopes[k, a] = self.unit(self.output[:, k, a], layer, drawn[o.hidden * len(modules) + m])
                votes[a] += spikes[k, a] == 1
            action = votes.index(max(votes))
            (u,) = self.drawn(ACTION, generation, episode, t, 1)
            action = int(u / o.exploration * n_actions) if u < o.exploration else action
            n_outputs = self.task.n_outputs
            output = np.eye(n_actions)[action] if n_outputs == n_actions else np.array([2.0 * action - 1])
            reward, ended = self.task.step(state, output.astype(np.float32))
            before, after = self.features(seen), self.features(self.observation(state))
            worth = 0.0 if ended and o.mask_terminal else self.critic @ after
            delta = reward + o.discount * worth - self.critic @ before
            trace = o.discount * o.trace_decay * trace + before
            self.critic = self.critic + o.critic_rate * delta * trace
            for k, a in modules:
                against = o.unexecuted == "reversed" and a != action and spikes[k, a] == 1
                change = -rate * delta if against else rate * delta
                self.output[:, k, a] += change * np.array(slopes[k, a])
                for h in range(o.hidden):
                    self.hidden[:, h, k, a] += change * np.array(slopes[k, a, h])
            total += reward
            t += 1
        self.returns.append(total)
        return total, t


TWINS = {
    "published": (get_task("cartpole"), SMALL),
    "masked, rate drops": (
        get_task("cartpole"),
        {**SMALL, "mask_terminal": True, "drop_above": 14.0, "drop_window": 2, "drop_factor": 0.5},
    ),
    "own spike, scaled": (
        get_task("cartpole"),
        {**SMALL, "unexecuted": "own_spike", "inputs": "scaled", "exploration": 0.4},
    ),
    "linear, 3 actions": (get_task("acrobot"), {"actors": 2, "hidden": 2, "critic": "linear", "critic_start": 2.0}),
}


@pytest.mark.parametrize("variant", TWINS)
def test_every_step_is_the_twin_s(variant):
    task, options = TWINS[variant]
    if task.name == "acrobot":  # short
        task = EpisodeTask(**{**vars(task), "max_steps": 25})
    rule = build(task, **options)
    twin = Twin(task, 0.1, 3, rule.options)
    memory = rule.start()
    np.testing.assert_array_equal(memory["weights/hidden"], twin.hidden)
    np.testing.assert_array_equal(memory["weights/critic"], twin.critic)
    for generation in range(2):
        played, _ = learned(rule, 3, memory, generation)
        theirs = [twin.play(generation, episode) for episode in range(3)]
        assert list(zip(played.returns, played.steps, strict=True)) == theirs
    for name in ("hidden", "output", "critic"):
        np.testing.assert_allclose(memory[f"weights/{name}"], getattr(twin, name), rtol=1e-9, atol=1e-12)
        assert not np.allclose(memory[f"weights/{name}"], rule.start()[f"weights/{name}"], atol=1e-4)


def test_evaluation_votes_without_exploring_and_changes_nothing():
    """Units that are sure: module 0 votes where the pole leans to the right, module 1 where it leans to the left."""
    rule = build(get_task("cartpole"), exploration=1.0, **{**SMALL, "actors": 1, "hidden": 1})
    memory = rule.start()
    memory["weights/hidden"][:] = 0.0
    memory["weights/output"][:] = 0.0
    memory["weights/hidden"][2] = 1e9
    memory["weights/output"][:, :, 0], memory["weights/output"][:, :, 1] = 50.0, -50.0
    before = {name: array.copy() for name, array in memory.items()}
    rule.prepare(memory)
    played = rule.evaluate(memory, 0, 40, Threads(1))
    for name, array in memory.items():
        np.testing.assert_array_equal(array, before[name])
    assert played.steps.max() < 14  # 0 pushes left, under a pole that leans to the right: it falls at once
    chance = rule.evaluate(rule.start(), 0, 40, Threads(1))
    assert chance.steps.max() > 20


# The mean


@kernel
def _reset(state, random):
    state[0] = random[0]


@kernel
def _observe(state, observation):
    observation[0], observation[1] = 1.0, -0.5


@kernel
def _step(state, output):
    return (1.0 if output[0] > 0 else -0.3), True


BANDIT = EpisodeTask("bandit", "for tests", 2, 1, 1, 1, 1, 1.0, _reset, _observe, _step, n_actions=2)


def expected_reward(hidden, output, exploration):
    """Over all spikes of one actor with two modules of two hidden units."""
    x, total = np.array([1.0, -0.5]), 0.0
    for spikes in itertools.product((-1, 1), repeat=6):
        layer, votes, p = np.reshape(spikes[:4], (2, 2)), spikes[4:], 1.0  # layer[h, a]
        for a in range(2):
            for h in range(2):
                p /= 1 + math.exp(-2 * layer[h, a] * (x @ hidden[:, h, 0, a]))
            p /= 1 + math.exp(-2 * votes[a] * (layer[:, a] @ output[:, 0, a]))
        best = [-0.3, 1.0][1 if votes[1] > votes[0] else 0]
        total += p * ((1 - exploration) * best + exploration * 0.35)
    return total


def test_mean_update_is_the_gradient_of_reward():
    """With `unexecuted: own_spike`, a critic that stays at 0 (δ is the reward) and a tiny rate."""
    options = {"actors": 1, "hidden": 2, "initial_weight": 1.0, "critic": "linear", "critic_rate": 0.0}
    rate, episodes = 1e-10, 200_000
    rule = build(BANDIT, rate, unexecuted="own_spike", exploration=0.2, **options)
    start = rule.start()
    played, memory = learned(rule, episodes)
    weights = {name: start[f"weights/{name}"] for name in ("hidden", "output")}
    reward = expected_reward(weights["hidden"], weights["output"], 0.2)
    assert played.returns.mean() == pytest.approx(reward, abs=4 * 0.65 / math.sqrt(episodes))
    for name, array in weights.items():
        mean = (memory[f"weights/{name}"] - array) / rate / episodes
        for place in np.ndindex(array.shape):
            ends = []
            for shift in (-1e-5, 1e-5):
                moved = {which: values.copy() for which, values in weights.items()}
                moved[name][place] += shift
                ends.append(expected_reward(moved["hidden"], moved["output"], 0.2))
            gradient = (ends[1] - ends[0]) / 2e-5
            assert mean[place] == pytest.approx(gradient, abs=5 * 0.6 / math.sqrt(episodes)), (name, place)
        assert abs(mean).max() > 0.03  # far above the tolerance


# Learning


def gridworld_success(rate, episodes=250):
    rule = build(get_task("gridworld"), rate, seed=0, **GRIDWORLD)
    _, memory = learned(rule, episodes)
    evaluation = rule.evaluate(memory, 1, 40, Threads(1))
    return evaluation.returns.mean() / 10, evaluation.steps.mean()


def test_learns_the_gridworld():
    success, steps = gridworld_success(0.01)
    assert success == 1
    assert steps < 35


def test_does_not_learn_it_without_updates():
    success, _ = gridworld_success(1e-9, episodes=20)
    assert success < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_learns_cartpole(seed):
    experiment = Experiment(task="cartpole", rule="neuron_agents", seed=seed, environment={"max_steps": 200})
    assert train(experiment).metrics[-1]["evaluation_return"] > 195


# As every rule


def experiment(**changes):
    settings = {"population": 6, "generations": 4, "evaluation_episodes": 4, "seed": 2, "learning_rate": 0.01}
    options = {**SMALL, "drop_above": 12.0, "drop_window": 8}
    whole = {"task": "cartpole", "rule": "neuron_agents", "rule_options": options, **settings, **changes}
    return Experiment(**whole)


def test_resumed_is_bit_for_bit_the_same(tmp_path):
    whole = train(experiment(), out=tmp_path / "whole")
    train(experiment(generations=2), out=tmp_path / "parts")
    resumed = train(experiment(), resume=tmp_path / "parts")
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert resumed.metrics[-1]["evaluation_return"] == whole.metrics[-1]["evaluation_return"]


def test_threads_do_not_matter():
    one, two = (train(experiment(), threads=n) for n in (1, min(2, available_threads())))
    assert one.summary["weights_sha256"] == two.summary["weights_sha256"]
    assert one.metrics[-1]["evaluation_return"] == two.metrics[-1]["evaluation_return"]
    assert train(experiment(seed=9)).summary["weights_sha256"] != one.summary["weights_sha256"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actor": 3}, "rule_options.actor: no such setting; did you mean 'rule_options.actors'?"),
        ({"exploration": 1.5}, "rule_options.exploration: 1.5 — input should be less than or equal to 1"),
        ({"observation_range": [[3, -3]]}, "low must be below high, such as [[-3, 3], [-10, 10]]"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ExperimentError) as refused:
        experiment(rule_options=options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation_range": []}, "need [low, high] of each of the 6 numbers of acrobot's observation"),
        ({"observation_range": [[-1, 1]] * 2}, "or one for all), not 2 of them"),
        ({"observation_range": [[-1, 1]], "fourier_order": 11}, "11 makes 12^6 features, more than 1048576"),
    ],
)
def test_critics_that_do_not_fit_the_task_are_refused(options, message):
    with pytest.raises(ExperimentError) as refused:
        experiment(task="acrobot", rule_options=options).build_weight_rule()
    assert message in str(refused.value)
