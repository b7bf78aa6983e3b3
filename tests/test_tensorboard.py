"""Scalars for TensorBoard say what metrics say, each step once, whatever happened in between."""

import builtins
import errno
import importlib
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from rsrp_lava import ExperimentError, RunFolderError, load_run, train
from rsrp_lava.run_folder import RunFolder

tensorboardX = pytest.importorskip("tensorboardX", reason='needs tensorboardX: pip install "rsrp-lava[tensorboard]"')
event_pb2 = importlib.import_module("tensorboardX.proto.event_pb2")


def events(folder):
    """The events in a folder's files, which TensorBoard reads in the order of their names."""
    for file in sorted(folder.iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)  # then a checksum; another one after the event
            yield event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length


def scalars(folder):
    """{tag: [(step, value), …]} as TensorBoard shows them: a start at a step takes back what came from there on."""
    shown = {}
    for event in events(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            shown = {tag: [point for point in points if point[0] < event.step] for tag, points in shown.items()}
        for value in event.summary.value:
            shown.setdefault(value.tag, []).append((event.step, value.simple_value))
    return shown


def expected(metrics):
    played = [record for record in metrics if "sampled_return" in record]
    seconds = np.diff([0, *(record["seconds"] for record in played)])
    steps = np.diff([0, *(record["env_steps"] for record in played)])
    evaluated = [record for record in metrics if "evaluation_return" in record]
    return {
        "sampled_return": [(record["generation"], record["sampled_return"]) for record in played],
        "evaluation_return": [(record["generation"], record["evaluation_return"]) for record in evaluated],
        "env_steps_per_second": [(record["generation"], rate) for record, rate in zip(played, steps / seconds, strict=True)],
        **{
            f"entropy/{name}": [(record["generation"], record["entropy_bits"][name]) for record in metrics]
            for name in metrics[0]["entropy_bits"]
        },
    }


def check(run):
    shown, wanted = scalars(run / "tensorboard"), expected(load_run(run).metrics)
    assert shown.keys() == wanted.keys()
    for tag, points in wanted.items():
        assert [step for step, _ in shown[tag]] == [step for step, _ in points], tag
        assert np.allclose(shown[tag], points, rtol=1e-6), tag


def test_scalars_are_the_metrics(small, tmp_path):
    out = tmp_path / "run"
    train(small.replace(evaluate_every=3), out=out, tensorboard=True)
    check(out)
    assert next(events(out / "tensorboard")).file_version == "brain.Event:2"


def test_resumed_run_has_every_step_once(small, tmp_path, monkeypatch):
    """Also after a stop between metrics and checkpoint, and in the same second, and with a clock that was set back."""
    out, tensorboard = tmp_path / "run", {"tensorboard": True}
    train(small.replace(generations=2), out=out, **tensorboard)
    train(small.replace(generations=2), resume=out, **tensorboard)
    check(out)

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small, resume=out, progress=stop, **tensorboard)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_checkpoint", lambda folder, checkpoint: stop(None))
        with pytest.raises(KeyboardInterrupt):
            train(small, resume=out, **tensorboard)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1.0)
        train(small, resume=out, **tensorboard)
    check(out)
    steps = [event.step for event in events(out / "tensorboard") if event.summary.value]
    assert len(steps) > len(set(steps)), "nothing had to be taken back"


def test_scalars_asked_for_later_begin_with_the_first_generation(small, run):
    train(small.replace(generations=6), resume=run, tensorboard=True)
    check(run)


def test_files_of_other_writers_stay_as_they_are(small, tmp_path):
    out = tmp_path / "run"
    train(small.replace(generations=1), out=out, tensorboard=True)
    other = out / "tensorboard" / "events.out.tfevents.1700000000.host"
    other.write_bytes(b"")
    train(small.replace(generations=2), resume=out, tensorboard=True)
    assert other.read_bytes() == b""
    check(out)


def test_a_generation_is_on_disk_when_it_is_noted(small, tmp_path):
    out, seen = tmp_path / "run", []

    def look(record):
        seen.append(len(scalars(out / "tensorboard")["sampled_return"]))

    train(small, out=out, tensorboard=True, progress=look)
    assert seen == [1, 2, 3, 4]


def test_full_disk_is_one_error_and_the_run_can_be_resumed(small, tmp_path, monkeypatch):
    out, calls = tmp_path / "run", []

    def flush(writer, flush=tensorboardX.RecordWriter.flush):
        calls.append(writer)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(writer)

    with monkeypatch.context() as patch:
        patch.setattr("tensorboardX.RecordWriter.flush", flush)
        with pytest.raises(RunFolderError, match=r"tensorboard: cannot be written \(no space left.*; the files of earlier"):
            train(small, out=out, tensorboard=True)
    assert load_run(out).generation == 1
    assert train(small, resume=out, tensorboard=True).summary["generations"] == 4
    check(out)


def test_without_a_run_folder_it_is_refused(small):
    with pytest.raises(ExperimentError, match="tensorboard: scalars go into the run's folder, and there is none; name one"):
        train(small, tensorboard=True)


def test_without_the_package_the_message_says_how_to_install(call, monkeypatch, files, tmp_path):
    def refuse(name, *rest, load=builtins.__import__):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    code, out, err = call("train", "cartpole", "--generations", 1, "--tensorboard")
    assert (code, out) == (2, "")
    assert err == (
        'error: tensorboard: tensorboardX is not installed; pip install "rsrp-lava[tensorboard]", or leave it out\n'
    )
    assert files(tmp_path) == {}


TINY = ("train", "cartpole", "--population", 8, "--generations", 1, "--evaluation-episodes", 4)


def test_the_command_line_asks_for_it(call, tmp_path):
    assert call(*TINY, "--tensorboard", "--out", "run")[0] == 0
    check(tmp_path / "run")


def test_it_is_imported_only_when_asked_for(tmp_path):
    arguments = ["rsrp-lava", *map(str, TINY), "--out", str(tmp_path / "run")]
    code = f"""if True:
        import sys
        from rsrp_lava import cli
        sys.argv = {arguments}
        try:
            cli.main()
        finally:
            print("tensorboardX" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert not (tmp_path / "run" / "tensorboard").exists()
