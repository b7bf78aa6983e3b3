"""Tasks gym:ID: spaces, names, episodes against slow ones, processes, and environments that fail."""

import json
import math
import os

import gymnasium
import numpy as np
import pytest
import yaml
from gymnasium import spaces

import faulty_environments  # noqa: F401 (registers its environments)
import naive
from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.engines import open_engine
from rsrp_lava.errors import EngineError
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.tasks import EnvironmentOptions, GymTask, bodies, get_task, recipe
from rsrp_lava.tasks.gym import Environment
from rsrp_lava.tasks.spaces import decoder, flatten, observation_size, one_hot_parts
from rsrp_lava.threads import Threads

TINY = {"population": 8, "generations": 2, "evaluation_episodes": 4, "seed": 3, "network": {"n_neurons": 32}}
TARGET, FAULTY = "gym:faulty_environments:Target-v0", "gym:faulty_environments:Faulty-v0"


def faulty(fault, on_error="worst_rank", **kwargs):
    options = {"kwargs": {"fault": fault, **kwargs}, "on_error": on_error}
    return Experiment(task=FAULTY, environment=options, **TINY)


def returns_of(experiment, threads=1, first=0, samples=6):
    engine = open_engine(experiment, Threads(threads))
    try:
        engine.prepare(None)
        half = experiment.build_network().initial_probabilities({})
        return engine.play(half, Normaliser.start(experiment.build_task().n_observations), 0, samples, first=first)
    finally:
        engine.close()


# --- spaces ------------------------------------------------------------------------------------------------------------

ACTIONS = [
    (spaces.Discrete(2), 1),
    (spaces.Discrete(2, start=5), 1),
    (spaces.Discrete(7, start=-3), 7),
    (spaces.Box(-2, 3, (2, 3)), 6),
    (spaces.Box(np.float64(-1e9), np.float64(1e9), (3,), np.float64), 3),
    (spaces.Box(np.array([-1, -np.inf, 0], np.float32), np.array([1, 5, np.inf], np.float32)), 3),
    (spaces.MultiBinary((2, 3)), 6),
    (spaces.MultiDiscrete([2, 5, 3]), 1 + 5 + 3),
    (spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[1, 2], [3, 4]]), 1 + 3 + 4 + 1),
    (spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 1, (2,))]), 5),
    (spaces.Dict({"b": spaces.MultiBinary(2), "a": spaces.Discrete(2)}), 3),
]


@pytest.mark.parametrize(("space", "n_outputs"), ACTIONS, ids=lambda value: str(value)[:40])
def test_every_output_is_an_action_of_the_space(space, n_outputs):
    size, decode = decoder(space)
    assert size == n_outputs
    random = np.random.default_rng(0)
    actions = [decode((random.normal(size=size) * scale).astype(np.float32)) for scale in [0, 0.3, 1, 100] * 20]
    assert all(space.contains(action) for action in actions)
    assert len({str(action) for action in actions}) > 1


def test_outputs_become_the_actions_that_the_table_promises():
    def act(space, *outputs):
        return decoder(space)[1](np.array(outputs, np.float32))

    assert [act(spaces.Discrete(2), x) for x in (-0.1, 0.0, 0.1)] == [0, 0, 1]
    assert act(spaces.Discrete(3, start=4), 1, 7, 7) == 5  # the first of equal ones
    np.testing.assert_array_equal(act(spaces.Box(-2, 6, (4,)), -9, -1, 0.5, 9), np.array([-2, -2, 4, 6], np.float32))
    half = spaces.Box(np.array([-np.inf, 0], np.float32), np.array([3, np.inf], np.float32))
    np.testing.assert_array_equal(act(half, 8, -5), [3, 0])
    np.testing.assert_array_equal(act(half, -8, 5), [-8, 5])
    np.testing.assert_array_equal(act(spaces.MultiBinary(3), 1, 0, -1), [1, 0, 0])
    np.testing.assert_array_equal(act(spaces.MultiDiscrete([2, 3]), 1, 0, 0, 5), [1, 2])
    assert act(spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Discrete(2)}), 1, -1) == {"a": 1, "b": 0}


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2, 3)),
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
        spaces.Discrete(5),
        spaces.MultiBinary(4),
        spaces.MultiDiscrete([3, 4]),
        spaces.Dict({"x": spaces.Box(-1, 1, (3,)), "k": spaces.Discrete(4)}),
        spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    ],
    ids=str,
)
def test_observations_are_flattened_as_gymnasium_does(space):
    space.seed(1)
    for _ in range(5):
        observation = space.sample()
        vector = flatten(space, observation)
        assert (vector.dtype, vector.shape) == (np.float64, (observation_size(space),))
        np.testing.assert_array_equal(vector, spaces.flatten(space, observation).astype(np.float64))


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        (spaces.Discrete(5, start=-2), ((0, 5),)),
        (spaces.MultiDiscrete([[3, 4], [2, 2]]), ((0, 3), (3, 4), (7, 2), (9, 2))),
        (spaces.MultiBinary(4), ()),
        (spaces.Box(-1, 1, (2, 3)), ()),
        (spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(3), spaces.Discrete(2)]), ((2, 3), (5, 2))),
        (
            spaces.Dict(
                {
                    "z": spaces.Discrete(3),
                    "a": spaces.Dict({"k": spaces.Box(0, 1, (4,)), "m": spaces.MultiDiscrete([2, 5])}),
                    "b": spaces.MultiBinary((2, 2)),
                }
            ),
            ((4, 2), (6, 5), (15, 3)),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_one_hot_parts_are_where_gymnasium_puts_them(space, parts):
    assert one_hot_parts(space) == parts
    space.seed(3)
    seen = np.array([spaces.flatten(space, space.sample()) for _ in range(200)], float)
    for first, size in parts:
        part = seen[:, first : first + size]
        assert set(np.unique(part)) == {0.0, 1.0}
        assert (part.sum(1) == 1).all()
        assert part.any(0).all()


def test_an_environment_of_one_hot_observations_has_a_recipe_of_its_own():
    table = Experiment(task="gym:FrozenLake-v1")
    assert (table.network.one_hot_inputs, table.network.tau_out_ms) == ("unscaled", 3.0)
    network = table.build_network()
    assert network.unscaled.all()
    assert network.n_active == 1
    assert network.input_weight == pytest.approx(2 * 0.4 * 5.0)  # one input alone: well above the threshold of 1
    larger = Experiment(task="gym:FrozenLake-v1", environment={"kwargs": {"map_name": "8x8"}})
    assert larger.build_network().input_weight == network.input_weight
    numbers = Experiment(task="gym:CartPole-v1", environment={"compiled": False})
    assert not numbers.build_network().unscaled.any()
    timed = Experiment(
        task="gym:FrozenLake-v1", environment={"wrappers": [{"name": "TimeAwareObservation", "kwargs": {"flatten": False}}]}
    )
    assert (timed.network.tau_out_ms, timed.build_network().n_active) == (10.0, 2)
    assert timed.build_network().unscaled.sum() == 16


def test_the_state_of_an_environment_is_not_written_to():
    """The kernel standardises an observation in place, and MountainCarContinuous gives out its state."""
    environment = Environment("MountainCarContinuous-v0", EnvironmentOptions())
    for vector in (environment.reset(0), environment.step(np.ones(1, np.float32))[0]):
        before = np.array(environment._env.unwrapped.state)
        vector[:] = 9
        np.testing.assert_array_equal(environment._env.unwrapped.state, before)


class Foreign(spaces.Space):
    """Of another package, with no more than it must have."""


NUMBERS, GRAPH, TREE = spaces.Box(-1, 1, (2,)), spaces.Graph(spaces.Discrete(2), None), spaces.Sequence(spaces.Discrete(2))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Dict({"x": NUMBERS, "net": GRAPH}), ["its part 'net', of Graph,", "filter_keys: [x]"]),
        (
            spaces.Dict({"a": spaces.Dict({"b": TREE, "c": NUMBERS}), "z": NUMBERS}),
            ["'a.b', of Sequence,", "filter_keys: [z]"],
        ),
        (spaces.Dict({"x": Foreign(), "y": GRAPH}), ["'x', of Foreign, and its part 'y', of Graph, have", "wrap the env"]),
        (spaces.Tuple([NUMBERS, Foreign()]), ["its part '1', of Foreign, has", "wrap the environment"]),
        (Foreign(), ["it, of Foreign, has no fixed number"]),
        (len, ["builtins.builtin_function_or_method, which is no space of Gymnasium"]),
    ],
)
def test_the_part_without_a_size_is_named_and_what_helps(space, said):
    with pytest.raises(ExperimentError) as error:
        observation_size(space)
    assert [words for words in said if words not in str(error.value)] == []


def test_the_part_of_an_action_is_named():
    with pytest.raises(ExperimentError, match=r"its part 'a\.1', of Graph, is none of Discrete"):
        decoder(spaces.Dict({"a": spaces.Tuple([spaces.Discrete(2), GRAPH])}))


@pytest.mark.parametrize("space", [spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)], ids=str)
def test_spaces_without_a_size_are_refused(space):
    with pytest.raises(ExperimentError, match="wrap the environment"):
        observation_size(space)
    with pytest.raises(ExperimentError, match="none of Discrete, Box"):
        decoder(space)


# --- names and options -------------------------------------------------------------------------------------------------


def test_what_is_asked_of_gymnasium_is_what_it_makes():
    task = get_task("gym:Taxi-v4" if "Taxi-v4" in gymnasium.registry else "gym:Taxi-v3")
    assert isinstance(task, GymTask)
    assert (task.n_observations, task.n_outputs, task.max_steps) == (500, 6, 200)
    assert get_task("gym:CartPole-v1") is get_task("cartpole")
    options = {
        "max_steps": 7,
        "compiled": False,
        "wrappers": [{"name": "FrameStackObservation", "kwargs": {"stack_size": 3}}],
    }
    task = Experiment(task="gym:CartPole-v1", environment=options).build_task()
    assert (task.n_observations, task.max_steps) == (12, 7)
    assert Experiment(task="cartpole", environment={"max_steps": 5000}).build_task().max_steps == 5000


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("gym:CartPol-v1", {}, "did you mean gym:CartPole-v1"),
        ("gym:Nothing-like-it-v1", {}, "name the module that registers it"),
        ("gym:no_such_module:X-v0", {}, "No module named"),
        ("gym:CartPole-v1", {"kwargs": {"gravitation": 3}}, "gravitation"),
        ("gym:CartPole-v1", {"wrappers": [{"name": "NoSuchWrapper"}]}, "NoSuchWrapper is not in gymnasium.wrappers"),
        ("gym:CartPole-v1", {"max_steps": 0}, "environment.max_steps"),
        ("gym:CartPole-v1", {"max_step": 5}, "did you mean 'environment.max_steps'"),
        ("gym:CartPole-v1", {"on_error": "ignore"}, "environment.on_error"),
        ("gym:CartPole-v1", {"episodes_per_sample": True}, "environment.episodes_per_sample"),
        ("cartpole", {"kwargs": {"gravity": 3}}, "is for gym: tasks, not cartpole"),
        ("digits", {"max_steps": 3}, "is for tasks with episodes; digits has images"),
    ],
)
def test_what_cannot_be_is_said(task, options, said):
    with pytest.raises(ExperimentError) as error:
        Experiment(task=task, environment=options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("task", "way"),
    [
        ("gym:faulty_environments:Targte-v0", "did you mean gym:faulty_environments:Target-v0?"),
        ("gym:faulty_environments:Target-v7", "did you mean gym:faulty_environments:Target-v0?"),
        ("gym:faulty_environments:Pendulam-v1", "did you mean gym:Pendulum-v1?"),
        ("gym:faulty_environmets:Target-v0", "did you mean gym:faulty_environments:Target-v0?"),
        ("gym:Nowhere/Thing-v0", "none has the namespace Nowhere: install the package that registers it"),
        ("gym:nowhere_at_all:Thing-v0", "install its package, or run where its file is"),
    ],
)
def test_hints_keep_what_was_right(task, way, monkeypatch):
    monkeypatch.chdir(os.path.dirname(__file__))  # a module beside the user is one that may be meant
    with pytest.raises(ExperimentError) as error:
        Experiment(task=task)
    assert str(error.value).endswith(way) or way in str(error.value)


def test_of_several_versions_the_newest_is_meant():
    versions = [int(id.rpartition("-v")[2]) for id in gymnasium.registry if id.startswith("HalfCheetah-v")]
    for name in ("HalfCheetah-v77", "HalfCheetah-v0"):
        with pytest.raises(ExperimentError, match=rf"did you mean gym:HalfCheetah-v{max(versions)}\?"):
            get_task(f"gym:{name}")


def test_wrappers_of_the_environments_own_package_that_help_are_named(tmp_path, monkeypatch):
    package = tmp_path / "talking_worlds"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import gymnasium\n"
        "from gymnasium import spaces\n"
        "class World(gymnasium.Env):\n"
        "    action_space = spaces.Discrete(2)\n"
        "    observation_space = spaces.Dict({'x': spaces.Box(-1, 1, (2,)), 'told': spaces.Sequence(spaces.Discrete(3))})\n"
        "gymnasium.register('World-v0', World, max_episode_steps=9)\n"
    )
    (package / "wrappers.py").write_text(
        "import gymnasium\n"
        "class Same(gymnasium.ObservationWrapper):\n"
        "    def observation(self, observation): return observation\n"
        "class Picky(gymnasium.ObservationWrapper):\n"
        "    def __init__(self, env, needed): super().__init__(env)\n"
        "class OnlyX(gymnasium.ObservationWrapper):\n"
        "    def __init__(self, env):\n"
        "        super().__init__(env)\n"
        "        self.observation_space = env.observation_space['x']\n"
        "    def observation(self, observation): return observation['x']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExperimentError, match="'told', of Sequence") as error:
        Experiment(task="gym:talking_worlds:World-v0")
    assert "talking_worlds has talking_worlds.wrappers:OnlyX (--wrapper NAME" in str(error.value)
    for wrapper in ("talking_worlds.wrappers:OnlyX", {"name": "FilterObservation", "kwargs": {"filter_keys": ["x"]}}):
        experiment = Experiment(task="gym:talking_worlds:World-v0", environment={"wrappers": [wrapper]})
        assert experiment.build_task().n_observations == 2


def test_an_episode_without_a_limit_gets_one_that_is_said_and_recorded(caplog):
    task = "gym:faulty_environments:Unlimited-v0"
    experiment = Experiment(task=task, environment={"episodes_per_sample": 2})
    assert "no time limit; they end after 1,000 steps" in caplog.text
    caplog.clear()
    again = Experiment.recorded(yaml.safe_load(experiment.to_yaml()))
    explicit = Experiment(task=task, environment={"episodes_per_sample": 2, "max_steps": 1000})
    assert again == experiment == explicit
    assert again.fingerprint == experiment.fingerprint == explicit.fingerprint
    assert experiment.environment.max_steps == experiment.build_task().max_steps == 1000
    limit = {"wrappers": [{"name": "TimeLimit", "kwargs": {"max_episode_steps": 5000}}]}
    assert Experiment(task=task, environment=limit).build_task().max_steps == 5000
    assert Experiment(task=task, environment=limit).environment.max_steps is None
    assert caplog.text == ""


def test_compiled_episodes_are_evaluated_more_often():
    episodes = {id: recipe(f"gym:{id}")["evaluation_episodes"] for id in ("FrozenLake-v1", "Reacher-v5", *bodies.names())}
    assert episodes == {"FrozenLake-v1": 32, "Reacher-v5": 32} | dict.fromkeys(bodies.names(), 128)


def test_what_decides_is_in_the_fingerprint():
    base = Experiment(task=TARGET)
    for changed in (
        {"max_steps": 5},
        {"episodes_per_sample": 2},
        {"starts": "shared"},
        {"on_error": "worst_rank"},
        {"wrappers": [{"name": "TimeAwareObservation"}]},
    ):
        assert base.replace(environment=changed).fingerprint != base.fingerprint
    assert base.replace(environment={"worker_memory_mib": 77}).fingerprint == base.fingerprint
    assert Experiment(environment={}).fingerprint == Experiment().fingerprint


# --- episodes ----------------------------------------------------------------------------------------------------------


def slow_returns(experiment, sample, episodes):
    """Returns of one sample's episodes, by the twin of the network in the environment itself."""
    seed, network = experiment.seed, experiment.build_network()
    half = [np.full((p.n_pre, p.n_post), 0.5, np.float32) for p in network.projections]
    releases = naive.draw_network(half, 16, seed, 0, sample)
    n = network.options.n_neurons
    potentials = naive.uniforms(seed, 0, sample, naive.MEMBRANE, n * episodes)
    start_of = 0 if experiment.environment.starts == "shared" else sample
    seeds = (naive.uniforms(seed, 0, start_of, naive.TASK, episodes) * 2**31).astype(int)
    earned = []
    for episode in range(episodes):
        twin = naive.Sample(releases, potentials[episode * n : (episode + 1) * n], network.options.excitatory_ratio)
        env = gymnasium.make("Target-v0")
        observation, _ = env.reset(seed=int(seeds[episode]))
        total, ended = 0.0, False
        while not ended:
            output = np.clip(twin.environment_step(observation), np.float32(-1), np.float32(1))
            observation, reward, ended, _, _ = env.step(np.float32(-2) + (output + 1) / np.float32(2) * np.float32(4))
            total += reward
        earned.append(total)
    return earned


@pytest.mark.parametrize(("episodes", "starts"), [(1, "independent"), (3, "independent"), (2, "shared")])
def test_returns_equal_slow_episodes(episodes, starts):
    experiment = Experiment(task=TARGET, environment={"episodes_per_sample": episodes, "starts": starts}, **TINY)
    outcome = returns_of(experiment)
    ref = [np.mean(slow_returns(experiment, sample, episodes)) for sample in (0, 5)]
    np.testing.assert_allclose(outcome.returns[[0, 5]], ref, rtol=1e-12)
    assert outcome.steps.tolist() == [20 * episodes] * 6
    counts, sums, _ = outcome.observations.integers()
    assert counts == [120 * episodes] * len(counts)
    assert sums[1] == 120 * episodes * 2**1074  # the second value is always 1


def test_a_part_of_a_population_is_that_part_of_it():
    experiment = Experiment(task=TARGET, **TINY)
    whole, part = returns_of(experiment), returns_of(experiment, first=2, samples=3)
    np.testing.assert_array_equal(part.returns, whole.returns[2:5])
    assert len(set(whole.returns)) == 6


def test_one_answer_with_any_number_of_processes():
    experiment = Experiment(task=TARGET, **TINY)
    answers = [train(experiment, threads=threads).summary for threads in (1, 2)]
    assert answers[0]["release_sha256"] == answers[1]["release_sha256"]
    assert answers[0]["final_eval_return"] == answers[1]["final_eval_return"]


def test_twins_answer_to_both_names():
    named, by_id = (train(Experiment(task=task, **TINY), threads=1).summary for task in ("cartpole", "gym:CartPole-v1"))
    assert named["release_sha256"] == by_id["release_sha256"]


def test_several_episodes_of_a_compiled_task():
    """Their mean return, and no fewer steps; the first one is the only one of a sample that plays one."""
    one, three = (Experiment(environment={"episodes_per_sample": n}, **TINY) for n in (1, 3))
    first, mean = returns_of(one), returns_of(three)
    np.testing.assert_allclose(mean.returns * 3, mean.steps, rtol=1e-12)  # a reward of 1 a step
    assert (mean.steps > first.steps).all()


@pytest.mark.slow
def test_an_environment_of_a_user_is_learned():
    result = train(Experiment(task=TARGET, population=64, generations=30, evaluation_episodes=32, network={"n_neurons": 64}))
    assert result.summary["final_eval_return"] > 16 > result.metrics[0]["evaluation_return"] + 4


# --- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("raise", "raised", "RuntimeError: the motor burnt out"),
        ("reward", "not_finite", "reward nan"),
        ("infinite reward", "not_finite", "reward -inf"),
        ("observation", "not_finite", "observation 3 of the episode"),
        ("size", "spaces", "has 1 values, not 2"),
        ("new space", "spaces", "changed the observation space"),
    ],
)
def test_a_sample_whose_environment_fails_ranks_worst_or_ends_the_run(fault, kind, said):
    outcome = returns_of(faulty(fault))
    failed = np.isnan(outcome.returns)
    assert 0 < failed.sum() < 6
    assert outcome.faults == {kind: failed.sum()}
    with pytest.raises(EngineError, match="worst_rank") as error:
        returns_of(faulty(fault, "fail"))
    assert said in str(error.value)
    assert "sample" in str(error.value)


STRANGE = "gym:faulty_environments:Strange-v0"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("ends the program", "cannot be made: SystemExit: no display"),
        ("wordless", 'assert fault == "nothing"'),
        ("action", "action space: its part 'say', of Text, is none of Discrete"),
        ("method", "function, which is no space of Gymnasium"),
    ],
)
def test_what_cannot_be_made_or_has_no_spaces_is_said(fault, said):
    with pytest.raises(ExperimentError) as error:
        Experiment(task=STRANGE, environment={"kwargs": {"fault": fault}})
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wordless", 'assert fault == "nothing"'),
        ("old reset", "it gave a ndarray, not (observation, info)"),
        ("old step", "its step (observation, reward, terminated, truncated, info)"),
        ("two rewards", "the reward is 2 numbers, and one is learned from"),
        ("reset ends the program", "raised SystemExit: 3"),
    ],
)
def test_whatever_an_environment_does_at_first_is_one_message(fault, said, call):
    options = ["--env-kwargs", f"fault={fault}", "--population", 4, "--generations", 1, "--threads", 1]
    code, _, stderr = call("train", STRANGE, *options)
    assert (code, said in stderr, "Traceback" in stderr) == (2, True, False), stderr
    assert stderr.splitlines()[-1].startswith("error: ")


def test_closing_is_no_reason_to_lose_a_run():
    experiment = Experiment(task=STRANGE, environment={"kwargs": {"fault": "close"}}, **TINY | {"generations": 1})
    assert train(experiment, threads=1).summary["generations"] == 1


def test_faults_are_counted_in_the_metrics_and_learned_from(tmp_path):
    result = train(faulty("raise"), out=tmp_path / "run", threads=2)
    again = train(faulty("raise"), threads=1)
    assert result.summary["release_sha256"] == again.summary["release_sha256"]
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["faults"]["raised"] > 0
    assert math.isfinite(records[-1]["evaluation_return"])


def test_a_failed_run_is_resumed_when_the_environment_is_mended(tmp_path, monkeypatch):
    experiment = faulty("raise", "fail")
    with pytest.raises(EngineError):
        train(experiment, out=tmp_path / "run", threads=1)
    assert (tmp_path / "run" / "config.yaml").exists()
    monkeypatch.setenv("RSRP_TEST_MENDED", "1")
    resumed = train(experiment, resume=tmp_path / "run", threads=1)
    assert resumed.summary["generations"] == 2


def test_every_evaluation_failing_ends_the_run():
    with pytest.raises(EngineError, match="every evaluation episode of generation 0 failed"):
        train(faulty("raise", share=1.0), threads=1)


def test_an_episode_ends_at_its_limit():
    outcome = returns_of(faulty("endless"))
    assert outcome.steps.tolist() == [30] * 6


def test_a_worker_that_dies_is_replaced_and_its_samples_are_played_again(tmp_path):
    outcome = returns_of(faulty("die once", trace=str(tmp_path / "died")), threads=2)
    np.testing.assert_array_equal(outcome.returns, returns_of(Experiment(task=TARGET, **TINY)).returns)
    assert outcome.faults == {"lost_worker": 1}


def test_a_sample_that_kills_every_worker_is_named():
    with pytest.raises(EngineError, match=r"lost 3 times while it played samples .* exit code 7"):
        returns_of(faulty("die", share=1.0))


def test_workers_that_cannot_be_replaced_end_the_run(monkeypatch):
    """All are lost while they play, and no new one begins: one error, and nothing of them is left to close."""
    experiment = Experiment(task=TARGET, **TINY)
    engine = open_engine(experiment, Threads(1))
    try:
        engine.prepare(None)
        monkeypatch.setattr("sys.executable", "/bin/false")
        for worker in engine.workforce._workers:
            worker._process.kill()
        half = experiment.build_network().initial_probabilities({})
        with pytest.raises(EngineError, match="3 workers in a row could not begin; the last one ended with exit code 1"):
            engine.play(half, Normaliser.start(2), 0, 6)
    finally:
        engine.close()


def test_a_worker_that_leaks_is_replaced():
    experiment = faulty("leak")
    experiment = experiment.replace(environment={**experiment.environment.model_dump(), "worker_memory_mib": 20})
    outcome = returns_of(experiment)
    assert outcome.faults["memory"] >= 1
    np.testing.assert_array_equal(outcome.returns, returns_of(Experiment(task=TARGET, **TINY)).returns)


def test_a_worker_that_cannot_begin_is_said(monkeypatch):
    experiment = Experiment(task=TARGET, **TINY)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EngineError, match="exit code 1"):
        returns_of(experiment)


def test_a_folder_made_for_a_run_has_a_name_any_system_takes(call, tmp_path):
    code, _, said = call("train", TARGET, "--population", 4, "--generations", 1, "--evaluation-episodes", 2, "--threads", 1)
    assert code == 0, said
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("gym-faulty_environments-Target-v0-seed0-")


def test_the_command_line_sets_what_python_sets(call, tmp_path):
    options = ["--max-steps", 9, "--episodes-per-sample", 2, "--on-error", "worst_rank", "--env-kwargs", "fault=raise"]
    options += ["--wrapper", "TimeAwareObservation", "--wrapper", "{name: ClipReward, kwargs: {max_reward: 5}}"]
    options += ["--env-kwargs", "share=0.0", "--starts", "shared", "--no-compiled", "--worker-memory-mib", 999]
    options += ["--worker-timeout-s", 99]
    small = ["--population", 4, "--generations", 1, "--evaluation-episodes", 2, "--threads", 1, "--out", "run"]
    code, _, said = call("train", FAULTY, *options, *small)
    assert code == 0, said
    environment = Experiment.from_yaml(tmp_path / "run" / "config.yaml").environment
    assert environment.model_dump() == {
        "max_steps": 9,
        "episodes_per_sample": 2,
        "starts": "shared",
        "on_error": "worst_rank",
        "kwargs": {"fault": "raise", "share": 0.0},
        "wrappers": (
            {"name": "TimeAwareObservation", "kwargs": {}},
            {"name": "ClipReward", "kwargs": {"max_reward": 5}},
        ),
        "compiled": False,
        "worker_memory_mib": 999,
        "worker_timeout_s": 99.0,
        "observation_noise": 0.0,
        "body": {},
    }
    label = Experiment.from_yaml("run/config.yaml").label
    assert "max_steps = 9, episodes_per_sample = 2, starts = shared, kwargs.fault = raise" in label


def test_bad_options_are_one_line_and_exit_code_2(call):
    for options, said in (
        (["gym:CartPol-v1"], "did you mean gym:CartPole-v1"),
        (["gym:CartPole-v1", "--env-kwargs", "gravity"], "--env-kwargs gravity: must be NAME=VALUE"),
        (["cartpole", "--on-error", "never"], "environment.on_error"),
    ):
        code, _, stderr = call("train", *options)
        assert (code, said in stderr, "Traceback" in stderr) == (2, True, False), stderr
