"""Rules compared: rows against trainings done by hand, tables and pictures, resuming, and how it says no."""

import csv
import json

import pytest

from rsrp_lava import Experiment, ExperimentError, load_run, study, train

RULES = ("rsrp", "hedonistic")
SETTINGS = {"population": 16, "generations": 3, "evaluation_episodes": 8, "network": {"n_neurons": 32}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return study("compare", "cartpole", tmp_path_factory.mktemp("study") / "rules", threads=1, seeds=2, settings=SETTINGS)


def test_every_rule_and_seed_is_that_training(compared):
    assert [(row["rule"], row["seed"]) for row in compared.rows] == [(rule, seed) for rule in RULES for seed in range(2)]
    for row in compared.rows:
        ref = train(Experiment(task="cartpole", rule=row["rule"], seed=row["seed"], **SETTINGS), threads=1).summary
        assert (row["final_return"], row["env_steps"]) == (ref["final_eval_return"], ref["env_steps"])
        assert (row["updates"], row["samples"], row["error"]) == (3, 48, None)


def test_curves_and_report_are_written(compared):
    assert compared.files == ["results.csv", "curves.csv", "curves.png", "report.md"]
    curves = list(csv.DictReader((compared.output / "curves.csv").open()))
    assert [c["generation"] for c in curves if (c["rule"], c["seed"]) == ("rsrp", "1")] == ["0", "1", "2", "3"]
    last = next(row for row in compared.rows if (row["rule"], row["seed"]) == ("rsrp", 1))
    of_one = [c for c in curves if (c["rule"], c["seed"]) == ("rsrp", "1")]
    assert float(of_one[-1]["evaluation_return"]) == pytest.approx(last["final_return"], abs=1e-4)
    run = load_run(compared.output / "runs" / last["run"])
    assert [int(c["env_steps"]) for c in of_one] == [0, *(record["env_steps"] for record in run.metrics[:3])]
    assert (compared.output / "curves.png").read_bytes().startswith(b"\x89PNG")
    report = (compared.output / "report.md").read_text()
    assert all(f"| {rule} " in report for rule in RULES)


def test_a_comparison_goes_on_with_more_seeds(tmp_path):
    small = {**SETTINGS, "generations": 1}
    first = study("compare", "cartpole", tmp_path / "rules", threads=1, rules="rsrp", seeds=1, settings=small)
    done = []
    more = study("compare", None, tmp_path / "rules", resume=True, threads=1, seeds=2, progress=done.append)
    assert more.rows[0] == first.rows[0]
    assert [d.computed for d in done if d.row] == [False, True]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"rules": "rspr"}, "did you mean 'rsrp'"), ({"rules": ()}, "rules"), ({"seeds": 0}, "seeds"), ({"axes": 3}, "axes")],
)
def test_what_cannot_be_compared_is_refused(options, said, tmp_path):
    with pytest.raises(ExperimentError, match=said):
        study("compare", "cartpole", tmp_path / "rules", **options)
    assert not (tmp_path / "rules").exists()


def test_the_command(call, tmp_path):
    (tmp_path / "small.yaml").write_text(json.dumps({**SETTINGS, "generations": 1}))
    arguments = ("compare", "cartpole", "--rules", "hedonistic,rsrp", "--seeds", 1, "--config", "small.yaml", "-o", "rules")
    code, out, said = call(*arguments, "--json")
    assert code == 0, said
    result = json.loads(out.splitlines()[-1])
    assert [row["rule"] for row in result["rows"]] == ["hedonistic", "rsrp"]
    code, _, said = call(*arguments)
    assert (code, "go on with --resume" in said) == (2, True)


def test_rules_with_weights_are_compared_too_each_with_what_it_has_a_use_for(tmp_path):
    settings = {**SETTINGS, "population": 10, "rules": {"nrl": {"learning_rate": 0.01, "rule_options": {"hidden": [4]}}}}
    done = []
    output = tmp_path / "rules"
    result = study("compare", "cartpole", output, rules="nrl,rsrp", seeds=3, settings=settings, progress=done.append)
    assert [(row["rule"], row["seed"], row["error"]) for row in result.rows] == [
        (rule, seed, None) for rule in ("nrl", "rsrp") for seed in range(3)
    ]
    run = load_run(result.output / "runs" / result.rows[0]["run"])
    assert (run.experiment.rule_options["hidden"], run.experiment.population) == ((4,), 10)
    ref = train(Experiment(task="cartpole", rule="nrl", seed=2, **own_of(settings)), threads=1).summary
    assert (result.rows[2]["final_return"], result.rows[2]["updates"]) == (ref["final_eval_return"], 30)
    assert len([d for d in done if d.row]) == 6


def own_of(settings):
    return {k: v for k, v in settings.items() if k not in ("rules", "network")} | settings["rules"]["nrl"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [({"nlr": {}}, "did you mean 'nrl'"), ([1], "must hold settings by rule"), ({"nrl": {"noise": 1}}, "noise")],
)
def test_settings_of_rules_are_checked(rules, said, tmp_path):
    with pytest.raises(ExperimentError, match=said):
        study("compare", "cartpole", tmp_path / "x", rules="nrl", seeds=1, settings={"rules": rules})
