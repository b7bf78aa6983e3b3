"""What is printed: in any encoding, of any width, once, and true."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
import typer

from lava_sessions import needs_lava
from rsrp_lava import Experiment, cli, map_run, study, train
from rsrp_lava.errors import MappingError
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.mapping import check, quantise
from rsrp_lava.mapping.check import size_that_fits
from rsrp_lava.studies.comparison import ComparisonOptions
from rsrp_lava.studies.comparison_report import Report

TINY = {"population": 4, "generations": 1, "evaluation_episodes": 2, "network": {"n_neurons": 16}}


def program(*arguments, cwd=None, **variables):
    command = [sys.executable, "-m", "rsrp_lava.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **variables}, capture_output=True)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_any_encoding_of_the_output(monkeypatch, encoding, run):
    """In this process: what typer and rich write, and tables of ours."""
    for arguments in (
        ["rules"],
        ["tasks"],
        ["profiles"],
        ["profiles", "loihi2"],
        ["map", str(run), "--profile", "loihi2"],
        ["train", "--help"],
        ["--help"],
    ):
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        monkeypatch.setattr(sys, "argv", ["rsrp-lava", *arguments])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main()
        out.flush()
        assert (ended.value.code or 0, len(out.buffer.getvalue()) > 100) == (0, True)


def test_letters_that_an_encoding_has_are_kept():
    done = program("rules", PYTHONIOENCODING="cp1252")
    text = done.stdout.decode("cp1252")
    assert done.returncode == 0
    assert "reward-optimized" in text
    assert "?" in text


@pytest.mark.slow
def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/n\xffm\xe9"
    os.mkdir(folder)
    train(Experiment(**TINY), out=os.fsdecode(folder) + "/run", threads=1)
    name = os.fsdecode(folder)
    for arguments in (
        ["train", "--resume", f"{name}/run", "--generations", "2", "--threads", "1", "--json"],
        ["plot", f"{name}/run", "-o", f"{name}/a.png"],
        ["deploy", f"{name}/run", "--to", "npz", "-o", f"{name}/d", "--episodes", "1"],
        [
            "study",
            "robustness",
            f"{name}/run",
            "-o",
            f"{name}/s",
            "--perturbations",
            "knock_out",
            "--knock-out",
            "1",
            "--draws",
            "1",
        ],
        ["train", "--resume", f"{name}/no"],
    ):
        done = program(*arguments, cwd=tmp_path, PYTHONIOENCODING="utf-8")
        assert done.returncode == (2 if arguments[-1].endswith("/no") else 0), done.stderr
        assert b"Traceback" not in done.stderr
        if arguments[0] == "plot":  # what another program reads is the name itself
            assert done.stdout == folder + b"/a.png\n"


def terminal(columns, *arguments):
    """What a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    with subprocess.Popen([sys.executable, "-m", "rsrp_lava.cli", *arguments], stdout=theirs, env=environment):
        os.close(theirs)
        text = b""
        with suppress(OSError):  # the end of a terminal
            while part := os.read(ours, 65536):
                text += part
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


def test_lists_break_between_words_on_a_terminal():
    narrow, words = terminal(60, "rules"), set(program("rules").stdout.decode().split())
    assert max(map(len, narrow.splitlines())) <= 60
    assert set(narrow.split()) == words


def test_help_names_every_option_whole_at_80_columns():
    for words in ("train", "study robustness"):
        shown = program(*words.split(), "--help", COLUMNS="80").stdout.decode()
        group = typer.main.get_command(cli.app)
        for word in words.split():
            group = group.commands[word]
        for param in group.params:
            for name in (*param.opts, *param.secondary_opts):
                assert not name.startswith("--") or re.search(rf"{name}\b", shown), name


def test_a_finished_run_is_not_said_to_train(call, run):
    code, _, err = call("train", "--resume", run, "--threads", "1")
    assert code == 0
    assert err.startswith("trained already, evaluating: cartpole")
    assert "training cartpole" not in err


# --- map ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "run"
    train(Experiment(**{**TINY, "network": {"n_neurons": 300}}), out=path, threads=1)
    return path


@pytest.mark.parametrize(
    "limits",
    [
        {"limits.fan_in": 100},
        {"limits.fan_out": 77},
        {"limits.synapses_per_chip": 5000},
        {"limits.cores": 1, "limits.neurons_per_core": 130},
    ],
)
def test_the_size_that_would_fit_is_the_largest_one(large, limits):
    """Against trying every size."""
    mapped = map_run(large, profile="generic-int8", overrides=limits)
    assert mapped.violations
    size = size_that_fits(mapped)

    def violated(n_neurons):
        changed = Experiment.from_yaml(large / "config.yaml")
        changed = changed.replace(network={**changed.network.model_dump(), "n_neurons": n_neurons})
        return check(quantise(changed.build_network(), load_profile("generic-int8", limits)), strict=False).violations

    assert not violated(size)
    assert violated(size + 1)
    with pytest.raises(MappingError, match=rf"with at most {size} neurons it would fit \(network\.n_neurons, now 300\)"):
        mapped.require()


def test_what_no_size_mends_is_said(run):
    mapped = map_run(run, profile="generic-int8", overrides={"synapse.min_delay": 2, "synapse.max_delay": 4})
    assert size_that_fits(mapped) is None
    with pytest.raises(MappingError, match="no other number of neurons would mend that"):
        mapped.require()


def test_a_violation_is_said_once(call, large, tmp_path):
    (tmp_path / "small.yaml").write_text(
        "name: small\nextends: generic-int8\nlimits:\n  fan_in: {value: 100, unit: '1', source: test, status: inferred}\n"
    )
    code, out, err = call("map", large, "--profile", "small.yaml")
    assert code == 2
    assert (out + err).count("synapses that end in a recurrent neuron") == 1
    assert "fan_in; with at most 100 neurons it would fit" in err


# --- studies -----------------------------------------------------------------------------------------------------------


def test_reports_of_stopped_studies_say_what_was_measured(tmp_path):
    """Two rules, two seeds; stopped in the fourth training."""

    def stop(done):
        if done.row is None and done.cells == 3:  # while the fourth trains
            signal.raise_signal(signal.SIGINT)

    arguments = {"rules": "rsrp,hedonistic", "seeds": 2, "settings": TINY, "threads": 1}
    found = study("compare", "cartpole", tmp_path / "s", progress=stop, **arguments)
    text = found.report
    assert "1 to 2 of 2 seeds per rule" in text
    assert re.search(r"\| hedonistic +\| [-\d.]+ \[1 of 2 seeds\] +\|", text)
    assert "stopped before 1 cell:\n\n- rule hedonistic, seed 1" in text
    whole = study("compare", None, tmp_path / "s", resume=True, threads=1).report
    assert whole.startswith("2 seeds per rule; means over seeds.")
    assert "[" not in whole
    assert "Not reached" not in whole
    one = study("compare", "cartpole", tmp_path / "one", rules="rsrp", seeds=1, settings=TINY, threads=1).report
    assert one.startswith("1 seed per rule")
    assert " to " not in one.splitlines()[-1]


def test_nothing_measured_is_said(tmp_path):
    report = Report("cartpole", ComparisonOptions(seeds=2), [], tmp_path)
    report.missing = [f"rule rsrp, seed {seed}" for seed in range(30)]
    assert report.text().startswith("0 of 2 seeds per rule")
    assert "and 10 more" in report.text()


# --- a Var that is set -------------------------------------------------------------------------------------------------


@needs_lava
@pytest.mark.parametrize("tag", ["floating_pt", "fixed_pt"])
def test_a_release_that_is_set_releases_so(tag):
    """As stock Dense does whose weights are set, step for step."""
    script = Path(__file__).parents[1] / "lava_release.py"
    done = subprocess.run([sys.executable, script, tag], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    stock, ours = json.loads(done.stdout.splitlines()[-1])
    assert ours == stock
    assert len({tuple(step) for step in stock}) > 3
