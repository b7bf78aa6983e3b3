"""The fused engine: whole episodes against slow ones, threads, pieces, evaluation, normaliser, reservoir, kernel cache."""

import dataclasses
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from numba import njit

import naive
import rsrp_lava.kernels
from drivers import copy_start
from rsrp_lava import ExperimentError
from rsrp_lava.engines import fused
from rsrp_lava.engines.fused import FusedEngine
from rsrp_lava.kernels.release import unpack_bits
from rsrp_lava.kernels.rollout import Synapses, play_episodes, specialise, task_functions
from rsrp_lava.mapping import floating_constants
from rsrp_lava.mapping.release import ReleaseDraw, reservoir_release
from rsrp_lava.network import Network, NetworkOptions
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.tasks import get_task
from rsrp_lava.tasks.environment import EnvironmentOptions
from rsrp_lava.threads import Threads, available_threads

TASK = get_task("cartpole")
NAMES = ("input", "recurrent", "readout")
START = Normaliser.start(4)
SCALED = Normaliser.of_moments(100.0, np.array([0.01, -0.02, 0.003, 0.1]), np.array([0.02, 0.3, 0.01, 0.5]))


def make_network(reservoir=False, **options):
    return Network(NetworkOptions(**options), 4, 1, reservoir)


def random_probabilities(network, seed=0):
    random = np.random.default_rng(seed)
    return {p.name: random.uniform(0.05, 0.95, (p.n_pre, p.n_post)).astype(np.float32) for p in network.projections}


class Engines:
    """Opens engines and closes them at the end of a test."""

    def __init__(self):
        self.opened = []

    def __call__(self, network=None, threads=1, seed=7, task=TASK, p_bits=16):
        network = network or make_network()
        engine = FusedEngine(network, floating_constants(network), task, seed, ReleaseDraw(p_bits), Threads(threads))
        self.opened.append(engine)
        engine.prepare(None)
        return engine


@pytest.fixture
def open_engine():
    engines = Engines()
    yield engines
    for engine in engines.opened:
        engine.close()


def slow_episode(network, releases, normaliser, seed, generation, sample, phase=0, start_of=None):
    """The return and the observations of one episode, played by the twin in Gymnasium's own CartPole.

    `start_of`: the sample whose start it is, if not this one's own.
    """
    potentials = naive.uniforms(seed, generation, sample, naive.MEMBRANE + phase, network.options.n_neurons)
    start = -0.05 + 0.1 * naive.uniforms(seed, generation, sample if start_of is None else start_of, naive.TASK + phase, 4)
    twin = naive.Sample(releases, potentials, network.options.excitatory_ratio)
    return naive.play_cartpole(twin, gymnasium.make("CartPole-v1").unwrapped, start, normaliser.mean, 1 / normaliser.std)


def drawn(network, probabilities, seed, generation, sample, p_bits=16):
    return naive.draw_network([probabilities[name] for name in NAMES], p_bits, seed, generation, sample)


def assert_same(one, other):
    np.testing.assert_array_equal(one.returns, other.returns)
    np.testing.assert_array_equal(one.steps, other.steps)
    assert one.observations.integers() == other.observations.integers()


# --- against the slow twin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normaliser", [pytest.param(START, marks=pytest.mark.slow), SCALED], ids=["unscaled", "scaled"])
def test_returns_equal_slow_episodes_in_gymnasium(open_engine, normaliser):
    network = make_network()
    probabilities = random_probabilities(network)
    outcome = open_engine(network).play(probabilities, normaliser, 5, 4)
    expected = [slow_episode(network, drawn(network, probabilities, 7, 5, i), normaliser, 7, 5, i)[0] for i in range(4)]
    assert outcome.returns.tolist() == expected
    assert outcome.steps.tolist() == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize(
    ("options", "p_bits"),
    [
        ({"n_neurons": 64}, 16),
        ({"n_neurons": 100}, 16),
        ({"n_neurons": 320}, 8),
        ({"n_neurons": 256, "excitatory_ratio": 0.3}, 6),
        ({"n_neurons": 2}, 20),
    ],
    ids=str,
)
def test_networks_of_other_sizes_equal_slow_episodes(open_engine, options, p_bits):
    network = make_network(**options)
    probabilities = random_probabilities(network, 1)
    outcome = open_engine(network, p_bits=p_bits).play(probabilities, SCALED, 0, 2)
    for sample in range(2):
        releases = drawn(network, probabilities, 7, 0, sample, p_bits)
        assert outcome.returns[sample] == slow_episode(network, releases, SCALED, 7, 0, sample)[0]


def test_shared_starts_are_those_of_the_first_sample_but_not_in_evaluations(open_engine):
    network, shared = make_network(), get_task("cartpole", EnvironmentOptions(starts="shared"))
    probabilities = random_probabilities(network)
    own, same = (open_engine(network, task=task) for task in (TASK, shared))
    outcome = same.play(probabilities, SCALED, 5, 4)
    for sample in range(4):
        releases = drawn(network, probabilities, 7, 5, sample)
        assert outcome.returns[sample] == slow_episode(network, releases, SCALED, 7, 5, sample, start_of=0)[0]
    assert outcome.returns.tolist() != own.play(probabilities, SCALED, 5, 4).returns.tolist()
    assert same.play(probabilities, SCALED, 5, 2, first=2).returns.tolist() == outcome.returns[2:].tolist()
    assert_same(*(engine.play(probabilities, SCALED, 5, 4, deterministic=True) for engine in (own, same)))


def test_evaluation_plays_the_likelier_release_of_every_synapse(open_engine):
    """θ = [ρ > ½], so ρ = ½ does not release; starts of its own (phase EVALUATION)."""
    network = make_network(n_neurons=100)
    probabilities = random_probabilities(network, 2)
    for rho in probabilities.values():
        rho[0] = 0.5
    outcome = open_engine(network).play(probabilities, START, 3, 3, deterministic=True)
    releases = [probabilities[name] > 0.5 for name in NAMES]
    assert not any(released[0].any() for released in releases)
    for sample in range(3):
        expected, _ = slow_episode(network, releases, START, 7, 3, sample, naive.EVALUATION)
        assert outcome.returns[sample] == expected


# --- one answer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deterministic", [False, True])
def test_any_number_of_threads_gives_the_same_answer(open_engine, deterministic):
    probabilities = random_probabilities(make_network())
    one = open_engine(threads=1).play(probabilities, SCALED, 2, 100, deterministic)
    for _ in range(3):
        assert_same(open_engine(threads=2).play(probabilities, SCALED, 2, 100, deterministic), one)


def test_a_tally_given_back_while_another_is_made_counts_once(open_engine, monkeypatch):
    """A rare order of events: one thread ends its piece just while the other, having found no tally free, makes one."""
    probabilities, engine = random_probabilities(make_network()), open_engine()
    expected = engine.play(probabilities, SCALED, 2, 8)
    making, given_back, made = threading.Event(), threading.Event(), []
    play, make = fused.play_episodes, engine._tally

    def make_slowly(*arguments, **options):
        made.append(threading.current_thread())
        if len(made) == 2:
            making.set()
            assert given_back.wait(60)
        return make(*arguments, **options)

    def play_until_the_other_makes_one(*arguments):
        play(*arguments)
        assert making.wait(60)

    def halves_at_once(work, n, piece):
        with ThreadPoolExecutor(2) as pool:
            for half in [pool.submit(work, 0, n // 2), pool.submit(work, n // 2, n)]:
                half.add_done_callback(lambda _: given_back.set() if making.is_set() else None)
        half.result()

    monkeypatch.setattr(engine, "_tally", make_slowly)
    monkeypatch.setattr(fused, "play_episodes", play_until_the_other_makes_one)
    monkeypatch.setattr(engine.threads, "map_ranges", halves_at_once)
    assert_same(engine.play(probabilities, SCALED, 2, 8), expected)
    assert len(made) == 2


def test_a_sample_does_not_depend_on_how_many_are_played(open_engine):
    """Pieces of work are 8 samples."""
    probabilities = random_probabilities(make_network())
    engine = open_engine(threads=2)
    whole = engine.play(probabilities, START, 0, 40)
    for samples in (1, 2, 7, 8, 9, 16, 17):
        part = engine.play(probabilities, START, 0, samples)
        np.testing.assert_array_equal(part.returns, whole.returns[:samples])
        np.testing.assert_array_equal(part.steps, whole.steps[:samples])
        assert part.observations.integers()[0] == [part.steps.sum()] * 4


def test_playing_has_no_side_effects(open_engine):
    engine = open_engine(threads=2)
    probabilities = random_probabilities(make_network())
    kept = {name: rho.copy() for name, rho in probabilities.items()}
    first = engine.play(probabilities, SCALED, 1, 30)
    engine.play(random_probabilities(make_network(), 9), START, 8, 5, deterministic=True)
    assert_same(engine.play(probabilities, SCALED, 1, 30), first)
    for name, rho in kept.items():
        np.testing.assert_array_equal(probabilities[name], rho)


def test_seed_generation_sample_and_phase_all_matter(open_engine):
    probabilities = random_probabilities(make_network())
    engine = open_engine(seed=7)
    base = engine.play(probabilities, START, 0, 64).returns
    assert len(np.unique(base)) > 10  # samples differ
    others = [
        engine.play(probabilities, START, 1, 64).returns,
        open_engine(seed=8).play(probabilities, START, 0, 64).returns,
        engine.play(probabilities, START, 0, 64, deterministic=True).returns,
        engine.play(probabilities, START, 1, 64, deterministic=True).returns,
    ]
    for k, returns in enumerate([base, *others]):
        for other in others[k:]:
            assert np.mean(returns == other) < 0.5


@njit
def count_and_first(functions, values):
    return np.float64(len(functions.value)) + values[0]


def test_a_kernel_may_run_while_another_thread_specialises_it():
    functions = task_functions(TASK.reset, TASK.observe, TASK.step)
    specialise(count_and_first, functions, np.zeros(1))
    stop = threading.Event()

    def call():
        while not stop.is_set():
            assert count_and_first(functions, np.ones(1)) == 4

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call)
        for dtype in (np.float64, np.float32, np.int64, np.int32):
            for _ in range(500):
                specialise(count_and_first, functions, np.zeros(1, dtype))
        stop.set()
        calling.result()
    assert len(count_and_first.overloads) == 4


@njit
def start_and_step(functions, state, random, observation, output):
    reset, observe, step = functions.value
    reset(state, random)
    observe(state, observation)
    return step(state, output)


def constant_task(number):
    """Three functions that nobody else holds."""

    @njit
    def reset(state, random):
        state[0] = number + random[0]

    @njit
    def observe(state, observation):
        observation[0] = 2 * state[0]

    @njit
    def step(state, output):
        return state[0] + output[0], False

    return task_functions(reset, observe, step)


def test_a_kernel_of_held_functions_calls_those_of_each_task_and_is_compiled_once():
    """Functions stay where they are when nothing else refers to them: compiled code holds bare addresses."""
    tasks = [constant_task(float(number)) for number in range(5)]
    gc.collect()
    for number, functions in enumerate(tasks):
        state, observation = np.zeros(1), np.zeros(1)
        earned = start_and_step(functions, state, np.full(1, 0.25), observation, np.ones(1, np.float32))
        assert (earned, observation[0]) == ((number + 1.25, False), 2 * (number + 0.25))
    assert len(start_and_step.overloads) == 1


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "pendulum"])
def test_nothing_is_compiled_once_an_engine_is_prepared(name):
    """Neither for other tasks nor for pieces, evaluations or normalisers: compiling during a generation would stall it."""
    task = get_task(name)
    network = Network(NetworkOptions(n_neurons=64), task.n_observations, task.n_outputs)
    engine = FusedEngine(network, floating_constants(network), task, 3, ReleaseDraw(16), Threads(1), episodes=2)
    engine.prepare(None)
    compiled = len(play_episodes.overloads)
    half, start = network.initial_probabilities({}), Normaliser.start(task.n_observations)
    seen = engine.play(half, start, 0, 9).observations
    engine.play(half, start.update(seen), 1, 3, deterministic=True, first=2)
    assert len(play_episodes.overloads) == compiled
    engine.close()


def test_an_error_on_one_thread_stops_the_others():
    begun = []

    def work(first, last):
        begun.append(first)
        if first == 1:
            raise ZeroDivisionError
        time.sleep(0.01)

    pool = Threads(min(2, available_threads()))
    with pytest.raises(ZeroDivisionError):
        pool.map_ranges(work, 50, 1)
    pool.close()
    assert len(begun) < 50


def test_a_reset_above_the_threshold_is_refused():
    """Such neurons spike for ever, and so do the padding lanes of 100 neurons, whose rows of synapses do not exist."""
    with pytest.raises(ValueError, match="v_reset"):
        NetworkOptions(n_neurons=100, v_reset=1.5)


def test_an_episode_ends_at_the_limit_of_the_task(open_engine):
    @njit
    def never_ends(state, output):
        return 0.5, False

    endless = dataclasses.replace(TASK, step=never_ends)
    probabilities = random_probabilities(make_network(n_neurons=64))
    outcome = open_engine(make_network(n_neurons=64), task=endless).play(probabilities, START, 0, 3)
    assert outcome.steps.tolist() == [500] * 3
    assert outcome.returns.tolist() == [250.0] * 3
    seven = dataclasses.replace(TASK, max_steps=7)
    outcome = open_engine(make_network(n_neurons=64), task=seven).play(probabilities, START, 0, 3)
    assert outcome.returns.tolist() == [7.0] * 3


def test_a_population_of_none_is_refused(open_engine):
    with pytest.raises(ExperimentError, match="samples: 0 must be 1 or more"):
        open_engine(make_network(n_neurons=8)).play(random_probabilities(make_network(n_neurons=8)), START, 0, 0)


# --- normaliser --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normaliser", [START, SCALED], ids=["unscaled", "scaled"])
def test_sums_are_those_of_the_observations(open_engine, normaliser):
    """Python's exact fractions over what the slow episodes saw (more of the sums: test_exact_sums.py)."""
    network = make_network(n_neurons=64)
    probabilities = random_probabilities(network)
    seen = np.concatenate(
        [slow_episode(network, drawn(network, probabilities, 7, 0, i), normaliser, 7, 0, i)[1] for i in range(10)]
    )
    counts, sums, squares = open_engine(network, threads=2).play(probabilities, normaliser, 0, 10).observations.integers()
    assert counts == [len(seen)] * 4
    assert [Fraction(s, 2**1074) for s in sums] == [sum(map(Fraction, column)) for column in seen.T.tolist()]
    assert [Fraction(s, 2**2148) for s in squares] == [sum(Fraction(x) ** 2 for x in column) for column in seen.T.tolist()]


# --- reservoir ---------------------------------------------------------------------------------------------------------


def test_a_reservoir_keeps_its_recurrent_synapses(open_engine):
    """One draw at ½, the same in every sample, generation and phase; input and readout are drawn as ever."""
    network = make_network(reservoir=True, n_neurons=100)
    recurrent = network.projections[1]
    release = reservoir_release(recurrent, 7)
    assert (release.dtype, release.shape) == (bool, (100, 100))
    assert abs(release.mean() - 0.5) < 5 * 0.5 / 100
    expected = naive.draw_release(np.full((100, 100), 0.5, np.float32), 1, 7, 0, 0, naive.RESERVOIR)
    np.testing.assert_array_equal(release, expected)
    assert np.any(release != reservoir_release(recurrent, 8))

    probabilities = network.initial_probabilities({"recurrent": release})
    assert set(np.unique(probabilities["recurrent"])) == {0.0, 1.0}
    planes = Synapses(*(ReleaseDraw().source(p, probabilities[p.name]) for p in network.projections))
    inputs = []
    for key, sample in (((7, 0, 0), 0), ((7, 0, 0), 1), ((7, 9, 0), 0), ((7, 0, naive.EVALUATION), 0)):
        _, input_rows, rows, _ = copy_start(planes, floating_constants(network), 1, key, sample)
        np.testing.assert_array_equal(unpack_bits(rows, (100, 100)), release)
        inputs.append(input_rows.tobytes())
    assert len(set(inputs[:3])) == 3

    outcome = open_engine(network).play(probabilities, START, 4, 2)
    for sample in range(2):
        w_in, _, w_out = drawn(network, probabilities, 7, 4, sample)
        assert outcome.returns[sample] == slow_episode(network, (w_in, release, w_out), START, 7, 4, sample)[0]


# --- kernel cache ------------------------------------------------------------------------------------------------------

PROBE = """
import sys
import numpy as np
from copied.credit import sum_credit
from copied.release import draw_release
planes = np.random.default_rng(0).integers(0, 2**64, (5, 2), np.uint64)
words, credit = np.zeros(2, np.uint64), np.zeros(128, np.int64)
if sys.argv[1] == "release":
    draw_release(planes, 1, 2, 3, 4, words)
    print(sum(draw_release.stats.cache_hits.values()), int(words[0]))
else:
    sum_credit(planes, np.array([1, 20, 300], np.int32), 1, 2, 3, 0, 2, credit)
    print(sum(sum_credit.stats.cache_hits.values()), credit.sum())
"""


@pytest.mark.parametrize(
    ("kernel", "file", "old", "new"),
    [
        ("release", "random_bits.py", "_mix(x0, x1, 14)", "_mix(x0, x1, 15)"),
        pytest.param(
            *("credit", "lanes.py", "builder.add(old, builder.and_(", "builder.sub(old, builder.and_("),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_editing_a_kernel_file_invalidates_what_inlines_it(tmp_path, kernel, file, old, new):
    """Numba itself compares only the file of the outermost kernel (release.py, credit.py), which is not edited here."""
    package = tmp_path / "copied"
    shutil.copytree(Path(rsrp_lava.kernels.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def probe():
        """(kernels loaded from the cache, result)"""
        command = [sys.executable, "-B", "-c", PROBE, kernel]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return [int(word) for word in done.stdout.split()]

    _, result = probe()
    assert probe() == [1, result]  # unchanged: from the cache
    text = (package / file).read_text("utf-8")
    assert old in text
    (package / file).write_text(text.replace(old, new), "utf-8")
    hits, edited = probe()
    assert hits == 0
    assert edited != result
    if kernel == "credit":
        assert edited == -result


def test_editing_a_file_beside_a_kernel_invalidates_what_inlines_it(tmp_path):
    """Kernels outside our folder, such as the tasks', inline their neighbours."""
    head = "from rsrp_lava.kernels.compiling import kernel\n"
    inner = head + "@kernel\ndef inner(x):\n    return 2 * x\n"
    (tmp_path / "outer.py").write_text(head + "from inner import inner\n@kernel\ndef outer(x):\n    return inner(x) + 1\n")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    code = "from outer import outer; result = outer(20); print(sum(outer.stats.cache_hits.values()), result)"
    said = []
    for text in (inner, inner, inner.replace("2 * x", "3 * x")):
        (tmp_path / "inner.py").write_text(text)
        command = [sys.executable, "-B", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        said.append(done.stdout.split())
    assert said == [["0", "41"], ["1", "41"], ["0", "61"]]
