"""Engine ray: the same bits as engine fused, with any number of workers, lost ones too, and few bytes."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rsrp_lava import Experiment, train
from rsrp_lava.engines import open_engine, shards
from rsrp_lava.errors import EngineError, Interrupted
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.threads import Threads

ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

SMALL = Experiment(population=64, generations=3, evaluation_episodes=16, seed=5, network={"n_neurons": 64})


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One of four (pretended) processors for all tests of this file; engines find it initialised."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def fused():
    return train(SMALL, threads=1)


def play(experiment, workers, samples=40, events=()):
    """One `play` with this many workers; `events` are called while it goes on."""
    engine = open_engine(experiment.replace(engine="ray"), Threads(1), workers=workers)
    try:
        engine.prepare(None)
        happening = [threading.Thread(target=event, args=(engine,), daemon=True) for event in events]
        for thread in happening:
            thread.start()
        half = experiment.build_network().initial_probabilities({})
        return engine.play(half, Normaliser.start(4), 0, samples)
    finally:
        engine.close()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_one_answer_with_any_number_of_workers(fused, workers):
    result = train(SMALL.replace(engine="ray"), workers=workers)
    assert result.summary["release_sha256"] == fused.summary["release_sha256"]
    assert result.summary["final_eval_return"] == fused.summary["final_eval_return"]


def test_traffic_is_probabilities_once_and_rewards(fused):
    """4 bytes a synapse, 16 a sample; headers are the rest, here of a network so small that they count."""
    result = train(SMALL.replace(engine="ray"), workers=2)
    synapses = sum(rho.size for rho in result.probabilities.values())
    least = 4 * synapses + 16 * (SMALL.population + SMALL.evaluation_episodes)
    traffic = [record["traffic_bytes"] for record in result.metrics if "traffic_bytes" in record]
    assert len(traffic) == SMALL.generations
    assert all(least < bytes_ < least + 8_000 for bytes_ in traffic)


def test_a_busy_cluster_is_waited_for_aloud_and_until_asked_to_stop(monkeypatch, caplog):
    class Busy:
        def ready(self):
            pass

    monkeypatch.setattr(shards, "_PATIENCE_S", 0.3)
    busy = [ray.remote(num_cpus=1)(Busy).remote() for _ in range(4)]
    ray.get([actor.ready.remote() for actor in busy])
    engine = open_engine(SMALL.replace(engine="ray"), Threads(1), workers=1)
    engine.stop = []
    asking = threading.Timer(1.5, engine.stop.append, [signal.SIGINT])
    asking.start()
    try:
        with pytest.raises(Interrupted):
            engine.prepare(None)
        assert caplog.messages == ["engine ray: still waiting for a first worker; are all processors taken? Ctrl-C stops"]
    finally:
        engine.close()
        for actor in busy:
            ray.kill(actor)


def kill_a_worker(engine):
    time.sleep(0.05)
    ray.kill(engine.workforce._workers[0].actor)


def test_samples_of_a_lost_worker_are_played_again():
    slow = SMALL.replace(environment={"max_steps": 500}, network={"n_neurons": 256})
    whole = play(slow, 2, samples=400)
    killed = play(slow, 2, samples=400, events=[kill_a_worker])
    np.testing.assert_array_equal(killed.returns, whole.returns)
    assert killed.observations.integers() == whole.observations.integers()


@pytest.mark.slow
def test_workers_killed_all_the_time_change_nothing():
    """A worker is killed every three seconds while a run trains."""
    experiment = Experiment(population=256, generations=40, evaluation_episodes=16, seed=5)
    fused, stop = train(experiment, threads=1), threading.Event()
    killed = []

    def kill_on():
        while not stop.wait(3.0):
            for process in _players()[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    threading.Thread(target=kill_on, daemon=True).start()
    try:
        result = train(experiment.replace(engine="ray"), workers=2)
    finally:
        stop.set()
    assert result.summary["release_sha256"] == fused.summary["release_sha256"]
    assert killed
    assert sum(record.get("faults", {}).get("lost_worker", 0) for record in result.metrics) > 0


def _players():
    """Processes of actors that play."""
    found = subprocess.run(["pgrep", "-f", "ray::RemotePlayer"], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def test_an_environment_that_fails_ends_the_run_with_its_words():
    task, kwargs = "gym:faulty_environments:Faulty-v0", {"fault": "raise", "share": 1.0}
    experiment = Experiment(task=task, environment={"kwargs": kwargs}, population=4, generations=1, engine="ray")
    with pytest.raises(EngineError, match="the motor burnt out"):
        train(experiment, workers=2)


def test_classifiers_are_spread_too():
    experiment = Experiment(task="digits", population=32, generations=2, evaluation_episodes=50, layers={"hidden": [16]})
    fused, spread = (train(e, threads=1, workers=2) for e in (experiment, experiment.replace(engine="ray")))
    assert fused.summary["release_sha256"] == spread.summary["release_sha256"]
    assert fused.summary["final_test_accuracy"] == spread.summary["final_test_accuracy"]


def test_what_cannot_be_is_said():
    with pytest.raises(EngineError, match="workers: 0 must be 1 or more"):
        train(SMALL.replace(engine="ray"), workers=0)


def test_no_cluster_at_the_address_is_said(tmp_path):
    """In a process of its own, which knows of no cluster."""
    code = "from rsrp_lava import Experiment, train; train(Experiment(engine='ray', generations=1, population=4))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "no cluster answers at RAY_ADDRESS = 127.0.0.1:1" in done.stderr
