"""Environments that are not as Gymnasium asks: one message, counted faults, no return that nobody earned."""

import json
import math

import gymnasium
import numpy as np
import pytest

import odd_environments
from rsrp_lava import Experiment, evaluate, train
from rsrp_lava.engines import open_local
from rsrp_lava.engines.protocol import Outcome, scaled
from rsrp_lava.errors import EngineError, ExperimentError
from rsrp_lava.learners.population import PopulationLearner
from rsrp_lava.learning.transforms import mean_reward
from rsrp_lava.normaliser import Observations
from rsrp_lava.recording import record
from rsrp_lava.reporting.numbers import shown_return, trend
from rsrp_lava.runs import Run
from rsrp_lava.tasks.environment import EnvironmentOptions
from rsrp_lava.tasks.gym import make
from rsrp_lava.threads import Threads

TINY = {"population": 2, "generations": 1, "evaluation_episodes": 2, "network": {"n_neurons": 16}}


def learner(name, on_error="fail", population=2, **changes):
    """Of an environment of odd_environments, in this process."""
    environment = {"on_error": on_error, "kwargs": changes.pop("kwargs", {})}
    settings = {**TINY, "population": population, "environment": environment, **changes}
    experiment = Experiment(task=f"gym:odd_environments:{name}-v0", **settings)
    made = PopulationLearner(experiment, open_local(experiment, Threads(1), 0), Threads(1))
    made.prepare()
    return made


@pytest.mark.parametrize("name", odd_environments.REFUSED)
def test_what_has_no_spaces_to_learn_in_is_refused_before_anything_is_made(name):
    with pytest.raises(ExperimentError, match=rf"^task gym:odd_environments:{name}-v0: "):
        Experiment(task=f"gym:odd_environments:{name}-v0", **TINY)


@pytest.mark.parametrize("name", odd_environments.FAILING)
def test_what_fails_is_one_message_or_the_worst_sample(name):
    kwargs = {"share": 1.0} if name in ("Fails", "Costly") else {}
    with pytest.raises(EngineError, match=rf"^gym:odd_environments:{name}-v0: ") as error:
        learner(name, kwargs=kwargs).evaluate(2)
    assert len(str(error.value)) < 1500
    assert "\n" not in str(error.value)
    played = learner(name, "worst_rank", kwargs=kwargs).advance(None)
    assert sum(played["faults"].values()) == 2
    assert played["sampled_return"] is None
    assert played["sampled_std"] is None


@pytest.mark.parametrize("name", odd_environments.HARMLESS)
def test_what_does_no_harm_is_played(name):
    played = learner(name).advance(None)
    assert (played["sampled_return"], played.get("faults")) == (5.0, None)


def test_a_message_says_file_and_line():
    for name, line in (("Fails", 'RuntimeError("the solver did not converge")'), ("RefusesSeeds", None)):
        with pytest.raises(EngineError) as error:
            learner(name, kwargs={"share": 1.0} if name == "Fails" else {}).evaluate(1)
        if line:
            with open(odd_environments.__file__) as file:
                number = next(k for k, text in enumerate(file, 1) if line in text)
            assert f"({odd_environments.__file__}, line {number})" in str(error.value)


def test_a_threshold_that_is_no_number_is_none():
    task = Experiment(task="gym:odd_environments:Boundless-v0", **TINY).build_task()
    assert (task.goal, task.return_scale) == (None, 8.0)


@pytest.mark.parametrize("method", ["render", "close"])
def test_what_recording_meets_is_one_message(tmp_path, method):
    """Rendering fails; closing, which comes before it, may."""
    films = odd_environments.raising(SystemExit("no display"), "render")
    films.metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    films.__init__ = lambda self, render_mode=None: None
    if method == "close":
        films.close = odd_environments.raising(OSError("the window is gone"), "close").close
    gymnasium.register("Films-v0", films, max_episode_steps=8)
    try:
        experiment = Experiment(task="gym:odd_environments:Films-v0", **TINY)
        state = PopulationLearner(experiment, open_local(experiment, Threads(1), 0), Threads(1)).state
        with pytest.raises(EngineError, match=r"Films-v0: render raised SystemExit: no display .*mend the environment"):
            record(Run(tmp_path, experiment, state, []), output=tmp_path / "a.gif")
    finally:
        del gymnasium.registry["Films-v0"]


# --- returns -----------------------------------------------------------------------------------------------------------


def test_a_generation_that_failed_leaves_the_history_as_it_was():
    made = learner("Fails", "worst_rank", kwargs={"share": 0.0}, reward_transform="zero_mean")
    assert made.advance(None)["sampled_return"] == made.state.previous_mean == -1000.0
    before = {name: rho.copy() for name, rho in made.state.probabilities.items()}
    made.engine.close()
    made.engine.task.options.kwargs["share"] = 1.0
    failed = made.advance(None)
    assert (failed["sampled_return"], made.state.previous_mean) == (None, -1000.0)
    assert all((made.state.probabilities[name] == rho).all() for name, rho in before.items())


def test_returns_that_overflow_are_faults_and_the_rest_is_measured():
    made = learner("Costly", "worst_rank", population=12, kwargs={"share": 0.5})
    found = made.advance(made.evaluate(12))
    assert 0 < found["faults"]["not_finite"] < 24
    assert found["sampled_return"] <= -1e99  # rewards beyond 1e100 are cut to it (learning/transforms.py)
    assert found["evaluation_return"] < -1e199
    json.dumps(found, allow_nan=False)


def test_returns_of_compiled_episodes_that_overflow_are_counted():
    returns = np.array([1.0, np.inf, -np.inf, np.nan, 3.0])
    outcome = Outcome(returns, np.zeros(5), Observations.none(1), np.zeros(3), faults={"raised": 1, "memory": 4})
    assert outcome.all_faults == {"raised": 1, "memory": 4, "not_finite": 2}
    assert (outcome.mean, outcome.std) == (2.0, 1.0)
    assert mean_reward(returns[1:4]) is None


@pytest.mark.parametrize("statistic", [np.mean, np.std])
def test_statistics_are_finite_where_sums_are_not(statistic):
    random = np.random.default_rng(0)
    small = random.normal(3, 1, 50)
    assert scaled(statistic, small) == float(statistic(small))
    large = small * 2.0**1020
    assert scaled(statistic, large) / 2.0**1020 == pytest.approx(float(statistic(small)), rel=1e-12)
    assert scaled(statistic, small[:0]) is None


def test_metrics_are_json_whatever_was_earned(tmp_path):
    environment = {"on_error": "worst_rank", "kwargs": {"share": 0.6}}
    settings = {**TINY, "generations": 4, "evaluation_episodes": 24, "environment": environment}
    train(Experiment(task="gym:odd_environments:Fails-v0", **settings), out=tmp_path / "run", threads=1)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        found = json.loads(line, parse_constant=lambda word: pytest.fail(word))
        assert found.get("sampled_return", -1000.0) in (None, -1000.0)
        assert found.get("evaluation_return", -1000.0) == -1000.0
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.parametrize("size", [1e9, 1e20, 1.7e308, -1.7e308])
def test_returns_are_written_with_few_digits(size):
    assert len(shown_return(size, abs(size))) < 30
    assert float(shown_return(size)) == pytest.approx(size, rel=0.01)
    assert shown_return(None) == "–"
    assert math.isfinite(trend([size, -size, size, -size, None, size / 2]))


# --- wrappers that remember --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "wrappers", "named"),
    [
        ("gym:Pendulum-v1", ["NormalizeObservation"], "NormalizeObservation keeps"),
        ("gym:Pendulum-v1", ["NormalizeReward", "FlattenObservation"], "NormalizeReward keeps"),
        ("gym:Pendulum-v1", ["NormalizeObservation", "NormalizeReward"], "NormalizeReward and NormalizeObservation keep"),
        ("gym:odd_environments:Inside-v0", [], "Remembers keeps"),
    ],
)
def test_running_statistics_are_refused_by_name(task, wrappers, named, tmp_path):
    experiment = Experiment(task=task, **TINY, environment={"wrappers": wrappers, "max_steps": 5})
    with pytest.raises(ExperimentError, match=named):
        train(experiment, out=tmp_path / "run", threads=1)
    assert not (tmp_path / "run").exists()


def test_runs_of_old_that_have_them_are_opened_with_a_warning(tmp_path, monkeypatch, caplog):
    experiment = Experiment(task="gym:Pendulum-v1", **TINY, environment={"wrappers": ["NormalizeReward"], "max_steps": 5})
    with monkeypatch.context() as old:
        old.setattr("rsrp_lava.training.remembered", lambda task: None)
        train(experiment, out=tmp_path / "run", threads=1)
    assert evaluate(tmp_path / "run", threads=1)["episodes"] == 2
    assert "NormalizeReward keeps running statistics" in caplog.text


@pytest.mark.parametrize("wrapper", ["ClipAction", "TimeAwareObservation", "RecordEpisodeStatistics", "FlattenObservation"])
def test_other_wrappers_are_taken(wrapper):
    assert Experiment(task="gym:Pendulum-v1", environment={"wrappers": [wrapper]}).build_task().remembering == ()


# --- names -------------------------------------------------------------------------------------------------------------


def class_of(module):
    return type("Local", (odd_environments.Base,), {"__module__": module})


def test_an_environment_of_a_notebook_is_refused_with_the_way(monkeypatch):
    registry = dict(gymnasium.registry)
    monkeypatch.setattr("gymnasium.envs.registration.registry", registry)
    monkeypatch.setattr("gymnasium.registry", registry)
    gymnasium.register("Local-v0", class_of("__main__"), max_episode_steps=5)
    gymnasium.register("Elsewhere-v0", class_of("some_package.envs"), max_episode_steps=5)
    with pytest.raises(ExperimentError, match=r"registered by this notebook or script only.* gym:my_env:Local-v0"):
        make("Local-v0", EnvironmentOptions())
    with pytest.raises(ExperimentError, match=r"name it gym:some_package\.envs:Elsewhere-v0"):
        make("Elsewhere-v0", EnvironmentOptions())


@pytest.mark.parametrize(
    ("task", "way", "never"),
    [
        ("gym:Local-v0", "name the module that registers it", "did you mean"),
        ("gym:Pong-v5", "name the module that registers it", "did you mean"),
        ("gym:odd_environments:Costly-v1", "did you mean gym:odd_environments:Costly-v0?", "Walker"),
        ("gym:odd_environments:Costy-v0", "did you mean gym:odd_environments:Costly-v0?", "gym:Costly"),
        ("gym:Costly-v3", "did you mean gym:odd_environments:Costly-v0?", "gym:Costly-v0"),
        ("gym:odd_environments:cartpole-v1", "did you mean gym:CartPole-v1?", "odd_environments:CartPole"),
        ("gym:hopper-v4", "did you mean gym:Hopper-v4?", "v5"),
        ("gym:Hoper-v9", "did you mean gym:Hopper-v5?", "v4"),
    ],
)
def test_hints_lead_to_what_is_there(task, way, never):
    with pytest.raises(ExperimentError) as error:
        Experiment(task=task)
    assert way in str(error.value)
    assert never not in str(error.value)


def test_a_module_that_ends_the_program_is_said(tmp_path, monkeypatch):
    (tmp_path / "reads_arguments.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--no-such'])\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExperimentError, match=r"SystemExit: 2 \(.*reads_arguments\.py, line 2\).*__main__"):
        Experiment(task="gym:reads_arguments:X-v0")


@pytest.mark.parametrize("wrong", [3, None, {"kwargs": {}}, {"nome": "x"}])
def test_a_wrapper_that_is_none_is_said_in_its_own_words(wrong):
    with pytest.raises(ExperimentError, match=r"environment\.wrappers") as error:
        Experiment(task="gym:Pendulum-v1", environment={"wrappers": [wrong]})
    assert "n_neurons" not in str(error.value)


def test_what_cannot_be_deployed_or_recorded_is_said_as_it_is(tmp_path):
    with pytest.raises(ExperimentError, match="has a body that MuJoCo moves, and deploy needs a task whose state"):
        Experiment(task="gym:InvertedPendulum-v5").compiled_task("deploy")
    with pytest.raises(ExperimentError, match="has no episodes that are compiled, and deploy needs them"):
        Experiment(task="gym:odd_environments:OneChoice-v0").compiled_task("deploy")
    run = tmp_path / "run"
    train(Experiment(task="cartpole", rule="nrl", population=4, generations=1, evaluation_episodes=2), out=run, threads=1)
    with pytest.raises(ExperimentError, match="record: rule nrl keeps weights"):
        record(run, output=tmp_path / "a.gif")
