"""Studies of classifiers: rows against trainings done by hand, what is kept of a training, and how they say no."""

import csv
import io
import json
import sys

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError, load_run, study, train
from rsrp_lava.baselines.backprop import train_backprop
from rsrp_lava.errors import EngineError
from rsrp_lava.learning.rsrp import histogram
from rsrp_lava.studies import AXES

SETTINGS = {"population": 16, "generations": 4, "batch": 8, "evaluate_every": 2, "layers": {"hidden": [6]}}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    settings = {"generations": 4, "evaluate_every": 2, "layers": {"hidden": [6]}}
    chosen = {"populations": "8,16", "batches": [4, 8], "seeds": 2, "baseline": False, "settings": settings}
    return study("samples", "digits", tmp_path_factory.mktemp("study") / "samples", threads=1, **chosen)


def read(result, name):
    return list(csv.DictReader(io.StringIO((result.output / name).read_text())))


def test_a_row_is_that_training(samples):
    row = next(r for r in samples.rows if (r["population"], r["batch"], r["seed"]) == (16, 4, 1))
    experiment = Experiment(
        **{**SETTINGS, "task": "digits", "population": 16, "batch": 4, "data_sampling": "independent", "seed": 1}
    )
    ref = train(experiment, threads=1)
    assert len(samples.rows) == 8
    assert row["final_return"] == ref.summary["final_test_accuracy"]
    assert row["images"] == 16 * 4 * 4
    assert row["entropy_input"] == ref.metrics[-1]["entropy_bits"]["input"]
    saved = load_run(samples.output / "runs" / row["run"]).probabilities
    assert all((saved[name] == rho).all() for name, rho in ref.probabilities.items())


def test_curves_and_histograms_are_those_of_the_trainings(samples):
    curves = read(samples, "curves.csv")
    of_one = [c for c in curves if (c["population"], c["batch"], c["seed"]) == ("8", "4", "0")]
    assert [c["generation"] for c in of_one] == ["0", "2", "4"]
    row = next(r for r in samples.rows if (r["population"], r["batch"], r["seed"]) == (8, 4, 0))
    run = load_run(samples.output / "runs" / row["run"])
    assert float(of_one[-1]["accuracy"]) == pytest.approx(row["final_return"], abs=1e-6)
    kept = [h for h in read(samples, "histograms.csv") if (h["population"], h["batch"], h["seed"]) == ("8", "4", "0")]
    last = next(h for h in kept if (h["generation"], h["projection"]) == ("4", "input"))
    fractions = [float(last[f"{k / 32:g}"]) for k in range(33)]
    counts = histogram(run.probabilities["input"])
    np.testing.assert_allclose(fractions, counts / counts.sum(), atol=1e-6)
    first = next(h for h in kept if (h["generation"], h["projection"]) == ("0", "input"))
    assert float(first["0.5"]) == 1


def test_pictures_and_report_are_written(samples):
    for name in ("accuracy.png", "product.png", "entropy.png", "histograms.png"):
        assert (samples.output / name).read_bytes().startswith(b"\x89PNG")
    assert "| 16         | 8     |" in (samples.output / "report.md").read_text()


@pytest.mark.parametrize("name", ["ei", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rewards", "transforms"))])
def test_every_variant_is_trained(name, tmp_path):
    result = study(name, "digits", tmp_path / "study", seeds=1, baseline=False, settings=SETTINGS)
    column = {"rewards": "reward", "transforms": "transform", "ei": "ei"}[name]
    assert len({row[column] for row in result.rows}) == len(result.rows) == {"rewards": 4, "transforms": 3, "ei": 5}[name]
    experiments = [load_run(result.output / "runs" / row["run"]).experiment for row in result.rows]
    assert len({experiment.fingerprint for experiment in experiments}) == len(experiments)
    if name == "ei":
        assert [(e.layers.ei, e.layers.mirror_input) for e in experiments[:3]] == [
            ("none", False),
            ("1:1", False),
            ("1:1", True),
        ]


def test_a_study_goes_on_where_it_was(tmp_path):
    first = study("rewards", "digits", tmp_path / "s", rewards="recall", seeds=1, baseline=False, settings=SETTINGS)
    seen = []
    second = study("rewards", output=tmp_path / "s", resume=True, rewards="recall,accuracy", progress=seen.append)
    assert [row["reward"] for row in second.rows] == ["recall", "accuracy"]
    assert second.rows[0] == first.rows[0]
    assert [done.computed for done in seen if done.row is not None] == [False, True]


def test_a_missing_reference_is_said_and_nothing_else_stops(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = study("rewards", "digits", tmp_path / "s", rewards="recall", seeds=1, settings=SETTINGS)
    assert [row["error"] for row in result.rows] == [
        None,
        "backprop: torch is not installed; pip install 'rsrp-lava[baselines]'",
    ]
    assert "backprop: torch is not installed" in result.report
    with pytest.raises(EngineError, match="torch is not installed"):
        train_backprop(Experiment(task="digits"))


@pytest.mark.parametrize("conv", [[], [16]])
def test_the_reference_learns(conv):
    pytest.importorskip("torch")
    layers = {"hidden": [32], "conv": conv}
    experiment = Experiment(task="digits", generations=300, batch=64, evaluate_every=100, layers=layers)
    result = train_backprop(experiment, learning_rate=5e-3)
    assert [step for step, _ in result.accuracies] == [0, 100, 200, 300]
    assert result.accuracies[-1][1] > 0.93
    assert train_backprop(experiment, learning_rate=5e-3).accuracies == result.accuracies


@pytest.mark.parametrize(
    ("name", "task", "options", "message"),
    [
        ("rewards", "cartpole", {}, "study rewards: cartpole classifies no images"),
        ("rewards", "digits", {"batches": "3"}, "study rewards: batches is no axis of it"),
        ("rewards", "digits", {"rewards": "softish"}, "unknown rewards 'softish'"),
        ("ei", "digits", {"ei": "5:1"}, "unknown ei '5:1'"),
        ("samples", "digits", {"populations": "many"}, "populations.0"),
    ],
)
def test_what_cannot_be_studied_is_refused(name, task, options, message, tmp_path):
    with pytest.raises(ExperimentError, match=message):
        study(name, task, tmp_path / "s", **options)
    assert not list(tmp_path.iterdir())


def test_the_commands(tmp_path, call):
    small = ("--generations", "2", "--seeds", "1", "--no-baseline", "-o")
    code, out, err = call("study", "samples", "digits", "--populations", "4", "--batches", "2,3", *small, "a", "--json")
    assert code == 0, err
    answer = json.loads(out.splitlines()[-1])
    assert (answer["study"], [row["batch"] for row in answer["rows"]]) == ("samples", [2, 3])
    code, _, err = call(
        "study", "ei", "digits", "--ei", "none,3:1 mirrored", "--population", "4", "--batch", "2", *small, "b"
    )
    assert code == 0, err
    assert len(list((tmp_path / "b" / "runs").iterdir())) == 2
    for name, axes in AXES.items():
        code, out, _ = call("study", name, "--help")
        assert all("--" + axis.replace("_", "-") in out for axis in axes)
        assert ("--population " in out) == (name != "samples")
