"""Memory: what a run needs against what it takes, what this process may have, and the refusal before anything is written."""

import os
import resource
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError, machine, train
from rsrp_lava.learners import open_learner
from rsrp_lava.learners.room import parts_of, require_room
from rsrp_lava.threads import Threads

GB = 10**9


def needed(experiment, threads=1, learns=True):
    return sum(part.bytes for part in parts_of(experiment, threads, learns=learns))


@pytest.mark.parametrize(
    "settings",
    [
        {"network": {"n_neurons": 1000}},
        {"network": {"n_neurons": 1024}, "optimizer": "adam"},
        {"network": {"n_neurons": 1024}, "rule": "satr", "p_bits": 20},
        {"network": {"n_neurons": 1500}, "rule": "es"},
        {"task": "digits", "layers": {"hidden": (600, 900)}},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_what_is_counted_is_there_at_one_time(settings):
    """Judged by Python's own account of NumPy's arrays: a run never takes less, or one would be refused that could run; nor
    much more, or one would begin that cannot end."""
    experiment = Experiment(**{"task": "cartpole", "population": 4, "evaluation_episodes": 2, **settings})
    warm = open_learner(experiment.replace(network={"n_neurons": 64}) if "network" in settings else experiment, Threads(1))
    warm.prepare()
    warm.close()
    tracemalloc.start()
    try:
        learner = open_learner(experiment, Threads(1))
        learner.advance(None)
        learner.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert needed(experiment) <= peak <= 2.5 * needed(experiment)


HUGE = [
    ({"network": {"n_neurons": 32767}}, "network.n_neurons: 32767"),
    ({"network": {"n_neurons": 32767}, "reservoir": True}, "network.n_neurons: 32767"),
    ({"network": {"n_neurons": 32767}, "rule": "es"}, "network.n_neurons: 32767"),
    ({"network": {"n_neurons": 32767}, "rule": "hedonistic_spikes"}, "network.n_neurons: 32767"),
    ({"task": "digits", "layers": {"hidden": (32767, 32767)}}, "layers.hidden: 32767,32767"),
    ({"task": "mnist", "layers": {"hidden": (4,)}, "batch": 65536}, "batch: 65536"),
    ({"population": 2**20, "engine": "lava"}, "population: 1048576 and evaluation_episodes: 128"),
    ({"evaluation_episodes": 2**20, "engine": "lava"}, "population: 256 and evaluation_episodes: 1048576"),
]


@pytest.mark.parametrize(("settings", "named"), HUGE, ids=[named for _, named in HUGE])
def test_a_setting_whose_arrays_cannot_fit_is_named(monkeypatch, settings, named):
    monkeypatch.setattr(machine, "memory_bytes", lambda: GB // 2)
    with pytest.raises(ExperimentError) as error:
        require_room(Experiment(**settings), learns=True)
    for part in (named, "500 MB", "of memory", "use "):
        assert part in str(error.value)


def test_everything_that_fits_may_run(monkeypatch):
    """Also where the operating system does not say what there is."""
    experiment = Experiment(network={"n_neurons": 4096})
    monkeypatch.setattr(machine, "memory_bytes", lambda: needed(experiment))
    require_room(experiment, learns=True)
    monkeypatch.setattr(machine, "memory_bytes", lambda: needed(experiment) - 1)
    with pytest.raises(ExperimentError, match="4096"):
        require_room(experiment, learns=True)
    monkeypatch.setattr(machine, "memory_bytes", lambda: None)
    require_room(Experiment(network={"n_neurons": 32767}), learns=True)


def test_playing_needs_less_than_learning():
    experiment = Experiment(network={"n_neurons": 2000}, optimizer="adam")
    assert needed(experiment, learns=False) < needed(experiment)
    independent = Experiment(task="digits", batch=512, data_sampling="independent")
    assert needed(independent, threads=8) > needed(independent, threads=1)


def test_nothing_is_written_when_memory_cannot_hold_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 10**8)
    with pytest.raises(ExperimentError, match=r"network\.n_neurons: 5000: needs .* MB of memory, .* 100 MB"):
        train(Experiment(network={"n_neurons": 5000}), out=tmp_path / "parent" / "run")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_the_command_says_so_under_a_limit_of_the_operating_system(tmp_path):
    """4 GB of address space, of which 16,384 neurons would need more."""
    config = tmp_path / "large.yaml"
    config.write_text("task: cartpole\nnetwork: {n_neurons: 16384}\n")
    command = [sys.executable, "-m", "rsrp_lava.cli", "train", "--config", "large.yaml", "--out", "run"]
    limit = 4 * GB
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    for part in ("error: network.n_neurons: 16384", "4 GB", "use fewer neurons"):
        assert part in done.stderr
    assert os.listdir(tmp_path) == ["large.yaml"]


def test_limits_of_control_groups(tmp_path):
    """Version 1 beside version 2, limits around the group, "max", and a path that only the host of a container sees."""
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    for folder, name, value in (
        ("memory/batch", "memory.limit_in_bytes", "7000\n"),
        ("memory/batch/job", "memory.limit_in_bytes", "9223372036854771712\n"),
        ("user", "memory.max", "5000\n"),
        ("user/shell", "memory.max", "max\n"),
        ("cpu/batch", "memory.limit_in_bytes", "1\n"),
        (".", "memory.max", "8000\n"),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).write_text(value)

    def limits(text):
        membership.write_text(text)
        return sorted(machine._of_groups(membership, root))

    assert limits("4:cpu:/batch\n3:memory,hugetlb:/batch/job\n0::/user/shell\n") == [5000, 7000, 8000, 9223372036854771712]
    assert limits("0::/of/the/host\n") == [8000]
    assert limits("4:cpu:/batch\n") == []
    membership.unlink()
    assert list(machine._of_groups(membership, root)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_machine_has_what_linux_says_at_the_most():
    with open("/proc/meminfo") as file:
        total = 1024 * int(file.readline().split()[1])
    assert 0 < machine.memory_bytes() <= 1.05 * total


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (4_294_967_296, "4.29 GB")]
)
def test_bytes_in_words(number, shown):
    assert machine.in_words(number) == shown


def test_entropy_and_histogram_take_no_room_of_their_own():
    """Of 4 M synapses: less than a byte per synapse."""
    from rsrp_lava.learning.rsrp import entropy_bits, histogram

    rho = np.random.default_rng(0).random((2048, 2048), np.float32)
    for measure in (entropy_bits, histogram):
        measure(rho[:1])
        tracemalloc.start()
        measure(rho)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < rho.size
