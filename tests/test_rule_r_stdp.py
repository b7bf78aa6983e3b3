"""Rule r_stdp: against a twin in plain Python and the gradient of reward; whether it learns, resumes and refuses."""

import dataclasses
import math

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.random_bits import ACTION, SPIKES, fill_start, uniform
from rsrp_lava.network import NetworkOptions
from rsrp_lava.rules import Problem
from rsrp_lava.rules.r_stdp import RStdp, RStdpOptions, _angle_factor, _imbalance
from rsrp_lava.tasks import EpisodeTask, get_task
from rsrp_lava.threads import Threads, available_threads

CARTPOLE_SCALE = (1.0, 0.54, 0.091, 0.82)


@kernel
def reset(state, random):
    state[0], state[1] = (1.0 if random[0] < 0.5 else -1.0), 0.0


@kernel
def observe(state, observation):
    observation[0] = np.float32(state[0])


@kernel
def step(state, output):
    """The sign is to be told; it changes at every step, and the third ends the episode."""
    right = (output[0] > 0) == (state[0] > 0)
    state[0], state[1] = -state[0], state[1] + 1
    return (1.0 if right else 0.0), state[1] == 3


SIGNS = EpisodeTask("signs", "for tests", 1, 1, 2, 1, 3, 3.0, reset, observe, step, n_actions=2)
ONE_SIGN = dataclasses.replace(SIGNS, max_steps=1)
TINY = {"bins": 2, "observation_std": (1.0,), "input_rate_hz": 300.0, "sim_time_ms": 20.0, "motor_neurons": 1}


def make(task, learning_rate=0.02, seed=3, **options):
    return RStdp(Problem(task, learning_rate, seed, NetworkOptions()), RStdpOptions(**options))


def learned(rule, generations, episodes, memory=None, first=0, threads=1):
    """Memory after these generations."""
    memory = rule.start() if memory is None else {name: array.copy() for name, array in memory.items()}
    rule.prepare(memory)
    pool = Threads(threads)
    for generation in range(first, first + generations):
        rule.learn(memory, generation, episodes, pool)
    pool.close()
    return memory


def accuracy(rule, memory, episodes=1000):
    rule.prepare(memory)
    return rule.evaluate(memory, 0, episodes, Threads(1)).returns.mean() / rule.task.max_steps


# ------------------------------------------------------------------------------------------------ a twin, spike by spike


def twin(rule, weights, episodes):
    """Weights and returns after episodes of SIGNS in generation 0: two bins, one motor neuron an action, none hidden."""
    o, rate, seed = rule.options, rule.problem.learning_rate, rule.problem.seed
    w, returns, average, spread, n_pairs = weights.copy(), [], None, None, 0
    immediate, predicts = o.reward_timing == "immediate", o.critic == "prediction_error"

    def update(eligibility, factor):
        centred = eligibility - eligibility.mean(axis=1, keepdims=True) if o.conserve_output else eligibility
        return np.clip(w + rate * np.clip(factor, -1, 1) * centred, o.weight_min, o.weight_max)

    for episode in range(episodes):
        start = np.empty(1)
        fill_start(seed, 0, 0, episode, False, start)
        sign = 1 if start[0] < 0.5 else -1
        pre_trace, motor_trace = np.zeros(2), np.zeros(2)
        eligibility, u, v, spiked = np.zeros((2, 2)), np.zeros(2), np.zeros(2), np.zeros(2)
        total = 0.0
        for t in range(3):
            counts = np.zeros(2)
            for substep in range(20):
                pre = np.zeros(2)
                pre[1 if sign > 0 else 0] = uniform(seed, 0, episode, SPIKES, 20 * t + substep) < o.input_rate_hz / 1000
                u = u * math.exp(-1 / o.tau_syn_ms) + pre @ w - o.inhibition * spiked[::-1]
                alpha = math.exp(-1 / o.tau_mem_ms)
                v = alpha * v + (1 - alpha) * u
                spiked = (v > o.v_threshold).astype(float)
                v[spiked > 0] = 0
                counts += spiked
                pre_trace = pre_trace * math.exp(-1 / o.tau_plus_ms) + pre
                before = motor_trace * math.exp(-1 / o.tau_minus_ms)
                eligibility = (
                    eligibility * math.exp(-1 / o.tau_eligibility_ms)
                    + o.a_plus * np.outer(pre_trace, spiked)
                    - o.a_minus * np.outer(pre, before)
                )
                motor_trace = before + spiked
                n_pairs += np.count_nonzero(np.outer(pre, before)) * np.count_nonzero(spiked)
            tie = counts[0] == counts[1]
            action = int(uniform(seed, 0, episode, ACTION, t) >= 0.5) if tie else int(counts[1] > counts[0])
            reward = float((action == 1) == (sign > 0))
            sign, total = -sign, total + reward
            if immediate and predicts:
                average = reward if average is None else average
                factor = reward - average
                average += o.average_rate * factor
                w = update(eligibility, factor - (average if t == 2 else 0.0))
            elif immediate:
                w = update(eligibility, reward)
        if not immediate and predicts:
            average, spread = (total, abs(total)) if average is None else (average, spread)
            error = total - average
            average += o.average_rate * error
            spread += o.average_rate * ((abs(error) if episode else abs(total)) - spread)
            w = update(eligibility, error / spread if spread else 0.0)
        elif not immediate:
            w = update(eligibility, total / 3.0)
        returns.append(total)
    assert n_pairs > 5, "the case says nothing of STDP"
    return w, returns


@pytest.mark.parametrize("timing", ["delayed", "immediate"])
@pytest.mark.parametrize("critic", ["reward", "prediction_error"])
def test_equals_its_twin(critic, timing):
    changed = {"tau_eligibility_ms": 100.0, "initial_weight": 1.5, "conserve_output": critic != "reward", "a_minus": 0.7}
    rule = make(SIGNS, critic=critic, reward_timing=timing, **TINY, **changed)
    memory = rule.start()
    expected, returns = twin(rule, memory["weights/motor"], 8)
    assert np.abs(expected - memory["weights/motor"]).max() > 0.01
    rule.prepare(memory)
    played = rule.learn(memory, 0, 8, Threads(1))
    assert list(played.returns) == returns
    np.testing.assert_allclose(memory["weights/motor"], expected, rtol=0, atol=1e-12)
    assert played.updates == (8 if timing == "delayed" else 24)


def test_critic_angle():
    """3 times the decrease of √(angle² + 0.7 velocity²), 1.5 times that if positive; 1 on arrival, then 0."""
    tilted, still = np.array([0, 0, 0.1, 0.2], np.float32), np.array([0, 0, 0.009, -0.009], np.float32)
    distance = _imbalance(tilted)
    assert distance == pytest.approx(math.sqrt(0.1**2 + 0.7 * 0.2**2), rel=1e-6)
    assert _angle_factor(distance, distance - 0.01) == pytest.approx(0.045)
    assert _angle_factor(distance, distance + 0.01) == pytest.approx(-0.03)
    assert (_angle_factor(distance, _imbalance(still)), _angle_factor(0.0, _imbalance(still))) == (1.0, 0.0)


def test_statistics_of_observations():
    """Rows of `seen`: how many, their mean, the sum of squared differences from it; here 1 and −1 in turns."""
    memory = learned(make(SIGNS, **{**TINY, "observation_std": ()}), 1, 5)
    count, mean, squares = memory["seen"][:, 0]
    assert count == 15
    assert any(15 * mean == pytest.approx(n) for n in range(-5, 6, 2))
    assert squares == pytest.approx(15 * (1 - mean**2))


# ------------------------------------------------------------------------------------------------ the gradient of reward


def test_updates_go_up_the_gradient():
    """Of the probability to tell one sign: mean update, an input and action, against differences of evaluations.

    They agree where both actions are about as likely. Elsewhere updates favour what is done most: the prediction does not
    know the observation.
    """
    options = {**TINY, "motor_neurons": 5, "initial_spread": 0.1}
    rate, episodes = 1e-7, 3000
    rule = make(ONE_SIGN, rate, average_rate=1e-9, **options)
    memory = rule.start()
    memory["expected"][:] = 0.5, 1.0
    after = learned(rule, 1, episodes, memory)["weights/motor"]
    update = (after - memory["weights/motor"]).reshape(2, 2, 5).sum(axis=2) / rate / episodes

    gradient = np.empty((2, 2))
    for place in np.ndindex(2, 2):
        values = []
        for shift in (0.3, -0.3):
            moved = {name: array.copy() for name, array in memory.items()}
            moved["weights/motor"].reshape(2, 2, 5)[place] += shift
            values.append(accuracy(rule, moved, episodes))
        gradient[place] = values[0] - values[1]
    cosine = (update * gradient).sum() / np.linalg.norm(update) / np.linalg.norm(gradient)
    assert cosine > 0.95


# ------------------------------------------------------------------------------------------------ learning


HIDDEN = {"hidden": 60, "hidden_probability": 0.1, "initial_weight": 0.3, "weight_max": 1.0}


@pytest.mark.parametrize(
    ("options", "generations"), [({"inhibition": 0.2}, 10), pytest.param(HIDDEN, 20, marks=pytest.mark.slow)]
)
def test_learns_to_tell_signs(options, generations):
    """On average over ten seeds: single ones can start well by chance, or settle on one action."""

    def after(learning_rate, generations):
        constants = {**TINY, "motor_neurons": 5, "sim_time_ms": 50.0, **options}
        rules = [make(SIGNS, learning_rate, seed, **constants) for seed in range(10)]
        return np.mean([accuracy(rule, learned(rule, generations, 100)) for rule in rules])

    assert after(0.001, generations) > 0.75
    assert after(1e-12, 1) < 0.6


@pytest.mark.parametrize("task", ["acrobot", "mountain_car"])
def test_plays_other_tasks(task):
    rule = make(get_task(task), sim_time_ms=5.0, motor_neurons=2)
    before = rule.start()
    after = learned(rule, 1, 2, before)
    assert after["seen"][0, 0] > 0
    assert np.isfinite(after["weights/motor"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"critic": "angle", "reward_timing": "immediate", "tau_eligibility_ms": 250.0}])
def test_learns_cartpole(options):
    rule = make(get_task("cartpole"), 0.01, 1, observation_std=CARTPOLE_SCALE, **options)
    memory = learned(rule, 10, 100)
    assert rule.evaluate(memory, 10, 100, Threads(1)).returns.mean() > 60


# ------------------------------------------------------------------------------------------------ promises


@pytest.mark.parametrize("options", [{}, {"hidden": 16, "reward_timing": "immediate"}])
def test_resumed_and_threaded_runs_are_the_same(options):
    rule = make(get_task("cartpole"), motor_neurons=4, sim_time_ms=20.0, **options)
    whole = learned(rule, 4, 5)
    parts = learned(rule, 2, 5, learned(rule, 2, 5), first=2, threads=min(2, available_threads()))
    assert np.abs(whole["weights/motor"] - rule.start()["weights/motor"]).max() > 0
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name], err_msg=name)
    one, two = (rule.evaluate(whole, 4, 20, Threads(n)).returns for n in (1, min(2, available_threads())))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("cartpole", {"critic": "angle"}, "critic angle judges every step; set it to immediate"),
        ("acrobot", {"observation_mean": [0] * 6}, "is used with observation_std only; give both, or none"),
        ("cartpole", {"observation_std": [1, 1, 0, 1]}, "must be positive"),
        ("cartpole", {"observation_std": [1, 1]}, "has 2 numbers, but cartpole has 4 observations"),
        ("cartpole", {"weight_max": -1}, "weight_max: -1 must be above weight_min, 0"),
        ("cartpole", {"sim_time_ms": 0.4}, "sim_time_ms: 0.4 is shorter than half of dt_ms, 1"),
        ("cartpole", {"input_rate_hz": 2000}, "at most one spike a substep, 1000 Hz, not 2000"),
        ("cartpole", {"bins": 1}, "bins"),
        ("acrobot", {"critic": "angle", "reward_timing": "immediate"}, "angle looks at the pole of cartpole"),
        ("pendulum", {}, "this task's action is a number"),
    ],
)
def test_refuses(task, options, message):
    with pytest.raises(ExperimentError, match=message):
        Experiment(task=task, rule="r_stdp", rule_options=options).build_weight_rule()
