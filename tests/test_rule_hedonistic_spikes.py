"""Hedonistic synapses that draw at every spike: against a slow twin, against exact enumeration, and learning."""

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.random_bits import EVALUATION, MEMBRANE, SPIKES, TASK, fill_uniform, threefry
from rsrp_lava.network import NetworkOptions
from rsrp_lava.rules import Problem, weights
from rsrp_lava.rules.hedonistic_spikes import HedonisticOptions, HedonisticSpikes
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.threads import Threads

#: Makes one observation's deviation 1 and its mean 0, whatever is observed.
UNIT = {"seen/count": 1e15, "seen/mean": 0.0, "seen/squares": 1e15}


@kernel
def reset(state, random):
    state[0], state[1] = 0.0, 2 * random[0] - 1


@kernel
def observe(state, observation):
    observation[0] = np.float32(state[1])


@kernel
def drift(state, output):
    state[0] += 1
    state[1] = 0.5 * state[1] + output[0]
    return state[1] - 0.1, state[0] == 4


@kernel
def observe_one(state, observation):
    observation[0] = np.float32(1)


@kernel
def output_squared(state, output):
    return np.float64(output[0]) + 0.5 * np.float64(output[0]) ** 2, True


@kernel
def observe_sign(state, observation):
    observation[0] = np.float32(1) if state[1] > 0 else np.float32(-1)


@kernel
def agree(state, output):
    """Reward 1 where output and observation have one sign; then another observation, as wild as the first."""
    reward = 1.0 if output[0] * state[1] > 0 else 0.0
    state[0] += 1
    state[1] = (state[1] + 1) * 3.7 % 2 - 1
    return reward, state[0] == 10


DRIFT = EpisodeTask("drift", "for tests", 1, 1, 2, 1, 4, 1.0, reset, observe, drift)
SQUARE = EpisodeTask("square", "for tests", 1, 1, 2, 1, 1, 1.0, reset, observe_one, output_squared)
AGREE = EpisodeTask("agree", "for tests", 1, 1, 2, 1, 10, 10.0, reset, observe_sign, agree)


def rule_of(task, learning_rate=0.1, seed=5, network=None, **options):
    problem = Problem(task, learning_rate, seed, NetworkOptions(**(network or {})))
    rule = HedonisticSpikes(problem, HedonisticOptions(**options))
    rule.prepare(rule.start())  # compiled once for all tasks, and kept on disk
    return rule


class Twin:
    """The equations, one synapse at a time. `decide(part, source, target, now, p)`: is a vesicle released?"""

    def __init__(self, rule, q_input, q_neurons, decide):
        self.rule, self.q, self.decide = rule, (q_input, q_neurons), decide
        self.o, self.network = rule.options, rule.network
        self.n, self.dt = rule.network.options.n_neurons, rule.network.options.dt_ms

    def start(self, potentials):
        self.now = 0
        self.e = [np.zeros_like(q) for q in self.q]
        self.released_at = [np.full(q.shape, -np.inf) for q in self.q]  # ms
        self.c = [np.zeros(len(q)) for q in self.q]
        self.v, self.u = np.float32(potentials), np.zeros(self.n, np.float32)
        self.sums, self.readout = np.zeros(self.n + 1), np.float32(0)

    def spike(self, part, i, size, sums):
        for j in range(self.q[part].shape[1]):
            if self.now * self.dt - self.released_at[part][i, j] >= self.o.tau_recovery_ms:
                p = 1 / (1 + np.exp(-(self.q[part][i, j] + self.c[part][i])))
                released = self.decide(part, i, j, self.now, p)
                self.e[part][i, j] += released - p
                if released:
                    sums[j] += size
                    self.released_at[part][i, j] = self.now * self.dt
        self.c[part][i] += self.o.facilitation

    def act(self, z):
        lif, readout = self.rule.constants[0].lif, self.rule.constants[0].readout
        for substep in range(self.network.substeps):
            for part in range(2):
                self.e[part] *= np.exp(-self.dt / self.o.tau_eligibility_ms)
                self.c[part] *= np.exp(-self.dt / self.o.tau_facilitation_ms)
            if substep == 0:
                current = np.zeros(self.n, np.float32)
                self.spike(0, 0, z, current)
                self.spike(0, 1, -z, current)
                drive = np.float32(self.network.input_weight) * current
            arrived, self.sums = np.float32(self.sums[: self.n]), np.zeros(self.n + 1)
            self.u = lif.alpha_syn * self.u + lif.weight * arrived
            self.v = lif.alpha_mem * self.v + lif.gain * (lif.v_reset + self.u + drive)
            for i in range(self.n):
                if self.v[i] > lif.v_threshold:
                    self.v[i] = lif.v_reset
                    self.spike(1, i, 1 if self.network.excitatory[i] else -1, self.sums)
            self.readout = readout.alpha_out * self.readout + readout.trace_gain * np.float32(self.sums[self.n])
            self.now += 1
        return readout.output_weight * self.readout


def drawn(key, n_targets):
    """`decide` as the rule draws: the four words of a block are a quarter of a row apart."""
    blocks = -(-n_targets // 4)

    def decide(part, i, j, now, p):
        width = blocks if part else -(-(n_targets - 1) // 4)
        seed, generation, episode, stream = key()
        counter = np.uint64(i * width + j % width), np.uint64(now)
        word = threefry(*map(np.uint64, (seed, generation, episode, stream + part)), *counter)[j // width]
        return (int(word) >> 11) * 2.0**-53 < p

    return decide


@pytest.mark.parametrize(("timing", "unit"), [("delayed", "one"), ("immediate", "deviation")])
def test_a_generation_equals_the_twin(timing, unit):
    n, episodes, rate = 5, 3, 0.2
    network = {"n_neurons": n, "input_gain": 0.4}
    options = {"tau_eligibility_ms": 30, "facilitation": 0.7, "tau_facilitation_ms": 8, "tau_recovery_ms": 2.2}
    rule = rule_of(DRIFT, 0.3, network=network, reward_timing=timing, reward_unit=unit, average_rate=rate, **options)
    memory = rule.start()
    q = [memory[f"weights/{name}"].copy() for name in ("input", "neurons")]
    first = [part.copy() for part in q]
    key = [5, 7, 0, SPIKES]
    twin = Twin(rule, *q, drawn(lambda: key, n + 1))
    seen, mean, square, returns = [], None, 0, []
    for episode in range(episodes):
        key[2] = episode
        start, state = np.empty(n), np.zeros(2)
        fill_uniform(5, 7, episode, MEMBRANE, start)
        twin.start(start)
        random = np.empty(1)
        fill_uniform(5, 7, episode, TASK, random)
        reset(state, random)
        rewards, ended = [], False

        def teach(r, mean, square):
            h = 0 if mean is None else r - mean
            square += rate * (h * h - square)
            for part in range(2):
                twin.q[part][:] += 0.3 * twin.e[part] * (h / np.sqrt(square) if h and unit == "deviation" else h)
            return r - h + rate * h, square

        while not ended:
            x = float(np.float32(state[1]))
            seen.append(x)
            z = np.float32((x - np.mean(seen)) / max(np.std(seen), 1e-6))
            reward, ended = drift(state, np.float32([twin.act(z)]))
            rewards.append(reward)
            if timing == "immediate":
                mean, square = teach(reward, mean, square)
        if timing == "delayed":
            mean, square = teach(sum(rewards), mean, square)
        returns.append(sum(rewards))
    played = rule.learn(memory, 7, episodes, Threads(1))
    np.testing.assert_allclose(played.returns, returns, rtol=1e-6)
    np.testing.assert_allclose(memory["weights/input"], q[0], rtol=1e-6)
    np.testing.assert_allclose(memory["weights/neurons"], q[1], rtol=1e-6)
    assert all((abs(now - before) > 1e-3).mean() > 0.5 for now, before in zip(q, first, strict=True))
    assert played.updates == (episodes if timing == "delayed" else 4 * episodes)


@pytest.mark.parametrize(("evaluation", "certain"), [("drawn", False), ("deterministic", True)])
def test_an_evaluation_equals_the_twin(evaluation, certain):
    rule = rule_of(DRIFT, network={"n_neurons": 5, "input_gain": 0.4}, evaluation=evaluation, initial_std=1)
    memory = rule.start()
    for name, value in UNIT.items():
        memory[name][:] = value
    before = {name: array.copy() for name, array in memory.items()}
    decide = (lambda part, i, j, now, p: p > 0.5) if certain else drawn(lambda: (5, 2, 1, SPIKES + EVALUATION), 6)
    twin = Twin(rule, memory["weights/input"], memory["weights/neurons"], decide)
    start, random, state = np.empty(5), np.empty(1), np.zeros(2)
    fill_uniform(5, 2, 1, MEMBRANE + EVALUATION, start)
    fill_uniform(5, 2, 1, TASK + EVALUATION, random)
    twin.start(start)
    reset(state, random)
    rewards, ended = [], False
    while not ended:
        reward, ended = drift(state, np.float32([twin.act(np.float32(state[1]))]))
        rewards.append(reward)
    played = rule.evaluate(memory, 2, 2, Threads(1))
    assert played.returns[1] == pytest.approx(sum(rewards), rel=1e-6)
    assert all(np.array_equal(memory[name], before[name], equal_nan=True) for name in memory)


def one_path(rule, q, forced):
    """An episode of `SQUARE` with these releases first, and all further ones True: its reward, and its tries.

    A try: (place of its parameter, facilitation, released).
    """
    tries = []

    def decide(part, i, j, now, p):
        released = forced[len(tries)] if len(tries) < len(forced) else True
        place = part * q[0].size + i * q[part].shape[1] + j
        tries.append((place, np.log(p / (1 - p)) - q[part][i, j], released))
        return released

    twin = Twin(rule, *q, decide)
    twin.start(np.zeros(2))
    out = float(twin.act(np.float32(1)))
    return out + 0.5 * out**2, tries


def every_path(rule, q):
    """All that can happen in an episode: every try that came out True also comes out False, after the same ones before."""
    paths, pending = [], [()]
    while pending:
        forced = pending.pop()
        paths.append(one_path(rule, q, forced))
        releases = [released for _, _, released in paths[-1][1]]
        pending += [(*releases[:k], False) for k in range(len(forced), len(releases))]
    return paths


def expected_reward(paths, q):
    """Σ over all paths of their probability times their reward."""
    place, c, released = (np.array(column) for column in zip(*(a_try for _, tries in paths for a_try in tries), strict=True))
    of_path = np.repeat(np.arange(len(paths)), [len(tries) for _, tries in paths])
    log_chance = -np.log1p(np.exp(np.where(released, -1, 1) * (q[place] + c)))
    return np.exp(np.bincount(of_path, log_chance)) @ [reward for reward, _ in paths]


@pytest.mark.parametrize("whole", [False, True], ids=["release alone", "with facilitation and recovery"])
def test_expected_update_is_the_gradient_of_expected_reward(whole):
    """Every release enumerated, on a network without memory of its start: tau_mem is a hundredth of a millisecond."""
    network = {"n_neurons": 2, "sim_time_ms": 1.0, "tau_mem_ms": 0.01, "input_gain": 100, "recurrent_gain": 1e3}
    dynamic = {"facilitation": 0.8, "tau_recovery_ms": 0.8} if whole else {"facilitation": 0, "tau_recovery_ms": 0}
    rate, calls, episodes = 1e-9, 20, 8_000
    plain = {"reward_unit": "one", "average_rate": 0.01, "tau_eligibility_ms": 1e9, "initial_std": 0.6}
    rule = rule_of(SQUARE, rate, network=network, **plain, **dynamic)
    memory = rule.start()
    for name, value in UNIT.items():
        memory[name][:] = value
    q = np.concatenate([array.ravel() for array in weights(memory).values()])
    paths, h = every_path(rule, list(weights(memory).values())), 1e-5
    assert expected_reward([(1.0, tries) for _, tries in paths], q) == pytest.approx(1)
    exact = [(expected_reward(paths, q + h * unit) - expected_reward(paths, q - h * unit)) / (2 * h) for unit in np.eye(10)]
    steps, rewards = [], []
    for call in range(calls):
        before = np.concatenate([array.ravel() for array in weights(memory).values()])
        rewards.append(rule.learn(memory, call, episodes, Threads(1)).returns.mean())
        after = np.concatenate([array.ravel() for array in weights(memory).values()])
        steps.append((after - before) / (rate * episodes))
    mean, error = np.mean(steps, 0), np.std(steps, 0) / np.sqrt(calls - 1)
    assert np.mean(rewards) == pytest.approx(expected_reward(paths, q), abs=5 * np.std(rewards) / np.sqrt(calls - 1))
    assert (abs(mean - exact) < 5 * error + 1e-6).all()
    assert np.linalg.norm(mean - exact) < 0.1 * np.linalg.norm(exact)


@pytest.mark.parametrize(("learning_rate", "learns"), [(0.02, True), (1e-9, False)])
def test_learns_to_agree(learning_rate, learns):
    """Ten signs an episode: by chance five are right."""
    rule = rule_of(AGREE, learning_rate, network={"n_neurons": 16})
    memory = rule.start()
    rule.learn(memory, 0, 1500, Threads(1))
    agreed = rule.evaluate(memory, 0, 200, Threads(1)).returns.mean()
    assert agreed > 8.5 if learns else 3.5 < agreed < 6.5


def test_a_resumed_run_and_another_number_of_threads_change_nothing(tmp_path):
    small = {"population": 6, "evaluation_episodes": 20, "seed": 3, "network": {"n_neurons": 33}, "learning_rate": 0.01}
    experiment = Experiment(rule="hedonistic_spikes", generations=4, **small)
    whole = train(experiment, threads=1)
    train(experiment.replace(generations=2), out=tmp_path / "run", threads=1)
    resumed = train(experiment, resume=tmp_path / "run", threads=2)
    for result in (resumed, train(experiment, threads=2)):
        assert result.summary["weights_sha256"] == whole.summary["weights_sha256"]
        assert [m["sampled_return"] for m in result.metrics[:4]] == [m["sampled_return"] for m in whole.metrics[:4]]
        assert result.metrics[-1]["evaluation_return"] == whole.metrics[-1]["evaluation_return"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau_recovery_ms": -1}, "rule_options.tau_recovery_ms: -1 — input should be greater than or equal to 0"),
        ({"tau_eligibility_ms": 0}, "rule_options.tau_eligibility_ms: 0 — input should be greater than 0"),
        ({"evaluation": "greedy"}, "rule_options.evaluation: greedy — input should be 'drawn' or 'deterministic'"),
        ({"facilitate": 1}, "did you mean 'rule_options.facilitation'?"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ExperimentError) as error:
        Experiment(rule="hedonistic_spikes", rule_options=options)
    assert said in str(error.value)


def test_images_are_refused_and_numbers_as_actions_are_not():
    with pytest.raises(ExperimentError, match="cannot learn digits: it plays episodes that are compiled"):
        Experiment(task="digits", rule="hedonistic_spikes")
    assert Experiment(task="pendulum", rule="hedonistic_spikes").build_weight_rule().start()["weights/neurons"].size


@pytest.mark.slow
def test_learns_cartpole():
    """2,000 episodes of at most 500 steps; at random 22."""
    experiment = Experiment(rule="hedonistic_spikes", seed=3, population=250, generations=8, network={"n_neurons": 32})
    assert train(experiment, threads=1).metrics[-1]["evaluation_return"] > 195
