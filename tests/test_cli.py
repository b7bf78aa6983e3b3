"""The command line: what it prints, what it writes, and how it says no."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import namedtuple
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from scipy.stats import t as student_t

from rsrp_lava import Experiment, cli, load_run, profile_names, release_sha256, task_names
from rsrp_lava.experiment import RULES
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.threads import available_threads

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Done = namedtuple("Done", "code out err")

TINY = "population: 8\ngenerations: 2\nevaluation_episodes: 4\nseed: 5\nnetwork: {n_neurons: 16}\ntask: cartpole\n"
SUMMARY = {
    *(
        "task",
        "notices",
        "rule",
        "engine",
        "seed",
        "generations",
        "population",
        "final_sampled_return",
        "final_eval_return",
        "eval_std",
    ),
    *("env_steps", "seconds", "compile_seconds", "network_substeps_per_second", "release_sha256", "run"),
}


@pytest.fixture
def rsrp_lava(tmp_path, monkeypatch, capsys):
    """Calls the command line in a folder of the test's own, which holds tiny.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("tiny.yaml").write_text(TINY)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rsrp-lava", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in capsys.readouterr())
        return Done(ended.value.code or 0, out, err)

    return call


def process(*arguments, **options):
    command = [sys.executable, "-m", "rsrp_lava.cli", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)


# What it prints and writes


def test_train_json_is_all_there_is_on_stdout(rsrp_lava):
    done = rsrp_lava("train", "--config", "tiny.yaml", "--out", "a", "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    summary = json.loads(done.out)
    assert summary.keys() == SUMMARY
    assert summary["run"] == "a"
    run = load_run("a")
    assert summary["release_sha256"] == release_sha256(run.probabilities)
    assert (summary["task"], summary["rule"], summary["engine"]) == ("cartpole", "rsrp", "fused")
    assert (summary["seed"], summary["population"], summary["generations"]) == (5, 8, 2)
    assert summary["final_eval_return"] == run.metrics[-1]["evaluation_return"]
    assert sorted(os.listdir("a")) == ["checkpoint.npz", "config.yaml", "curves.png", "lock", "metrics.jsonl"]


def test_train_without_json_leaves_stdout_empty_and_shows_progress(rsrp_lava):
    done = rsrp_lava("train", "--config", "tiny.yaml", "--out", "a")
    assert (done.code, done.out) == (0, "")
    last = next(line for line in done.err.splitlines() if line.startswith("generation 2/2"))
    for shown in ("sampled ", "evaluation ", " env steps/s ", " left"):
        assert shown in last
    assert re.search(r"evaluation [\d.]+ ± [\d.]+ after 2 generations, [\d.]+ s; run folder: a\n", done.err)


def test_default_folder_is_a_new_one_in_runs(rsrp_lava):
    assert rsrp_lava("train", "--config", "tiny.yaml").code == 0
    (folder,) = os.listdir("runs")
    assert re.fullmatch(r"cartpole-seed5-\d{8}-\d{6}-[0-9a-f]{6}", folder)


def test_runs_that_start_within_a_second_get_folders_of_their_own(rsrp_lava, monkeypatch):
    monkeypatch.setattr(cli, "datetime", namedtuple("Clock", "now")(lambda: datetime(2025, 1, 2, 3, 4, 5)))
    for _ in range(3):
        assert rsrp_lava("train", "--config", "tiny.yaml").code == 0
    assert len(os.listdir("runs")) == 3


def test_end_by_until_says_so_and_how_to_go_on(rsrp_lava):
    done = rsrp_lava("train", "--config", "tiny.yaml", "--generations", 9, "--until", 1, "--out", "a b")
    assert "--until 1 is reached; continue with: rsrp-lava train --resume 'a b'\n" in done.err
    assert "after 0 generations, " in done.err
    done = rsrp_lava("train", "--config", "tiny.yaml", "--until", 500, "--out", "b")
    assert "is reached" not in done.err
    done = rsrp_lava("train", "--config", "tiny.yaml", "--generations", 1, "--out", "c")
    assert "after 1 generation, " in done.err


def test_end_by_max_time_says_so_and_how_to_go_on(rsrp_lava):
    done = rsrp_lava("train", "--config", "tiny.yaml", "--until", 500, "--max-time", "0.001 s", "--out", "a b")
    assert done.code == 0
    again = "continue with: rsrp-lava train --resume 'a b' --until 500 --max-time '0.001 s'"
    assert f"--max-time 0.001 s has passed; {again}\n" in done.err
    assert "generation 1/2  " in done.err
    assert "  0:00 left" in done.err
    assert "after 1 generation, " in done.err
    done = rsrp_lava("train", "--resume", "a b", "--max-time", "1h", "--json")
    assert (done.code, json.loads(done.out)["generations"]) == (0, 2)
    assert "has passed" not in done.err
    done = rsrp_lava("train", "--config", "tiny.yaml", "--generations", 9, "--until", 1, "--max-time", "1h", "--out", "c")
    assert "--until 1 is reached" in done.err
    assert "has passed" not in done.err


def test_until_that_cannot_be_reached_is_warned_about(rsrp_lava):
    warning = "warning: --until 501 is above 500, the return of a perfect cartpole episode; all generations will be trained"
    assert warning in rsrp_lava("train", "--config", "tiny.yaml", "--until", 501, "--out", "a").err
    assert "warning" not in rsrp_lava("train", "--config", "tiny.yaml", "--until", 500, "--out", "b").err


def test_version(rsrp_lava):
    version = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"]
    assert rsrp_lava("--version") == Done(0, f"rsrp-lava {version}\n", "")


def test_pictures_are_written_as_their_name_says(rsrp_lava, run):
    starts = {"a.png": b"\x89PNG", "a.PNG": b"\x89PNG", "a.pdf": b"%PDF", "a.svg": b"<?xml"}
    for name, start in starts.items():
        assert rsrp_lava("plot", run, "-o", name) == Done(0, f"{name}\n", "")
        assert Path(name).read_bytes().startswith(start)


def test_options_win_over_config_over_recipe(rsrp_lava):
    options = ("--population", 6, "--learning-rate", "0.5", "--p-bits", "12", "--reservoir", "--optimizer", "adam")
    done = rsrp_lava("train", "--config", "tiny.yaml", *options, "--out", "a", "--json")
    written = yaml.safe_load(Path("a/config.yaml").read_text())
    assert json.loads(done.out)["population"] == written["population"] == 6
    assert (written["learning_rate"], written["p_bits"], written["reservoir"]) == (0.5, 12, True)
    assert (written["generations"], written["seed"], written["network"]["n_neurons"]) == (2, 5, 16)  # config
    assert (written["reward_transform"], written["epsilon"]) == ("centered_rank", 0.001)  # recipe, defaults
    assert rsrp_lava("train", "--config", "a/config.yaml", "--no-reservoir", "--out", "b").code == 0
    assert load_run("b").experiment == load_run("a").experiment.replace(reservoir=False)


def test_every_setting_but_the_network_has_an_option(rsrp_lava):
    text = rsrp_lava("train", "--help").out
    sections = {name: Experiment.model_fields[name].annotation.model_fields for name in ("layers", "environment", "dataset")}
    names = Experiment.model_fields.keys() | set().union(*sections.values())
    for name in names - {"task", "network", "wrappers", "content", *sections}:
        assert f"--{'env_' * (name == 'kwargs') + name} ".replace("_", "-") in text


def test_resume_and_until(rsrp_lava):
    rsrp_lava("train", "--config", "tiny.yaml", "--out", "a")
    done = rsrp_lava("train", "--resume", "a", "--generations", 4, "--json")
    assert (done.code, json.loads(done.out)["generations"]) == (0, 4)
    done = rsrp_lava("train", "--resume", "a", "--generations", 9, "--until", 1, "--json")
    assert (done.code, json.loads(done.out)["generations"]) == (0, 4)
    whole = rsrp_lava("train", "--config", "tiny.yaml", "--generations", 4, "--out", "b", "--json")
    assert json.loads(whole.out)["release_sha256"] == json.loads(done.out)["release_sha256"]


def test_threads_do_not_change_the_result(rsrp_lava):
    shas = set()
    for threads in {1, available_threads()}:
        done = rsrp_lava("train", "--config", "tiny.yaml", "--threads", threads, "--out", threads, "--json")
        shas.add(json.loads(done.out)["release_sha256"])
    assert len(shas) == 1


def test_evaluate(rsrp_lava, run):
    done = rsrp_lava("evaluate", run, "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    report = json.loads(done.out)
    assert report.keys() == {
        *("task", "seed", "episodes", "mean_return", "std_return", "min_return", "max_return", "release_sha256", "run"),
    }
    final = load_run(run).metrics[-1]
    assert (report["mean_return"], report["std_return"]) == (final["evaluation_return"], final["evaluation_std"])

    text = rsrp_lava("evaluate", run, "--episodes", 10, "--seed", 9)
    other = json.loads(rsrp_lava("evaluate", run, "--episodes", 10, "--seed", 9, "--json").out)
    assert (text.code, text.out) == (0, "")
    assert f"mean return {other['mean_return']:.1f} ± {other['std_return']:.1f}" in text.err
    assert "over 10 episodes" in text.err
    assert (other["seed"], other["episodes"]) == (9, 10)


def test_plot_writes_a_picture_of_several_runs(rsrp_lava):
    for seed in (1, 2):
        rsrp_lava("train", "--config", "tiny.yaml", "--seed", seed, "--out", seed)
    rsrp_lava("train", "--config", "tiny.yaml", "--optimizer", "adam", "--out", "adam")
    assert rsrp_lava("plot", 1, 2, "adam", "-o", "all.png") == Done(0, "all.png\n", "")
    for picture in ("all.png", "adam/curves.png"):
        content = Path(picture).read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert width > 500 < height
        assert len(content) > 10_000


@pytest.fixture
def drawn(monkeypatch):
    """The axes that `plot` draws; the picture is made all the same."""
    drawn = []

    def savefig(figure, *target, save=Figure.savefig, **options):
        drawn.extend(figure.axes)
        save(figure, *target, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


#: Lines of a picture beside the curves.
BASELINES = {"nothing": "doing nothing", "random": "random actions"}


def test_plot_groups_runs_that_differ_in_their_seed_only(rsrp_lava, drawn):
    for seed in (1, 2):
        rsrp_lava("train", "--config", "tiny.yaml", "--seed", seed, "--generations", 3, "--out", seed)
    rsrp_lava("train", "--config", "tiny.yaml", "--optimizer", "adam", "--out", "adam")
    drawn.clear()
    rsrp_lava("plot", 1, 2, "adam")
    (axes,) = drawn
    one, two, adam = ([record["evaluation_return"] for record in load_run(name).metrics] for name in ("1", "2", "adam"))
    baselines = load_run("1").metrics[0]["baselines"]
    both = np.array([one, two])
    assert legend(axes) == [
        f"sgd (2 seeds): {both[:, -1].mean():.1f} ± {both[:, -1].std():.1f}",
        f"adam (seed 5): {adam[-1]:.1f}, 95 % interval of the mean",
        *(f"{what}: {baselines[name]['return']:.1f}" for name, what in BASELINES.items()),
    ]
    assert axes.get_ylabel() == "evaluation return, mean ± std over seeds"
    assert np.array_equal(axes.lines[0].get_ydata(), both.mean(axis=0))


def test_accuracies_are_drawn_as_such(rsrp_lava, drawn):
    """The deviation of right and wrong over images is no spread of the accuracy."""
    options = ("--population", 8, "--batch", 4, "--generations", 3, "--hidden", 8)
    for seed in (0, 1):
        assert "±" not in rsrp_lava("train", "digits", *options, "--seed", seed, "--out", seed).err
        assert "±" not in rsrp_lava("watch", seed, "--once").out
    rewards, *_ = drawn
    assert rewards.get_ylabel() == "reward, accuracy"
    assert legend(rewards) == [
        "sampled networks, ± standard deviation",
        "test accuracy (release where ρ > ½)",
        "test accuracy of generation 0: nothing releases",
        "guessing the commonest class: 0.101",
    ]
    assert len(rewards.collections) == 1
    drawn.clear()
    rsrp_lava("plot", 0, 1)
    (axes,) = drawn
    last = [load_run(seed).metrics[-1]["evaluation_return"] for seed in "01"]
    assert axes.get_ylabel() == "test accuracy, mean ± std over seeds"
    assert legend(axes)[0].endswith(f": {np.mean(last):.3f} ± {np.std(last):.3f}")


def test_plot_of_one_run_shows_how_well_its_means_are_known(rsrp_lava, run, drawn):
    """No spread over seeds, of which there is one, but the interval of the mean over episodes."""
    rsrp_lava("plot", run)
    (axes,) = drawn
    assert "±" not in legend(axes)[0] + axes.get_ylabel()
    assert legend(axes)[0].endswith(", 95 % interval of the mean")
    loaded = load_run(run)
    last, n = loaded.metrics[-1], loaded.experiment.evaluation_episodes
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    at_the_end = corners[corners[:, 0] == last["generation"], 1]
    half = student_t.ppf(0.975, n - 1) * last["evaluation_std"] / np.sqrt(n - 1)
    assert (at_the_end.min(), at_the_end.max()) == pytest.approx(
        (last["evaluation_return"] - half, last["evaluation_return"] + half), rel=0.01
    )


def test_plot_counts_a_seed_once(rsrp_lava, run, drawn):
    """A run given twice, copied, or made again is the same curve; the longest is drawn."""
    shutil.copytree(run, "copy")
    rsrp_lava("train", "--resume", "copy", "--generations", 6)
    drawn.clear()
    assert rsrp_lava("plot", run, run, "copy", run).code == 0
    (axes,) = drawn
    assert "(seed 3)" in legend(axes)[0]
    assert len(axes.lines[0].get_xdata()) == 7


def test_lists_have_one_line_each(rsrp_lava):
    tasks = [*task_names(), "gym:ID", "images:DIR", "data:FILE.npz"]
    for command, names in {"tasks": tasks, "rules": RULES, "profiles": profile_names()}.items():
        done = rsrp_lava(command)
        assert (done.code, done.err) == (0, "")
        assert [line.split()[0] for line in done.out.splitlines()] == list(names)
        assert all(len(line.split()) > 2 for line in done.out.splitlines())


def test_every_help_has_an_example(rsrp_lava, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    commands = ["train", "evaluate", "watch", "plot", "deploy", "record", "map"]
    commands += ["compare", "tasks", "rules", "profiles", "study"]
    overview = rsrp_lava("--help").out
    assert re.findall(r"^│ (\w+) ", overview, re.MULTILINE)[-len(commands) :] == commands
    for arguments in ([], *([command] for command in commands), ["study", "quantization"]):
        for flag in ("--help", "-h"):
            done = rsrp_lava(*arguments, flag)
            assert done.code == 0
            assert re.search(rf"Examples?:\s+rsrp-lava {' '.join(arguments)}", done.out)


def test_paths_with_spaces_and_letters_of_any_language(rsrp_lava):
    out = "läufe und mehr/ρ → ½"
    assert rsrp_lava("train", "--config", "tiny.yaml", "--out", out).code == 0
    assert rsrp_lava("train", "--resume", f"./{out}/", "--generations", 3).code == 0
    assert json.loads(rsrp_lava("evaluate", out, "--json").out)["run"] == out
    assert rsrp_lava("plot", out, "-o", "das bild.png").code == 0
    assert Path("das bild.png").exists()


@pytest.mark.parametrize(
    "command", [["tasks"], ["--help"], ["plot", "{run}"], ["evaluate", "{run}", "--json"], ["watch", "{run}"]]
)
def test_reader_that_goes_away_gets_no_traceback(run, tmp_path, command):
    """As in `rsrp-lava tasks | true`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = process(*(word.format(run=run) for word in command), stdout=writer, cwd=tmp_path)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("command", [["evaluate", "{run}", "--json"], ["watch", "{run}"]])
def test_stdout_on_a_full_disk_is_an_error(run, command):
    with open("/dev/full", "w") as full:
        done = process(*(word.format(run=run) for word in command), stdout=full)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if not line.startswith(("cartpole: ", "± is "))] == [
        "error: standard output: cannot be written (No space left on device); make room, or print elsewhere"
    ]


# How it says no


def refuse(rsrp_lava, files, *arguments):
    """The one message of a command that must fail and change nothing on disk."""
    before = files(Path())
    done = rsrp_lava(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert files(Path()) == before
    return done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train", f"no task given: name one ({', '.join(task_names())}), or a --config that does"),
        ("train cartpol", "unknown task 'cartpol': did you mean 'cartpole'?"),
        ("train cartpole --rule rspr", "unknown rule 'rspr': did you mean 'rsrp'?"),
        ("train cartpole --engine fusd", "unknown engine 'fusd': did you mean 'fused'?"),
        ("train cartpole --profile-overrides learning_storage.p_bits=[", "p_bits=[: '[' is no value in YAML"),
        ("train cartpole --profile ideel", "unknown profile 'ideel': did you mean 'ideal'?"),
        ("train cartpole --optimizer adma", "unknown optimizer 'adma': did you mean 'adam'?"),
        ("train cartpole --reward-transform zeromean", "unknown reward_transform 'zeromean': did you mean 'zero_mean'?"),
        ("train cartpole --population many", "population: many — must be a whole number"),
        ("train cartpole --population 0", "population: 0 — input should be greater than or equal to 2"),
        ("train cartpole --population -5", "population: -5 — input should be greater than or equal to 2"),
        ("train cartpole --generations 0", "generations: 0 — input should be greater than or equal to 1"),
        ("train cartpole --evaluation-episodes 0", "evaluation_episodes: 0 — input should be greater than or equal to 1"),
        ("train cartpole --seed -1", "seed: -1 — input should be greater than or equal to 0"),
        ("train cartpole --epsilon 0", "epsilon: 0 — input should be greater than 0"),
        ("train cartpole --epsilon 0.5", "epsilon: 0.5 — input should be less than 0.5"),
        ("train cartpole --epsilon 1e-7", "raise epsilon to at least 7.62939e-06, or p_bits"),
        ("train cartpole --decay 2", "decay: 2 — input should be less than or equal to 1"),
        ("train cartpole --learning-rate 0", "learning_rate: 0 must be above 0, or auto"),
        ("train cartpole --learning-rate nan", "learning_rate: nan — input should be a finite number"),
        ("train cartpole --learning-rate fast", "learning_rate: fast — must be a number"),
        ("train cartpole --p-bits 33", "p_bits: 33 — input should be less than or equal to 32"),
        ("train cartpole --p-bits 8.5", "p_bits: 8.5 — must be a whole number"),
        ("train cartpole --until nan", "until: nan is no return that could be reached; give a number"),
        ("train cartpole --max-time soon", "max_time: 'soon' is no length of time above 0; give seconds, or text such as"),
        ("train --resume run --max-time 0", "max_time: '0' is no length of time above 0"),
        ("train cartpole --threads 0", "threads: 0 is not possible; this machine gives this process"),
        ("train cartpole --threads 100000", f"choose 1 to {available_threads()}, or leave the option out to use all"),
        ("train cartpole --config missing.yaml", "missing.yaml: cannot be read (no such file or directory)"),
        ("train cartpole --config .", ".: cannot be read (is a directory); give the path of a YAML text file"),
        ("train cartpole --config binary", "binary: cannot be read"),
        ("train cartpole --config list.yaml", "list.yaml: must hold settings, one 'name: value' a line, not ['population']"),
        ("train cartpole --config typo.yaml", "network.n_neuron: no such setting; did you mean 'network.n_neurons'?"),
        ("train cartpole --config type.yaml", "population: many — must be a whole number"),
        ("train cartpole --config object.yaml", "object.yaml: could not determine a constructor for the tag"),
        ("train cartpole --config broken.yaml", "broken.yaml: not valid YAML"),
        ("train cartpole --out binary", "binary: is a file, not a folder; choose another folder"),
        ("train cartpole --out binary/below", "binary/below: cannot be written (not a directory)"),
        ("train cartpole --out .", ".: exists and is not empty; choose another folder, or empty it first"),
        ("train cartpole --out run", "run: already holds a run; resume it (--resume run), or choose another folder"),
        ("train --resume missing", "missing: no such folder; give the folder that training reported"),
        ("train --resume .", ".: holds no run (no config.yaml)"),
        ("train --resume run --out other", "run: a resumed run stays in its folder; leave out the other one, other"),
        ("train --resume run --seed 9", "run: was started with other settings (seed 3 → 9); resume without changing them"),
        (
            "train --resume run --generations 1",
            "run: has finished 4 generations already; generations = 1 would go back: give 4 or more",
        ),
        ("train --resume run --threads 0", "threads: 0 is not possible"),
        ("evaluate missing", "missing: no such folder"),
        ("evaluate run --episodes 0", "episodes: 0 must be between 1 and 1048576"),
        ("evaluate run --episodes 99999999999", "episodes: 99999999999 must be between 1 and 1048576"),
        ("evaluate run --seed -1", "seed: -1 must be between 0 and"),
        ("evaluate run --threads 100000", "threads: 100000 is not possible"),
        ("watch missing", "missing: no such folder; give the folder that training reported"),
        ("watch .", ".: holds no run (no config.yaml)"),
        ("plot run missing", "missing: no such folder"),
        (
            "plot run -o missing/curves.png",
            "missing/curves.png: cannot be written (No such file or directory); choose another",
        ),
        ("plot run -o folder.png", "folder.png: cannot be written (Is a directory); choose another"),
        ("plot run -o run", "run: pictures are written as .png, .pdf or .svg; choose another name (-o)"),
        ("plot run -o curves.jpg", "curves.jpg: pictures are written as .png, .pdf or .svg; choose another name (-o)"),
        ("train cartpole --config outside.yaml", "threads: is no setting; give it to train, as --threads or threads="),
        ("train cartpole --config outside.yaml", "until: is no setting; give it to train, as --until or until="),
        ("train cartpole --config outside.yaml", "max_time: is no setting; give it to train, as --max-time or max_time="),
        ("train cartpole --config five.yaml", "network: 5 — must hold settings, such as {n_neurons: 256}"),
    ],
)
def test_bad_input_is_one_message(rsrp_lava, files, run, arguments, expected):
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("folder.png").mkdir()
    Path("outside.yaml").write_text("threads: 2\nuntil: 500\nmax_time: 1h")
    Path("five.yaml").write_text("network: 5")
    Path("list.yaml").write_text("- population")
    Path("typo.yaml").write_text("network: {n_neuron: 3}")
    Path("type.yaml").write_text("population: many")
    Path("object.yaml").write_text("seed: !!python/object/apply:os.system ['touch executed']")
    Path("broken.yaml").write_text("seed: [")
    message = refuse(rsrp_lava, files, *arguments.split())
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert expected in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("trian cartpole", "No such command 'trian'"),
        ("train cartpole --populatoin 3", "No such option: --populatoin"),
        ("train cartpole --population", "--population"),
        ("train cartpole pole", "unexpected extra argument"),
        ("evaluate", "Missing argument"),
        ("plot", "Missing argument"),
    ],
)
def test_bad_usage_is_one_message(rsrp_lava, files, arguments, expected):
    message = refuse(rsrp_lava, files, *arguments.split())
    assert expected in message
    assert message.count("Error") == 1


def truncate(run, monkeypatch):
    path = run / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])


def flip(run, monkeypatch):
    path = run / "checkpoint.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newer(run, monkeypatch):
    folder = RunFolder.open(run)
    checkpoint = folder.load_checkpoint()
    monkeypatch.setattr("rsrp_lava.checkpoint.FORMAT_VERSION", 2)
    folder.save_checkpoint(checkpoint)
    monkeypatch.setattr("rsrp_lava.checkpoint.FORMAT_VERSION", 1)


def swap(run, monkeypatch):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("seed: 3", "seed: 4"))


def remove(run, monkeypatch):
    (run / "checkpoint.npz").unlink()


@pytest.mark.parametrize("command", ["train --resume run", "evaluate run", "plot run"])
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (truncate, "run/checkpoint.npz: is damaged ("),
        (flip, "run/checkpoint.npz: is damaged ("),
        (newer, "has format version 2, this program reads up to 1; update rsrp-lava (git pull, make install)"),
        (swap, "belongs to another experiment than config.yaml beside it; restore that config.yaml, or start a new run"),
        (remove, "run/checkpoint.npz: is missing; start a new run in another folder"),
    ],
)
def test_bad_checkpoint_is_one_message(rsrp_lava, files, run, monkeypatch, command, damage, expected):
    damage(run, monkeypatch)
    message = refuse(rsrp_lava, files, *command.split())
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert expected in message
