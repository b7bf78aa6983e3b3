"""Whatever is killed, stopped or hangs: no process and no shared memory stays behind, and the next run begins."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lava_sessions import needs_lava, processes, shared_memory
from rsrp_lava import Experiment, train
from rsrp_lava.engines import shared_memory as segments

#: Seconds: far more than anything here takes.
PATIENCE = 120


def wait_for(condition, what):
    limit = time.time() + PATIENCE
    while not (found := condition()):
        assert time.time() < limit, what
        time.sleep(0.05)
    return found


def ours():
    """Living processes that this test started, but pytest's."""
    return {pid: command for pid, command in processes()[0].items() if pid != os.getpid()}


@pytest.fixture
def training(tmp_path, nothing_left):
    """Starts a training and waits for its first generation."""
    started = []

    def training(*arguments):
        out = tmp_path / f"run{len(started)}"
        command = [sys.executable, "-m", "rsrp_lava.cli", "train", *map(str, arguments), "--out", str(out)]
        with open(tmp_path / "said", "ab") as said:
            started.append(subprocess.Popen(command, stdout=said, stderr=said, cwd=Path(__file__).parents[1]))
        wait_for(lambda: (out / "metrics.jsonl").exists() or started[-1].poll() is not None, "did not begin")
        assert started[-1].poll() is None, (tmp_path / "said").read_text()
        return started[-1]

    yield training
    for process in started:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


LAVA = ("cartpole", "--engine", "lava", "--population", 16, "--generations", 10_000, "--evaluation-episodes", 2)
GYM = (
    *("gym:faulty_environments:Target-v0", "--population", 16, "--generations", 10_000, "--evaluation-episodes", 2),
    *("--max-steps", 20),
)


def kill_all_at_once():
    """Stopped first, so that none sees another one die."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in ours():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@needs_lava
def test_what_a_session_left_that_was_killed_whole_the_next_one_removes(training, nothing_left):
    before = shared_memory()
    killed = training(*LAVA)
    kill_all_at_once()
    killed.wait()
    wait_for(lambda: not ours(), "processes stayed")
    assert len(shared_memory() - before) > 10  # nobody was left who could
    living = segments.claim()  # and what somebody owns stays
    (segments.FOLDER / f"{segments.prefix(living[0])}abcdef").touch()
    train(Experiment(task="cartpole", engine="lava", population=4, generations=1, evaluation_episodes=2))
    assert {name[:6] for name in shared_memory() - before} == {segments.prefix(living[0])}
    os.close(living[1])
    segments.remove_abandoned()
    assert shared_memory() - before == set()


@pytest.mark.parametrize("arguments", [pytest.param(LAVA, marks=[needs_lava, pytest.mark.slow]), GYM], ids=["lava", "gym"])
def test_a_stopped_worker_does_not_survive_its_parent(training, arguments):
    parent = training(*arguments)
    for pid, command in ours().items():
        if pid != parent.pid and "resource_tracker" not in command:
            os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    wait_for(lambda: not ours(), "stopped processes survived")
    segments.remove_abandoned()


def test_a_lock_that_is_a_link_is_left_alone(tmp_path):
    link, target = segments.FOLDER / "rffff_rsrp-lava", tmp_path / "mine"
    target.write_text("precious")
    segment = segments.FOLDER / "rffff_000000"
    segment.touch()
    try:
        link.symlink_to(target)
        segments.remove_abandoned()
        assert segment.exists()
        assert target.read_text() == "precious"
    finally:
        link.unlink(missing_ok=True)
        segment.unlink(missing_ok=True)


@needs_lava
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("gain=0.5", "gain must be 1"),
        ("du=0.25", "du = 0.25 must be integers, 0 to 4095"),
        pytest.param("dv=5000", "dv = 5000 must be integers, 0 to 4095", marks=pytest.mark.slow),
        pytest.param("vth=float('nan')", "vth = nan must be integers", marks=pytest.mark.slow),
        pytest.param("bias=0.5", "must be integers", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_cannot_be_made_ends_lava(parameters, message, nothing_left):
    """Lava itself waits for ever for a model whose constructor raises."""
    script = (
        "from lava.magma.core.run_conditions import RunSteps; from lava.magma.core.run_configs import Loihi2SimCfg; "
        f"from rsrp_lava.processes.lif.process import LIF; neurons = LIF(shape=(2,), {parameters}); "
        "neurons.run(RunSteps(3), Loihi2SimCfg(select_tag='fixed_pt'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "1 Exception(s) occurred" in done.stderr
