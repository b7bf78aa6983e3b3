"""The quantization study: its rows against trainings and deployments done by hand, interruptions, and how it says no."""

import csv
import io
import json
import signal
import sys

import numpy as np
import pytest
import yaml

from rsrp_lava import (
    Experiment,
    ExperimentError,
    MappingError,
    RunFolderError,
    evaluate,
    get_task,
    load_run,
    study,
    train,
)
from rsrp_lava.deploying import deployment_of
from rsrp_lava.export import play
from rsrp_lava.studies import quantization, runner
from rsrp_lava.studies.grouping import grouped
from rsrp_lava.studies.quantization import AXES
from rsrp_lava.studies.quantization_report import plastic_histogram

SETTINGS = {"population": 16, "generations": 3, "evaluation_episodes": 8, "network": {"n_neurons": 32}}
SMALL = {
    "bits": "2,6",
    "learning_rates": "1,0.01:2",
    "epsilons": [0.2],
    "generators": ["axon", "lfsr:4"],
    "state_bits": 16,
    "deploy_bits": (1, 5),
    "ensemble": (1, 3),
    "seeds": 2,
    "settings": SETTINGS,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small study of all axes."""
    return study("quantization", "cartpole", tmp_path_factory.mktemp("study") / "whole", threads=1, **SMALL)


def row(result, **columns):
    found = [row for row in result.rows if all(row.get(name) == value for name, value in columns.items())]
    assert len(found) == 1, (columns, len(found))
    return found[0]


def overrides(bits, rounding, ends=False):
    names = ("p_bits", "rounding", "zero", "one")
    values = (bits, rounding, ends, ends)
    return {f"learning_storage.{name}": value for name, value in zip(names, values, strict=True)}


def test_every_cell_is_there_once(whole):
    """Bits: 2 rates × (2 widths × 2 roundings + float32); ends 2 × 2; deployed bits 2 × 2 modes; two seeds each."""
    expected = {
        "bits": 10,
        "ends": 4,
        "epsilon": 1,
        "generator": 2,
        "state_bits": 1,
        "deploy_bits": 4,
        "release": 4,
        "ensemble": 2,
    }
    counts = {axis: sum(row["axis"] == axis for row in whole.rows) for axis in AXES}
    assert counts == {axis: 2 * cells for axis, cells in expected.items()}
    assert all(row["error"] is None for row in whole.rows)
    assert {row["seed"] for row in whole.rows} == {0, 1}


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_training_row_is_that_training(whole, rounding):
    ref = train(Experiment(**SETTINGS, p_bits=16, seed=1, profile_overrides=overrides(2, rounding)), threads=1)
    comp = row(whole, axis="bits", bits=2, rounding=rounding, rate=1.0, seed=1)
    played = ref.metrics[:-1]
    assert comp["final_return"] == ref.summary["final_eval_return"]
    assert comp["sampled_return"] == ref.summary["final_sampled_return"]
    assert comp["lost_first"] == played[0]["lost_updates"]
    assert comp["lost_mean"] == pytest.approx(np.mean([record["lost_updates"] for record in played]))
    saved = load_run(whole.output / "runs" / comp["run"]).probabilities
    assert all((saved[name] == rho).all() for name, rho in ref.probabilities.items())


def test_steps_below_half_a_code_are_lost_by_nearest_rounding_and_not_by_stochastic(whole):
    """At a hundredth of the learning rate no change reaches half of 2^-2; ρ stays ½ everywhere."""
    nearest = row(whole, axis="bits", bits=2, rounding="nearest", rate=0.01, seed=0)
    stochastic = row(whole, axis="bits", bits=2, rounding="stochastic", rate=0.01, seed=0)
    assert nearest["first_step"] == stochastic["first_step"] < 2**-3
    assert nearest["generations"] == 2
    assert nearest["lost_first"] == nearest["lost_mean"] == 1
    stalled = load_run(whole.output / "runs" / nearest["run"]).probabilities
    assert all((rho == 0.5).all() for rho in stalled.values())
    assert stochastic["lost_mean"] < 1
    moved = load_run(whole.output / "runs" / stochastic["run"]).probabilities
    assert any((rho != 0.5).any() for rho in moved.values())


def test_first_step_is_what_float32_moves(whole):
    """Root mean square of ρ − ½ after one generation; a hundredth of the learning rate, a hundredth of the step."""
    ref = train(Experiment(**{**SETTINGS, "generations": 1}, p_bits=16, seed=0), threads=1).probabilities
    change = np.concatenate([rho.ravel() for rho in ref.values()]).astype(float) - 0.5
    comp = [row(whole, axis="bits", bits="float32", rate=rate, seed=0)["first_step"] for rate in (1.0, 0.01)]
    assert comp[0] == pytest.approx(np.sqrt((change**2).mean()), rel=1e-12)
    assert comp[1] == pytest.approx(comp[0] / 100, rel=1e-5)


def test_stuck_ends_are_counted(whole):
    comp = row(whole, axis="ends", bits=2, rounding="stochastic", seed=0)
    rho = load_run(whole.output / "runs" / comp["run"]).probabilities
    ends = sum(int(((p == 0) | (p == 1)).sum()) for p in rho.values())
    assert comp["stuck"] == ends / sum(p.size for p in rho.values()) > 0
    assert row(whole, axis="bits", bits=2, rounding="stochastic", rate=1.0, seed=0)["stuck"] == 0


@pytest.mark.parametrize(("release", "bits"), [("threshold", 1), ("threshold", 5), ("frozen_sample", 5)])
def test_a_deployment_row_is_128_episodes_of_rounded_probabilities(whole, release, bits):
    comp = row(whole, axis="deploy_bits", release=release, deploy_bits=bits, seed=1)
    run = load_run(whole.output / "runs" / comp["run"])
    rounded = {
        name: np.rint(rho.astype(float) * 2**bits).astype(np.float32) / 2**bits for name, rho in run.probabilities.items()
    }
    returns = []
    for generation in range(run.generation, run.generation + 16):
        deployment = deployment_of(run, "ideal", release, probabilities=rounded, generation=generation)
        returns.extend(play(deployment, get_task("cartpole"), 8, seed=1, generation=generation).returns)
    assert (comp["final_return"], comp["final_std"]) == (np.mean(returns), np.std(returns))


def test_threshold_without_rounding_starts_with_the_evaluation_of_training(whole):
    comp = row(whole, axis="release", release="threshold", seed=0)
    run = whole.output / "runs" / comp["run"]
    first = play(deployment_of(load_run(run), "ideal", "threshold"), get_task("cartpole"), 8, seed=0, generation=3).returns
    assert evaluate(run, episodes=8)["mean_return"] == first.mean()


def test_what_is_written_says_what_the_rows_say(whole):
    files = {path.name for path in whole.output.iterdir()}
    assert files == {*whole.files, "runs", "study.yaml", "measured.jsonl", "lock"}
    read = list(csv.DictReader(io.StringIO((whole.output / "results.csv").read_text())))
    assert [float(row["final_return"]) for row in read] == [row["final_return"] for row in whole.rows]
    assert (whole.output / "report.md").read_text().count("![") == sum(name.endswith(".png") for name in files)
    for name in files:
        if name.endswith(".png"):
            assert (whole.output / name).read_bytes().startswith(b"\x89PNG")
    runs = {row["run"] for row in whole.rows}
    assert runs == {path.name for path in (whole.output / "runs").iterdir()}
    curves = list(csv.DictReader(io.StringIO((whole.output / "curves.csv").read_text())))
    assert len(curves) == sum(len(load_run(whole.output / "runs" / run).metrics) for run in runs)
    histograms = list(csv.DictReader(io.StringIO((whole.output / "histograms.csv").read_text())))
    assert all(sum(float(value) for name, value in row.items() if name != "run") == pytest.approx(1) for row in histograms)


def test_tables_count_the_seeds_that_reach_the_goal(whole, tmp_path):
    returns = [row(whole, axis="epsilon", seed=seed)["final_return"] for seed in (0, 1)]
    again = study("quantization", output=whole.output, resume=True, axes="epsilon", goal=max(returns))
    reached = sum(value == max(returns) for value in returns)
    assert f"{np.mean(returns):.1f} ({min(returns):.1f} to {max(returns):.1f}) | {reached} of 2" in again.report


def test_histograms_are_fractions_around_codes(whole):
    comp = row(whole, axis="bits", bits=2, rounding="nearest", rate=1.0, seed=0)
    run = load_run(whole.output / "runs" / comp["run"])
    fractions = plastic_histogram(run)
    synapses = np.concatenate([rho.ravel() for rho in run.probabilities.values()])
    assert fractions[[8, 16, 24]].tolist() == [(synapses == code / 4).mean() for code in (1, 2, 3)]
    assert fractions.sum() == pytest.approx(1)


def test_interrupted_anywhere_it_goes_on_to_the_same_table(whole, tmp_path, monkeypatch):
    """SIGINT in a training, then a kill while measuring: finished cells are not computed again, the rows are the same."""
    out = tmp_path / "study"
    options = {**SMALL, "axes": "bits,ensemble"}

    def interrupt(done):
        if (done.cells, done.generation) == (2, 1):
            signal.raise_signal(signal.SIGINT)

    first = study("quantization", "cartpole", out, threads=1, progress=interrupt, **options)
    assert (len(first.rows), first.stopped_by) == (2, signal.SIGINT)
    assert (out / "results.csv").read_text().count("\n") == 3

    def killed(*_, **__):
        raise SystemExit

    monkeypatch.setattr(quantization, "deployment_of", killed)
    with pytest.raises(SystemExit):
        study("quantization", output=out, resume=True, threads=1)
    monkeypatch.undo()
    with open(out / "measured.jsonl", "ab") as file:
        file.write(b'{"key": "cut sho')
    trained = []
    monkeypatch.setattr(runner, "train", lambda *_, **__: trained.append(1))
    last = study("quantization", output=out, resume=True)
    assert trained == []
    assert last.rows == [row for row in whole.rows if row["axis"] in ("bits", "ensemble")]
    assert study("quantization", output=out, resume=True).rows == last.rows


def test_more_generations_train_on_and_more_seeds_join(tmp_path):
    options = {"axes": "epsilon", "epsilons": 0.1, "settings": SETTINGS}
    study("quantization", "cartpole", tmp_path / "study", seeds=1, **options)
    longer = study("quantization", output=tmp_path / "study", resume=True, seeds=2, settings={**SETTINGS, "generations": 5})
    assert [row["generations"] for row in longer.rows] == [5, 5]
    ref = study(
        "quantization", "cartpole", tmp_path / "ref", seeds=2, **{**options, "settings": {**SETTINGS, "generations": 5}}
    )
    assert longer.rows == ref.rows


def test_a_cell_that_cannot_be_computed_says_why_and_the_others_go_on(tmp_path, monkeypatch):
    def fails(experiment, **arguments):
        if experiment.epsilon == 0.2:
            raise MappingError("threshold: no code")
        return train(experiment, **arguments)

    monkeypatch.setattr(runner, "train", fails)
    out = study("quantization", "cartpole", tmp_path / "s", axes="epsilon", epsilons="0.2,0.1", seeds=1, settings=SETTINGS)
    assert [row["error"] for row in out.rows] == ["threshold: no code", None]
    assert "Not computed\n\n- epsilon, epsilon 0.2: threshold: no code" in out.report
    monkeypatch.undo()
    again = study("quantization", output=tmp_path / "s", resume=True)
    assert [row["error"] for row in again.rows] == [None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "bit"}, r"unknown axes 'bit': did you mean 'bits'\?"),
        ({"rounding": "up"}, "rounding: unknown rounding 'up'"),
        ({"bits": "2,17"}, "bits: 17 must be between 2 and 16"),
        ({"bits": "two"}, "bits.0: .*valid integer"),
        ({"learning_rates": "fast"}, "learning_rates: fast must be 1, or 0.1:160"),
        ({"generators": "lfsr"}, "generators: lfsr must be counter, axon, or lfsr:8"),
        ({"ensemble": 0}, "ensemble: 0 must be between 1 and 256"),
        ({"seeds": 0}, "seeds: .*greater than or equal to 1"),
        ({"depth": 3}, "unknown option 'depth'"),
        ({"settings": {"populatoin": 3}}, "did you mean 'population'"),
        ({"state_bits": 7}, "neuron.u.bits"),
    ],
)
def test_bad_options_are_refused_before_anything_is_made(tmp_path, options, message):
    with pytest.raises(ExperimentError, match=message):
        study("quantization", "cartpole", tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


def test_folders_that_cannot_be_used_are_refused(tmp_path, whole):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is not an empty folder"):
        study("quantization", "cartpole", tmp_path / "taken")
    with pytest.raises(RunFolderError, match=r"holds no study \(no study.yaml\)"):
        study("quantization", "cartpole", tmp_path / "taken", resume=True)
    (tmp_path / "taken" / "study.yaml").write_text(yaml.safe_dump({"study": "depth", "task": "cartpole", "options": {}}))
    with pytest.raises(RunFolderError, match="holds a study depth of task cartpole"):
        study("quantization", "cartpole", tmp_path / "taken", resume=True)
    assert (tmp_path / "taken" / "mine.txt").read_text() == "mine"
    with pytest.raises(ExperimentError, match="unknown study 'quantisation': did you mean 'quantization'"):
        study("quantisation", "cartpole", tmp_path / "other")
    with pytest.raises(ExperimentError, match="no task given"):
        study("quantization", output=tmp_path / "other")


def test_damaged_measurements_are_said_to_be(tmp_path):
    options = {"axes": "epsilon", "epsilons": 0.1, "seeds": 1, "settings": SETTINGS}
    study("quantization", "cartpole", tmp_path / "study", **options)
    (tmp_path / "study" / "measured.jsonl").write_text("no record\n")
    with pytest.raises(RunFolderError, match="no record; remove the file"):
        study("quantization", output=tmp_path / "study", resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_two_processes_do_not_share_a_study(tmp_path):
    about = {"study": "quantization", "task": "cartpole", "options": {}}
    with (
        runner.StudyFolder.opened(tmp_path / "study", about, resume=False),
        pytest.raises(RunFolderError, match="works on this study"),
    ):
        study("quantization", output=tmp_path / "study", resume=True)


def test_the_command_prints_tables_and_json(tmp_path, call):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SETTINGS))
    common = ("--config", "small.yaml", "--axes", "epsilon", "--epsilons", "0.1,0.2", "--seeds", "1", "-o", "s")
    code, out, err = call("study", "quantization", "cartpole", *common, "--json")
    assert code == 0
    answer = json.loads(out)
    assert [row["epsilon"] for row in answer["rows"]] == [0.1, 0.2]
    assert "2/2  axis epsilon, seed 0, epsilon 0.2: return" in err
    code, out, err = call("study", "quantization", "-o", "s", "--resume")
    assert code == 0
    assert "## Limits of the probabilities" in out
    assert "2 of 2 cells were there already" in err
    code, out, err = call("study", "quantization", "cartpole", *common)
    assert (code, out) == (2, "")
    assert "go on with --resume" in err
    assert "Traceback" not in err


def test_grouped_keeps_the_order():
    rows = [{"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}]
    assert [(key, [row["b"] for row in group]) for key, group in grouped(rows, ("a",))] == [((2,), [1, 3]), ((1,), [2])]
