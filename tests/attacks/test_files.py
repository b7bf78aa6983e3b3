"""No file that is read can keep the program waiting, fill its memory or reach a kernel; none that is not ours is touched."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from rsrp_lava import CheckpointError, Experiment, RunFolderError, deploy, evaluate, load_run, plot, train
from rsrp_lava.arrays import open_arrays
from rsrp_lava.checkpoint import Checkpoint, to_bytes
from rsrp_lava.files import append, filling, open_lock, read_file, replace_file, replacing
from rsrp_lava.learners import State, WeightState
from rsrp_lava.lines import from_line, to_line, to_lines
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.watching import watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="attacks with what POSIX has")
#: A rule of each kind of memory, as small as can be.
RULES = {
    "rsrp": {},
    "adam": {"optimizer": "adam"},
    "momentum": {"optimizer": "momentum"},
    "satr": {"rule": "satr"},
    "es": {"rule": "es"},
    "nrl": {"rule": "nrl"},
    "r_stdp": {"rule": "r_stdp"},
    "hedonistic_spikes": {"rule": "hedonistic_spikes"},
    "svpg": {"rule": "svpg"},
    "neuron_agents": {"rule": "neuron_agents"},
    "reparameterized": {"rule": "reparameterized"},
    "stdp": {"rule": "stdp", "task": "digits"},
    "digits": {"task": "digits"},
}


@functools.cache
def started(rule):
    """An experiment, its start, and what its checkpoints look like."""
    settings = {"population": 8, "generations": 2, "seed": 3, **RULES[rule]}
    if rule in ("rsrp", "adam", "momentum", "satr"):
        settings["network"] = {"n_neurons": 16}
    experiment = Experiment(**settings)
    if experiment.weight_rule is None:
        kind, start = State, State.start(experiment)
    else:
        kind, start = WeightState, WeightState(0, experiment.rule, experiment.build_weight_rule(3).start())
    return experiment, start.to_checkpoint(experiment), kind.layouts(experiment)


def wrong_arrays(array):
    """Arrays of which none is like this one."""
    yield "more", np.concatenate([array.ravel(), array.ravel(), np.ones(3, array.dtype)])
    yield "none", np.zeros(0, array.dtype)
    yield "turned", np.zeros((*array.shape, 1), array.dtype)
    yield "wider", np.zeros(array.shape, np.complex64)
    yield "text", np.zeros(array.shape, "U3")
    yield "big-endian", array.astype(array.dtype.newbyteorder(">")) if array.dtype.itemsize > 1 else np.zeros(0)
    if array.dtype.kind == "f":
        yield "infinite", np.full(array.shape, np.inf, array.dtype)
        if not np.isnan(array).any():
            yield "nan", np.full(array.shape, np.nan, array.dtype)
    if array.dtype.kind == "i":
        yield "negative", np.full(array.shape, -1, array.dtype)


@pytest.mark.parametrize("rule", RULES)
def test_forged_checkpoints_are_refused_before_anything_computes(rule, tmp_path):
    """With a right checksum: every array of every rule, replaced by what it is not."""
    experiment, start, layouts = started(rule)
    folder = RunFolder.create(tmp_path / "run", experiment, start)
    same = folder.load_checkpoint(layouts)
    assert {name: array.tobytes() for name, array in same.arrays.items()} == {
        n: a.tobytes() for n, a in start.arrays.items()
    }
    forged = [
        (f"{name}: {what}", {**start.arrays, name: wrong}, start.numbers, 0)
        for name, array in start.arrays.items()
        for what, wrong in wrong_arrays(array)
        if array.size
    ]
    first = next(iter(start.arrays))
    forged += [
        ("one is missing", {name: array for name, array in start.arrays.items() if name != first}, start.numbers, 0),
        ("one more", {**start.arrays, "release/other": np.zeros(3)}, start.numbers, 0),
        ("steps are text", start.arrays, {**start.numbers, "env_steps": "3"}, 0),
        ("steps below none", start.arrays, {**start.numbers, "env_steps": -1}, 0),
        ("endless time", start.arrays, {**start.numbers, "seconds": float("inf")}, 0),
        ("an unknown number", start.arrays, {**start.numbers, "stop": 1}, 0),
        ("generation below none", start.arrays, start.numbers, -1),
        ("generation is text", start.arrays, start.numbers, "1"),
    ]
    for name in start.arrays:
        if name.startswith("release/"):
            forged += [(name, {**start.arrays, name: start.arrays[name] + at}, start.numbers, 0) for at in (0.75, -0.75)]
    for what, arrays, numbers, generation in forged:
        replace_file(
            folder.path / "checkpoint.npz", to_bytes(Checkpoint(experiment.fingerprint, generation, arrays, numbers))
        )
        with pytest.raises(CheckpointError, match=r"checkpoint\.npz: is (not of this experiment|damaged)"):
            print(what, folder.load_checkpoint(layouts))


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("sums", [*b"\xff" * 8, 1]),  # 2^64 low bytes were left out
        ("squares", [*bytes(8), 0xFF]),  # a square below 0
        ("sums", [*bytes(7), 1, 1]),
    ],
)
def test_impossible_sums_of_observations_are_refused(name, row, tmp_path):
    experiment, start, layouts = started("rsrp")
    arrays = {**start.arrays, f"normaliser/{name}": np.array([row] * 4, np.uint8)}
    folder = RunFolder.create(tmp_path / "run", experiment, Checkpoint(start.fingerprint, 0, arrays, start.numbers))
    with pytest.raises(CheckpointError, match="the normaliser's sums"):
        folder.load_checkpoint(layouts)


# --- reads without limit -----------------------------------------------------------------------------------------------


def make_fifo(path):
    os.mkfifo(path)


def make_link_to_zero(path):
    os.symlink("/dev/zero", path)


def make_sparse(path):
    with open(path, "wb") as file:
        file.truncate(3 * 2**30)


def make_folder(path):
    os.mkdir(path)


HOSTILE = [make_fifo, make_link_to_zero, make_sparse, make_folder]


def replaced(path, hostile):
    path.unlink(missing_ok=True)
    hostile(path)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_is_no_file_of_a_size_that_has_a_use_is_refused(run, call, hostile, tmp_path):
    """In place of every file that a command reads; nothing waits, nothing is read."""
    odd = tmp_path / "odd.yaml"
    hostile(odd)
    for arguments in (
        ("train", "--config", odd),
        ("compare", "cartpole", "--config", odd, "-o", "x"),
        ("map", run, "--profile", odd),
        ("train", "cartpole", "--profile", odd),
    ):
        code, _, said = call(*arguments)
        assert (code, said.count("error:"), "Traceback" in said) == (2, 1, False)
    npz = tmp_path / "odd.npz"
    hostile(npz)
    if hostile is not make_sparse:  # which is found to be no archive
        assert call("train", f"data:{npz}")[0] == 2
    for name in ("checkpoint.npz", "config.yaml"):
        content = (run / name).read_bytes()
        replaced(run / name, hostile)
        for use in (
            ("evaluate", run),
            ("plot", run),
            ("train", "--resume", run, "--generations", 9),
            ("watch", run, "--once"),
        ):
            code, _, said = call(*use)
            assert code == 2 or (use[0] == "watch" and name == "checkpoint.npz"), (name, use, said)
            assert "Traceback" not in said
        (run / name).rmdir() if (run / name).is_dir() else (run / name).unlink()
        (run / name).write_bytes(content)
    expected = evaluate(run)
    replaced(run / "metrics.jsonl", hostile)
    assert evaluate(run) == expected, "evaluate has no use for metrics"
    for use in (("plot", run), ("train", "--resume", run, "--generations", 9), ("watch", run, "--once")):
        code, _, said = call(*use)
        assert (code, "Traceback" in said) == (2, False), (use, said)


def test_a_file_is_not_read_beyond_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes, of which at most 4 are read"):
        read_file(path, 4)


def bomb(path, name, announced, content):
    """An .npz file with a member whose header announces a shape, and so many zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": announced})
        for _ in range(content // 2**20):
            member.write(bytes(2**20))


@pytest.mark.parametrize(
    ("name", "announced", "content"),
    [
        ("array/release/input.npy", (2**28,), 2**28),
        ("header.npy", (2**28,), 2**28),
        ("array/release/input.npy", (2**28,), 2**20),  # forged: it holds less
        ("array/release/input.npy", (2**20,), 2**28),  # … or more
        ("array/release/input.npy", (2**62, 2**62), 0),
    ],
)
def test_zip_bombs_do_not_unfold(run, name, announced, content, peak_kib):
    bomb(run / "checkpoint.npz", name, announced, content)
    with pytest.raises(CheckpointError, match="is damaged"), peak_kib(30_000):
        load_run(run)
    with (
        pytest.raises(ValueError, match=r"bytes|size|length|announces"),
        open_arrays(run / "checkpoint.npz", 2**20) as stored,
    ):
        stored.read(name.removesuffix(".npy"))


@pytest.fixture
def peak_kib():
    """A context in which Python may not take more memory than so much."""
    import contextlib
    import tracemalloc

    @contextlib.contextmanager
    def limited(most):
        tracemalloc.start()
        try:
            yield
        finally:
            peak = tracemalloc.get_traced_memory()[1] // 1024
            tracemalloc.stop()
            assert peak < most, f"{peak} KiB"

    return limited


@pytest.mark.parametrize("content", [b"\0" * 2**26, b'{"generation": 0, "x": "' + b"y" * 2**26, b"[" * 2**20 + b"\n"])
def test_long_and_deep_lines_are_refused_by_number(run, content, peak_kib):
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(content)
    with peak_kib(40_000), pytest.raises(RunFolderError, match=r"metrics\.jsonl: line 6 (is no record|has more than)"):
        load_run(run).metrics  # noqa: B018


# --- lines -------------------------------------------------------------------------------------------------------------


def test_a_line_fits_only_after_the_one_it_was_written_after():
    records = [{"a": k} for k in range(3)]
    lines = to_lines(records).splitlines(keepends=True)
    assert [from_line(line, before) for line, before in zip(lines, [b"", *lines], strict=False)] == records
    assert [json.loads(line)["a"] for line in lines] == [0, 1, 2]
    for line, before in ((lines[0], lines[0]), (lines[2], lines[0]), (lines[1], b""), (lines[1], lines[2])):
        with pytest.raises(ValueError, match="does not match its check"):
            from_line(line, before)
    with pytest.raises(ValueError, match="it has no check"):
        from_line(b'{"a": 3}\n', lines[2])
    assert from_line(b'{"a": 3}\n', b'{"a": 2}\n') == {"a": 3}, "of an earlier version"
    assert from_line(to_line({"a": 4}, b'{"a": 3}\n'), b'{"a": 3}\n') == {"a": 4}, "which goes on with checks"


def test_lines_stay_json_for_other_readers(run):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_json(run / "metrics.jsonl", lines=True)
    assert frame["generation"].tolist() == [0, 1, 2, 3, 4]


FORGED = ['{"generation": "1"}', '{"generation": true}', '{"generation": 1e400}', '{"notice": 3}', '{"seconds": null}']
FORGED += [
    '{"baselines": []}',
    '{"env_steps": -1}',
    f'{{"generation": {10**30}}}',
    '{"evaluation_std": "x"}',
    '{"measures": 1}',
]


@pytest.mark.parametrize("changed", FORGED)
def test_records_of_another_kind_are_refused_with_and_without_check(run, changed):
    records = RunFolder.open(run).read_metrics()
    forged = [*records[:2], {**records[2], **json.loads(changed)}, *records[3:]]
    plain = "".join(json.dumps(record) + "\n" for record in forged).encode()
    for content in (plain, to_lines(forged)):
        (run / "metrics.jsonl").write_bytes(content)
        for use in (
            lambda: load_run(run).metrics,
            lambda: plot(run, output=run.parent / "x.png"),
            lambda: watch(run, once=True),
        ):
            with pytest.raises(RunFolderError, match=r"metrics\.jsonl: line 3 is no record"):
                use()


def test_metrics_of_earlier_versions_stay_readable_and_are_continued(run, small):
    records = RunFolder.open(run).read_metrics()
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert load_run(run).metrics == records
    assert train(small.replace(generations=6), resume=run).metrics == load_run(run).metrics


def test_metrics_that_end_before_the_checkpoint_are_refused_unless_removed(run, small):
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:2]))
    for use in (lambda: load_run(run).metrics, lambda: watch(run), lambda: train(small.replace(generations=6), resume=run)):
        with pytest.raises(RunFolderError, match=r"was cut: it ends after 2 generations, the checkpoint\.npz counts 4"):
            use()
    (run / "metrics.jsonl").unlink()
    assert [record["generation"] for record in train(small.replace(generations=6), resume=run).metrics] == [4, 5, 6]


# --- other people's files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl", "checkpoint.npz", "config.yaml", "curves.png"])
def test_links_in_place_of_our_files_are_not_followed(run, small, tmp_path, name):
    victim = tmp_path / "victim"
    content = (run / name).read_bytes() if name in ("checkpoint.npz", "config.yaml", "metrics.jsonl") else b"mine"
    victim.write_bytes(content)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim)
    try:
        train(small.replace(generations=6), resume=run)
    except RunFolderError as error:
        assert "is a symbolic link, which is not followed" in str(error)  # noqa: PT017
    assert victim.read_bytes() == content


@pytest.mark.parametrize("name", ["lock", "checkpoint", "config", "metrics", "curves"])
def test_links_at_the_names_of_earlier_temporary_files_are_not_followed(run, small, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    names = {"checkpoint": "npz", "config": "yaml", "metrics": "jsonl", "curves": "png", "lock": ""}
    (run / f".{name}.{names[name]}.tmp").symlink_to(victim)
    (run / f".{name}.{'0' * 16}.tmp.{names[name]}").symlink_to(victim)
    train(small.replace(generations=6), resume=run)
    plot(run, output=run / "curves.png")
    assert victim.read_text() == "mine"


def test_writers_do_not_follow_and_do_not_collide(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "a.txt"
    victim.write_text("mine")
    path.symlink_to(victim)
    for write in (lambda: append(path, b"x"), lambda: os.close(open_lock(path))):
        with pytest.raises(OSError, match="is a symbolic link"):
            write()
    replace_file(path, b"new")
    assert (victim.read_text(), path.is_symlink(), path.read_text()) == ("mine", False, "new")
    with replacing(path) as one, replacing(path) as two:  # at the same time
        one.file.write(b"one")
        two.file.write(b"two")
    assert path.read_text() == "one"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.txt", "victim"]


def test_a_lock_that_is_another_file_too_is_not_written(run, small, tmp_path):
    (tmp_path / "victim").write_text("mine")
    (run / "lock").unlink()
    os.link(tmp_path / "victim", run / "lock")
    train(small.replace(generations=5), resume=run)
    assert (tmp_path / "victim").read_text() == "mine"


def test_left_over_temporary_files_are_removed_and_live_ones_are_not(tmp_path):
    path, dead, others = tmp_path / "a.png", tmp_path / f".a.{'1' * 16}.tmp.png", tmp_path / f".b.{'1' * 16}.tmp.png"
    dead.write_text("")
    others.write_text("")
    with replacing(path) as live:
        replace_file(path, b"x")
        assert (live.path.exists(), dead.exists(), others.exists()) == (True, False, True)


class Stop(Exception):
    pass


def test_a_folder_that_is_filled_loses_only_what_was_put_there_by_us(tmp_path):
    output, names = tmp_path / "above" / "out", r"a\.txt"
    with suppress(Stop), filling(output, names) as inner:
        (inner / "a.txt").write_text("ours")
        (output / "mine.txt").write_text("mine")
        raise Stop
    assert [path.name for path in output.iterdir()] == ["mine.txt"]
    (output / "mine.txt").unlink()
    refused = filling(output, names)
    inner = refused.__enter__()
    (inner / "a.txt").write_text("ours")
    (output / "a.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        refused.__exit__(None, None, None)
    assert [(path.name, path.read_text()) for path in output.iterdir()] == [("a.txt", "mine")]
    (output / "a.txt").unlink()
    left = output / f".filling.{'0' * 16}.tmp"
    left.mkdir()
    (left / "a.txt").write_text("of a killed one")
    with filling(output, names) as inner:
        (inner / "a.txt").write_text("ours")
        with pytest.raises(FileExistsError), filling(output, names):
            pass
    assert [path.name for path in output.iterdir()] == ["a.txt"]
    (output / "a.txt").unlink()
    left.mkdir()
    (left / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError), filling(output, names):
        pass
    assert (left / "thesis.tex").read_text() == "mine"
    with pytest.raises(Stop), filling(tmp_path / "new" / "er", names):
        raise Stop
    assert not (tmp_path / "new").exists()


# --- begun, and killed -------------------------------------------------------------------------------------------------


def killed_at(number, experiment, out):
    """Train in a process that is killed at its so many-th call to the operating system; whether it came to its end."""
    child = os.fork()
    if child == 0:
        left = [number]

        def counted(call):
            def counting(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return counting

        for name in ("open", "replace", "fsync", "mkdir", "write", "ftruncate"):
            setattr(os, name, counted(getattr(os, name)))
        code = 1
        try:
            train(experiment, out=out, threads=1)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_killed_before_it_learned_is_begun_again(small, tmp_path):
    """In every state that a folder has on its way to the first generation: killed at every call to the operating system."""
    experiment = small.replace(generations=1)
    whole = train(experiment, threads=1).summary["release_sha256"]
    begun = 0
    for number in range(60):
        out = tmp_path / f"run{number}"
        ended = killed_at(number, experiment, out)
        if not (out / "config.yaml").exists() or load_run(out).generation == 0:
            begun += 1
            assert train(experiment, out=out, threads=1).summary["release_sha256"] == whole
        else:
            break
    assert begun > 8
    assert not ended


def test_another_experiment_or_one_that_has_learned_is_not_begun_again(run, small, tmp_path, files):
    before = files(run)
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(small, out=run)
    assert files(run) == before
    experiment, start, _ = started("rsrp")
    RunFolder.create(tmp_path / "begun", experiment, start).close()
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(experiment.replace(seed=4), out=tmp_path / "begun")
    (tmp_path / "begun" / "config.yaml").unlink()
    with pytest.raises(RunFolderError, match=r"holds the checkpoint\.npz of another run"):
        train(experiment.replace(seed=4), out=tmp_path / "begun")
    (tmp_path / "begun" / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is not empty"):
        train(experiment, out=tmp_path / "begun")


# --- deploy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["npz", "nir", "lava"])
def test_deploy_on_a_full_disk_is_one_error(run, tmp_path, to):
    """For real: the kernel refuses files above a limit."""
    script = """if True:
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        from rsrp_lava import cli, deploying
        def write(*arguments, write=deploying._write):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
            return write(*arguments)
        deploying._write = write
        cli.main()
    """
    out = tmp_path / "chip"
    command = [
        sys.executable,
        "-B",
        "-c",
        script,
        "deploy",
        run,
        "--to",
        to,
        "-o",
        out,
        "--profile",
        "loihi2",
        "--episodes",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False), done.stderr
    assert "cannot be written (file too large)" in done.stderr.splitlines()[-1]
    assert not out.exists()


def test_deploy_that_is_stopped_takes_back_its_own_only(run, tmp_path, monkeypatch):
    def stopped(*_, **__):
        (tmp_path / "out" / "mine.txt").write_text("mine")
        raise KeyboardInterrupt

    monkeypatch.setattr("rsrp_lava.deploying.play", stopped)
    with pytest.raises(KeyboardInterrupt):
        deploy(run, to="npz", output=tmp_path / "out", episodes=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_deploy_that_is_killed_leaves_nothing_that_stands_in_the_way(run, tmp_path, number):
    script = """if True:
        import sys, time
        from rsrp_lava import cli, deploying
        def verify(*_, **__):
            print("verifying", flush=True)
            time.sleep(600)
        deploying.verify_export = verify
        cli.main()
    """
    out = tmp_path / "chip"
    command = [sys.executable, "-c", script, "deploy", run, "--to", "npz", "-o", out, "--episodes", "1", "--verify"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
    try:
        assert process.stdout.readline() == "verifying\n"
        process.send_signal(number)
        code = process.wait(60)
    finally:
        process.kill()
        process.communicate()
    if number == signal.SIGKILL:
        assert [path.name.startswith(".filling.") for path in out.iterdir()] == [True]
    else:
        assert (code, out.exists()) == (128 + number, False)
    deploy(run, to="npz", output=out, episodes=1)
    assert sorted(path.name for path in out.iterdir()) == ["deployment.json", "network.npz"]


def test_the_guard_ends_all_that_was_started_when_its_starter_is_gone(tmp_path):
    """Also grandchildren, and their shared memory."""
    from rsrp_lava.export import lava_folder

    guard = Path(lava_folder.__file__).parent / "guard.py"
    script = """if True:
        import os, sys, time
        from multiprocessing import shared_memory
        memory = shared_memory.SharedMemory(create=True, size=64)
        child = os.fork()
        if child:
            print(os.getpid(), child, memory.name, flush=True)
        time.sleep(600)
    """
    command = [sys.executable, str(guard), sys.executable, "-c", script]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    *pids, name = process.stdout.readline().split()
    assert os.path.exists(f"/dev/shm/{name}")
    process.stdin.close()  # as the kernel does for one that is killed
    assert process.wait(30) == 128 + signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(alive(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(int(pid)) for pid in pids)
    assert not os.path.exists(f"/dev/shm/{name}")


def alive(pid):
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
