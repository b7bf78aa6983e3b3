"""What tests of Lava's sessions share: whether they leave something, and how something is made to fail in them.

The fixtures are known everywhere (conftest.py).
"""

import importlib.util
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rsrp_lava.engines.lava import LavaGraph

needs_lava = pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava runs on Python 3.10 only")


#: Set for everything a test starts, and inherited: other sessions on the machine do not have it.
MARK = f"RSRP_TEST={os.getpid()}"


def processes():
    """Command lines of living processes by id: (those a test started, the others)."""
    ours, others = {}, {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                marked = MARK in (entry / "environ").read_text(errors="replace").split("\0")
                (ours if marked else others)[int(entry.name)] = (entry / "cmdline").read_text(errors="replace")
    return ours, others


def children_of_sessions():
    """Processes whose command line is a Lava worker's (forked children keep it)."""
    ours, _ = processes()
    return sorted(pid for pid, command in ours.items() if "lava_worker" in command or "faulty_worker" in command)


def shared_memory():
    """Segments and locks, but those that processes of others have mapped or open."""
    elsewhere = set()
    for pid in processes()[1]:
        with suppress(OSError):
            elsewhere |= set(re.findall(r"/dev/shm/(\S+)", Path(f"/proc/{pid}/maps").read_text()))
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    elsewhere |= set(re.findall(r"/dev/shm/(\S+)", os.readlink(descriptor)))
    return set(os.listdir("/dev/shm")) - elsewhere


@pytest.fixture
def nothing_left(monkeypatch):
    """No process and no shared memory more than before, soon after the test (a busy machine may take a minute)."""
    monkeypatch.setenv(*MARK.split("="))
    before = shared_memory()
    yield
    limit = time.time() + 60
    while (left := (children_of_sessions(), shared_memory() - before)) != ([], set()):
        assert time.time() < limit, left  # asked once: a segment of another test may be unmapped at any moment
        time.sleep(0.05)


@pytest.fixture
def fault(monkeypatch, tmp_path):
    """A function: the worker's process `label` fails in `phase` (faulty_worker.py). What hangs then is a failed test."""

    def fault(label, phase, text=""):
        monkeypatch.setattr(LavaGraph, "worker", "faulty_worker")
        for name, value in {"FAULT": f"{label}:{phase}", "FAULT_TEXT": text, "FAULT_TIME": tmp_path / "time"}.items():
            monkeypatch.setenv(name, str(value))
        signal.alarm(120)

    def hangs(number, frame):
        raise TimeoutError("the engine waits for ever")

    previous = signal.signal(signal.SIGALRM, hangs)
    yield fault
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
