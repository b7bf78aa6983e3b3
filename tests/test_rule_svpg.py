"""SVPG's circuits, update and critic against slow twins; what its mean update is; learning; resuming."""

import itertools
import sys

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.kernels.random_bits import ACTION, CIRCUIT_SPIKES, FIRST_RATES, NOISE, fill_uniform_at
from rsrp_lava.rules import weights
from rsrp_lava.rules.critic import CriticOptions, fill_values, first_critic, train_critic
from rsrp_lava.rules.svpg import SvpgOptions, see_images
from rsrp_lava.rules.winner_take_all import (
    Circuits,
    Inference,
    Key,
    Steps,
    bounds_of,
    connections,
    first_circuits,
    infer,
    learn_biases,
    learn_rows,
    room,
    spike_window,
)
from rsrp_lava.tasks import get_task, task_names
from rsrp_lava.threads import Threads, available_threads

WINDOW = np.full(1, 1.0)
RATES = Inference(False, 0.005, 50, 1, WINDOW, 0.0, False)


def uniform(n, stream, sample=0, step=0, generation=0, seed=3):
    numbers = np.empty(n)
    fill_uniform_at(seed, generation, sample, stream, step, numbers)
    return numbers


def softmax(u, bounds):
    parts = [np.exp(u[a:b] - u[a:b].max()) for a, b in itertools.pairwise(bounds)]
    return np.concatenate([part / part.sum() for part in parts])


def some_circuits(n_inputs=3, circuits=2, neurons=3, actions=2, scale=1.0, sparsity=0.0, seed=0):
    bounds = bounds_of(circuits, neurons, actions)
    random, connected = np.random.default_rng(seed), connections(bounds, sparsity, 0.0, seed)
    w = random.normal(size=(bounds[-1], bounds[-1])) * scale
    made = Circuits(
        (w + w.T) * connected, random.normal(size=(n_inputs, bounds[-1])), random.normal(size=bounds[-1]), bounds
    )
    return made, connected


def inferred(circuits, inference, inputs, sample=0, step=0):
    inputs, rates = np.array(inputs, np.float64), np.zeros(len(circuits.bias))
    infer(circuits, inference, Key(3, 0, sample, 0, step), inputs, room(circuits, inference), rates)
    return rates, inputs


# --- circuits ----------------------------------------------------------------------------------------------------------


def test_two_units_by_hand():
    """One circuit of two units, without recurrent synapses: a logistic function of the difference of their potentials."""
    circuits = Circuits(np.zeros((2, 2)), np.array([[1.0, 0.5]]), np.array([0.25, 0.0]), bounds_of(0, 2, 2))
    rates, _ = inferred(circuits, RATES, [0.5])
    assert rates == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0.5))], rel=1e-14)


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_rates_are_the_mean_field(scale):
    circuits, _ = some_circuits(n_inputs=7, scale=scale)
    inputs = [0.5, 0.0, 1.0, 0.3, 0.0, 0.25, 0.125]
    rates, _ = inferred(circuits, RATES, inputs)
    q = softmax(uniform(len(rates), FIRST_RATES), circuits.bounds)
    iterations = 0
    while True:
        new = softmax(circuits.bias + np.array(inputs) @ circuits.input + 2 * q @ circuits.recurrent, circuits.bounds)
        iterations += 1
        if np.mean(np.abs(q - new)) < 0.005:
            break
        q = new
    assert 2 < iterations < 50
    np.testing.assert_allclose(rates, q, rtol=1e-12)


def test_spikes_are_filtered_and_drive_the_circuits():
    """Against a twin that filters every synapse's spikes before the weights."""
    circuits, _ = some_circuits(n_inputs=5)
    bounds, n_units, n_circuits = circuits.bounds, len(circuits.bias), 3
    inputs, window = np.array([0.5, 0.0, 1.0, 0.3, 0.7]), spike_window("double_exponential", 6, 1.0, 3.0)
    inference = Inference(True, 0.0, 1, 11, window, 0.0, False)
    rates, _ = inferred(circuits, inference, inputs, step=2)
    q, active = softmax(uniform(n_units, FIRST_RATES, step=2), bounds), np.flatnonzero(inputs)
    past = []
    for t in range(11):
        u = uniform(n_circuits + len(active), CIRCUIT_SPIKES, step=2 * 11 + t)
        spikes = np.zeros(n_units + 5)
        for c in range(n_circuits):
            inside = q[bounds[c] : bounds[c + 1]]
            spikes[bounds[c] + min(np.searchsorted(np.cumsum(inside), u[c], side="right"), len(inside) - 1)] = 1
        spikes[n_units + active] = u[n_circuits:] < inputs[active]
        past.append(spikes)
        if len(past) >= 6:
            psp = sum(window[back] * past[-1 - back] for back in range(6))
            total = circuits.bias + 2 * psp[:n_units] @ circuits.recurrent + psp[n_units:] @ circuits.input
            q = softmax(total, bounds)
    np.testing.assert_allclose(rates, q, rtol=1e-12)


def test_noise_spares_silent_inputs_unless_told():
    circuits, _ = some_circuits(n_inputs=200)
    inputs = np.where(np.arange(200) % 2, 0.5, 0.0)
    noisy = RATES._replace(noise_std=0.1)
    _, active = inferred(circuits, noisy, inputs)
    _, everywhere = inferred(circuits, noisy._replace(noise_everywhere=True), inputs)
    assert (active[::2] == 0).all()
    assert np.std(active[1::2]) == pytest.approx(0.1, rel=0.25)
    assert 0.3 < np.mean(everywhere[::2] > 0) < 0.7
    assert everywhere.min() >= 0
    assert {NOISE, ACTION, CIRCUIT_SPIKES, FIRST_RATES} == {5001, 5002, 5010, 5011}  # streams of their own


@pytest.mark.parametrize(("shape", "first"), [("uniform", 0.25), ("double_exponential", 0.0)])
def test_window(shape, first):
    window = spike_window(shape, 4, 2.0, 8.0)
    assert window.sum() == pytest.approx(1)
    assert window[0] == first
    if shape != "uniform":
        expected = [np.exp(-t / 8) - np.exp(-t / 2) for t in range(4)]
        np.testing.assert_allclose(window, np.array(expected) / sum(expected), rtol=1e-13)


def test_synapses_join_circuits_only():
    bounds = bounds_of(30, 2, 3)
    connected = connections(bounds, 0.4, 0.0, 1)
    assert (connected == connected.T).all()
    for a, b in itertools.pairwise(bounds):
        assert not connected[a:b, a:b].any()
    assert connected[60:, :60].all()
    pairs = connected[:60:2, :60:2][np.triu_indices(30, 1)]
    assert 0.5 < pairs.mean() < 0.7
    started = first_circuits(4, bounds, connected, 2.0, 0)
    assert (started.recurrent[~connected] == 0).all()
    assert (started.recurrent == started.recurrent.T).all()
    assert started.input.min() >= 0
    assert 1.5 < started.input.max() < 2


# --- update ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rmsprop", [False, True])
def test_update_is_the_twins(rmsprop):
    circuits, connected = some_circuits(n_inputs=4, sparsity=0.5, circuits=3)
    n, n_units = 9, len(circuits.bias)
    random = np.random.default_rng(1)
    rates, inputs, errors = random.random((n, n_units)), random.random((n, 4)), random.normal(size=(n, n_units))
    inputs[random.random((n, 4)) < 0.3] = 0
    errors[[2, 5]] = 0
    squares = [np.full(w.shape, 0.5) for w in circuits[:3]] if rmsprop else [np.zeros((1, 0))] * 2 + [np.zeros(0)]
    expected = [w.copy() for w in circuits[:3]]
    gradients = [np.zeros_like(w) for w in circuits[:3]]
    for k in range(n):
        both = np.outer(rates[k], errors[k])
        gradients[0] += (both + both.T) * connected / n
        gradients[1] += np.outer(inputs[k], errors[k]) / n
        gradients[2] += errors[k] / n
    for w, g in zip(expected, gradients, strict=True):
        w += 0.1 * g / (np.sqrt(0.9 * 0.5 + 0.1 * g * g) + 1e-8) if rmsprop else 0.1 * g
    steps = Steps(0.1, rmsprop, 0.9, *squares)
    for first, last in ((0, 5), (5, n_units + 1), (n_units + 1, n_units + 4)):
        learn_rows(circuits, connected, steps, rates, inputs, errors, np.flatnonzero(errors.any(axis=1)), first, last)
    learn_biases(circuits, steps, errors)
    for ours, theirs in zip(circuits[:3], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert (circuits.recurrent == circuits.recurrent.T).all()  # bit for bit


def mean_update(circuits, n, reward_of, image):
    """Mean of (v − q) A zᵀ over decisions on one image, its standard error, and the rates."""
    n_inputs, n_units = circuits.input.shape
    decided = (np.empty((n, n_inputs)), np.empty((n, n_units)), np.empty((n, n_units)), np.empty(n), np.empty(n))
    shown = (np.repeat(image[None], n, axis=0), np.zeros(n, np.uint8))
    see_images(circuits, RATES._replace(tolerance=1e-12), (0, 0), shown, 0, 0, n, decided)
    _, rates, errors, _, _ = decided
    actions = np.argmax((errors + rates)[:, circuits.bounds[-2] :], axis=1)
    updates = errors * reward_of[actions][:, None]
    return updates.mean(axis=0), updates.std(axis=0) / np.sqrt(n), rates[0]


def test_mean_update_is_the_gradient_of_reward():
    """Of potentials: on an action's unit that of the mean reward; on a hidden unit 0, as the module says."""
    circuits, _ = some_circuits(n_inputs=6, scale=0.3, actions=3)
    reward_of, image = np.array([1.0, -2.0, 0.5]), np.array([255, 0, 128, 30, 77, 200], np.uint8)
    update, error, rates = mean_update(circuits, 40_000, reward_of, image)
    first = circuits.bounds[-2]
    drive = circuits.bias + image / 255 @ circuits.input + 2 * rates @ circuits.recurrent

    def mean_reward(u):
        return softmax(u, [0, 3]) @ reward_of

    gradient = [(mean_reward(drive[first:] + d) - mean_reward(drive[first:] - d)) / 2e-6 for d in 1e-6 * np.eye(3)]
    assert np.abs(gradient).max() > 0.1
    assert (np.abs(update[first:] - gradient) < 4 * error[first:] + 1e-6).all()
    assert (np.abs(update[:first]) < 4 * error[:first]).all()


def test_entropy_is_rewarded_by_surprise():
    """The mean update under the reward −log q_a is the gradient of the policy's entropy."""
    circuits, _ = some_circuits(n_inputs=6, scale=0.3, actions=3)
    image = np.array([255, 0, 128, 30, 77, 200], np.uint8)
    _, _, rates = mean_update(circuits, 1, np.zeros(3), image)
    q = rates[circuits.bounds[-2] :]
    update, error, _ = mean_update(circuits, 40_000, -np.log(q), image)

    def entropy(u):
        p = softmax(u, [0, 3])
        return -(p * np.log(p)).sum()

    gradient = [(entropy(np.log(q) + d) - entropy(np.log(q) - d)) / 2e-6 for d in 1e-6 * np.eye(3)]
    assert np.abs(gradient).max() > 0.01
    assert (np.abs(update[circuits.bounds[-2] :] - gradient) < 4 * error[circuits.bounds[-2] :] + 1e-6).all()


# --- critic ------------------------------------------------------------------------------------------------------------


def twin_values(parameters, sizes, x):
    place = 0
    for layer in range(3):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        w = parameters[place : place + n_in * n_out].reshape(n_in, n_out)
        bias = parameters[place + n_in * n_out : place + (n_in + 1) * n_out]
        x = x @ w + bias
        x = np.maximum(x, 0) if layer < 2 else x
        place += (n_in + 1) * n_out
    return x


def test_critic_against_numerical_gradients():
    random, sizes = np.random.default_rng(0), (3, 5, 5, 2)
    inputs, policies = random.random((4, 3)), np.full((4, 2), 0.5)
    actions, rewards, follows = np.array([0, 1, 1, 0]), random.random(4), np.array([1, -1, 3, -2])
    critic = first_critic(3, 5, 2, 7)
    before, values = critic.parameters.copy(), np.zeros((4, 2))
    fill_values(critic, 5, inputs, values)
    np.testing.assert_allclose(values, twin_values(before, sizes, inputs), rtol=1e-12)
    targets = [rewards[0] + 0.9 * values[1].mean(), rewards[1], rewards[2] + 0.9 * values[3].mean()]

    def loss(parameters):
        q = twin_values(parameters, sizes, inputs)
        return sum(0.5 * (q[t, actions[t]] - targets[t]) ** 2 for t in range(3)) / 4

    gradient = np.array([(loss(before + d) - loss(before - d)) / 2e-6 for d in 1e-6 * np.eye(len(before))])
    train_critic(critic, CriticOptions(5, 0.01, 1, 64, 0.9), inputs, policies, actions, rewards, follows)
    np.testing.assert_allclose(critic.first_moments, 0.1 * gradient, atol=1e-9)
    np.testing.assert_allclose(critic.parameters, before - 0.01 * gradient / (np.abs(gradient) + 1e-8), atol=1e-5)


def test_critic_learns_what_a_chain_earns():
    """Two states, one after the other, reward 1 each: Q is 1.5 and 1 with γ = 0.5."""
    critic, inputs = first_critic(2, 16, 2, 0), np.tile(np.eye(2), (2, 1))
    actions, follows = np.array([0, 1, 1, 0]), np.array([1, -1, 3, -1])
    options = CriticOptions(16, 0.01, 300, 64, 0.5)
    train_critic(critic, options, inputs, np.full((4, 2), 0.5), actions, np.ones(4), follows)
    values = np.zeros((2, 2))
    fill_values(critic, 16, np.eye(2), values)
    np.testing.assert_allclose(values, [[1.5, 1.5], [1, 1]], atol=0.03)


# --- learning ----------------------------------------------------------------------------------------------------------

DIGITS = {
    "task": "digits",
    "rule": "svpg",
    "population": 2000,
    "generations": 10,
    "learning_rate": 1.0,
    "evaluation_episodes": 355,
    "evaluate_every": 100,
    "rule_options": {"reward_baseline": 1.0, "bias_update": "spikes", "batch": 50, "circuits": 4},
}
CARTPOLE = {
    "task": "cartpole",
    "rule": "svpg",
    "population": 100,
    "generations": 8,
    "learning_rate": 0.01,
    "evaluation_episodes": 64,
    "evaluate_every": 100,
    "rule_options": {
        "circuits": 4,
        "neurons": 4,
        "optimizer": "rmsprop",
        "critic": "running_mean",
        "batch": 2,
        "observation_scale": [0.4, 0.4, 4, 0.4],
    },
}


def final(settings, **changes):
    return train(Experiment(**{**settings, **changes}), threads=1).summary["final_eval_return"]


def test_learns_digits():
    assert final(DIGITS) > 0.7
    assert final(DIGITS, learning_rate=1e-12, generations=1) < 0.3


@pytest.mark.slow
def test_learns_cartpole():
    assert final(CARTPOLE) > 50
    assert final(CARTPOLE, learning_rate=1e-12, generations=1) < 30


SHORT = {
    "digits": {**DIGITS, "population": 120, "generations": 4, "evaluation_episodes": 50},
    "spikes": {
        **DIGITS,
        "population": 60,
        "generations": 4,
        "rule_options": {
            **DIGITS["rule_options"],
            "batch": 20,
            "inference": "spiking",
            "spike_steps": 12,
            "window_steps": 5,
            "critic": "running_mean",
            "entropy": 0.1,
            "bias_update": "spikes",
        },
    },
    "cartpole": {
        **CARTPOLE,
        "population": 20,
        "generations": 4,
        "rule_options": {**CARTPOLE["rule_options"], "critic": "network", "entropy": 0.1, "batch": 6},
    },
}


@pytest.mark.parametrize("which", ["digits", "spikes", pytest.param("cartpole", marks=pytest.mark.slow)])
def test_resumed_runs_and_threads_give_the_same_bits(which, tmp_path):
    experiment = Experiment(**SHORT[which])
    whole = train(experiment, threads=1)
    train(experiment.replace(generations=2), out=tmp_path / "run", threads=1)
    resumed = train(experiment, resume=tmp_path / "run", threads=1)
    assert resumed.state.memory.keys() == whole.state.memory.keys()
    for name, array in whole.state.memory.items():
        np.testing.assert_array_equal(array, resumed.state.memory[name])
    assert resumed.metrics[-1]["evaluation_return"] == whole.metrics[-1]["evaluation_return"]
    if available_threads() > 1:
        assert train(experiment, threads=2).summary["weights_sha256"] == whole.summary["weights_sha256"]
    other = train(experiment.replace(seed=1, generations=1), threads=1)
    assert other.summary["weights_sha256"] != train(experiment.replace(generations=1), threads=1).summary["weights_sha256"]


def test_evaluation_changes_nothing_and_needs_only_weights():
    """What a study of robustness relies on: `evaluate` reads the arrays of `memory`, also other ones, and writes none."""
    rule = Experiment(**SHORT["digits"]).build_weight_rule()
    memory, threads = rule.start(), Threads(1)
    rule.learn(memory, 0, 120, threads)
    kept = {name: array.copy() for name, array in memory.items()}
    first = rule.evaluate(memory, 0, 50, threads).returns
    noisy = {name: array + np.random.default_rng(0).normal(size=array.shape) for name, array in memory.items()}
    changed = rule.evaluate(noisy, 0, 50, threads).returns
    assert (first != changed).any()
    assert (rule.evaluate(memory, 0, 50, threads).returns == first).all()
    for name, array in kept.items():
        np.testing.assert_array_equal(array, memory[name])
    assert set(weights(memory)) == {"recurrent", "input", "bias"}


def test_images_are_decisions_of_one_step():
    rule = Experiment(**SHORT["digits"]).build_weight_rule()
    memory, threads = rule.start(), Threads(1)
    played = rule.learn(memory, 0, 120, threads)
    assert played.updates == 3
    assert played.steps.tolist() == [1] * 120
    assert set(played.returns) == {0.0, 1.0}
    assert len(rule.evaluate(memory, 0, 10_000, threads).returns) == 355


# --- inverted pendulum -------------------------------------------------------------------------------------------------


def test_five_forces_are_those_of_the_body():
    pytest.importorskip("mujoco", reason="MuJoCo is not installed (extra mujoco)")
    five, body = get_task("inverted_pendulum_five"), get_task("gym:InvertedPendulum-v5")
    ours, theirs, random = five.open_state(), body.open_state(), np.full(body.random_size, 0.3)
    for action, force in enumerate((-3.0, -1.5, 0.0, 1.5, 3.0)):
        five.reset(ours.values, random)
        body.reset(theirs.values, random)
        output = np.zeros(5, np.float32)
        output[action] = 1
        reward, ended = five.step(ours.values, output)
        body.step(theirs.values, np.array([force / 3], np.float32))
        assert (reward, ended) == (1.0, False)
        assert ours.held[1].ctrl[0] == force
        assert ours.held[1].qvel.tolist() == theirs.held[1].qvel.tolist()
    assert (five.n_actions, five.n_outputs, five.max_steps) == (5, 5, 200)


def test_without_mujoco_the_task_says_what_to_install(monkeypatch):
    from rsrp_lava.tasks import bodies

    bodies.get_body.cache_clear()
    bodies.five_forces.cache_clear()
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert "inverted_pendulum_five" in task_names()
    with pytest.raises(ExperimentError, match=r"^task inverted_pendulum_five: needs MuJoCo .*rsrp-lava\[mujoco\]"):
        get_task("inverted_pendulum_five")


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("cartpole", {"inference": "spiking", "spike_steps": 10}, "spike_steps: 10 are fewer than the window's 50"),
        ("cartpole", {"iterations": 51}, "rule_options.iterations: 51 — .*less than or equal to 50"),
        ("cartpole", {"circuit": 3}, "did you mean 'rule_options.circuits'"),
        ("cartpole", {"window": "double_exponential", "tau_rise_steps": 8.0}, "tau_rise_steps: must be below"),
        ("cartpole", {"observation_scale": [1, 2]}, "observation_scale: has 2 numbers, but cartpole has 4 observations"),
        ("digits", {"critic": "network"}, "critic: network is for tasks with episodes"),
        ("digits", {"observation_scale": [1.0]}, "observation_scale: is for tasks with episodes"),
    ],
)
def test_bad_options_are_refused(task, options, message):
    with pytest.raises(ExperimentError, match=message):
        Experiment(task=task, rule="svpg", rule_options=options).build_weight_rule()


def test_tasks_without_a_choice_are_refused():
    with pytest.raises(ExperimentError, match="rule: svpg cannot learn pendulum"):
        Experiment(task="pendulum", rule="svpg")


def test_options_have_the_published_defaults():
    usual = SvpgOptions()
    assert (usual.circuits, usual.neurons, usual.batch, usual.input_noise, usual.tolerance) == (20, 10, 100, 0.02, 0.005)
