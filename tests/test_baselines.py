"""What is measured beside returns: doing nothing, random actions, answers of the networks, signal in the updates."""

import dataclasses
import itertools
import json

import gymnasium
import numpy as np
import pytest

import faulty_environments  # noqa: F401 (registers its environments)
import naive
from rsrp_lava import Experiment, load_run, train
from rsrp_lava.engines import open_engine
from rsrp_lava.engines.baseline import WithoutNetwork
from rsrp_lava.kernels.rollout import count_output, no_outputs
from rsrp_lava.learners.baselines import play_few
from rsrp_lava.learners.population import share_of_networks, tied_share
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.rsrp import Rsrp, update_ratio
from rsrp_lava.learning.transforms import TRANSFORMS
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.tasks import get_task
from rsrp_lava.threads import Threads

TARGET = "gym:faulty_environments:Target-v0"
TINY = {"population": 8, "generations": 2, "evaluation_episodes": 6, "seed": 3, "network": {"n_neurons": 32}}
STREAM = 8000  #: random_bits.RANDOM_ACTIONS


# --- random actions ----------------------------------------------------------------------------------------------------


def random_outputs(seed, episode, step, n):
    """By the naive twin of the random bits: the step is the second word of the counter."""
    words = [w for c in range(-(-n // 4)) for w in naive.threefry4x64((seed, 0, episode, STREAM), (c, step, 0, 0))]
    return np.array([2 * (word >> 11) / 2**53 - 1 for word in words[:n]], np.float32)


def test_random_episodes_of_a_compiled_task_equal_slow_ones():
    task = get_task("acrobot")
    task = dataclasses.replace(task, max_steps=30)
    played = WithoutNetwork(task, 5).play(3, first=2)
    for k, episode in enumerate(range(2, 5)):
        state = np.zeros(task.state_size)
        task.reset(state, naive.uniforms(5, 0, episode, naive.TASK + naive.EVALUATION, task.random_size))
        total, steps, ended = 0.0, 0, False
        while steps < 30 and not ended:
            reward, ended = task.step(state, random_outputs(5, episode, steps, task.n_outputs))
            total, steps = total + reward, steps + 1
        assert (played.returns[k], played.steps[k]) == (total, steps)


def test_random_episodes_of_an_environment_equal_slow_ones():
    experiment = Experiment(task=TARGET, **TINY)
    engine = open_engine(experiment, Threads(1))
    try:
        engine.prepare(None)
        played = engine.play_blindly(3, first=1)
    finally:
        engine.close()
    for k, episode in enumerate(range(1, 4)):
        env = gymnasium.make("Target-v0")
        seed = int(naive.uniforms(3, 0, episode, naive.TASK + naive.EVALUATION, 1)[0] * 2**31)
        env.reset(seed=seed)
        total = 0.0
        for step in range(20):
            output = random_outputs(3, episode, step, 1)
            total += env.step(np.float32(-2) + (output + 1) / np.float32(2) * np.float32(4))[1]
        assert played.returns[k] == pytest.approx(total, rel=1e-12)
    assert played.steps.tolist() == [20, 20, 20]


def test_doing_nothing_is_what_a_network_without_releases_does():
    """Evaluation 0, outputs of 0, and the same episodes."""
    result = train(Experiment(**{**TINY, "generations": 1}))
    nothing = WithoutNetwork(get_task("cartpole"), 3).play(6, largest=0.0)
    assert result.metrics[0]["baselines"]["nothing"]["return"] == nothing.returns.mean()
    assert result.metrics[0]["evaluation_outputs"]["silent"] == 1


@pytest.mark.parametrize("task", ["cartpole", TARGET])
def test_baselines_are_the_same_for_any_threads_and_not_played_again_at_a_resume(task, tmp_path):
    experiment = Experiment(task=task, **TINY)
    one, two = (train(experiment, threads=threads).metrics for threads in (1, 2))
    assert one[0]["baselines"] == two[0]["baselines"]
    assert one[0]["baselines"]["random"]["episodes"] == 6
    train(experiment.replace(generations=1), out=tmp_path / "run", threads=1)
    train(experiment, resume=tmp_path / "run", threads=1)
    resumed = load_run(tmp_path / "run").metrics
    assert [("baselines" in record) for record in resumed] == [True, False, False]
    assert json.loads(json.dumps(one[0]["baselines"])) == resumed[0]["baselines"]


def test_an_environment_that_fails_under_random_actions_does_not_end_the_run():
    options = {"kwargs": {"fault": "raise"}, "on_error": "worst_rank"}
    experiment = Experiment(task="gym:faulty_environments:Faulty-v0", environment=options, **TINY)
    random = train(experiment.replace(generations=1), threads=1).metrics[0]["baselines"]["random"]
    assert 0 < random["episodes"] < 6


@pytest.mark.parametrize(
    ("length", "most", "episodes"), [(10, 128, 32), (1000, 128, 4), (300, 128, 16), (10, 6, 6), (5000, 2, 2), (10**6, 9, 4)]
)
def test_few_episodes_are_played_and_each_once(length, most, episodes):
    from rsrp_lava.engines.protocol import Outcome
    from rsrp_lava.normaliser import Observations

    def play(count, first):
        asked.extend(range(first, first + count))
        return Outcome(np.zeros(count), np.full(count, length), Observations.none(0), np.zeros(3, np.int64))

    asked = []
    assert len(play_few(play, most).returns) == episodes
    assert asked == list(range(episodes))


def test_rules_with_weights_have_baselines_too():
    settings = {"task": "cartpole", "rule": "nrl", "population": 4, "generations": 1, "evaluation_episodes": 4}
    baselines = train(Experiment(**settings)).metrics[0]["baselines"]
    assert set(baselines) == {"nothing", "random"}
    assert 8 <= baselines["nothing"]["return"] <= 11


def test_guessing_an_image_is_right_as_often_as_its_class_is_there():
    from rsrp_lava.tasks.data import load_data

    result = train(Experiment(task="digits", population=8, generations=1))
    labels = load_data("digits").test.labels
    assert result.metrics[0]["baselines"]["guess"]["return"] == np.bincount(labels).max() / len(labels)


# --- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_answers_are_counted(n):
    values = [-1.5, -1.0, -0.0, 0.0, 0.5, 1.0]
    counts = no_outputs(n)
    ref = np.zeros(2 + max(2, n), int)
    every = list(itertools.product(values, repeat=n))[:: max(1, n**3 // 10)]
    for answer in every:
        output = np.array(answer, np.float32)
        count_output(output, counts)
        ref[0] += not output.any()
        ref[1] += (np.abs(output) >= 1).all()
        ref[2 + (int(output[0] > 0) if n == 1 else int(output.argmax()))] += 1
    assert counts.tolist() == ref.tolist()
    assert counts[2:].sum() == len(every)


@pytest.mark.parametrize("task", ["acrobot", TARGET])
def test_answers_add_up_over_parts_and_processes(task):
    experiment = Experiment(task=task, **TINY)
    frozen, n = experiment.build_network().initial_probabilities({}), experiment.build_task().n_observations
    found = []
    for threads in (1, 2):
        engine = open_engine(experiment, Threads(threads))
        try:
            engine.prepare(None)
            whole = engine.play(frozen, Normaliser.start(n), 0, 6)
            parts = [engine.play(frozen, Normaliser.start(n), 0, 3, first=first) for first in (0, 3)]
        finally:
            engine.close()
        assert whole.outputs.tolist() == sum(part.outputs for part in parts).tolist()
        assert whole.outputs[2:].sum() == whole.steps.sum()
        found.append(whole.outputs.tolist())
    assert found[0] == found[1]


# --- networks and chance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.38, 0.9])
def test_share_of_the_networks_is_found(share):
    random = np.random.default_rng(0)
    networks = random.normal(size=20_000) * np.sqrt(share)
    first, second = (networks + random.normal(size=20_000) * np.sqrt(1 - share) + shift for shift in (5.0, 9.0))
    assert share_of_networks(3 * first, 3 * second) == pytest.approx(share, abs=0.02)
    first[::7] = np.nan
    assert share_of_networks(first, second) == pytest.approx(share, abs=0.02)


def test_no_share_where_nothing_differs():
    assert share_of_networks(np.ones(9), np.ones(9)) is None
    assert share_of_networks(np.full(9, np.nan), np.ones(9)) is None


@pytest.mark.parametrize("task", ["cartpole", TARGET])
def test_a_second_time_a_network_starts_otherwise_and_the_first_time_as_before(task):
    """More episodes begin with the same ones; that is how the second return of a network is found."""
    experiment = Experiment(task=task, **TINY)
    half, n = experiment.build_network().initial_probabilities({}), experiment.build_task().n_observations
    engine = open_engine(experiment, Threads(1))
    three = open_engine(experiment.replace(environment={"episodes_per_sample": 3}), Threads(1))
    try:
        engine.prepare(None)
        three.prepare(None)
        one, two, more = (engine.play(half, Normaliser.start(n), 4, 6, episodes=e).returns for e in (None, 2, 3))
        np.testing.assert_array_equal(more, three.play(half, Normaliser.start(n), 4, 6).returns)
    finally:
        engine.close()
        three.close()
    second = 2 * two - one
    assert (second != one).any()
    if task == "cartpole":
        np.testing.assert_array_equal(second, np.rint(second))  # a whole number of steps


@pytest.mark.parametrize(("returns", "share"), [([1, 1, 1, 2], 0.75), ([1, 2, 3, 4], 0.25), ([np.nan] * 3 + [1], 0.75)])
def test_tied_returns(returns, share):
    assert tied_share(np.array(returns, float)) == share


# --- signal ------------------------------------------------------------------------------------------------------------


def updates(random, rho, returns_of, transform="centered_rank", n=32):
    """An update from naive releases: θ ~ Bernoulli(ρ), returns of them."""
    released = random.random((n, *rho.shape)) < rho
    broadcast = TRANSFORMS[transform](returns_of(released), None)
    credit = np.einsum("i,ijk->jk", broadcast.units.astype(float), released - rho.astype(np.float64))
    rule = Rsrp(OPTIMIZERS["sgd"], 1.0, 1e-3, 0.0)
    return rule.update(rho, credit, broadcast, {})


@pytest.mark.parametrize("transform", ["centered_rank", "zero_mean", "none"])
def test_on_rewards_of_pure_noise_the_update_is_that_of_noise(transform):
    """A ratio of 1 on average, for probabilities of any kind."""
    random = np.random.default_rng(4)
    rho = random.uniform(0.02, 0.98, (12, 20)).astype(np.float32)
    found = [updates(random, rho, lambda released: random.exponential(size=len(released)), transform) for _ in range(800)]
    ratios = np.array([update_ratio([update]) for update in found])
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / np.sqrt(len(ratios)) < 0.03


@pytest.mark.parametrize("part", [1.0, 0.5])
def test_with_a_signal_the_update_is_longer_by_what_it_explains(part):
    """1 + f N / K: N = 128, K = 64, and releases explain nearly all of the ranks' variance, or half of it."""
    random = np.random.default_rng(5)
    rho, wanted = np.full((8, 8), 0.5, np.float32), random.normal(size=(8, 8))

    def returns_of(released):
        chance = random.normal(size=len(released)) * 0.5 * np.linalg.norm(wanted)  # of the same variance as the sum
        return np.sqrt(part) * (released * wanted).sum(axis=(1, 2)) + np.sqrt(1 - part) * chance

    ratios = [update_ratio([updates(random, rho, returns_of, n=128)]) for _ in range(60)]
    assert np.mean(ratios) == pytest.approx(1 + 0.96 * part * 2, abs=0.12)


def test_equal_rewards_have_no_ratio_and_projections_add_up():
    update = updates(np.random.default_rng(0), np.full((4, 4), 0.4, np.float32), lambda released: np.ones(len(released)))
    assert update_ratio([update]) is None
    assert update_ratio([update, update._replace(squared=2.0, noise_squared=1.0)]) == 2


def test_what_is_measured_comes_back_from_a_lava_process():
    from rsrp_lava.engines.lava_messages import pack_update, unpack_update

    random = np.random.default_rng(6)
    update = updates(random, random.uniform(0.1, 0.9, (3, 5)).astype(np.float32), lambda released: released.sum(axis=(1, 2)))
    back = unpack_update(pack_update(update), (3, 5), Rsrp(OPTIMIZERS["sgd"], 1.0, 1e-3, 0.0))
    assert back[2:] == update[2:]
    assert update.noise_squared > 0
