"""nrl, rmhl and reinforce: against a twin in NumPy, the gradient of reward, and tasks they learn or do not."""

import itertools

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.kernels.exact_math import fill_normal
from rsrp_lava.kernels.random_bits import ACTION, NOISE, TASK, fill_uniform
from rsrp_lava.kernels.random_bits import uniform as uniform_number
from rsrp_lava.network import NetworkOptions
from rsrp_lava.rules import Problem
from rsrp_lava.rules.noise import NoiseOptions, Nrl, Reinforce, Rmhl
from rsrp_lava.tasks import get_task
from rsrp_lava.threads import Threads
from tiny_tasks import BANDIT

SEED = 7


def rule_of(kind, task=BANDIT, learning_rate=0.1, **options):
    rule = kind(Problem(task, learning_rate, SEED, NetworkOptions()), NoiseOptions(**{"hidden": (2,), **options}))
    return rule, rule.start()


def learned(rule, memory, episodes, generation=0):
    rule.prepare(memory)
    return rule.learn(memory, generation, episodes, Threads(1))


def forward(layers, x, noise):
    """All activations, x_0 first, and the policy."""
    xs = [x]
    for number, (w, xi) in enumerate(zip(layers, noise, strict=True)):
        a = xs[-1] @ w + xi
        xs.append(np.where(a > 0, a, 0.1 * a) if number < len(layers) - 1 else a)
    exponentials = np.exp(xs[-1] - xs[-1].max())
    return xs, exponentials / exponentials.sum()


def backpropagated(layers, x, action):
    """∂ log π(a) / ∂W of every layer, by central differences."""
    gradients = []
    for w in layers:
        gradient = np.zeros_like(w)
        for place in np.ndindex(w.shape):
            values = []
            for shift in (1e-6, -1e-6):
                w[place] += shift
                values.append(np.log(forward(layers, x, [0.0] * len(layers))[1][action]))
                w[place] -= shift
            gradient[place] = (values[0] - values[1]) / 2e-6
        gradients.append(gradient)
    return gradients


def twin(kind, layers, episodes, rate, immediate, scale, noise_std=0.5):
    """The equations of the module, an episode of the bandit after the other."""
    layers, mean, returns = [w.copy() for w in layers], np.nan, []
    widths = [w.shape[1] for w in layers]
    for episode in range(episodes):
        start, flat = np.empty(1), np.empty(sum(widths))
        fill_uniform(SEED, 0, episode, TASK, start)
        context = int(2 * start[0])
        x = scale * np.array([1.0, 2.0 * context - 1.0])
        fill_normal(SEED, 0, episode, NOISE, 0, flat)
        noise = np.split(noise_std * flat, np.cumsum(widths)[:-1])
        clean, policy = forward(layers, x, [0.0] * len(layers))
        noisy, noisy_policy = forward(layers, x, noise)
        acting = noisy_policy if kind is Rmhl else policy
        action = int(uniform_number(SEED, 0, episode, ACTION, 0) >= acting[0])
        reward = float(action == context)
        if kind is Nrl:
            change = np.log(noisy_policy[action]) - np.log(policy[action])
            squares = [xi @ xi for xi in noise]
            if immediate:
                traces = [change * np.outer(clean[k], noise[k]) / squares[k] for k in range(len(layers))]
            else:
                traces = [change * np.outer(noisy[k], noise[k]) / sum(squares) * widths[k] for k in range(len(layers))]
        elif kind is Rmhl:
            traces = [np.outer(noisy[k], noise[k]) for k in range(len(layers))]
        else:
            traces = backpropagated(layers, x, action)
        mean = reward if np.isnan(mean) or immediate else mean
        for w, trace in zip(layers, traces, strict=True):
            w += rate * (reward - mean) * trace
        mean += 0.66 * (reward - mean)
        returns.append(reward)
    return layers, returns


@pytest.mark.parametrize("scale", [(), (0.5, 3.0)])
@pytest.mark.parametrize("kind", [Nrl, Rmhl, Reinforce])
def test_episodes_equal_the_twin(kind, scale):
    rule, memory = rule_of(kind, noise_std=0.5, observation_scale=scale)
    layers = [memory["weights/layer1"].copy(), memory["weights/layer2"].copy()]
    expected, returns = twin(kind, layers, 12, 0.1, immediate=False, scale=np.array(scale or (1.0, 1.0)))
    played = learned(rule, memory, 12)
    assert played.returns.tolist() == returns
    assert played.updates == 12
    assert 0 < sum(returns) < 12
    for k, layer in enumerate(expected):
        np.testing.assert_allclose(memory[f"weights/layer{k + 1}"], layer, rtol=1e-7, atol=1e-9)
        assert not np.array_equal(layer, layers[k])


@pytest.mark.parametrize("kind", [Nrl, Reinforce])
def test_the_mean_update_has_the_direction_of_the_gradient_of_reward(kind):
    rule, memory = rule_of(kind, learning_rate=1e-9, noise_std=1e-3)
    layers = [memory[f"weights/layer{k}"].copy() for k in (1, 2)]
    exact = [np.zeros_like(w) for w in layers]
    for context in (0, 1):
        x = np.array([1.0, 2.0 * context - 1.0])
        policy = forward(layers, x, [0.0, 0.0])[1]
        for total, part in zip(exact, backpropagated(layers, x, context), strict=True):
            total += 0.5 * policy[context] * part
    learned(rule, memory, 40_000)
    for k, gradient in enumerate(exact):
        change = memory[f"weights/layer{k + 1}"] - layers[k]
        cosine = np.sum(change * gradient) / np.linalg.norm(change) / np.linalg.norm(gradient)
        assert cosine > 0.97, (k, cosine)


def test_a_scale_is_the_observation_times_it_also_in_evaluation():
    """Scaled observations against first weights that are scaled: the same scores, so the same returns."""
    scaled, memory = rule_of(Nrl, get_task("cartpole"), observation_scale=(0.25, 2.0, 8.0, 0.5))
    plain, same = rule_of(Nrl, get_task("cartpole"))
    same["weights/layer1"] = memory["weights/layer1"] * scaled.scale[:, None]
    returns = [rule.evaluate(m, 0, 16, Threads(1)).returns for rule, m in ((scaled, memory), (plain, same))]
    assert np.array_equal(*returns)
    assert not np.array_equal(returns[0], plain.evaluate(memory, 0, 16, Threads(1)).returns)


def test_a_scale_is_a_number_for_each_observation():
    with pytest.raises(ExperimentError, match="observation_scale: has 2 numbers, but cartpole has 4 observations; give one"):
        rule_of(Nrl, get_task("cartpole"), observation_scale=(1.0, 2.0))


def test_rewards_at_every_step_teach_at_every_step():
    """Two steps a trial are needed to see an update: the first reward is its own mean."""
    small = Experiment(task="reaching", rule="nrl", population=2, generations=1, evaluation_episodes=1)
    immediate = train(small.replace(rule_options={**small.rule_options, "reward_timing": "immediate"}))
    delayed = train(small.replace(rule_options={**small.rule_options, "reward_timing": "delayed"}))
    assert (immediate.summary["updates"], delayed.summary["updates"]) == (600, 2)


@pytest.mark.parametrize("rule", ["nrl", "reinforce"])
def test_a_cue_is_learned_and_not_without_its_update(rule):
    settings = {"task": "cue", "rule": rule, "population": 1000, "generations": 6, "evaluation_episodes": 64}
    assert train(Experiment(**settings, learning_rate=0.02)).summary["final_eval_return"] > 9
    assert train(Experiment(**settings, learning_rate=1e-12)).summary["final_eval_return"] < 7


@pytest.mark.slow
def test_nrl_is_above_rmhl_with_two_hidden_layers():
    reached = {}
    for rule, seed in itertools.product(("nrl", "rmhl"), range(3)):
        usual = Experiment(task="reaching", rule=rule, seed=seed)
        experiment = usual.replace(rule_options={**usual.rule_options, "hidden": (64, 64)})
        reached.setdefault(rule, []).append(train(experiment).summary["final_eval_return"])
    assert min(reached["nrl"]) > max(reached["rmhl"]) + 100
