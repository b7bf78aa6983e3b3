"""Settings are what was given: through YAML, run folders, fingerprints and processes, or they are refused by name."""

import datetime
import math
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rsrp_lava import Experiment, ExperimentError, RunFolderError, evaluate, load_run, map_run, plot, study, train
from rsrp_lava.errors import RsrpError
from rsrp_lava.experiment import read_yaml
from rsrp_lava.hardware_profiles.loader import dump_yaml, parse_yaml
from rsrp_lava.run_folder import CONFIG, RunFolder
from rsrp_lava.tasks import EnvironmentOptions
from rsrp_lava.tasks.gym import Environment

TINY = {"population": 4, "generations": 1, "evaluation_episodes": 2, "network": {"n_neurons": 8}}
RECEIVED = []


class Asked(gymnasium.Env):
    """Keeps the arguments it is given."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, **given):
        RECEIVED.append(given)


gymnasium.register("AskedHere-v0", Asked, max_episode_steps=5)
TASK = f"gym:{__name__}:AskedHere-v0"
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1e-3", "3:1", "12:30:00"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers() | st.booleans(), inner, max_size=3)
    ),
    max_leaves=8,
)


# --- F2: arguments of environments and wrappers ------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter(lambda name: name not in ("id", "render", "self")), plain
    )
)
def test_an_environment_is_given_what_was_asked_for(kwargs):
    experiment = Experiment(task=TASK, environment={"kwargs": kwargs})
    again = Experiment.recorded(parse_yaml(experiment.to_yaml()))
    assert repr(again.environment.kwargs) == repr(kwargs)
    assert again.fingerprint == experiment.fingerprint
    Environment(TASK.removeprefix("gym:"), again.environment)
    assert repr(RECEIVED[-1]) == repr(kwargs)


@given(plain, plain)
def test_fingerprints_tell_arguments_apart(one, other):
    first, second = (Experiment(environment={"kwargs": {"a": {}}}, task=TASK) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    digests = [Experiment(task=TASK, environment={"kwargs": {"a": value}}).fingerprint for value in (one, other)]
    assert (digests[0] == digests[1]) == (_sorted(one) == _sorted(other))


def _sorted(value):
    """A value as text, of which the order of mappings is no part."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key!r}:{_sorted(one)}" for key, one in value.items())) + "}"
    return f"[{','.join(map(_sorted, value))}]" if isinstance(value, list) else repr(value)


def test_options_of_the_command_line_are_values(call):
    arguments = [
        "limit=.inf",
        "low=-.inf",
        "rate=1e-3",
        "at=12:30:00",
        "prize={0: 1.0, 5: -1.0}",
        "nothing=.nan",
        "many=[1, 1E3]",
    ]
    options = [text for argument in arguments for text in ("--env-kwargs", argument)]
    code, _, errors = call("train", TASK, *options, "--population", "1")
    assert code == 2
    assert "population" in errors
    given = {"limit": math.inf, "low": -math.inf, "rate": 1e-3, "at": "12:30:00", "prize": {0: 1.0, 5: -1.0}}
    parsed = {name: parse_yaml(text) for name, _, text in (argument.partition("=") for argument in arguments)}
    assert given.items() <= parsed.items()
    assert parsed["many"] == [1, 1000.0]


@pytest.mark.parametrize(
    ("value", "kept"), [(np.float32(1.5), 1.5), (np.int64(3), 3), (np.bool_(True), True), ((1, 2), [1, 2])]
)
def test_numbers_of_numpy_and_tuples_become_plain(value, kept):
    options = EnvironmentOptions(kwargs={"a": value, "b": [{"c": value}]})
    assert repr(options.kwargs) == repr({"a": kept, "b": [{"c": kept}]})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Path("x"), "PosixPath"),
        ({1, 2}, "set"),
        (datetime.date(2020, 1, 2), "date"),
        (b"x", "bytes"),
        (np.zeros(2), "ndarray"),
        (print, "builtin_function_or_method"),
        (1j, "complex"),
    ],
)
@pytest.mark.parametrize("where", ["kwargs", "wrappers"])
def test_what_no_file_can_hold_is_refused_by_its_name(value, kind, where):
    inner = {"goal": [{"deep": value}]}
    environment = {"kwargs": inner} if where == "kwargs" else {"wrappers": [{"name": "ClipAction", "kwargs": inner}]}
    with pytest.raises(ExperimentError, match=rf"environment\.{where}.*goal\[0\]\.deep: is of type {kind}"):
        Experiment(task="gym:Pendulum-v1", environment=environment)


def test_lines_that_name_each_other_are_no_bomb(tmp_path):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"] + [
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)
    ]
    bomb = "task: gym:Pendulum-v1\nenvironment:\n  kwargs:\n    " + "\n    ".join(lines)
    for text in (bomb, "task: gym:Pendulum-v1\nenvironment: {kwargs: {a: &x [*x]}}"):
        (tmp_path / "bomb.yaml").write_text(text)
        with pytest.raises(ExperimentError, match="more than 10,000 values"):
            Experiment.from_yaml(tmp_path / "bomb.yaml")


# --- F23: numbers in YAML ----------------------------------------------------------------------------------------------


@given(plain)
def test_yaml_reads_back_what_it_wrote(value):
    assert repr(parse_yaml(dump_yaml({"a": value}))) == repr({"a": value})


def test_ratios_are_no_numbers_to_base_60(tmp_path):
    (tmp_path / "ratio.yaml").write_text("task: digits\nlayers: {ei: 3:1, mirror_input: true}\nlearning_rate: 1e-3\n")
    experiment = Experiment.from_yaml(tmp_path / "ratio.yaml")
    assert (experiment.layers.ei, experiment.learning_rate) == ("3:1", 1e-3)


def test_folders_of_older_programs_keep_what_they_meant(tmp_path):
    """They wrote the text 1e-3 without quotes, and have no `record`."""
    old = Experiment(task=TASK, environment={"kwargs": {"rate": "1e-3"}})
    (tmp_path / CONFIG).write_text(yaml.safe_dump(old.model_dump(), sort_keys=False))
    assert "rate: 1e-3" in (tmp_path / CONFIG).read_text()
    assert RunFolder.open(tmp_path).experiment.fingerprint == old.fingerprint


#: Of the program before this test was written.
FINGERPRINTS = {
    "46c530c2a5608bb24171709ce2f872d741b8a19f0266dc51236c0b282de06971": {"task": "cartpole"},
    "bdff1817384ec6f321dde21af15c5df117acb57f93dd88007c3942be54572a66": {"task": "cartpole", "rule": "es"},
    "a27cacef81b7c126f1df429df19b07cbf23c629c689d698ac16d6fdc601ac6a5": {
        "task": "gym:Pendulum-v1",
        "population": 4,
        "evaluation_episodes": 2,
        "environment": {
            "max_steps": 20,
            "wrappers": ["ClipAction", {"name": "gymnasium.wrappers:FrameStackObservation", "kwargs": {"stack_size": 2}}],
        },
    },
    "e489fc6a6f1123101dec4512b7c1a7e80997680dd59079ae9194ea6ecadbb378": {"task": "digits"},
}


@pytest.mark.parametrize(("fingerprint", "chosen"), FINGERPRINTS.items(), ids=lambda value: str(value)[:8])
def test_fingerprints_have_not_moved(fingerprint, chosen):
    of_cartpole = {"population": 8, "evaluation_episodes": 4} if chosen["task"] == "cartpole" else {}
    of_digits = {"population": 8} if chosen["task"] == "digits" else {}
    assert Experiment(**of_cartpole, **of_digits, **chosen).fingerprint == fingerprint


# --- F14: resuming -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pole(tmp_path_factory):
    path = tmp_path_factory.mktemp("pole") / "run"
    environment = {"body": {"pole_length": 2.0}, "max_steps": 40, "starts": "shared"}
    train(Experiment(environment=environment, profile_overrides={"learning_storage.p_bits": 8}, **TINY), out=path, threads=1)
    return path


@pytest.fixture
def pole_run(pole, tmp_path):
    return shutil.copytree(pole, tmp_path / "pole")


@pytest.mark.parametrize(
    "same",
    ["--max-steps 40", "--body pole_length=2", "--starts shared", "--profile-overrides learning_storage.p_bits=8"],
)
def test_an_option_that_changes_nothing_is_accepted_on_resume(same, pole_run, call):
    code, _, errors = call("train", "--resume", pole_run, "--generations", 2, *same.split(), "--threads", 1)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("--body gravity=2", "(environment.body.gravity not set → 2.0)"),
        ("--body pole_length=3", "(environment.body.pole_length 2.0 → 3.0)"),
        ("--max-steps 50", "(environment.max_steps 40 → 50)"),
        ("--profile-overrides learning_storage.zero=true", "(profile_overrides.learning_storage.zero not set → True)"),
    ],
)
def test_a_changed_option_is_named_alone(changed, said, pole_run, call, files):
    before = files(pole_run)
    code, _, errors = call("train", "--resume", pole_run, *changed.split())
    assert code == 2
    assert said in errors
    assert files(pole_run) == before


def test_worst_rank_is_a_way_on_for_a_run_that_failed(tmp_path, call):
    chosen = {**TINY, "environment": {"max_steps": 5, "compiled": False}, "task": "gym:CartPole-v1"}
    train(Experiment(**chosen), out=tmp_path / "run", threads=1)
    code, _, errors = call(
        "train", "--resume", tmp_path / "run", "--generations", 2, "--on-error", "worst_rank", "--threads", 1
    )
    assert code == 0, errors
    assert load_run(tmp_path / "run").experiment.environment.on_error == "worst_rank"
    back = load_run(tmp_path / "run").experiment.replace(environment={"on_error": "fail"})
    with pytest.raises(RunFolderError, match="on_error worst_rank → fail"):
        train(back, resume=tmp_path / "run", threads=1)


# --- F18, F19: files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "study_of", ["compare cartpole --rules rsrp", "study rewards digits", "study quantization cartpole"]
)
def test_settings_a_study_gives_itself_are_refused_by_every_study(study_of, tmp_path, call):
    for text, said in (("seed: 3", "settings.seed"), ("task: acrobot", "settings.task"), ("taks: digits", "taks")):
        (tmp_path / "s.yaml").write_text(text)
        code, _, errors = call(*study_of.split(), "--config", tmp_path / "s.yaml", "-o", tmp_path / "out")
        assert code == 2
        assert said in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_a_study_takes_its_task_from_its_settings(tmp_path):
    chosen = {"task": "cartpole", **TINY}
    assert (
        study("compare", output=tmp_path / "s", rules="rsrp", seeds=1, settings=chosen, threads=1).rows[0]["error"] is None
    )
    with pytest.raises(ExperimentError, match=r"settings\.rule: .*--rules"):
        study("compare", output=tmp_path / "t", settings={"rule": "es"})


@pytest.mark.parametrize("section", ["", "[1, 2]", "text", "3"])
@pytest.mark.parametrize(
    ("name", "option"), [("environment", "--max-steps 5"), ("layers", "--hidden 8"), ("dataset", "--levels 2")]
)
def test_a_section_that_holds_no_settings_is_named(section, name, option, tmp_path, call):
    (tmp_path / "c.yaml").write_text(f"task: cartpole\n{name}: {section}\n")
    for also in ((), option.split()):
        code, _, errors = call("train", "--config", tmp_path / "c.yaml", *also, "--out", tmp_path / "out")
        assert code == 2
        assert f"{name}: " in errors
        assert "must hold settings, such as {" in errors


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("options:", "optionz:"),
        lambda text: text + "more: 1\n",
        lambda text: text[: text.index("options:")],
        lambda text: text.replace("task: cartpole", "task: [cartpole]"),
        lambda text: text.replace("rules:", "ruls:"),
        lambda text: "",
    ],
)
def test_a_damaged_study_is_not_started_anew(damage, tmp_path, call, files):
    study("compare", "cartpole", tmp_path / "s", rules="rsrp", seeds=1, settings=TINY, threads=1)
    file = tmp_path / "s" / "study.yaml"
    file.write_text(damage(file.read_text()))
    before = files(tmp_path / "s")
    code, _, errors = call("compare", "-o", tmp_path / "s", "--resume")
    assert code == 2
    assert "Traceback" not in errors
    assert files(tmp_path / "s") == before


def test_runs_of_robustness_are_asked_for(call):
    code, _, errors = call("study", "robustness", "-o", "z")
    assert code == 2
    assert "name one or more folders" in errors
    assert not Path("z").exists()


# --- F24: profiles that are files --------------------------------------------------------------------------------------


def test_a_run_holds_its_profile(tmp_path, monkeypatch):
    """Moved, and without the file, or with the file edited, it is the same run."""
    monkeypatch.chdir(tmp_path)
    leaf = "{value: [%d], unit: bit, source: ablation, status: inferred}"
    text = f"name: few\nextends: loihi1\nsynapse:\n  weight_bits: {leaf % 1}\n"
    Path("few.yaml").write_text(text)
    experiment = Experiment(profile="few.yaml", **TINY)
    train(experiment, out="run", threads=1)
    before, mapped = evaluate("run", threads=1), map_run("run").record()
    Path("few.yaml").write_text(text.replace("[1]", "[8]"))
    edited = evaluate("run", threads=1)
    Path("few.yaml").unlink()
    (tmp_path / "elsewhere").mkdir()
    shutil.move("run", "elsewhere/run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert evaluate("run", threads=1) == edited == before
    assert map_run("run").record() == mapped
    resumed = train(load_run("run").experiment.replace(generations=2), resume="run", threads=1)
    assert resumed.summary["generations"] == 2
    plot("run", output="p.svg")
    assert Experiment.from_yaml("run/config.yaml").hardware.digest == experiment.hardware.digest


def test_a_folder_says_when_and_with_what_it_was_made(run):
    record = read_yaml(run / CONFIG)["record"]
    assert record["learning_rate"] == load_run(run).experiment.resolved_learning_rate
    train(load_run(run).experiment.replace(generations=5), resume=run, threads=1)
    sittings = read_yaml(run / CONFIG)["record"]["sittings"]
    assert len(sittings) == 2
    assert sittings[0] == record["sittings"][0]
    assert sittings[1].keys() == {"date", "rsrp_lava", "python", "numpy", "numba", "machine"}


# --- settings that decide nothing --------------------------------------------------------------------------------------

USELESS = [
    ("cartpole --hidden 64", "layers.hidden (--hidden)", "network.n_neurons"),
    ("cartpole --batch 64", "batch (--batch)", "episodes"),
    ("cartpole --data x", "data (--data)", "episodes"),
    ("cartpole --workers 3", "workers (--workers)", "--threads"),
    ("cartpole --env-kwargs a=1", "environment.kwargs (--env-kwargs)", "gym:"),
    ("cartpole --on-error fail", "environment.on_error (--on-error)", "gym:"),
    ("cartpole --lava-target simulation", "lava_target (--lava-target)", "--engine lava"),
    ("cartpole --rule es --optimizer sgd", "optimizer (--optimizer)", "rule es"),
    ("cartpole --rule-options noise=1", "rule_options (--rule-options)", "rule rsrp"),
    ("digits --data x", "data (--data)", "in the package"),
    ("digits --max-steps 5", "environment.max_steps (--max-steps)", "images"),
    ("digits --resize 8x8", "dataset.resize (--resize)", "your own data"),
    ("digits --no-reservoir", "reservoir (--reservoir)", "layers"),
    ("gym:CartPole-v1 --on-error fail", "environment.on_error (--on-error)", "compiled"),
    ("gym:CartPole-v1 --no-compiled --observation-noise 0", "environment.observation_noise", "compiled"),
]


@pytest.mark.parametrize(("arguments", "named", "said"), USELESS)
def test_what_decides_nothing_is_refused_by_the_name_it_was_given(arguments, named, said, call):
    code, _, errors = call("train", *arguments.split(), "--population", 4, "--generations", 1)
    assert code == 2
    assert named in errors
    assert said in errors
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "chosen",
    [
        {"task": "cartpole"},
        {"task": "cartpole", "rule": "es"},
        {"task": "digits"},
        {"task": "pendulum"},
        {"task": "digits", "layers": {"neurons": "lif"}},
        {"task": "gym:Pendulum-v1"},
    ],
)
def test_a_folder_leaves_out_what_decides_nothing_and_reads_back_equal(chosen, tmp_path):
    experiment = Experiment(**chosen)
    (tmp_path / "c.yaml").write_text(experiment.to_yaml())
    kept = read_yaml(tmp_path / "c.yaml")
    assert ("layers" in kept) == experiment.classifies
    assert "lava_target" not in kept
    for again in (
        Experiment.from_yaml(tmp_path / "c.yaml"),
        Experiment.recorded(kept),
        Experiment(**experiment.model_dump()),
    ):
        assert again == experiment
        assert again.fingerprint == experiment.fingerprint


# --- numbers and words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["dt_ms", "sim_time_ms", "tau_mem_ms", "v_threshold", "v_reset", "input_gain", "expected_sparsity"]
)
@pytest.mark.parametrize("value", [1e-300, 5e-324, 1e300])
def test_constants_that_float32_cannot_hold_are_refused(name, value):
    if name == "v_reset" and value < 1:
        pytest.skip("a potential may be 0, or as good as that")
    with pytest.raises(ExperimentError, match=rf"network\.{name}"):
        Experiment(network={name: value})


def test_steps_without_number_are_refused():
    with pytest.raises(ExperimentError, match=r"network\.dt_ms: .* limit 1,000,000"):
        Experiment(network={"dt_ms": 1e-9})
    with pytest.raises(ExperimentError, match="learning_rate: 1e\\+300 must be at most"):
        Experiment(rule="es", learning_rate=1e300)


@pytest.mark.parametrize(
    "arguments",
    [
        "train {}",
        "train gym:{}",
        "train cartpole --profile {}",
        "train cartpole --seed {}",
        "evaluate {}",
        "map {}",
        "plot {} -o x.png",
        "compare cartpole -o {}",
        "compare cartpole --rules {} -o y",
        "profiles {}",
        "train data:{}.npz",
        "train cartpole --profile-overrides {}=1",
        "train gym:Pendulum-v1 --wrapper {}",
    ],
)
def test_messages_do_not_repeat_pages(arguments, call):
    for length in (300, 10_000):
        code, _, errors = call(*arguments.format("a" * length).split())
        assert code == 2
        assert "Traceback" not in errors
        assert len(errors) < 2500


def test_an_environment_in_place_of_its_name_is_told_how():
    with pytest.raises(ExperimentError, match=r"gymnasium\.register\('My-v0', Asked\), and task='gym:My-v0'"):
        Experiment(task=Asked())
    with pytest.raises(RsrpError, match="type Asked"):
        Experiment(task="cartpole").replace(task=Asked())
