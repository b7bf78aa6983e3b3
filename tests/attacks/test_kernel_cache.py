"""Numba's cache, damaged, taken away, forged: the same answer after compiling, one line, and a whole file again."""

import importlib.util
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import threading

import numba
import numpy as np
import pytest
from numba.core.caching import FunctionCache

from rsrp_lava.kernels import cache, rollout

SMALL = ("--population", "8", "--generations", "1", "--evaluation-episodes", "2")
SOURCE = """
from rsrp_lava.kernels.compiling import kernel

@kernel
def weigh(values, factor):
    total = 0.0
    for k in range(values.shape[0]):
        total += factor * values[k] * (k + 1)
    return total
"""
_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where kernels are cached; nothing has been said yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_told", False)
    (tmp_path / "weighing.py").write_text(SOURCE)
    return tmp_path


def load(folder, name="weighing"):
    """The module, as a new process would import it."""
    spec = importlib.util.spec_from_file_location(f"{name}{next(_numbers)}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weigh(folder):
    """Its answer, and whether it came from the cache."""
    kernel = load(folder).weigh
    answer = kernel(np.arange(5.0), 0.1)
    return answer, sum(kernel.stats.cache_hits.values()) == 1


EXPECTED = sum(0.1 * k * (k + 1) for k in range(5))


def the_file(folder):
    (path,) = (folder / "cache").rglob("weighing.weigh*.nbc")
    return path


def flip(path, random):
    content = bytearray(path.read_bytes())
    for place in random.integers(len(content), size=random.integers(1, 4)):
        content[place] ^= 1 << random.integers(8)
    path.write_bytes(content)


def cut(path, random):
    os.truncate(path, random.integers(path.stat().st_size))


def zero(path, random):
    content = bytearray(path.read_bytes())
    first = random.integers(len(content))
    content[first : first + 4096] = bytes(len(content[first : first + 4096]))
    path.write_bytes(content)


def garbage(path, random):
    path.write_bytes(random.bytes(random.integers(1, 9000)))


def grow(path, random):
    with open(path, "ab") as file:
        file.write(random.bytes(10))


@pytest.mark.parametrize("rounds", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_damages_are_each_compiled_anew(folder, caplog, rounds):
    """Also a flip within the machine code, which Numba would run."""
    assert weigh(folder) == (pytest.approx(EXPECTED, abs=0), False)
    assert weigh(folder) == (pytest.approx(EXPECTED, abs=0), True)
    path = the_file(folder)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    for damage in [flip, cut, zero, garbage, grow] * rounds:
        damage(path, random)
        if path.read_bytes() == whole:  # zeros where zeros were
            continue
        answer, cached = weigh(folder)
        assert answer == pytest.approx(EXPECTED, abs=0)
        assert not cached
        assert weigh(folder)[1], "the file was not replaced"
    assert len(caplog.messages) == 1
    assert "is damaged), and is compiled anew" in caplog.messages[0]


def test_empty_and_other_files_in_its_place(folder, caplog):
    weigh(folder)
    path = the_file(folder)
    os.truncate(path, 0)
    assert not weigh(folder)[1]
    path.unlink()
    os.mkfifo(path)  # must not be waited for
    assert weigh(folder) == (EXPECTED, False)
    assert weigh(folder)[1]
    path.unlink()
    path.symlink_to("/dev/zero")
    assert weigh(folder) == (EXPECTED, False)
    with open(path, "wb") as file:
        os.truncate(file.fileno(), 2**33)  # sparse: must not be read
    assert weigh(folder) == (EXPECTED, False)
    path.unlink()
    path.mkdir()  # cannot be replaced: no cache for this one
    assert weigh(folder) == weigh(folder) == (EXPECTED, False)
    assert len(caplog.messages) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_wrote_is_not_run(folder, caplog):
    weigh(folder)
    path = the_file(folder)
    os.chown(path, 12345, 12345)
    assert weigh(folder) == (EXPECTED, False)
    assert path.stat().st_uid == 0
    assert "belongs to another user" in caplog.text


def test_a_file_of_other_sources_or_of_another_kernel_is_not_run(folder, caplog):
    """As two processes leave them that write at once, one with the sources of yesterday."""
    weigh(folder)
    path = the_file(folder)
    old = path.read_bytes()
    (folder / "weighing.py").write_text(SOURCE.replace("(k + 1)", "(k + 2)"))
    answer, cached = weigh(folder)
    assert answer == sum(0.1 * k * (k + 2) for k in range(5))
    assert not cached
    path.write_bytes(old)
    assert weigh(folder) == (answer, False)
    (folder / "weighing.py").write_text(SOURCE)
    load(folder).weigh(np.arange(5, dtype=np.float32), 0.1)  # another signature, another file
    other = next(p for p in (folder / "cache").rglob("*.nbc") if p != path)
    path.write_bytes(other.read_bytes())
    assert weigh(folder) == (EXPECTED, False)
    assert not caplog.messages  # nothing is damaged


def test_a_full_disk_only_costs_time(folder, caplog):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        assert weigh(folder) == weigh(folder) == (EXPECTED, False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p for p in (folder / "cache").rglob("*") if p.is_file()] == []
    assert len(caplog.messages) == 1
    assert "cannot be written (file too large)" in caplog.messages[0]


def no_place(*arguments, **named):
    raise OSError(30, "Read-only file system")


def test_no_place_for_a_cache_only_costs_time(folder, caplog, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", no_place)  # how Numba asks whether a folder can be written
    assert weigh(folder) == weigh(folder) == (EXPECTED, False)
    assert len(caplog.messages) == 1
    assert "NUMBA_CACHE_DIR" in caplog.messages[0]


def test_a_folder_that_becomes_read_only(folder, caplog, monkeypatch):
    kernel = load(folder).weigh
    monkeypatch.setattr(tempfile, "TemporaryFile", no_place)
    assert kernel(np.arange(5.0), 0.1) == EXPECTED
    assert "cannot be written (Read-only" in caplog.text or "cannot be written (read-only" in caplog.text


def test_tasks_of_users_with_numbas_own_cache(folder, caplog):
    (folder / "own.py").write_text(
        "from numba import njit\n"
        "@njit(cache=True)\ndef reset(state, random):\n    state[0] = random[0]\n"
        "@njit(cache=True)\ndef observe(state, observation):\n    observation[0] = state[0]\n"
        "@njit(cache=True)\ndef step(state, output):\n    return 1.0, True\n"
    )
    for damage in (None, zero, cut, flip):
        own = load(folder, "own")
        assert type(own.step._cache) is FunctionCache
        rollout.task_functions(own.reset, own.observe, own.step)
        for path in (folder / "cache").rglob("own.*"):
            if damage:
                damage(path, np.random.default_rng(2))
    own = load(folder, "own")
    rollout.task_functions(own.reset, own.observe, own.step)
    assert own.step.py_func(None, None) == own.step(np.zeros(1), np.zeros(1, np.float32)) == (1.0, True)
    assert len(caplog.messages) == 1


def test_recompiling_forgets(folder):
    weigh(folder)
    path, kernel = the_file(folder), load(folder).weigh
    kernel(np.arange(5.0), 0.1)
    before = path.stat().st_mtime_ns
    kernel.recompile()
    assert path.stat().st_mtime_ns != before
    assert weigh(folder)[1]


def test_many_at_once_share_it(folder):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(weigh(folder)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [EXPECTED] * 8
    assert the_file(folder)
    assert not list((folder / "cache").rglob("*.tmp"))


def program(*arguments, **environment):
    code = "import sys; from rsrp_lava_command import main; sys.argv = ['rsrp-lava', *sys.argv[1:]]; main()"
    return subprocess.run(
        [sys.executable, "-c", environment.pop("first", "") + code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


def test_without_compiling_one_message():
    done = program("--version", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: NUMBA_DISABLE_JIT is set: ")
    assert done.stderr.count("\n") == 1


def test_the_program_without_a_place_for_the_cache():
    first = "import tempfile\ndef none(*a, **k): raise OSError(30, 'Read-only')\ntempfile.TemporaryFile = none\n"
    done = program("--version", first=first)
    assert done.returncode == 0
    assert done.stdout.startswith("rsrp-lava ")
    assert done.stderr.startswith("kernel cache: no folder for it can be written ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_program_with_its_whole_cache_damaged(tmp_path):
    """All files at once, each in another way, of all kernels of a training."""
    train = ["train", "cartpole", *SMALL, "--json", "--out"]
    started = program(*train, str(tmp_path / "one"), NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert started.returncode == 0
    random, damages = np.random.default_rng(3), [flip, cut, zero, garbage]
    files = sorted((tmp_path / "cache").rglob("*.nbc"))
    assert len(files) > 20
    for number, path in enumerate(files):
        damages[number % 4](path, random)
    again = program(*train, str(tmp_path / "two"), NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert again.returncode == 0
    assert again.stderr.count("kernel cache: ") == 1
    assert sorted((tmp_path / "cache").rglob("*.nbc")) == files  # the same names: nothing piles up
    bits = [text.split('"release_sha256": "')[1][:64] for text in (started.stdout, again.stdout)]
    assert bits[0] == bits[1]
