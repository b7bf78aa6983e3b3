"""Files of strangers name code: nothing of it is imported or called before somebody has said so, by any command."""

import sys

import gymnasium
import pytest
import yaml

from rsrp_lava import Experiment, ExperimentError, evaluate, load_run, plot, study, train
from rsrp_lava.runs import Records
from rsrp_lava.tasks import EnvironmentOptions, consent
from rsrp_lava.tasks.gym import _describe, make
from rsrp_lava.watching import watch

MODULE = """
open("IMPORTED", "a").write("x")
import gymnasium, numpy as np


class Env(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Around(gymnasium.Wrapper):
    pass


def function(*arguments, **kwargs):
    open("CALLED", "w")


gymnasium.register("Strange-v0", Env, max_episode_steps=3)
"""
TINY = {"population": 2, "generations": 1, "evaluation_episodes": 1, "network": {"n_neurons": 4}}
TASK = "gym:strange:Strange-v0"


def forget(monkeypatch):
    """As in a process that has not met the module."""
    monkeypatch.setattr(consent, "_given", set())
    monkeypatch.delitem(sys.modules, "strange", raising=False)
    monkeypatch.delitem(gymnasium.registry, "Strange-v0", raising=False)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "strangers" not in entry])
    _describe.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as a stranger packs it: a module, a run and a study of its environment, each with a wrapper of the module."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "strange.py").write_text(MODULE)
    (folder / "settings.yaml").write_text(yaml.safe_dump({"task": TASK, **TINY}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        forget(patch)
        environment = {"wrappers": ["strange:Around"]}
        train(Experiment(task=TASK, environment=environment, **TINY), out="run", threads=1)
        study("compare", TASK, "study", rules="rsrp", seeds=1, settings={**TINY, "environment": environment}, threads=1)
        forget(patch)
    return folder


@pytest.fixture
def strangers(trained, monkeypatch, call):
    forget(monkeypatch)
    monkeypatch.chdir(trained)
    (trained / "IMPORTED").unlink(missing_ok=True)
    yield trained
    forget(monkeypatch)


PLAYS = [
    "evaluate run",
    "map run --profile loihi2",
    "record run -o film.gif",
    "deploy run --to npz -o chip",
    "train --resume run --generations 2",
    "train --resume run --config settings.yaml",
    "train --config settings.yaml --out new",
    "study robustness run --perturbations knock_out -o robust",
    "study quantization -o study --config settings.yaml",
    "study rewards digits -o study2 --config settings.yaml",
    "compare -o compared --config settings.yaml",
    "compare -o study --resume",
]


@pytest.mark.parametrize("command", PLAYS)
def test_what_plays_asks_first(command, strangers, call, files):
    before = files(strangers)
    code, _, errors = call(*command.split())
    assert code == 2
    assert "the module strange" in errors
    assert "--trust" in errors
    assert errors.count("\n") == 1
    assert "strange" not in sys.modules
    assert files(strangers) == before


@pytest.mark.parametrize("command", ["watch run --once", "plot run -o curves.svg"])
def test_what_reads_runs_nothing(command, strangers, call):
    code, _, errors = call(*command.split())
    assert code == 0, errors
    assert "strange" not in sys.modules
    assert not (strangers / "IMPORTED").exists()


def test_reading_from_python_makes_no_environment(strangers, monkeypatch):
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: pytest.fail("an environment was made"))
    assert watch("run", once=True).state == "finished"
    records = Records.read("run")
    assert (records.generation, records.experiment.task) == (1, TASK)
    plot("run", output="curves.svg")


@pytest.mark.parametrize("command", ["evaluate run --threads 1", "compare -o study --resume"])
def test_trust_lets_it_run_and_its_processes_too(command, strangers, call):
    code, _, errors = call(*command.split(), "--trust")
    assert code == 0, errors
    assert (strangers / "IMPORTED").exists()


def test_the_command_line_s_own_choice_is_consent(strangers, call):
    with pytest.raises(ExperimentError, match="the module strange"):
        evaluate("run")
    assert Experiment(task=TASK, **TINY).build_task().max_steps == 3
    assert evaluate("run", threads=1)["episodes"] == 1  # of the same module, in the same process


def test_python_says_trust(strangers):
    with pytest.raises(ExperimentError, match=r"run/config.yaml: names the module strange.*trust=True"):
        load_run("run")
    assert load_run("run", trust=True).generation == 1


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_asked(answer, strangers, monkeypatch):
    asked = []
    monkeypatch.setattr(consent, "ask", lambda *what: asked.append(what) or answer)
    if answer:
        load_run("run")
    else:
        with pytest.raises(ExperimentError, match="the module strange"):
            load_run("run")
    assert asked == [("the module strange", "run/config.yaml")]


def test_a_changed_copy_keeps_the_file_s_names_a_stranger_s(strangers):
    experiment = Records.read("run").experiment
    options = experiment.environment.model_dump()
    for change in ({"seed": 5}, {"environment": options}, {"environment": {**options, "max_steps": 2}}):
        with pytest.raises(ExperimentError, match="the module strange"):
            experiment.replace(**change)


CALLABLES = [
    ("builtins:type", {}),
    ("timeit:timeit", {"setup": "open('CALLED', 'w')", "number": 0}),
    ("subprocess:run", {"args": ["touch", "CALLED"]}),
    ("strange:function", {}),
    ("gymnasium.wrappers.common:gym", {}),
    ("gymnasium:make", {}),
]


@pytest.mark.parametrize(("name", "kwargs"), CALLABLES)
def test_only_a_wrapper_class_is_called(name, kwargs, strangers):
    wrappers = [{"name": name, "kwargs": kwargs}]
    with pytest.raises(ExperimentError, match=r"subclass of gymnasium\.Wrapper"):
        Experiment(task="gym:Pendulum-v1", environment={"wrappers": wrappers})
    assert not (strangers / "CALLED").exists()


@pytest.mark.parametrize(("name", "kwargs"), CALLABLES[:4])
def test_a_file_imports_nothing_for_a_wrapper(name, kwargs, strangers, call):
    (strangers / "w.yaml").write_text(
        yaml.safe_dump({"task": "gym:Pendulum-v1", "environment": {"wrappers": [{"name": name, "kwargs": kwargs}]}})
    )
    code, _, errors = call("train", "--config", "w.yaml", "--out", "w")
    assert code == 2
    assert f"the module {name.partition(':')[0]}" in errors
    assert not (strangers / "CALLED").exists()
    assert "strange" not in sys.modules


def test_well_known_wrappers_need_no_consent_but_those_that_write_do(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text(
        yaml.safe_dump({"task": "gym:Pendulum-v1", "environment": {"wrappers": ["gymnasium.wrappers:ClipAction"]}})
    )
    assert Experiment.from_yaml(file).build_task().n_observations == 3
    for name in ("RecordVideo", "gymnasium.wrappers.rendering:RecordVideo"):
        wrapper = {"name": name, "kwargs": {"video_folder": str(tmp_path / "elsewhere")}}
        file.write_text(yaml.safe_dump({"task": "gym:Pendulum-v1", "environment": {"wrappers": [wrapper]}}))
        with pytest.raises(ExperimentError, match="RecordVideo"):
            Experiment.from_yaml(file)
    assert not (tmp_path / "elsewhere").exists()


def test_arguments_of_a_plugin_s_environment_may_name_code(tmp_path, monkeypatch, trained):
    """As `env_id` of Gymnasium's own bridge to the old gym does, which imports what stands before its colon."""
    forget(monkeypatch)
    monkeypatch.setitem(gymnasium.registry, "Bridge-v0", gymnasium.envs.registration.EnvSpec("Bridge-v0", "plugin:Bridge"))
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump({"task": "gym:Bridge-v0", "environment": {"kwargs": {"env_id": "strange:Strange-v0"}}}))
    with pytest.raises(ExperimentError, match="arguments of the environment Bridge-v0"):
        Experiment.from_yaml(file)
    options = EnvironmentOptions(kwargs={"env_id": "strange:Strange-v0"})
    for id in ("Bridge-v0", "Bridge"):
        with pytest.raises(ExperimentError, match="arguments of the environment"):
            make(id, options)


def test_an_installed_module_is_found_before_one_of_the_folder(strangers, call):
    (strangers / "json.py").write_text("open('IMPORTED', 'w')")
    code, _, errors = call("train", "gym:json:Strange-v0", "--out", "j")
    assert code == 2
    assert "Traceback" not in errors
    assert not (strangers / "IMPORTED").exists()
    assert str(strangers) not in sys.path


@pytest.mark.parametrize(
    ("task", "asks"),
    [("gym:FrozenLake-v1", False), ("gym:Hopper-v5", False), ("gym:GymV26Environment-v0", True), ("gym:Unknown-v0", True)],
)
def test_arguments_of_gymnasiums_own_environments_are_only_values(task, asks):
    """Those of the bridge to old gym name what it imports."""
    assert bool(consent.named(task, {"kwargs": {"a": 1}})) == asks
