"""Signals at odd moments, ignored ones, and outputs that nobody reads."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from numba.core.compiler_lock import global_compiler_lock

from rsrp_lava import Experiment, signals, train
from rsrp_lava.errors import BusyError
from rsrp_lava.run_folder import take_lock
from rsrp_lava.studies import runner

PATIENCE = 120
TRAIN = ("train", "cartpole", "--population", "8", "--evaluation-episodes", "2", "--threads", "1")


def command(*arguments, before="", **options):
    """The installed command, with `before` run in it first."""
    code = f"import sys; sys.argv = ['rsrp-lava', *sys.argv[1:]]; {before}\nfrom rsrp_lava_command import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


def wait_for(condition):
    limit = time.time() + PATIENCE
    while not condition():
        assert time.time() < limit
        time.sleep(0.02)


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(tmp_path):
    """As nohup and jobs in the background of a script have it; SIGTERM is heard as ever."""
    out = tmp_path / "run"
    process = command(
        *TRAIN,
        "--generations",
        10**6,
        "--out",
        out,
        before="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: (out / "metrics.jsonl").exists() or process.poll() is not None)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        length = (out / "metrics.jsonl").stat().st_size
        wait_for(lambda: (out / "metrics.jsonl").stat().st_size > length + 1000 or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 143
        assert "stopped after generation" in said
    finally:
        process.kill()
        process.wait()


def test_ignored_ones_are_left_alone_and_others_put_back():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.stop_requests(lambda: None) as stop:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
            assert stop == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_waits_until_a_kernel_is_compiled(times):
    """Of `evaluate`, `record` and `deploy`, as of training: an exception within LLVM is lost, or ends in a crash."""
    compiled = []

    @signals.interrupts_wait_for_compiling()
    def work():
        with global_compiler_lock:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
            compiled.append(True)
        time.sleep(PATIENCE)

    started, handler = time.time(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert compiled
    assert time.time() - started < PATIENCE
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("function", ["evaluate", "record", "deploy"])
def test_the_functions_that_compile_wait(function, monkeypatch):
    import rsrp_lava
    from rsrp_lava import recording

    def interrupted(*arguments, **named):
        with global_compiler_lock:
            signal.raise_signal(signal.SIGINT)
            seen.append("after")
        time.sleep(PATIENCE)

    seen = []
    module = {"evaluate": rsrp_lava.runs, "record": recording, "deploy": rsrp_lava.deploying}[function]
    monkeypatch.setattr(module, "load_run", interrupted)
    options = {"deploy": {"to": "npz", "output": "nowhere"}}.get(function, {})
    with pytest.raises(KeyboardInterrupt):
        getattr(module, function)("nowhere", **options)
    assert seen == ["after"]


def test_two_interrupts_in_a_lazy_import_are_quiet():
    """The second one while typer answers the first."""
    before = (
        "import signal, rsrp_lava.cli as cli\n"
        "def lazily(*a, **k):\n"
        "    try: signal.raise_signal(signal.SIGINT)\n"
        "    finally: signal.raise_signal(signal.SIGINT)\n"
        "cli.load_run = lazily\n"
        "app = cli.app\n"
        "def twice(*a, **k):\n"
        "    try: app(*a, **k)\n"
        "    finally: signal.raise_signal(signal.SIGINT)\n"
        "cli.app = twice"
    )
    process = command("evaluate", "nowhere", before=before, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in out + said


@pytest.mark.parametrize("place", ["pipe", "/dev/full"])
def test_training_goes_on_when_nobody_reads_its_progress(place, tmp_path):
    out = tmp_path / "run"
    arguments = (*TRAIN, "--generations", 6, "--out", out, "--json")
    if place == "pipe":
        process = command(*arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stderr.close()
    else:
        with open(place, "w") as full:
            process = command(*arguments, stderr=full, stdout=subprocess.PIPE)
    said = process.stdout.read()
    assert process.wait(timeout=PATIENCE) == 0
    assert '"generations": 6' in said
    assert (out / "curves.png").exists()


PRINTING = [("--help",), ("train", "--help"), ("profiles", "loihi2"), ("rules",), ("--version",), ("study", "--help")]


@pytest.mark.parametrize("arguments", [PRINTING[0], *(pytest.param(one, marks=pytest.mark.slow) for one in PRINTING[1:])])
@pytest.mark.parametrize("place", ["closed pipe", "/dev/full"])
def test_what_is_printed_into_nowhere_is_no_traceback(arguments, place):
    if place == "/dev/full":
        with open(place, "w") as full:
            process = command(*arguments, stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert said == "error: standard output: cannot be written (No space left on device); make room, or print elsewhere\n"
    else:
        process = command(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=PATIENCE) in (0, 1)
        assert said == ""


def cells():
    base = Experiment(population=4, generations=1, evaluation_episodes=2, network={"n_neurons": 32})
    return [
        runner.Cell({"seed": seed}, base.replace(seed=seed), lambda run: {"final_return": 1.0}, "none") for seed in range(3)
    ]


def test_a_cell_that_another_process_trains_is_taken_at_the_end(tmp_path):
    three, order = cells(), []
    busy = tmp_path / "study" / "runs" / three[0].run_name
    train(three[0].experiment.replace(generations=1), out=busy, threads=1)
    finished = (busy / "metrics.jsonl").read_bytes()
    (busy / "metrics.jsonl").unlink()  # as if it had not been trained to the end
    lock = take_lock(busy / "lock")

    def progress(done):
        if done.row is not None:
            order.append(done.cell.columns["seed"])
            if len(order) == 2:
                (busy / "metrics.jsonl").write_bytes(finished)
                os.close(lock)

    with runner.StudyFolder.opened(tmp_path / "study", {}, resume=True) as folder:
        rows, stopped = runner.run_cells(folder, three, threads=1, progress=progress)
    assert stopped is None
    assert order == [1, 2, 0]
    assert [(row["seed"], row["error"]) for row in rows] == [(0, None), (1, None), (2, None)]


def test_a_cell_that_another_process_trains_to_the_end_of_the_study_is_named(tmp_path):
    three = cells()
    busy = tmp_path / "study" / "runs" / three[1].run_name
    train(three[1].experiment, out=busy, threads=1)
    (busy / "metrics.jsonl").unlink()
    lock = take_lock(busy / "lock")
    with pytest.raises(BusyError):
        take_lock(busy / "lock")
    with runner.StudyFolder.opened(tmp_path / "study", {}, resume=True) as folder:
        rows, _ = runner.run_cells(folder, three, threads=1)
    os.close(lock)
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert f"process {os.getpid()} trains in this folder" in rows[1]["error"]
    assert len(folder.measured) == 2


def test_threads_hear_nothing():
    """Signals are the main thread's."""
    heard = []

    def work():
        with signals.stop_requests(lambda: None) as stop, signals.interrupts_wait_for_compiling():
            heard.append((stop, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [([], signal.default_int_handler)]
