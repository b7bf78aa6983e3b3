"""reparameterized: against a twin that differentiates numerically, gradients of expected reward, and a task it learns."""

import numpy as np
import pytest

from naive import threefry4x64
from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import fill_logistic
from rsrp_lava.kernels.random_bits import ACTION, NOISE, TASK, fill_uniform
from rsrp_lava.kernels.random_bits import uniform as uniform_number
from rsrp_lava.network import NetworkOptions
from rsrp_lava.rules import Problem
from rsrp_lava.rules.reparameterized import Reparameterized, ReparameterizedOptions
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.threads import Threads, available_threads

SEED = 7


# --- a task: say which of two contexts is seen, up to three times; from the second time on a mistake ends the episode --


@kernel
def reset(state, random):
    state[0], state[1] = np.floor(2.0 * random[0]), 0.0


@kernel
def observe(state, observation):
    observation[0] = np.float32(2.0 * state[0] - 1.0)
    observation[1] = np.float32(0.5 * state[1])


@kernel
def step(state, output):
    right = (output[0] > 0) == (state[0] > 0)
    ended = not right and state[1] > 0
    state[1] += 1.0
    return 1.0 if right else 0.0, ended


def contexts(max_steps):
    return EpisodeTask("contexts", "for tests", 2, 1, 2, 1, max_steps, 3.0, reset, observe, step, n_actions=2)


def rule_of(task, learning_rate=0.1, **options):
    rule = Reparameterized(Problem(task, learning_rate, SEED, NetworkOptions()), ReparameterizedOptions(**options))
    memory = rule.start()
    random = np.random.default_rng(0)
    memory["weights/readout"][:] = random.normal(size=memory["weights/readout"].shape)  # at zero nothing passes back
    return rule, memory


def weights_of(memory):
    return [array.copy() for name, array in memory.items() if name.startswith("weights/")]


def learn(rule, memory, episodes):
    rule.prepare(memory)
    return rule.learn(memory, 0, episodes, Threads(1))


# --- the twin: J as a function of the weights, differentiated numerically ----------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def units(weights, x, noise, temperature):
    """(spikes, relaxed spikes) of every layer for the weights there are; `noise` of the layers one after the other."""
    found, s, first = [], x, 0
    for w in weights[:-1]:
        z = (w.T @ np.append(s, 1.0) + noise[first : first + w.shape[1]]) / temperature
        found.append(((z > 0).astype(float), sigmoid(z)))
        s, first = found[-1][0], first + w.shape[1]
    return found


def scores(weights, x, noise, temperature, before):
    """The readout. `before`: (spikes, relaxed) of every substep at the weights where J is differentiated; then a unit sends
    the spike it had there plus the change of the relaxed one. None: it sends the relaxed one."""
    rates = 0.0
    for k, drawn in enumerate(noise):
        s, first = x, 0
        for layer, w in enumerate(weights[:-1]):
            y = sigmoid((w.T @ np.append(s, 1.0) + drawn[first : first + w.shape[1]]) / temperature)
            s = y if before is None else before[k][layer][0] + y - before[k][layer][1]
            first += w.shape[1]
        rates = rates + s / len(noise)
    return weights[-1].T @ np.append(rates, 1.0)


def log_softmax(a):
    return a - np.log(np.sum(np.exp(a)))


def ascent(objective, weights):
    """∂/∂W by central differences."""
    gradients = [np.zeros_like(w) for w in weights]
    for w, gradient in zip(weights, gradients, strict=True):
        for place in np.ndindex(w.shape):
            values = []
            for shift in (1e-5, -1e-5):
                w[place] += shift
                values.append(objective(weights))
                w[place] -= shift
            gradient[place] = (values[0] - values[1]) / 2e-5
    return gradients


class Twin:
    """The equations of the module, one episode of `contexts(3)` after the other."""

    def __init__(self, weights, options, rate):
        self.weights, self.o, self.rate = weights, options, rate
        self.temperature, self.seen, self.ends = options.temperature, [np.zeros(2)], []
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]

    def observed(self, context, t):
        x = np.array([2.0 * context - 1.0, 0.5 * t])
        if self.o.standardize:
            self.seen.append(x)
            spread = np.sum((np.array(self.seen) - np.mean(self.seen, axis=0)) ** 2, axis=0) + 1.0
            x = (x - np.mean(self.seen, axis=0)) / np.sqrt(spread / len(self.seen))
        return x

    def before(self, x, noise):
        straight = self.o.spikes == "straight_through"
        return [units(self.weights, x, drawn, self.temperature) for drawn in noise] if straight else None

    def play(self, episode):
        start, tau = np.empty(1), self.temperature
        fill_uniform(SEED, 0, episode, TASK, start)
        context, steps, ended = int(2 * start[0]), [], False
        while True:
            flat = np.empty(self.o.substeps * sum(self.o.hidden))
            fill_logistic(SEED, 0, episode, NOISE, len(steps), flat)
            x, noise = self.observed(context, len(steps)), flat.reshape(self.o.substeps, -1)
            before = self.before(x, noise)
            out = scores(self.weights, x, noise, tau, before)
            if len(steps) == 3:
                break
            action = int(uniform_number(SEED, 0, episode, ACTION, len(steps)) >= np.exp(log_softmax(out[:2]))[0])
            steps.append((x, noise, before, action, float(action == context), out[2]))
            ended = action != context and len(steps) > 1
            if ended:
                break
        self.ends.append(ended)
        values = [one[5] for one in steps] + [0.0 if ended else out[2]]
        advantages, g = [0.0], self.o.discount
        for t in reversed(range(len(steps))):
            surprise = (1 - g) * steps[t][4] + g * values[t + 1] - values[t]
            advantages.insert(0, surprise + g * self.o.trace_decay * advantages[0])

        def objective(weights):
            total = 0.0
            for t, (x, noise, before, action, _, value) in enumerate(steps):
                out = scores(weights, x, noise, tau, before)
                log_policy = log_softmax(out[:2])
                total += advantages[t] * log_policy[action]
                total -= self.o.entropy_bonus * np.sum(np.exp(log_policy) * log_policy)
                total -= 0.5 * self.o.value_weight * (advantages[t] + value - out[2]) ** 2
            return total / len(steps)

        self.climb(ascent(objective, self.weights), episode + 1)
        self.temperature = max(self.o.least_temperature, tau * self.o.temperature_decay)
        return sum(one[4] for one in steps)

    def climb(self, gradients, t):
        norm = np.sqrt(sum(np.sum(g * g) for g in gradients))
        for k, g in enumerate(gradients):
            if 0 < self.o.largest_gradient < norm:
                g *= self.o.largest_gradient / norm
            if self.o.optimizer == "adam":
                m, v = (0.9 * self.moments[k][0] + 0.1 * g), (0.999 * self.moments[k][1] + 0.001 * g * g)
                self.moments[k], g = (m, v), (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            self.weights[k] = self.weights[k] + self.rate * g


@pytest.mark.parametrize(
    "options",
    [
        {"spikes": "relaxed", "hidden": (2,), "optimizer": "sgd", "standardize": False, "temperature": 0.7},
        {"spikes": "relaxed", "hidden": (3, 2), "optimizer": "sgd", "trace_decay": 0.5, "temperature_decay": 0.8},
        {"spikes": "straight_through", "hidden": (2,), "optimizer": "sgd", "largest_gradient": 0.05},
        {"spikes": "straight_through", "hidden": (2, 3), "optimizer": "adam", "least_temperature": 0.9, "temperature": 1.2},
    ],
)
def test_episodes_equal_the_twin(options):
    options = {"substeps": 2, "discount": 0.8, "entropy_bonus": 0.1, "temperature_decay": 0.7, **options}
    rule, memory = rule_of(contexts(3), 0.1, **options)
    start = weights_of(memory)
    twin = Twin(weights_of(memory), rule.options, 0.1)
    expected = [twin.play(episode) for episode in range(10)]
    played = learn(rule, memory, 10)
    assert played.returns.tolist() == expected
    assert set(twin.ends) == {True, False}  # values of both kinds of end were needed
    assert memory["temperature"][0] == pytest.approx(twin.temperature)
    for learned, wanted, first in zip(weights_of(memory), twin.weights, start, strict=True):
        np.testing.assert_allclose(learned, wanted, rtol=1e-5, atol=1e-7)
        assert not np.allclose(wanted, first, atol=1e-3)


# --- gradients of expected reward --------------------------------------------------------------------------------------


def right_probability(weights, spikes):
    """Expected reward of one step, its context drawn, of two units: all spikes, or relaxed ones over a grid of u."""
    total = 0.0
    for context in (0, 1):
        x = np.array([2.0 * context - 1.0, 0.0, 1.0])
        a = weights[0].T @ x
        if spikes == "straight_through":
            s = np.array([[i, j] for i in (0.0, 1.0) for j in (0.0, 1.0)])
            chance = np.prod(np.where(s > 0, sigmoid(a), sigmoid(-a)), axis=1)
        else:
            u = (np.arange(300) + 0.5) / 300
            y = sigmoid(a + np.log(u / (1 - u))[:, None])
            s = np.stack(np.meshgrid(y[:, 0], y[:, 1]), axis=-1).reshape(-1, 2)
            chance = np.full(len(s), 1 / len(s))
        out = s @ weights[1][:-1, :2] + weights[1][-1, :2]
        total += 0.5 * chance @ (np.exp(out[:, context]) / np.exp(out).sum(axis=1))
    return total


@pytest.mark.parametrize(("spikes", "least_cosine"), [("relaxed", 0.995), ("straight_through", 0.93)])
def test_the_mean_update_has_the_direction_of_the_gradient_of_reward(spikes, least_cosine):
    without = {"discount": 0.0, "value_weight": 0.0, "entropy_bonus": 0.0, "standardize": False, "optimizer": "sgd"}
    rule, memory = rule_of(contexts(1), 1e-9, spikes=spikes, hidden=(2,), substeps=1, temperature=1.0, **without)
    memory["weights/readout"][:, 2] = 0.0  # the value is no baseline here
    start = weights_of(memory)
    exact = ascent(lambda weights: right_probability(weights, spikes), weights_of(memory))
    learn(rule, memory, 200_000)
    for change, gradient in zip((a - b for a, b in zip(weights_of(memory), start, strict=True)), exact, strict=True):
        size = np.linalg.norm(change) * np.linalg.norm(gradient)
        assert np.sum(change * gradient) > least_cosine * size, np.sum(change * gradient) / size
        if spikes == "relaxed":
            np.testing.assert_allclose(change / (1e-9 * 200_000), gradient, atol=0.1 * np.abs(gradient).max())


# --- noise, learning, resuming, options --------------------------------------------------------------------------------


def test_logistic_noise_is_its_definition():
    drawn = np.empty(7)
    fill_logistic(1, 2, 3, 4, 5, drawn)
    words = [w for block in (0, 1) for w in threefry4x64((1, 2, 3, 4), (block, 5, 0, 0))][:7]
    u = np.array([((word >> 12) + 0.5) / 2**52 for word in words])
    np.testing.assert_allclose(drawn, np.log(u / (1 - u)), rtol=1e-12, atol=1e-15)
    many = np.empty(40_000)
    fill_logistic(1, 2, 3, 4, 6, many)
    for a in (-2.0, 0.0, 1.0):
        assert np.mean(a + many > 0) == pytest.approx(sigmoid(a), abs=0.01)


SMALL = {"task": "cartpole", "rule": "reparameterized", "population": 100, "generations": 5, "evaluation_episodes": 32}
SMALL |= {"rule_options": {"hidden": [32], "substeps": 2}, "environment": {"max_steps": 200}, "evaluate_every": 5}


@pytest.mark.parametrize("spikes", ["straight_through", "relaxed"])
def test_cartpole_is_learned_and_not_without_its_update(spikes):
    settings = {**SMALL, "rule_options": {**SMALL["rule_options"], "spikes": spikes}}
    assert train(Experiment(**settings, learning_rate=0.01)).summary["final_eval_return"] > 150
    assert train(Experiment(**settings, learning_rate=1e-12)).summary["final_eval_return"] < 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_cartpole_of_200_steps_is_solved(seed):
    settings = {**SMALL, "population": 200, "generations": 10, "rule_options": {}, "evaluation_episodes": 128, "seed": seed}
    assert train(Experiment(**settings, learning_rate=0.003)).summary["final_eval_return"] >= 195


def test_a_resumed_run_and_other_threads_learn_the_same_bits(tmp_path):
    options = {"hidden": [4, 3], "temperature_decay": 0.9, "spikes": "relaxed"}
    settings = {**SMALL, "population": 5, "generations": 4, "rule_options": options}
    whole = train(Experiment(**settings), threads=1)
    train(Experiment(**{**settings, "generations": 2}), out=tmp_path / "run", threads=min(2, available_threads()))
    resumed = train(Experiment(**settings), resume=tmp_path / "run", threads=min(2, available_threads()))
    assert resumed.state.memory.keys() == whole.state.memory.keys()
    assert all(np.array_equal(resumed.state.memory[name], array) for name, array in whole.state.memory.items())
    assert resumed.summary["final_eval_return"] == whole.summary["final_eval_return"]
    assert whole.state.memory["temperature"][0] == pytest.approx(0.9**20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0}, "rule_options.temperature: 0 — .* greater than 0"),
        ({"temperature_decay": 1.5}, "rule_options.temperature_decay: 1.5 — .* less than or equal to 1"),
        ({"discount": 1}, "rule_options.discount: 1 — .* less than 1"),
        ({"hidden": []}, "rule_options.hidden: .* at least 1 item"),
        ({"hidden": [0]}, "rule_options.hidden.0: 0 — .* greater than 0"),
        ({"spikes": "soft"}, "rule_options.spikes: soft — .*'straight_through' or 'relaxed'"),
        ({"tau": 1}, "rule_options.tau: no such setting"),
    ],
)
def test_options_without_a_meaning_are_refused(options, said):
    with pytest.raises(ExperimentError, match=said):
        Experiment(**{**SMALL, "rule_options": options})
