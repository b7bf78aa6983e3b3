"""Engine ray beside others: whose cluster is joined, what an address that is none does, and what is left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lava_sessions import MARK, nothing_left, processes  # noqa: F401, a fixture

pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

#: Seconds: far more than anything here takes.
PATIENCE = 240
SMALL = ("cartpole", "--engine", "ray", "--workers", "1", "--population", "8", "--evaluation-episodes", "2")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts `rsrp-lava train …` with engine ray; nothing of it outlives the test."""
    monkeypatch.setenv(*MARK.split("="))
    started = []

    def start(*arguments, **environment):
        command = [sys.executable, "-m", "rsrp_lava.cli", "train", *SMALL, *map(str, arguments)]
        environment["RAY_worker_niceness"] = "0"  # or a busy machine lets them starve
        env = {name: value for name, value in {**os.environ, **environment}.items() if not name.startswith("RAY_AUTH")}
        started.append(
            subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    wait_for(lambda: not left(), lambda: left())


def left():
    """What tests of this process have started that still lives."""
    return {pid: command for pid, command in processes()[0].items() if pid != os.getpid()}


def wait_for(condition, what=lambda: "", seconds=PATIENCE):
    limit = time.time() + seconds
    while not condition():
        assert time.time() < limit, what()
        time.sleep(0.05)


def begun(process, folder):
    wait_for(lambda: (folder / "metrics.jsonl").exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()


SLOWER = [
    pytest.param(address, marks=pytest.mark.slow) for address in ("ray://127.0.0.1", "host:0", ":6379", "::1:6379", "a b:1")
]


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost:notaport", *SLOWER])
def test_an_address_that_is_none(address, start, tmp_path):
    process = start("--out", tmp_path / "run", RAY_ADDRESS=address)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert f"RAY_ADDRESS = {address} (it must be HOST:PORT" in line
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.fixture
def silent():
    """A port that accepts connections and says nothing, as another program's; what is sent is thrown away."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        kept, ended = [], threading.Event()
        server.settimeout(0.1)

        def accept():
            while not ended.is_set():
                with suppress(TimeoutError, socket.timeout):
                    kept.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("scheme", ["", pytest.param("ray://", marks=pytest.mark.slow)])
def test_a_port_that_answers_nothing(scheme, silent, start, tmp_path):
    process = start("--out", tmp_path / "run", RAY_ADDRESS=scheme + silent)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert f"no cluster answers at RAY_ADDRESS = {scheme}{silent} (" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_ctrl_c_is_heard_while_nothing_answers(silent, start, tmp_path):
    process = start("--out", tmp_path / "run", RAY_ADDRESS=silent)
    wait_for(lambda: any("ray.init" in command for command in left().values()) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_sigterm_and_that_what_is_alone_stays_alone(start, tmp_path):
    """A second training has a Ray of its own, goes on when the first one is killed, and ends with 143."""
    first = start("--generations", 10_000, "--out", tmp_path / "first")
    begun(first, tmp_path / "first")
    second = start("--generations", 10_000, "--out", tmp_path / "second")
    begun(second, tmp_path / "second")
    sessions = {found for pid in left() for found in session_of(pid)}
    assert len(sessions) == 2
    first.kill()
    first.wait()
    length = (tmp_path / "second" / "metrics.jsonl").stat().st_size
    wait_for(lambda: (tmp_path / "second" / "metrics.jsonl").stat().st_size > length + 2000 or second.poll() is not None)
    assert second.poll() is None, second.stderr.read()
    second.send_signal(signal.SIGTERM)
    _, said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 143
    assert "stopped after generation" in said
    wait_for(lambda: not left(), lambda: left(), seconds=30)  # Ray's own agents would stay for a minute


def session_of(pid):
    with suppress(OSError):
        return re.findall(r"/tmp/ray/(session_[\w-]+)", Path(f"/proc/{pid}/cmdline").read_text())[:1]
    return []


def test_who_has_no_token_is_refused(start, tmp_path):
    """Whoever reaches the port of a private Ray, but does not know its token, cannot run code there."""
    process = start("--generations", 10_000, "--out", tmp_path / "run")
    begun(process, tmp_path / "run")
    servers = [pid for pid, command in left().items() if "gcs_server" in command]
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout.splitlines()
    ports = [re.search(r":(\d+) ", line)[1] for line in lines if any(f"pid={pid}," in line for pid in servers)]
    assert ports
    code = "import ray; ray.init(address='127.0.0.1:PORT', log_to_driver=False); print('in')".replace("PORT", ports[0])
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    with suppress(subprocess.TimeoutExpired):
        entered = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=20)
        assert entered.returncode != 0
        assert "in" not in entered.stdout.split()
