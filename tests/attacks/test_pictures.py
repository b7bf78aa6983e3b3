"""A picture that cannot be drawn loses nothing, and what is drawn is what was measured."""

import json
import logging
import os
import subprocess
import sys

import pytest

from rsrp_lava import Experiment, plot, runs, train
from rsrp_lava.errors import DrawingError, ExperimentError
from rsrp_lava.experiment import distinct_labels
from rsrp_lava.reporting import plots
from rsrp_lava.run_folder import RunFolder

TINY = {"population": 4, "generations": 3, "evaluation_episodes": 4, "network": {"n_neurons": 16}}


@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "module://no_such_module.backend_inline"},
        pytest.param({"MPLBACKEND": "Fancy"}, marks=pytest.mark.slow),
        {"MATPLOTLIBRC": "rc"},
    ],
    ids=str,
)
def test_what_is_set_for_other_pictures_changes_nothing(tmp_path, variables):
    (tmp_path / "rc").write_text("text.usetex: True\nfont.family: No Such Font\nsavefig.dpi: 3\n")
    command = [sys.executable, "-m", "rsrp_lava.cli", "train", "cartpole", "--population", "4", "--generations", "1"]
    command += ["--evaluation-episodes", "2", "--threads", "1", "--json", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert json.loads(done.stdout)["generations"] == 1
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_names_are_drawn_as_they_are_and_ticks_of_matplotlib_are_formulas(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 10, 1000], [1, 2, 3], label=r"$\foo$ and $x_")
    axes.set_xscale("log")
    axes.set_yticks([1, 2], [r"$\no$", "b"])
    axes.set_title(r"costs 3$ \frac")
    axes.legend()
    with plots.drawing():
        plots.save_figure(figure, tmp_path / "a.png")
    assert not axes.title.get_parse_math()
    assert all(tick.label1.get_parse_math() for tick in axes.xaxis.get_major_ticks())


@pytest.mark.parametrize(
    "error", [ValueError("no renderer"), RuntimeError("latex was not found"), MemoryError(), KeyError("x")]
)
def test_training_is_kept_where_drawing_fails(tmp_path, monkeypatch, caplog, call, error):
    def broken(*arguments, **named):
        raise error

    monkeypatch.setattr("rsrp_lava.reporting.plots.save_figure", broken)
    with caplog.at_level(logging.WARNING):
        result = train(Experiment(**TINY), out=tmp_path / "run", threads=1)
    assert result.summary["generations"] == 3
    assert f"curves.png: cannot be drawn ({type(error).__name__}" in caplog.text
    assert not (tmp_path / "run" / "curves.png").exists()
    with pytest.raises(DrawingError, match=r"x\.png: cannot be drawn"):
        plot(tmp_path / "run", output=tmp_path / "x.png")
    code, _, err = call("plot", tmp_path / "run", "-o", "x.png")
    assert (code, err.count("\n"), "cannot be drawn" in err) == (2, 1, True)


def test_a_study_keeps_its_tables_where_drawing_fails(tmp_path, monkeypatch, caplog):
    from rsrp_lava import study

    monkeypatch.setattr("rsrp_lava.reporting.comparison_plots.save_figure", lambda *what: 1 / 0)
    found = study("compare", "cartpole", tmp_path / "s", rules="rsrp", seeds=1, settings=TINY, threads=1)
    assert (tmp_path / "s" / "report.md").exists()
    assert "curves.png" not in found.files
    assert "cannot be drawn (ZeroDivisionError" in caplog.text


# --- what was measured -------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The curves that `plot` draws of some runs."""

    def draw(*folders, **named):
        curves = []
        monkeypatch.setattr(runs, "draw_curves", lambda title, measured, given, *rest: curves.extend(given))
        plot(*folders, output=tmp_path / "x.png", **named)
        return curves

    return draw


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Seeds 0, 1, 2 of one experiment: trained to the end, stopped by its time, stopped at a goal."""
    folder = tmp_path_factory.mktemp("three")
    for seed, how in ((0, {}), (1, {"max_time": 1e-6}), (2, {"until": -1.0})):
        train(Experiment(**TINY, seed=seed), out=folder / f"seed{seed}", threads=1, **how)
    return folder


def test_runs_say_why_they_ended(three):
    ended = [RunFolder.open(three / f"seed{seed}").read_metrics()[-1]["ended_by"] for seed in range(3)]
    assert ended == ["length", "max_time", "until"]


def test_a_run_that_was_stopped_is_in_no_mean(three, drawn):
    (both,) = drawn(three / "seed0", three / "seed1")
    (alone,) = drawn(three / "seed0")
    assert both.returns.tolist() == alone.returns.tolist()
    ((generations, values),) = both.ended_early
    assert generations.tolist() == [0, 1]
    assert len(values) == 2
    assert both.label.endswith("(seed 0; seed 1 ended early, at generation 1 of 3)")


def test_a_run_alone_that_was_stopped_has_no_final_figure(three, drawn, tmp_path):
    (stopped,) = drawn(three / "seed1")
    assert len(stopped.returns) == 0
    assert "seed 1 ended early, at generation 1 of 3 with " in stopped.label


def test_a_run_that_was_killed_ends_where_it_was_evaluated_last(three, drawn, tmp_path):
    import shutil

    killed = shutil.copytree(three / "seed0", tmp_path / "killed")
    lines = (killed / "metrics.jsonl").read_text().splitlines(keepends=True)
    (killed / "metrics.jsonl").write_text("".join(lines[:3]))  # before the evaluation at the end
    (curve,) = drawn(killed)
    assert curve.ended_early[0][0].tolist() == [0, 1, 2]
    assert len(curve.returns) == 0


def test_a_run_that_reached_its_goal_keeps_its_value(three, drawn):
    (both,) = drawn(three / "seed0", three / "seed2")
    assert both.returns.shape == (2, 4)
    assert both.label.endswith("(2 seeds)")
    assert len(set(both.returns[1].tolist())) == 1


def test_pictures_with_stopped_runs_are_drawn(three, tmp_path):
    for number, members in enumerate((["seed1"], ["seed0", "seed1"], ["seed0", "seed1", "seed2"])):
        plot(*(three / name for name in members), output=tmp_path / f"{number}.svg")
        assert (tmp_path / f"{number}.svg").stat().st_size > 5000


# --- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": {"n_neurons": 24}}, "n_neurons = 24"),
        ({"decay": 0.125}, "decay = 0.125"),
        ({"epsilon": 0.01}, "epsilon = 0.01"),
        ({"p_bits": 12}, "p_bits = 12"),
        ({"rule": "hedonistic"}, "hedonistic"),
        ({"population": 8}, "N = 8"),
        ({"environment": {"max_steps": 7}}, "max_steps = 7"),
        ({"environment": {"body": {"pole_length": 2.0}}}, "pole_length = 2"),
        ({"profile": "loihi2"}, "loihi2"),
        ({"reservoir": True}, "reservoir = True"),
    ],
    ids=str,
)
def test_labels_name_what_differs_and_nothing_else(changes, said):
    base = Experiment(**TINY)
    other = base.replace(
        **{name: {**base.model_dump()[name], **of} if isinstance(of, dict) else of for name, of in changes.items()}
    )
    ours, theirs = distinct_labels([base, other])
    assert theirs == said
    assert ours != theirs
    assert "," not in ours


def test_settings_of_the_same_name_are_told_apart():
    one = Experiment(task="digits", layers={"neurons": "relu"}, batch=32)
    other = Experiment(task="digits", layers={"neurons": "relu", "hidden": [16]}, batch=32, reward="accuracy")
    assert distinct_labels([one, other])[1] == "reward = accuracy, hidden = 16"


def test_the_task_is_named_where_there_are_several():
    tasks = [Experiment(task="cartpole", population=8), Experiment(task="gridworld"), Experiment(task="cartpole")]
    labels = distinct_labels(tasks)
    assert [label.split(",")[0] for label in labels] == ["cartpole", "gridworld", "cartpole"]
    assert labels[0] == "cartpole, N = 8"
    assert len(set(labels)) == 3


def test_given_labels_win_and_are_as_many_as_curves(three, drawn, call):
    (curve,) = drawn(three / "seed0", labels=["ours"])
    assert curve.label == "ours (seed 0)"
    with pytest.raises(ExperimentError, match=r"labels: 2 labels \(a, b\) for 1 curve"):
        drawn(three / "seed0", labels=["a", "b"])
    code, _, err = call("plot", three / "seed0", "--labels", "a,b")
    assert (code, err.startswith("error: labels: 2 labels")) == (2, True)


def test_an_argument_that_only_one_run_was_given_is_in_both_labels():
    given = Experiment(task="gym:FrozenLake-v1", environment={"kwargs": {"is_slippery": False}})
    labels = distinct_labels([given, Experiment(task="gym:FrozenLake-v1")])
    assert labels == ["is_slippery = False", "is_slippery not given"]
