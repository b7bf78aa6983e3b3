"""Workers that hang, are stopped, or print without end: the same bits, a limit in time and in bytes."""

import os
import signal

import pytest

from rsrp_lava import Experiment, train
from rsrp_lava.engines.processes import Log, Pulse
from rsrp_lava.engines.workers import LocalWorkers
from rsrp_lava.errors import EngineError

FAULTY = "gym:faulty_environments:Faulty-v0"


def experiment(fault, trace="", **environment):
    kwargs = {"fault": fault, "share": 0.5, "trace": str(trace)}
    return Experiment(
        task=FAULTY,
        environment={"kwargs": kwargs, "starts": "shared", **environment},
        population=8,
        generations=2,
        evaluation_episodes=4,
        network={"n_neurons": 32},
    )


def test_a_step_that_never_returns_is_played_again_by_another_worker(tmp_path):
    whole = train(experiment("none"), threads=1)
    hung = train(experiment("hang once", tmp_path / "hung", worker_timeout_s=2), threads=1)
    assert (tmp_path / "hung").exists()
    assert hung.summary["release_sha256"] == whole.summary["release_sha256"]
    assert sum(record.get("faults", {}).get("lost_worker", 0) for record in hung.metrics) == 1


@pytest.mark.slow
def test_a_step_that_always_hangs_ends_the_run_and_names_the_setting():
    message = r"a worker was lost 3 times .*was still in one call after 0\.5 s \(environment\.worker_timeout_s\)"
    with pytest.raises(EngineError, match=message):
        train(experiment("hang", worker_timeout_s=0.5), threads=1)


@pytest.mark.slow
def test_a_worker_that_is_stopped_counts_as_lost(monkeypatch):
    slow = experiment("none", worker_timeout_s=2).replace(population=64, generations=3)
    whole = train(slow, threads=1)
    stopped, submit = [], LocalWorkers.submit

    def submit_and_stop(self, worker, order, lease):
        if order.asked.generation == 1 and not stopped:
            stopped.append(worker._process.pid)
            os.kill(worker._process.pid, signal.SIGSTOP)
        submit(self, worker, order, lease)

    monkeypatch.setattr(LocalWorkers, "submit", submit_and_stop)
    result = train(slow, threads=1)
    assert stopped
    assert result.summary["release_sha256"] == whole.summary["release_sha256"]
    assert sum(record.get("faults", {}).get("lost_worker", 0) for record in result.metrics) == 1


def test_what_an_environment_prints_is_bounded(monkeypatch):
    """100 kB a step, in a file that is cut whenever the program looks."""
    cuts, bound = [], Log.bound

    def note(self):
        before = os.fstat(self.fileno()).st_size
        bound(self)
        if before > Log.MOST:
            cuts.append((before, os.fstat(self.fileno()).st_size))

    monkeypatch.setattr(Log, "bound", note)
    result = train(experiment("print").replace(population=32), threads=1)
    assert result.summary["env_steps"] > 100
    assert cuts
    assert sum(after < before for before, after in cuts) >= len(cuts) - 1  # printing goes on beside


def test_a_log_keeps_its_end_while_another_writes():
    log = Log()
    child = os.dup(log.fileno())
    for number in range(3000):
        os.write(child, b"line %d\n" % number + b"." * 100)
        log.bound()
    assert os.fstat(log.fileno()).st_size < 2 * Log.MOST
    assert "line 2999" in log.tail(200)
    os.close(child)
    log.close()


def test_time_in_which_nobody_looked_is_not_held_against_a_worker():
    """A program that was itself stopped for an hour (Ctrl-Z, a laptop that slept) finds its workers well."""
    pulse = Pulse()
    now = 1000.0
    pulse.look(now)
    for _ in range(10):
        pulse.look(now := now + 0.2)
    assert pulse.silent_s == pytest.approx(2.0)
    pulse.look(now := now + 3600)
    assert pulse.silent_s == pytest.approx(3.0)
    pulse.beat()
    pulse.look(now + 0.2)
    assert pulse.silent_s == 0.0
    pulse.close()


@pytest.mark.slow
def test_a_ray_worker_that_hangs_is_replaced(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    whole = train(experiment("none"), threads=1)
    hung = train(experiment("hang once", tmp_path / "hung", worker_timeout_s=2).replace(engine="ray"), workers=1)
    assert (tmp_path / "hung").exists()
    assert hung.summary["release_sha256"] == whole.summary["release_sha256"]
    assert sum(record.get("faults", {}).get("lost_worker", 0) for record in hung.metrics) == 1
