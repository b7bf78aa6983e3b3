"""What is on disk is read back exactly or refused with a reason, whatever happened to it; what was there stays."""

import contextlib
import errno
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rsrp_lava import CheckpointError, Experiment, RunFolderError, evaluate, load_run, plot, train
from rsrp_lava.files import is_temporary
from rsrp_lava.run_folder import Checkpoint, RunFolder
from trainers import wait_for_records

START = Checkpoint(
    Experiment().fingerprint,
    3,
    {"release/input": np.linspace(0.1, 0.9, 12, dtype=np.float32).reshape(3, 4), "optimizer/input/mean": np.ones(2)},
    {"previous_mean": None, "env_steps": 17, "seconds": 0.1},
)


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", Experiment(), START)


def same(a, b):
    """Equal to the bit, dtype and shape included."""

    def content(checkpoint):
        stored = {name: (x.dtype.str, x.shape, x.tobytes()) for name, x in checkpoint.arrays.items()}
        return checkpoint.fingerprint, checkpoint.generation, stored, checkpoint.numbers

    return content(a) == content(b)


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


numbers = arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), array_shapes(min_dims=0, max_dims=3, min_side=0)
)


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True), numbers, max_size=4),
    st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
    st.integers(0, 10**9),
)
@settings(max_examples=50, deadline=None)
def test_checkpoint_round_trip(tmp_path_factory, stored, values, generation):
    folder = RunFolder(tmp_path_factory.mktemp("round_trip"), Experiment())
    checkpoint = Checkpoint(Experiment().fingerprint, generation, stored, values)
    folder.save_checkpoint(checkpoint)
    assert same(folder.load_checkpoint(), checkpoint)


def test_new_folder_can_be_loaded_and_resumed_at_once(folder):
    assert same(RunFolder.open(folder.path).load_checkpoint(), START)
    assert sorted(os.listdir(folder.path)) == ["checkpoint.npz", "config.yaml", "lock"]


def test_truncated_checkpoint_is_refused_at_every_length(folder):
    path = folder.path / "checkpoint.npz"
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"checkpoint\.npz: is damaged .*; start a new run"):
            folder.load_checkpoint()


def test_flipped_bits_are_refused_or_change_nothing(folder):
    """Some bits mean nothing (time stamps of the archive); no flip may give other values or another exception."""
    path = folder.path / "checkpoint.npz"
    content = path.read_bytes()
    refused = 0
    every_fourth = range(0, 8 * len(content), 4)
    for bit in every_fourth:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert same(folder.load_checkpoint(), START)
        except CheckpointError:
            refused += 1
    assert refused > len(every_fourth) / 2


def test_random_damage_is_refused_or_changes_nothing(run):
    """On a real checkpoint: bits flipped, stretches zeroed, repeated or cut out."""
    folder = RunFolder.open(run)
    intact, path = folder.load_checkpoint(), run / "checkpoint.npz"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        at, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
        kind = rng.integers(4)
        if kind == 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            damaged[at : at + length] = (bytes(length), b"", damaged[at : at + length] * 2)[kind - 1]
        path.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            assert same(folder.load_checkpoint(), intact)


@pytest.mark.parametrize("member", ["header.npy", "sha256.npy", "array/release/input.npy"])
def test_checkpoint_with_a_part_missing_is_refused(folder, member):
    path = folder.path / "checkpoint.npz"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != member}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="is damaged"):
        folder.load_checkpoint()


def test_pickled_objects_are_never_loaded(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    trap = np.empty(1, object)
    trap[0] = Trap()
    for content in (
        lambda f: np.savez(f, header=trap, sha256=trap),
        lambda f: np.savez(f, **{"header": np.zeros(1, np.uint8), "sha256": np.array("0"), "array/release/input": trap}),
        lambda f: np.save(f, trap),
        lambda f: pickle.dump(Trap(), f),
    ):
        with open(folder.path / "checkpoint.npz", "wb") as file:
            content(file)
        with pytest.raises(CheckpointError, match="is damaged"):
            folder.load_checkpoint()
    assert not (tmp_path / "executed").exists()


def test_checkpoint_of_a_newer_format_asks_for_an_update(folder, monkeypatch):
    monkeypatch.setattr("rsrp_lava.checkpoint.FORMAT_VERSION", 2)
    folder.save_checkpoint(START)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format version 2, this program reads up to 1; update rsrp-lava"):
        folder.load_checkpoint()


def test_checkpoint_of_another_experiment_is_refused(folder, tmp_path):
    other = RunFolder.create(tmp_path / "other", Experiment(seed=1), START)
    with pytest.raises(CheckpointError, match=r"belongs to another experiment than config\.yaml beside it; restore"):
        other.load_checkpoint()


def test_missing_checkpoint_is_named(folder):
    (folder.path / "checkpoint.npz").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: is missing; start a new run"):
        load_run(folder.path)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_last_line_of_metrics_cut_by_a_crash_is_left_out(run, cut):
    path = run / "metrics.jsonl"
    records = RunFolder.open(run).read_metrics()
    assert [record["generation"] for record in records] == [0, 1, 2, 3, 4]
    path.write_bytes(path.read_bytes()[:-cut])
    assert RunFolder.open(run).read_metrics() == records[:4]


@pytest.mark.parametrize("line", ["not json", "3", "{}", '{"generation": 0}', "\x00\x00", ""])
def test_damaged_line_inside_metrics_is_named(run, line):
    path = run / "metrics.jsonl"
    first, _, rest = path.read_text().partition("\n")
    path.write_text(f"{first}\n{line}\n{rest}")
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl: line 2 is no record(; restore| of ours)"):
        load_run(run).metrics  # noqa: B018


def test_metrics_past_the_checkpoint_are_cut(run):
    folder = RunFolder.open(run)
    records = folder.read_metrics()
    folder.cut_metrics(2)
    assert folder.read_metrics() == records[:2]
    folder.append_metrics(records[2])
    assert folder.read_metrics() == records[:3]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("action", ["save_checkpoint", "save_experiment", "cut_metrics", "save_picture"])
def test_full_disk_leaves_every_file_as_it_was(run, files, monkeypatch, call, action):
    folder, before = RunFolder.open(run), files(run)
    arguments = {
        "save_checkpoint": folder.load_checkpoint(),
        "save_experiment": folder.experiment.replace(generations=9),
        "cut_metrics": 1,
        "save_picture": lambda buffer: buffer.write(b"new"),
    }
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(RunFolderError, match=rf"cannot be written \(no space left on device\).*--resume {run}"):
        getattr(folder, action)(arguments[action])
    assert files(run) == before
    assert folder.experiment.generations == 4


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_when_a_run_starts_leaves_no_folder(small, tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(
        RunFolderError,
        match=r"cannot be written \(no space left on device\); make room or mend the folder, or choose another",
    ):
        train(small, out=tmp_path / "runs" / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "limit"), [("metrics.jsonl", 9000), ("checkpoint.npz", 3000)])
def test_disk_that_fills_up_during_training(small, tmp_path, name, limit):
    """For real: from some generation on the kernel refuses files above a limit. Afterwards the run goes on."""
    out, config = tmp_path / "run", tmp_path / "config.yaml"
    script = f"""if True:
        import resource, signal, sys
        from rsrp_lava import cli, run_folder
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def save_checkpoint(folder, checkpoint, save=run_folder.RunFolder.save_checkpoint):
            if checkpoint.generation == 6:
                resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
            save(folder, checkpoint)
        run_folder.RunFolder.save_checkpoint = save_checkpoint
        cli.main()
    """
    tiny = small.replace(generations=60, network={"n_neurons": 8})
    config.write_text(tiny.to_yaml())
    command = [sys.executable, "-B", "-c", script, "train", "--config", config, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    problem = "cannot be written (file too large); the files of earlier generations are intact: make room or mend the folder"
    assert done.stderr.splitlines()[-1] == f"error: {out / name}: {problem}, then resume (--resume {out})"
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(out)) == ["checkpoint.npz", "config.yaml", "lock", "metrics.jsonl"]
    assert load_run(out).generation == 5 if name == "checkpoint.npz" else 5 < load_run(out).generation < 60
    resumed = train(tiny, resume=out)
    assert resumed.summary["release_sha256"] == train(tiny).summary["release_sha256"]


class HalfWritten(io.FileIO):
    """A file on a disk that has room for half of what is written."""

    def write(self, content):
        super().write(content[: len(content) // 2])
        no_space()


IN_ORDER = [*["metrics.jsonl", "checkpoint.npz"] * 2, "metrics.jsonl", "curves.png"]


@pytest.mark.parametrize(
    ("name", "failing", "written"),
    [
        pytest.param("os.fsync", no_space, IN_ORDER, marks=pytest.mark.slow),
        ("os.replace", no_space, [name for name in IN_ORDER if name != "metrics.jsonl"]),
        ("rsrp_lava.files.os.fdopen", HalfWritten, IN_ORDER),
    ],
)
def test_full_disk_at_any_moment_of_training_is_one_error_and_no_harm(small, tmp_path, monkeypatch, name, failing, written):
    """What every write of two generations would leave; the run goes on from there, and ends with the same bits."""
    experiment = small.replace(generations=2)
    whole = train(experiment).summary["release_sha256"]
    real = {"os.fsync": os.fsync, "os.replace": os.replace}.get(name, os.fdopen)
    for number, file in enumerate(written):
        out, left = tmp_path / str(number), [2 + number]  # the first two are of the new folder

        def limited(*arguments, left=left):
            if arguments[1:] == ("rb",):  # of os.fdopen
                return real(*arguments)
            left[0] -= 1
            return (real if left[0] >= 0 else failing)(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(name, limited, raising=False)
            with pytest.raises(RunFolderError) as caught:
                train(experiment, out=out)
        problem = "cannot be written (no space left on device); the files of earlier generations are intact"
        assert str(caught.value).startswith(f"{out / file}: {problem}: make room")
        assert load_run(out).generation == written[:number].count("checkpoint.npz")
        assert not list(out.glob(".*"))
        assert train(experiment, resume=out).summary["release_sha256"] == whole
        assert [record["generation"] for record in load_run(out).metrics] == [0, 1, 2]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="looks up which file is flushed")
def test_metrics_are_on_disk_before_the_checkpoint_that_counts_them(small, tmp_path, monkeypatch):
    flushed = []

    def fsync(file, fsync=os.fsync):
        flushed.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}")))
        fsync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    train(small.replace(generations=2), out=tmp_path / "run")
    names = [name.split(".")[1] for name in flushed if is_temporary(name, "checkpoint.npz") or name == "metrics.jsonl"]
    assert names == ["checkpoint", *["jsonl", "checkpoint"] * 2, "jsonl"]


def test_left_over_temporary_file_of_a_kill_is_used_up(run):
    (run / f".checkpoint.{'0' * 16}.tmp.npz").write_bytes(b"half")
    folder = RunFolder.open(run)
    folder.save_checkpoint(folder.load_checkpoint())
    assert not list(run.glob(".*"))


def test_out_that_cannot_be_a_new_run_is_refused_and_left_alone(run, small, tmp_path, files):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    before = files(tmp_path)
    for name, problem in {
        "file": "is a file, not a folder; choose another folder",
        "file/below": "cannot be written",
        "full": "exists and is not empty; choose another folder, or empty it first",
        "run": f"already holds a run; resume it (--resume {run}), or choose another folder",
        "x" * 300: "cannot be written (file name too long)",
    }.items():
        with pytest.raises(RunFolderError) as caught:
            train(small, out=tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {problem}")
    assert files(tmp_path) == before


def test_empty_folder_may_be_used(small, tmp_path):
    RunFolder.create(tmp_path, small, START)
    assert RunFolder.open(tmp_path).experiment == small


# One trainer a folder


def trainer(start, out):
    """A process that trains in `out` for ever, after its first generations."""
    process = start("cartpole", "--population", 8, "--evaluation-episodes", 4, "--generations", 10**6, "--out", out)
    wait_for_records(process, out, 2)
    return process


def test_folder_of_a_live_run_is_refused_to_a_second_trainer(tmp_path, start):
    out = tmp_path / "run"
    process = trainer(start, out)
    busy = rf": process {process.pid} trains in this folder; wait until it ends, or stop it \(kill {process.pid}\)"
    with pytest.raises(RunFolderError, match=f"{out}{busy}"):
        train(RunFolder.open(out).experiment, resume=out)
    with pytest.raises(RunFolderError, match=f"{out}: already holds a run"):
        train(Experiment(), out=out)
    other = tmp_path / "other"
    other.mkdir()
    os.link(out / "lock", other / "lock")  # the other trainer has it, but has not written its config yet
    with pytest.raises(RunFolderError, match=f"{other}{busy}"):
        train(Experiment(), out=other)
    assert os.listdir(other) == ["lock"]
    process.kill()
    process.communicate()
    progress = load_run(out).generation  # death let go of the folder
    train(RunFolder.open(out).experiment.replace(generations=progress + 1), resume=out)
    generations = [record["generation"] for record in load_run(out).metrics]
    assert generations == list(range(progress + 2))


def test_live_run_can_be_evaluated_and_drawn(small, tmp_path):
    """By other processes and from within the process that trains."""
    out, means = tmp_path / "run", []

    def watch(record):
        means.append(evaluate(out)["mean_return"])
        plot(out, output=tmp_path / "live.png")

    result = train(small, out=out, progress=watch)
    assert means == [record["evaluation_return"] for record in result.metrics[1:]]
    assert (tmp_path / "live.png").exists()


@pytest.mark.parametrize("wrong", [{"seed": 9}, {"generations": 1}])
def test_refused_and_failed_training_lets_go_of_the_folder(small, run, wrong):
    with pytest.raises(RunFolderError):
        train(small.replace(**wrong), resume=run)
    with pytest.raises(ZeroDivisionError):
        train(small.replace(generations=5), resume=run, progress=lambda record: 1 / 0)
    assert train(small.replace(generations=6), resume=run).summary["generations"] == 6


def test_file_system_without_locks_is_no_obstacle(small, tmp_path, monkeypatch):
    def unsupported(file, operation):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("fcntl.flock", unsupported)
    train(small.replace(generations=1), out=tmp_path / "run")
    train(small.replace(generations=2), resume=tmp_path / "run")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission(small, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match=r"cannot be written \(permission denied\)"):
        train(small, out=tmp_path / "run")
    tmp_path.chmod(0o700)


def test_failed_start_in_an_existing_folder_leaves_it_empty(small, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RunFolderError):
        train(small, out=tmp_path)
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", [load_run, evaluate, plot, lambda path: train(Experiment(), resume=path)])
def test_what_is_no_run_is_named(tmp_path, use):
    for path, problem in {
        tmp_path / "missing": "no such folder",
        tmp_path: r"holds no run \(no config.yaml\)",
        tmp_path / ("x" * 300): r"cannot be read \(file name too long\)",
    }.items():
        with pytest.raises(RunFolderError, match=rf"{path}: {problem}; give the folder that training reported"):
            use(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("populatoin: 3", "populatoin: no such setting"),
        ("[", "not valid YAML"),
        ("!!python/name:os.system", "cannot construct objects"),
    ],
)
def test_damaged_config_names_its_file_once(run, text, problem):
    (run / "config.yaml").write_text(text)
    with pytest.raises(RunFolderError) as caught:
        load_run(run)
    assert str(caught.value).startswith(f"{run / 'config.yaml'}: ")
    assert str(caught.value).count(str(run)) == 1
    assert problem in str(caught.value)


def test_picture_that_cannot_be_written_leaves_the_old_one(run, tmp_path, monkeypatch):
    picture = tmp_path / "curves.png"
    picture.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RunFolderError, match=r"curves\.png: cannot be written \(No space left on device\); choose another"):
        plot(run, output=picture)
    assert picture.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "run"]


def test_curves_are_drawn_against_the_generation(run, tmp_path, monkeypatch):
    """Not against the line: a line can be missing, or there twice, as two trainers in one folder once wrote them."""
    records = RunFolder.open(run).read_metrics()
    lines = [records[0], records[2], records[2] | {"evaluation_return": 7.0}, records[1], records[4]]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    drawn = []
    monkeypatch.setattr("rsrp_lava.runs.draw_curves", lambda title, measured, curves, *target: drawn.extend(curves))
    plot(run, output=tmp_path / "curves.png")
    ((_, generations, returns, halves, _),) = drawn
    assert halves.shape == returns.shape
    assert generations.tolist() == [0, 1, 2, 4]
    assert returns.tolist() == [
        [records[0]["evaluation_return"], records[1]["evaluation_return"], 7.0, records[4]["evaluation_return"]]
    ]


def test_plot_of_a_run_without_generations_is_refused(run, tmp_path):
    (run / "metrics.jsonl").unlink()
    with pytest.raises(RunFolderError, match="no finished generation to draw yet"):
        plot(run, output=tmp_path / "curves.png")
