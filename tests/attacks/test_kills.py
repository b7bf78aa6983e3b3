"""SIGKILL at random moments, of the program alone or of all its processes at once: the same bits, nothing left behind."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lava_sessions import shared_memory
from rsrp_lava.engines import shared_memory as segments
from rsrp_lava.run_folder import CONFIG

TESTS = Path(__file__).parents[1]
#: Seconds after a kill until nothing may be left, and until anything has ended.
GONE_S, PATIENCE = 10, 600
SIZE = ("--population", "16", "--generations", "8", "--evaluation-episodes", "4", "--seed", "5")
has_ray, has_lava = (importlib.util.find_spec(name) is not None for name in ("ray", "lava"))
TRAININGS = {
    "cartpole": ("cartpole", *SIZE),
    "digits": ("digits", *SIZE, "--hidden", "16"),
    "gym": ("gym:faulty_environments:Target-v0", *SIZE, "--max-steps", "20"),
    "weights": ("cartpole", *SIZE, "--rule", "es"),
    "lava": ("cartpole", *SIZE, "--engine", "lava"),
    "ray": ("cartpole", *SIZE, "--engine", "ray", "--workers", "1"),
}
STUDY = ("compare", "cartpole", "--rules", "rsrp,es", "--seeds", "1", "--population", "16", "--generations", "4")


def start(*arguments):
    """The command in a process of its own; what it says is in `said`."""
    command = [sys.executable, "-m", "rsrp_lava.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "RAY_worker_niceness": "0"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    process.begun = time.monotonic()
    return process


def descendants(pid):
    """{process: when it began}, the one itself and all below it. Whoever has left its parent is not found."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            parents[int(entry)] = (int(fields[1]), fields[19], fields[0])
    found, new = {}, [pid]
    while new:
        found |= {one: parents[one][1] for one in new if one in parents}
        new = [one for one, (parent, _, _) in parents.items() if parent in found and one not in found]
    return found


def living(processes):
    left = []
    for pid, began in processes.items():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[19] == began and fields[0] != "Z":
                left.append((pid, Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:100]))
    return left


def kill(process, all_at_once):
    """Kill it, and see that nothing of it lives on."""
    theirs = descendants(process.pid)
    if all_at_once:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in theirs:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
    process.kill()
    process.communicate()
    limit = time.monotonic() + GONE_S
    while left := living(theirs):
        assert time.monotonic() < limit, left
        time.sleep(0.05)


def done(*arguments):
    """Run to the end; the JSON it prints."""
    process = start(*arguments, "--json")
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, arguments
    return json.loads(out.splitlines()[-1]), time.monotonic() - process.begun


def bits(summary):
    return {name: value for name, value in summary.items() if name.endswith("_sha256")} | {
        name: summary[name] for name in ("final_eval_return", "generations", "env_steps")
    }


def attack(begin, resume, begun, duration_s, kills, seed):
    """Kill so many times, each at another moment; returns how many hit a process that was still at work."""
    chance, hits, folder = random.Random(seed), 0, 0
    for number in range(kills):
        process = start(*(resume(folder) if begun(folder) else begin(folder)))
        moment = chance.uniform(0, duration_s)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        hits += process.poll() is None
        kill(process, all_at_once=number % 2 == 0)
        if not begun(folder):
            folder += 1  # killed before the first checkpoint: another one, as `--out` may not take it again
    return hits, folder


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("name", "kills"),
    [("cartpole", 2), *(pytest.param(name, 29, marks=pytest.mark.slow) for name in TRAININGS)],
)
def test_killed_trainings_end_in_the_same_bits(name, kills, tmp_path):
    if (name == "ray" and not has_ray) or (name == "lava" and not has_lava):
        pytest.skip(f"{name} is not installed")
    before = shared_memory()
    reference, duration_s = done("train", *TRAININGS[name], "--out", tmp_path / "whole")
    if kills > 2:
        reference, duration_s = done("train", *TRAININGS[name], "--out", tmp_path / "again")  # without compiling
    total = 0
    for chain in range(-(-kills // 5)):
        folders = tmp_path / f"chain{chain}"
        hits, last = attack(
            lambda k, folders=folders: ("train", *TRAININGS[name], "--out", folders / str(k)),
            lambda k, folders=folders: ("train", "--resume", folders / str(k)),
            lambda k, folders=folders: (folders / str(k) / CONFIG).exists(),
            duration_s,
            min(5, kills - 5 * chain),
            f"{name} {chain}",
        )
        total += hits
        folder = folders / str(last)
        again = ("--resume", folder) if (folder / CONFIG).exists() else (*TRAININGS[name], "--out", folder)
        summary, _ = done("train", *again)
        assert bits(summary) == bits(reference)
    segments.remove_abandoned()
    assert shared_memory() - before == set()
    print(f"{name}: {total} of {kills} kills met a process at work; {duration_s:.1f} s a run")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_a_killed_study_ends_in_the_same_table(tmp_path):
    kills = 26
    done(*STUDY, "-o", tmp_path / "whole")
    _, duration_s = done(*STUDY, "-o", tmp_path / "again")
    hits, last = attack(
        lambda k: (*STUDY, "-o", tmp_path / f"killed{k}"),
        lambda k: ("compare", "-o", tmp_path / f"killed{k}", "--resume"),
        lambda k: (tmp_path / f"killed{k}" / "study.yaml").exists(),
        duration_s / 2,
        kills,
        "study",
    )
    folder = tmp_path / f"killed{last}"
    done(*(("compare", "-o", folder, "--resume") if folder.exists() else (*STUDY, "-o", folder)))
    whole, killed = (
        [{name: value for name, value in row.items() if "second" not in name} for row in study["rows"]]
        for study in (done("compare", "-o", one, "--resume")[0] for one in (tmp_path / "whole", folder))
    )
    assert whole == killed
    assert len(whole) == 2
    print(f"study: {hits} of {kills} kills met a process at work; {duration_s:.1f} s a study")
