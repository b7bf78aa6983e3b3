"""Evolution strategies: against a slow twin, the gradient of a reward that is known, learning, resuming, refusals."""

import dataclasses
import math

import numpy as np
import pytest

from naive import EVALUATION, MEMBRANE, TASK, threefry4x64, uniforms
from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.normals import CHUNK, fill_normals
from rsrp_lava.kernels.random_bits import NOISE, WEIGHTS
from rsrp_lava.network import NetworkOptions
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.rules.base import Problem
from rsrp_lava.rules.evolution import Es, EsOptions
from rsrp_lava.tasks import acrobot, cartpole, get_task
from rsrp_lava.threads import Threads

f32 = np.float32


def normals(seed, generation, sample, stream, n):
    drawn = np.empty(-(-n // CHUNK) * CHUNK, f32)
    fill_normals(seed, generation, sample, stream, 0, drawn)
    return drawn[:n]


def rule(n_neurons=2, task="cartpole", rate=0.15, seed=3, network=None, **options):
    task = get_task(task) if isinstance(task, str) else task
    es = Es(Problem(task, rate, seed, NetworkOptions(n_neurons=n_neurons, **(network or {}))), EsOptions(**options))
    es.prepare(es.start())
    return es


@kernel
def reward_of_outputs(state, output):
    """Acrobot's step, for a reward that tells the three outputs apart."""
    acrobot.step(state, output)
    return output[0] + 2.0 * output[1] - 3.0 * output[2], False


OUTPUTS = dataclasses.replace(acrobot.TASK, step=reward_of_outputs, max_steps=15)


def learned(memory):
    return np.concatenate([memory[f"weights/{name}"].ravel() for name in ("input", "recurrent", "readout")])


# --- the twin ----------------------------------------------------------------------------------------------------------


class Twin:
    """One network, one neuron's row after the other, float32 as the kernel; constants are stated again."""

    def __init__(self, weights, n, task, options, scaling):
        d, outputs = task.n_observations, task.n_outputs
        self.w_in = weights[: d * n].reshape(d, n)
        self.w = weights[d * n : d * n + n * n].reshape(n, n)
        self.w_out = weights[d * n + n * n :].reshape(n, outputs)
        self.n, self.task, (self.mean, self.std) = n, task, scaling
        o = {"input_gain": 0.1, "dt_ms": 0.5, "sim_time_ms": 16.6, **options}
        self.substeps, self.dt_ms = round(o["sim_time_ms"] / o["dt_ms"]), o["dt_ms"]
        self.r_in = f32(o["input_gain"] * 10.0 * math.sqrt(2 / d))
        self.r = f32(10.0 / 5.0 * math.sqrt(2 / n))
        self.r_out = f32(5.0 * math.sqrt(1 / n))

    def act(self, x):
        a_syn, a_mem = (f32(math.exp(-self.dt_ms / tau)) for tau in (5.0, 10.0))
        gain, trace_gain = f32(1 - math.exp(-self.dt_ms / 10.0)), f32((1 - math.exp(-self.dt_ms / 10.0)) / self.dt_ms)
        drive = np.zeros(self.n, f32)
        for k in range(len(x)):
            drive += x[k] * self.w_in[k]
        drive *= self.r_in
        for _ in range(self.substeps):
            arrived = np.zeros(self.n, f32)
            for i in np.flatnonzero(self.spiked):
                arrived += self.w[i]
            self.u = a_syn * self.u + self.r * arrived
            self.v = a_mem * self.v + gain * (f32(0) + self.u + drive)
            self.spiked = self.v > f32(1)
            self.v[self.spiked] = 0
            self.n_spikes += self.spiked.sum()
            read = np.zeros(self.task.n_outputs, f32)
            for i in np.flatnonzero(self.spiked):
                read += self.w_out[i]
            self.trace = a_mem * self.trace + trace_gain * read
        return self.r_out * self.trace

    def play(self, seed, generation, sample, start, phase=0):
        """Return, steps, and what was observed."""
        task, seen = self.task, []
        self.v = uniforms(seed, generation, sample, MEMBRANE + phase, self.n).astype(f32)
        self.u, self.spiked, self.trace = np.zeros(self.n, f32), np.zeros(self.n, bool), np.zeros(task.n_outputs, f32)
        self.n_spikes = 0
        state, observation = np.zeros(task.state_size), np.zeros(task.n_observations)
        task.reset(state, uniforms(seed, generation, start, TASK + phase, task.random_size))
        total, ended = 0.0, False
        while len(seen) < task.max_steps and not ended:
            task.observe(state, observation)
            seen.append(observation.copy())
            x = np.clip((observation - self.mean) * (1 / self.std), -10, 10).astype(f32)
            reward, ended = task.step(state, self.act(x))
            total += reward
        return total, len(seen), seen


@pytest.mark.parametrize(
    ("n", "task", "network", "starts", "sharing"),
    [
        (2, cartpole.TASK, {"input_gain": 1.0}, "own", 1),
        (70, cartpole.TASK, {}, "pair", 2),
        (3, OUTPUTS, {"dt_ms": 2.0, "sim_time_ms": 16.0, "input_gain": 2.0}, "shared", 99),
    ],
)
def test_two_generations_are_those_of_the_twin(n, task, network, starts, sharing):
    seed, sigma, rate, decay, population = 3, f32(0.5), 0.2, 0.05, 8
    es = rule(n, task, rate, seed, network, noise_std=0.5, weight_decay=decay, starts=starts)
    memory, threads = es.start(), Threads(1)
    weights = normals(seed, 0, 0, WEIGHTS, n * (task.n_observations + n + task.n_outputs))
    np.testing.assert_array_equal(learned(memory), weights)
    mean, std, seen = np.zeros(task.n_observations), np.ones(task.n_observations), []
    first, second = np.zeros(len(weights)), np.zeros(len(weights))
    spikes = 0
    for generation in range(2):
        noise = [normals(seed, generation, pair, NOISE, len(weights)) for pair in range(population // 2)]
        returns, steps = [], []
        for sample in range(population):
            sign = f32(-1 if sample % 2 else 1)
            twin = Twin(weights + sign * sigma * noise[sample // 2], n, task, network, (mean, std))
            total, played, observed = twin.play(seed, generation, sample, sample // sharing)
            returns.append(total)
            steps.append(played)
            seen += observed
            spikes += twin.n_spikes
        played = es.learn(memory, generation, population, threads)
        assert (played.returns.tolist(), played.steps.tolist(), played.updates) == (returns, steps, 1)

        below = np.array([[(a > b) + 0.5 * (a == b) for b in returns] for a in returns]).sum(1) - 0.5
        u = below / (population - 1) - 0.5
        gradient = np.mean([(u[2 * p] - u[2 * p + 1]) * 0.5 * noise[p].astype(float) for p in range(len(noise))], axis=0)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        t = generation + 1
        direction = (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        moved = weights + rate * (direction - decay * weights)
        np.testing.assert_allclose(learned(memory), moved, rtol=1e-5, atol=1e-6)
        weights = learned(memory)  # what differs is rounding, which the next generation should not see
        normaliser = Normaliser.from_arrays({name: memory["normaliser/" + name] for name in ("counts", "sums", "squares")})
        mean, std = normaliser.mean, normaliser.std
        np.testing.assert_allclose(mean, np.mean(seen, axis=0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(std, np.std(seen, axis=0), rtol=1e-12)
    assert spikes > 0
    assert np.abs(gradient).max() > 0

    evaluated = es.evaluate(memory, 2, 3, threads)
    twin = Twin(weights, n, task, network, (mean, std))
    plays = [twin.play(seed, 2, sample, sample, EVALUATION)[:2] for sample in range(3)]
    assert list(zip(evaluated.returns.tolist(), evaluated.steps.tolist(), strict=True)) == plays


def test_normal_numbers_are_box_mullers_of_the_random_words():
    key, chunk, got = (1, 2**40 + 7, 3, 5002), 5, np.empty(CHUNK, f32)
    fill_normals(*key, chunk, got)
    words = np.array([threefry4x64(key, (64 * chunk + c, 0, 0, 0)) for c in range(64)], np.uint64).T
    halves = [half for row in words.tolist() for word in row for half in (word & 0xFFFFFFFF, word >> 32)]
    for k in range(256):
        radius = math.sqrt(-2 * math.log(min(((halves[k] >> 1) + 0.5) / 2**31, 1)))
        signed = halves[256 + k] - (2**32 if halves[256 + k] >> 31 else 0)
        angle = ((signed >> 8) + 0.5) / 2**23 * math.pi / 4
        x, y = math.cos(angle) * (-1 if signed & 2 else 1), math.sin(angle)
        x, y = (y, x) if signed & 1 else (x, y)
        assert got[k] == pytest.approx(radius * x, rel=1e-5, abs=2e-6)
        assert got[256 + k] == pytest.approx(radius * y, rel=1e-5, abs=2e-6)


def test_normal_numbers_are_normal_and_do_not_depend_on_where_one_starts():
    drawn = normals(0, 0, 0, NOISE, 2000 * CHUNK)
    some = np.empty(3 * CHUNK, f32)
    fill_normals(0, 0, 0, NOISE, 1700, some)
    np.testing.assert_array_equal(some, drawn[1700 * CHUNK : 1703 * CHUNK])
    below = np.sort(drawn)[:: len(drawn) // 1000].astype(float)
    normal = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in below])
    assert np.abs(normal - np.arange(len(below)) / 1000).max() < 1.95 / math.sqrt(len(drawn))  # Kolmogorov, 1 in 1000
    x, y = drawn.astype(float).reshape(-1, 2, 256).transpose(1, 0, 2).reshape(2, -1)
    for product in (x * y, (x * x - 1) * (y * y - 1) / 2, x[1:] * x[:-1]):
        assert abs(product.mean()) < 4 / math.sqrt(len(product))
    assert np.isfinite(drawn).all()


# --- the gradient ------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_linear_reward_is_its_slope():
    """R = c·W: ranks are Φ(z) of the normal z = c·ξ / |c|, so E[g] = 2 σ E[(Φ(z) − ½) z] c/|c| = σ/√π c/|c|."""
    es, pairs, sigma = rule(2, noise_std=0.25), 20_000, 0.25
    slope = np.cos(1.0 + np.arange(14))  # 2 · 4 input, 2 · 2 recurrent, 2 · 1 readout weights
    returns = np.empty(2 * pairs)
    for pair in range(pairs):
        change = sigma * slope @ normals(3, 7, pair, NOISE, 14)
        returns[2 * pair : 2 * pair + 2] = 5.0 + change, 5.0 - change
    gradient = es.gradient(returns, 7, Threads(1))
    expected = sigma / math.sqrt(math.pi) * slope / np.linalg.norm(slope)
    error = 4 * 2 * sigma * math.sqrt(1 / 12) / math.sqrt(pairs)  # four standard deviations, at most, of (u⁺ − u⁻) σ ξ
    np.testing.assert_allclose(gradient, expected, atol=error)
    assert error < 0.1 * np.linalg.norm(expected)
    assert (es.gradient(np.full(6, 2.0), 0, Threads(1)) == 0).all()


# --- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "least", "most"), [(0.15, 100, 500), (1e-9, 0, 40)])
def test_it_learns_to_balance_a_pole_unless_nothing_is_updated(rate, least, most):
    es, threads = rule(64, rate=rate, seed=4), Threads()
    memory = es.start()
    for generation in range(10):
        es.learn(memory, generation, 64, threads)
    assert least <= es.evaluate(memory, 10, 32, threads).returns.mean() <= most


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 4])
def test_it_balances_the_pole_to_the_end(seed):
    settings = {"population": 64, "generations": 60, "evaluate_every": 60, "rule_options": {"starts": "pair"}}
    summary = train(Experiment(task="cartpole", rule="es", seed=seed, **settings)).summary
    assert summary["final_eval_return"] > 490


def test_resumed_and_with_other_threads_it_is_the_same():
    def bits(memory):
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in memory.items()}

    def run(generations, threads, memory=None):
        es = rule(70, starts="pair")
        memory = es.start() if memory is None else {name: array.copy() for name, array in memory.items()}
        for generation in generations:
            es.learn(memory, generation, 24, threads)
        return memory, es.evaluate(memory, 4, 20, threads).returns.tolist()

    one = Threads(1)
    whole, returns = run(range(4), one)
    half, _ = run(range(2), one)
    resumed, again = run(range(2, 4), one, half)
    assert (bits(resumed), again) == (bits(whole), returns)
    assert bits(half) != bits(whole)
    other, spread = run(range(4), Threads(None))
    assert (bits(other), spread) == (bits(whole), returns)


def test_playing_and_evaluating_change_nothing_but_by_learning():
    es, threads = rule(8), Threads(1)
    memory = es.start()
    before = {name: array.copy() for name, array in memory.items()}
    es.prepare(memory)
    es.evaluate(memory, 0, 4, threads)
    assert all((memory[name] == before[name]).all() for name in before)


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"population": 7},
            "population: 7 is not possible, rule es plays its episodes in groups of 2; give a multiple of 2",
        ),
        ({"network": {"excitatory_ratio": 0.8}}, "network.excitatory_ratio: 0.8 — rule es has no use for it; leave it out"),
        ({"network": {"expected_sparsity": 0.8}}, "network.expected_sparsity: 0.8 — rule es has no use for it"),
        ({"rule_options": {"noise_std": 0}}, "rule_options.noise_std: 0 "),
        ({"rule_options": {"weight_decay": -1}}, "rule_options.weight_decay: -1 "),
        ({"rule_options": {"starts": "some"}}, "rule_options.starts: some — "),
        ({"rule_options": {"sigma": 0.1}}, "rule_options.sigma"),
        ({"task": "digits"}, "rule: es cannot learn digits: it plays episodes that are compiled, and this task has none"),
        ({"reservoir": True}, "reservoir (--reservoir): True — rule es has no use for it"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(ExperimentError) as refused:
        Experiment(**{"task": "cartpole", "rule": "es", "population": 8, **settings})
    assert said in str(refused.value)


def test_actions_that_are_numbers_are_learned_too():
    es, threads = rule(16, "pendulum"), Threads(1)
    memory = es.start()
    played = es.learn(memory, 0, 4, threads)
    assert (played.steps == 200).all()
    assert (played.returns < 0).all()
    assert len(set(played.returns)) == 4
    assert Es.refusal(get_task("pendulum")) is None
    assert EsOptions() == EsOptions(noise_std=0.3, weight_decay=0.1, starts="own")
