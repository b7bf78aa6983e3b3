"""An experiment is read, checked and written the same from Python, YAML and the command line."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rsrp_lava import Experiment, ExperimentError, NetworkOptions
from rsrp_lava import experiment as experiment_module
from rsrp_lava.tasks import recipe


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "settings.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def message(*, path=None, **settings):
    """What an experiment that must be refused is refused with."""
    with pytest.raises(ExperimentError) as caught:
        Experiment.from_yaml(path, **settings) if path else Experiment(**settings)
    assert "\n" not in str(caught.value).strip()
    return str(caught.value)


def test_defaults():
    experiment = Experiment()
    assert (experiment.task, experiment.rule) == ("cartpole", "rsrp")
    assert (experiment.engine, experiment.profile) == ("fused", "ideal")
    assert (experiment.population, experiment.generations, experiment.seed) == (256, 70, 0)
    assert (experiment.optimizer, experiment.learning_rate, experiment.reward_transform) == ("sgd", "auto", "centered_rank")
    assert (experiment.epsilon, experiment.decay, experiment.reservoir) == (1e-3, 0.0, False)
    assert experiment.evaluation_episodes == 128
    assert experiment.comparator_bits == 16
    assert experiment.network == NetworkOptions()


def test_a_section_of_which_some_is_given_keeps_the_rest_of_the_recipe(monkeypatch):
    known = {"network": {"n_neurons": 32, "input_gain": 2.0}, "environment": {"starts": "shared"}}
    monkeypatch.setattr(experiment_module, "recipe", lambda task, spiking, weight_rule, options: known)
    experiment = Experiment(network={"n_neurons": 64}, environment={"max_steps": 9})
    assert (experiment.network.n_neurons, experiment.network.input_gain) == (64, 2.0)
    assert (experiment.environment.max_steps, experiment.environment.starts) == (9, "shared")
    assert experiment.replace(network={**experiment.network.model_dump(), "input_gain": 0.1}).network.input_gain == 0.1


def test_a_recorded_run_does_not_follow_a_recipe_that_changed(monkeypatch):
    recorded = Experiment(network={"n_neurons": 64}).model_dump()
    del recorded["environment"]["starts"], recorded["network"]["input_gain"]  # of a version that had them not
    known = {"network": {"input_gain": 2.0}, "environment": {"starts": "shared"}}
    monkeypatch.setattr(experiment_module, "recipe", lambda task, spiking, weight_rule, options: known)
    assert Experiment.recorded(recorded) == Experiment(
        network={"n_neurons": 64, "input_gain": 0.1}, environment={"starts": "independent"}
    )


def test_a_changed_recipe_is_the_callers_own():
    changed, rules = recipe("cartpole"), recipe("cartpole", weight_rule="nrl")
    changed["population"] = rules["learning_rate"] = -1
    assert recipe("cartpole")["population"] > 0
    assert recipe("cartpole", weight_rule="nrl")["learning_rate"] > 0


def test_arguments_win_over_yaml_over_recipe_over_defaults(write, monkeypatch):
    monkeypatch.setattr(
        experiment_module,
        "recipe",
        lambda task, spiking, weight_rule, options: {"population": 10, "generations": 10, "seed": 10},
    )
    path = write("population: 20\ngenerations: 20")
    experiment = Experiment.from_yaml(path, population=30)
    assert (experiment.population, experiment.generations, experiment.seed, experiment.decay) == (30, 20, 10, 0.0)


@given(
    st.builds(
        dict,
        seed=st.integers(0, 2**63 - 1),
        population=st.integers(2, 2**20),
        learning_rate=st.just("auto") | st.floats(1e-300, 1e9),
        decay=st.floats(0, 1),
        epsilon=st.floats(1e-4, 0.499),
        p_bits=st.just("auto") | st.integers(14, 32),
        reservoir=st.booleans(),
        network=st.builds(dict, n_neurons=st.integers(2, 512), v_reset=st.floats(-1, 0)),
    )
)
def test_yaml_round_trip(settings):
    experiment = Experiment(**settings)
    again = Experiment(**yaml.safe_load(experiment.to_yaml()))
    assert again == experiment
    assert again.fingerprint == experiment.fingerprint


def test_from_yaml_reads_what_to_yaml_writes(write):
    experiment = Experiment(population=32, network={"n_neurons": 64}, learning_rate=0.1)
    assert Experiment.from_yaml(write(experiment.to_yaml())) == experiment
    assert Experiment.from_yaml(write("")) == Experiment()


def test_yaml_numbers_in_scientific_notation_are_numbers(write):
    assert Experiment.from_yaml(write("learning_rate: 1e-3\nepsilon: 1e-2")).learning_rate == 1e-3  # YAML 1.1 reads a text


def test_whole_numbers_in_scientific_notation_are_numbers(write):
    assert Experiment(population="1e4", p_bits="1.2e1").population == 10_000
    assert Experiment.from_yaml(write("population: 1e4")).population == 10_000
    assert message(population="1e-4").startswith("population: 1e-4 — must be a whole number")
    assert message(population="1e400").startswith("population: 1e400 — must be a whole number")
    assert message(network={"n_neurons": "1e2"}) == "network.n_neurons: 1e2 — must be a whole number in digits, such as 16"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"populatoin": 3}, "populatoin: no such setting; did you mean 'population'?"),
        ({"network": {"n_neuron": 3}}, "network.n_neuron: no such setting; did you mean 'network.n_neurons'?"),
        ({"network": {"v_treshold": 3}}, "did you mean 'network.v_threshold'?"),
        ({"zzz": 3}, "zzz: no such setting; known: task, rule, "),
        ({"network": {"zzz": 3}}, "network.zzz: no such setting; known: network.n_neurons, "),
        ({"zzz": 1, "population": 0}, "population: 0"),  # every mistake is named, not only the first
        ({"task": "cartpol"}, "unknown task 'cartpol': did you mean 'cartpole'?"),
        ({"rule": "rspr"}, "unknown rule 'rspr': did you mean 'rsrp'?"),
        ({"engine": "fuzed"}, "unknown engine 'fuzed': did you mean 'fused'?"),
        ({"profile": "ideel"}, "unknown profile 'ideel': did you mean 'ideal'?"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean 'adam'?"),
        ({"reward_transform": "zeromean"}, "did you mean 'zero_mean'?"),
        ({"threads": 2}, "threads: is no setting; give it to train, as --threads or threads="),
        ({"optimizer": "zzz"}, "unknown optimizer 'zzz' (known: adam, momentum, sgd)"),
    ],
)
def test_unknown_names_say_what_is_near(settings, expected):
    assert expected in message(**settings)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("population", 0, "2"),
        ("population", -4, "2"),
        ("population", 2**20 + 1, "1048576"),
        ("generations", 0, "1"),
        ("generations", -1, "1"),
        ("seed", -1, "0"),
        ("seed", 2**63, str(2**63)),
        ("epsilon", 0, "0"),
        ("epsilon", 0.5, "0.5"),
        ("epsilon", -0.1, "0"),
        ("epsilon", math.nan, "finite"),
        ("decay", -0.1, "0"),
        ("decay", 1.1, "1"),
        ("learning_rate", 0, "above 0"),
        ("learning_rate", -1, "above 0"),
        ("learning_rate", math.nan, "finite"),
        ("learning_rate", math.inf, "finite"),
        ("evaluation_episodes", 0, "1"),
        ("p_bits", 1, "2"),
        ("p_bits", 33, "32"),
        ("network.n_neurons", 0, "2"),
        ("network.dt_ms", 0, "0"),
        ("network.tau_mem_ms", math.inf, "finite"),
    ],
)
def test_out_of_range_names_field_value_and_limit(field, value, limit):
    head, _, last = field.rpartition(".")
    said = message(**({head: {last: value}} if head else {last: value}))
    assert said.startswith(f"{field}: {value}")
    assert limit in said.removeprefix(f"{field}: {value}")


def test_epsilon_below_the_comparators_step_is_refused():
    """A probability of epsilon must not be drawn as never: half a step rounds to one, less to none."""
    assert Experiment(epsilon=2.0**-5, p_bits=4).epsilon == 2.0**-5
    said = message(epsilon=2.0**-6, p_bits=4)
    assert said == (
        "epsilon: 0.015625 rounds to 0 in a comparator of p_bits = 4, whose step is 0.0625; "
        "raise epsilon to at least 0.03125, or p_bits (up to 32)"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("population", "many"),
        ("population", 32.5),
        ("population", [32]),
        ("population", None),
        ("seed", True),
        ("decay", True),
        ("learning_rate", True),
        ("learning_rate", "fast"),
        ("p_bits", "wide"),
        ("reservoir", 3),
        ("task", 3),
        ("task", None),
        ("network", 3),
        ("network", None),
    ],
)
def test_wrong_types_name_field_and_value(field, value):
    said = message(**{field: value})
    assert said.startswith(f"{field}: {value} — ")
    assert said.count(f"{field}:") == 1


def test_a_huge_value_does_not_flood_the_message():
    value = ["x" * 1000] * 1000
    for _ in range(8):
        value = [value] * 8  # written out, it would fill the memory
    assert len(message(seed=value)) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("population: 32\nsede: 1", "sede: no such setting; did you mean 'seed'?"),
        ("network:\n  n_neuron: 3", "network.n_neuron: no such setting"),
        ("- population", "must hold settings, one 'name: value' a line, not ['population']"),
        ("population", "must hold settings"),
        ("1: 2", "must hold settings"),
        ("network: [", "not valid YAML"),
        ("a: b: c", "not valid YAML: mapping values are not allowed here (line 1, column 5)"),
        ("seed: 1\nseed: 2", "'seed' is given twice (line 2, column 1)"),
        ("network: {n_neurons: 8, n_neurons: 9}", "'n_neurons' is given twice"),
        ("seed: 1\n---\nseed: 2", "not valid YAML"),
        ("{? [a] : 3}", "only plain values"),
        ("seed: *missing", "not valid YAML"),
        (b"PK\x03\x04\xff\xfe\x00", "cannot be read"),
        (b"\x00\x01\x02", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("seed: 2020-13-45", "seed: 2020-13-45 — must be a whole number"),
        ("seed: " + "1" * 5000, "not valid YAML: a value cannot be read"),
    ],
)
def test_bad_yaml(write, text, expected):
    path = write(text)
    with pytest.raises(ExperimentError) as caught:
        Experiment.from_yaml(path)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        "!!python/object/new:os.system ['touch {file}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!own 3",
    ],
)
def test_yaml_cannot_construct_objects(write, tmp_path, value):
    trace = tmp_path / "executed"
    for text in (value, f"seed: {value}"):
        said = message(path=write(text.format(file=trace)))
        assert "only plain values are allowed, a file cannot construct objects" in said
    assert not trace.exists()


def test_yaml_that_cannot_be_read_names_the_file(tmp_path):
    assert str(tmp_path / "missing.yaml") in message(path=tmp_path / "missing.yaml")
    assert f"{tmp_path}: cannot be read (is a directory)" in message(path=tmp_path)


def test_fingerprint_ignores_generations_and_engine_only(monkeypatch):
    monkeypatch.setitem(experiment_module.ENGINES, "other", "")
    base = Experiment()
    assert base.replace(generations=9).fingerprint == base.fingerprint
    assert base.replace(engine="other").fingerprint == base.fingerprint
    changed = {
        "seed": 1,
        "population": 3,
        "learning_rate": 0.5,
        "halve_learning_rate_every": 3,
        "optimizer": "adam",
        "reward_transform": "none",
        "decay": 0.5,
        "epsilon": 0.25,
        "p_bits": 12,
        "reservoir": True,
        "evaluation_episodes": 5,
        "network": {"n_neurons": 8},
        "profile": "loihi2",
        "profile_overrides": {"learning_storage.p_bits": 4},
        "environment": {"max_steps": 5},
    }
    of_images = {"layers": {"hidden": [3]}, "reward": "recall", "batch": 3, "data_sampling": "independent"}
    ignored = {"generations": 9, "engine": "other", "lava_target": "simulation", "evaluate_every": 7, "data": "folder"}
    ignored |= {"histograms_at": [3], "max_env_steps": 10}
    of_other_rules = {"rule", "rule_options"}  # tests/test_rules.py
    of_own_data = {"dataset"}  # tests/test_own_data.py
    known = changed.keys() | of_images.keys() | ignored.keys() | of_other_rules | of_own_data | {"task"}
    assert known == Experiment.model_fields.keys()
    prints = {base.replace(**{name: value}).fingerprint for name, value in changed.items()}
    assert len(prints | {base.fingerprint}) == len(changed) + 1
    images = Experiment(task="digits")
    prints = {images.replace(**{name: value}).fingerprint for name, value in of_images.items()}
    assert len(prints | {images.fingerprint, base.fingerprint}) == len(of_images) + 2
    of_files = Experiment(task="mnist")
    assert of_files.replace(evaluate_every=7, data="folder").fingerprint == of_files.fingerprint


def test_replace_changes_a_checked_copy():
    base = Experiment(population=32)
    assert base.replace(seed=5) == Experiment(population=32, seed=5)
    assert base.seed == 0
    with pytest.raises(ExperimentError, match="seed"):
        base.replace(seed=-1)
    with pytest.raises(ExperimentError, match="no such setting"):
        base.replace(sed=1)


def test_differences_name_settings_with_their_path():
    changes = {"population": 8, "generations": 3, "network": {"n_neurons": 8}}
    assert Experiment().differences(Experiment(**changes)) == "population 256 → 8, network.n_neurons 256 → 8"


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"optimizer": "sgd"}, 0.5 * 8),
        ({"optimizer": "momentum"}, 0.05 * 8),
        ({"optimizer": "adam"}, 0.15),
        ({"optimizer": "sgd", "reward_transform": "zero_mean"}, 0.5 * 8 / 500),
        ({"optimizer": "momentum", "reward_transform": "none"}, 0.05 * 8 / 500),
        ({"optimizer": "adam", "reward_transform": "none"}, 0.15),
        ({"optimizer": "adam", "learning_rate": 0.7}, 0.7),
        ({"reward_transform": "normalized_rank"}, 0.5 * 8),
    ],
)
def test_automatic_learning_rate(settings, rate):
    """0.5·√N for ranks in [−½, ½] (ARCHITECTURE §6); over the scale of the return where rewards keep theirs."""
    assert np.isclose(Experiment(population=64, **settings).resolved_learning_rate, rate, rtol=1e-12)


@pytest.mark.parametrize(
    ("population", "number"),
    [("auto", 32), ("auto:1", 32), ("auto:16", 32), ("auto:17", 64), ("auto:64", 128), ("auto:1000", 2048), ("96", 96)],
)
def test_automatic_population(population, number):
    experiment = Experiment(population=population)
    assert experiment.population == number  # which is what the record holds
    assert f"population: {number}\n" in experiment.to_yaml()


@pytest.mark.parametrize("population", ["auto:0", "auto:", "auto:-3", "auto:many", "automatic", "auto:1.5"])
def test_a_population_that_is_nearly_auto_is_refused(population):
    assert message(population=population).startswith("population: ")


@pytest.mark.parametrize("setting", ["dt_ms", "n_neurons", "v_reset"])
def test_true_is_no_number_of_the_network_either(setting, tmp_path):
    (tmp_path / "config.yaml").write_text(f"network: {{{setting}: true}}")
    with pytest.raises(ExperimentError, match=rf"network\.{setting}: True — input should be a number"):
        Experiment.from_yaml(tmp_path / "config.yaml")


def test_a_lava_target_without_lava_is_refused():
    with pytest.raises(
        ExperimentError,
        match=r"lava_target \(--lava-target\): 'loihi2' — is for engine lava, not fused; .*add --engine lava",
    ):
        Experiment(lava_target="loihi2")
    assert Experiment(lava_target="loihi2", engine="lava").lava_target == "loihi2"
