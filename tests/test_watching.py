"""Watching shows what training shows, ends when training does, and is not noticed by it."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from rsrp_lava import RunFolderError, load_run, train, watching
from rsrp_lava.lines import to_lines
from rsrp_lava.run_folder import MetricsReader, RunFolder
from rsrp_lava.watching import watch
from trainers import wait_for_records

fcntl = pytest.importorskip("fcntl", reason="there are no locks here")
needs_signals = pytest.mark.skipif(sys.platform != "linux", reason="sends POSIX signals")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(watching, "_LOOK_S", 0.01)


@pytest.fixture
def held(run):
    """The run, as if a process trained it."""
    folder = RunFolder.open(run)
    folder.lock()
    yield run
    folder.close()


class Follower(threading.Thread):
    """Follows a run and keeps what is shown and how it ended."""

    def __init__(self, run, **console):
        super().__init__(daemon=True)
        self.run_path, self.text = run, io.StringIO()
        self.console = Console(file=self.text, width=200, color_system=None, **console)
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = watch(self.run_path, console=self.console)
        except RunFolderError as error:
            self.error = str(error)

    def wait_for(self, text):
        limit = time.monotonic() + 120
        while text not in self.text.getvalue():
            assert time.monotonic() < limit, self.text.getvalue()
            assert self.is_alive(), self.text.getvalue()
            time.sleep(0.005)

    def ended(self):
        self.join(120)
        assert not self.is_alive()
        return self.text.getvalue()


def processed(*arguments, **options):
    command = [sys.executable, "-m", "rsrp_lava.cli", "watch", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# What it shows


def test_finished_run(run, files, capsys):
    before = files(run)
    watched = watch(run)
    final = load_run(run).metrics[-1]
    mean, std = final["evaluation_return"], final["evaluation_std"]
    title, line, end = capsys.readouterr().out.splitlines()
    assert title == f"{run}: {RunFolder.open(run).experiment.title}"
    assert line.startswith("generation 4/4  sampled ")
    assert f"  evaluation {mean:.1f} ± {std:.1f}  trend " in line
    assert end == f"finished: evaluation {mean:.1f} ± {std:.1f} after 4 generations"
    assert (watched.run, watched.state, watched.generation, watched.generations) == (run, "finished", 4, 4)
    assert watched.record == final
    assert watch(load_run(run)) == watch(str(run)) == watched
    assert files(run) == before


def test_line_is_that_of_the_records(held, capsys):
    """Speed and time left are those of training: they come from its clock, not from when the lines were read."""
    (held / "metrics.jsonl").unlink()
    record = {"sampled_return": 2.0, "sampled_std": 0.0, "evaluation_return": 3.0, "evaluation_std": 1.0}
    for at in range(5):
        RunFolder.open(held).append_metrics({**record, "generation": at, "env_steps": 1000 * at, "seconds": 7.0 + 2 * at})
    config = held / "config.yaml"
    config.write_text(config.read_text().replace("generations: 4", "generations: 65"))
    assert watch(held, once=True).state == "training"
    _, line, state = capsys.readouterr().out.splitlines()
    assert line == ("generation 5/65  sampled 2.0  evaluation 3.0 ± 1.0  trend +0.0 σ  500 env steps/s  2:00 left")
    assert state == "training, after 5 generations"


def go_back(run, generation):
    """As if training had been stopped there."""
    folder = RunFolder.open(run)
    folder.save_checkpoint(replace(folder.load_checkpoint(), generation=generation))
    folder.cut_metrics(generation)


def test_ended_run_says_how_to_go_on(run, capsys):
    go_back(run, 2)
    watched = watch(run)
    assert (watched.state, watched.generation) == ("ended", 2)
    out = capsys.readouterr().out
    assert out.endswith(f"ended after 2 generations of 4; continue with: rsrp-lava train --resume {run}\n")


def test_run_that_is_to_go_on_is_not_finished(run, capsys):
    """All generations of its config are there, but a process has it, which will ask for more or draws the curves."""
    folder = RunFolder.open(run)
    folder.lock()
    assert watch(run, once=True).state == "training"
    folder.close()
    assert watch(run, once=True).state == "finished"


@pytest.mark.parametrize("metrics", [None, "", '{"generation": 0, "samp'])
def test_run_without_a_finished_generation(held, metrics, capsys):
    (held / "metrics.jsonl").unlink()
    if metrics is not None:
        (held / "metrics.jsonl").write_text(metrics)
    watched = watch(held, once=True)
    assert (watched.state, watched.generation, watched.record) == ("training", 0, None)
    assert capsys.readouterr().out.splitlines()[1:] == ["generation 0/4", "training, after 0 generations"]


def test_run_that_reached_its_goal_before_the_first_generation(small, tmp_path, capsys):
    train(small, out=tmp_path / "run", until=1)
    watched = watch(tmp_path / "run")
    assert (watched.state, watched.generation) == ("ended", 0)
    assert "generation 0/4  evaluation " in capsys.readouterr().out


def test_on_a_terminal_it_is_one_live_line_that_fits(held):
    follower = Follower(held, force_terminal=True)
    follower.console.width = 60
    follower.wait_for("gen 4/4")
    RunFolder.open(held).cut_metrics(1)
    follower.wait_for("gen 1/4")
    shutil.rmtree(held)
    text = follower.ended()
    assert "━━━" not in text  # 60 columns have no room for it
    assert "\x1b[?25l" in text, "not live"
    assert "\x1b[?25h" in text, "the cursor stays hidden"


def test_elsewhere_lines_are_few_and_the_last_is_printed(small, tmp_path, monkeypatch):
    """Of many generations that come within the two seconds between lines, the newest is shown at the end."""
    out = tmp_path / "run"
    followers = []

    def follow(record):
        if not followers:
            followers.append(Follower(out))
            followers[0].wait_for("generation 1/100")
        time.sleep(0.005)

    train(small.replace(generations=100), out=out, progress=follow)
    lines = [line for line in followers[0].ended().splitlines() if line.startswith("generation ")]
    assert lines[-1].startswith("generation 100/100  ")
    assert len(lines) == len(set(lines)) < 20


def test_nothing_new_is_no_line(held, monkeypatch):
    monkeypatch.setattr("rsrp_lava.reporting.progress._PLAIN_INTERVAL_S", 0.0)
    follower = Follower(held)
    follower.wait_for("generation 4/4")
    time.sleep(0.2)
    RunFolder.open(held).cut_metrics(1)
    follower.wait_for("generation 1/4")
    assert follower.text.getvalue().count("generation 4/4") == 1


# Following


def test_it_follows_training_to_its_end(small, tmp_path):
    out, followers, shown = tmp_path / "run", [], []

    def follow(record):
        if not followers:
            followers.append(Follower(out, force_terminal=True))  # live: nothing is held back for two seconds
        followers[0].wait_for(f"generation {record['generation'] + 1}/4")
        shown.append(record["generation"])

    result = train(small, out=out, progress=follow)
    assert f"finished: evaluation {result.summary['final_eval_return']:.1f} ±" in followers[0].ended()
    assert shown == [0, 1, 2, 3]
    assert followers[0].result.state == "finished"


def test_half_written_line_is_shown_when_it_is_whole(held):
    metrics = held / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(lines[0] + lines[1][:40])
    follower = Follower(held, force_terminal=True)
    follower.wait_for("generation 1/4")
    time.sleep(0.1)
    with open(metrics, "ab") as file:
        file.write(lines[1][40:] + lines[2][:-1])
    follower.wait_for("generation 2/4")
    time.sleep(0.1)
    assert "generation 3/4" not in follower.text.getvalue()
    with open(metrics, "ab") as file:
        file.write(b"\n")
    follower.wait_for("generation 3/4")
    assert follower.is_alive()


def test_metrics_cut_back_by_a_resume_are_followed_from_there(held):
    follower = Follower(held, force_terminal=True)
    follower.wait_for("generation 4/4")
    folder = RunFolder.open(held)
    records = folder.read_metrics()
    folder.save_experiment(folder.experiment.replace(generations=9))
    follower.wait_for("generation 4/9")
    folder.cut_metrics(2)
    follower.wait_for("generation 2/9")
    folder.append_metrics(records[2])
    follower.wait_for("generation 3/9")
    assert follower.is_alive()


def test_reader_notices_a_cut_whatever_came_after_it(run):
    """Also when the new file is as long as the old one, and when it has the old one's inode."""
    folder, reader = RunFolder.open(run), MetricsReader(run)
    records = reader.read()
    assert (len(records), reader.cut) == (5, False)
    assert (reader.read(), reader.cut) == ([], False)
    folder.cut_metrics(3)
    folder.append_metrics(records[3] | {"env_steps": records[3]["env_steps"] ^ 1})  # of the same length
    folder.append_metrics(records[4])
    assert (reader.read(), reader.cut) == (folder.read_metrics(), True)
    records = folder.read_metrics()
    (run / "metrics.jsonl").write_bytes(to_lines([*records[:-1], records[-1] | {"generation": 5}]))
    assert (reader.read()[-1]["generation"], reader.cut) == (5, True)
    (run / "metrics.jsonl").unlink()
    assert (reader.read(), reader.cut) == ([], True)
    assert (reader.read(), reader.cut) == ([], False)


def test_removed_folder_ends_it_with_one_message(held):
    follower = Follower(held)
    follower.wait_for("generation 4/4")
    shutil.rmtree(held)
    follower.ended()
    assert follower.error == (f"{held}: was removed or renamed while it was watched; give its new place, or another run")


def test_damaged_line_is_named(held):
    with open(held / "metrics.jsonl", "a") as file:
        file.write("no record\n")
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl: line 6 is no record"):
        watch(held)


@pytest.mark.parametrize("missing", [True, False])
def test_what_is_no_run_is_refused(tmp_path, missing):
    with pytest.raises(RunFolderError, match="give the folder that training reported"):
        watch(tmp_path / "missing" if missing else tmp_path)


# Not being noticed


def test_a_run_of_somebody_else_can_be_watched(held, files):
    """Nothing but reading is needed, and nothing is written."""
    for path in [*held.iterdir(), held]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    before = files(held)
    assert watch(held, once=True).state == "training"
    assert files(held) == before
    held.chmod(0o700)


def test_training_can_start_whenever_somebody_looks(small, run):
    """A look takes the lock for microseconds; here for a tenth of a second, at the worst moment."""
    look = os.open(run / "lock", os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [look]).start()
    assert train(small.replace(generations=5), resume=run).summary["generations"] == 5


def test_look_leaves_the_lock_free(run):
    folder = RunFolder.open(run)
    assert folder.is_free() is True
    folder.lock()
    assert RunFolder.open(run).is_free() is False
    folder.close()
    assert folder.is_free() is True
    (run / "lock").unlink()
    assert folder.is_free() is True
    assert not (run / "lock").exists()


def test_file_system_without_locks(held, monkeypatch, capsys):
    """Whether somebody trains cannot be told; what is finished is."""

    def unsupported(file, operation):
        raise OSError

    monkeypatch.setattr("fcntl.flock", unsupported)
    assert watch(held).state == "finished"
    go_back(held, 2)
    assert watch(held, once=True).state == "unknown"
    assert "training or ended (no locks here that would tell), after 2 generations" in capsys.readouterr().out


@needs_signals
def test_a_killed_run_has_ended(small, tmp_path, start):
    out, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(small.replace(generations=10**6).to_yaml())
    process = start("--config", config, "--out", out)
    wait_for_records(process, out, 2)
    watching = processed(out)
    assert f"{out}: cartpole with rsrp" in watching.stdout.readline()
    assert watching.stdout.readline().startswith("generation ")
    process.kill()
    output, errors = watching.communicate(timeout=120)
    assert (watching.returncode, errors) == (0, "")
    assert f"of 1000000; continue with: rsrp-lava train --resume {out}" in output.splitlines()[-1]


@needs_signals
def test_ctrl_c_ends_watching_and_not_the_run(held):
    process = processed(held)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert RunFolder.open(held).is_free() is False


def test_command_line(run, call, files):
    code, out, err = call("watch", run, "--once")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("finished: evaluation ")
    assert call("watch", run)[0] == 0
