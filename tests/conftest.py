"""Runs so small that a test can afford several: 16 samples of a network of 32 neurons, four generations."""

import shutil
import signal
import subprocess
import sys
import threading

import hypothesis
import pytest

from lava_sessions import fault, nothing_left  # noqa: F401, fixtures
from rsrp_lava import Experiment, cli, train

# Scripts and some CI systems start jobs with SIGINT ignored, and children inherit that; the tests' own are to hear it. What
# the program does when it is ignored, tests/attacks/test_signals.py says.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example may compile a kernel: timing decides no test.
hypothesis.settings.register_profile("kernels", deadline=None)
hypothesis.settings.load_profile("kernels")

SMALL = {"population": 16, "generations": 4, "evaluation_episodes": 16, "seed": 3, "network": {"n_neurons": 32}}


@pytest.fixture(scope="session")
def small():
    return Experiment(**SMALL)


@pytest.fixture(scope="session")
def _finished(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run"
    train(small, out=path, threads=1)
    return path


@pytest.fixture
def run(_finished, tmp_path):
    """Folder of a finished small run, the test's own copy."""
    return shutil.copytree(_finished, tmp_path / "run")


@pytest.fixture
def files():
    """A function: the content of all files below a folder, hidden ones too, and the folders, by relative path."""

    def read(folder):
        found = sorted(folder.rglob("*"))
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}

    return read


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Calls the command line in a folder of the test's own; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["rsrp-lava", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return command


@pytest.fixture
def start():
    """Starts `rsrp-lava train` as a process of its own; none outlives the test."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "rsrp_lava.cli", "train", *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
