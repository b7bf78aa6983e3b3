"""A run on disk: `config.yaml`, `metrics.jsonl`, `checkpoint.npz`, `curves.png`, `lock`, and `tensorboard/` if asked for.

Every file is replaced as a whole or appended to, so that a kill at any moment leaves a run that can be resumed: the
checkpoint is written beside the old one, flushed, and renamed over it; metrics past the checkpoint are cut off on resume.
A new folder gets its checkpoint first and its config last: a folder with a config is a run that can be resumed.
Who writes holds `lock`; reading needs no lock, as no file is ever seen half written (of metrics: the last line at most).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

from rsrp_lava.errors import CheckpointError, ExperimentError, RunFolderError
from rsrp_lava.experiment import Experiment, read_yaml

#: Version of the checkpoint's layout. A newer one is refused, as its meaning cannot be known.
FORMAT_VERSION = 1

CONFIG, METRICS, CHECKPOINT, CURVES = "config.yaml", "metrics.jsonl", "checkpoint.npz", "curves.png"
TENSORBOARD = "tensorboard"
#: Holds the number of the process that trains here, or last did; what counts is the operating system's lock on it.
LOCK = "lock"
#: Seconds for which a lock may be taken before its taker counts as a trainer: `RunFolder.is_free` holds it for microseconds.
_LOCK_PATIENCE_S = 0.2


@dataclass(frozen=True)
class Checkpoint:
    """Everything training needs to go on as if it had never stopped."""

    fingerprint: str  #: of the experiment
    generation: int  #: generations finished
    arrays: dict[str, np.ndarray]  #: release probabilities, optimizer and normaliser state, by name
    numbers: dict[str, Any]  #: the rest: JSON values


def _digest(header: bytes, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(header)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()


def _to_bytes(checkpoint: Checkpoint) -> bytes:
    record = {
        "format_version": FORMAT_VERSION,
        "fingerprint": checkpoint.fingerprint,
        "generation": checkpoint.generation,
        "numbers": checkpoint.numbers,
    }
    header = json.dumps(record, sort_keys=True).encode()
    buffer = io.BytesIO()
    np.savez(
        buffer,
        header=np.frombuffer(header, np.uint8),
        sha256=np.array(_digest(header, checkpoint.arrays)),
        **{f"array/{name}": array for name, array in checkpoint.arrays.items()},
    )
    return buffer.getvalue()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole: beside the old one, flushed to disk, then renamed over it. Raises `OSError`."""
    temporary = path.parent / f".{path.name}.tmp"  # always the same, so that a kill leaves one at most
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _refuse_taken(path: Path) -> None:
    """`RunFolderError` unless the path is free for a new run."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: is a file, not a folder; choose another folder")
    if (path / CONFIG).exists():
        raise RunFolderError(f"{path}: already holds a run; resume it (--resume {path}), or choose another folder")
    if path.exists() and any(entry.name != LOCK for entry in path.iterdir()):
        raise RunFolderError(f"{path}: exists and is not empty; choose another folder, or empty it first")


def take_lock(path: Path, doing: str = "trains in this folder") -> int | None:
    """Lock the file at `path` until the returned descriptor is closed; `RunFolderError` names the process that has it."""
    if fcntl is None:
        return None
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock_soon(lock)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace")
        os.close(lock)
        raise RunFolderError(
            f"{path.parent}: process {owner} {doing}; wait until it ends, or stop it (kill {owner})"
        ) from None
    except OSError:
        pass  # a file system that knows no locks
    with suppress(OSError):  # a full disk; the number is for people only
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    return lock


def _lock_soon(lock: int) -> None:
    """Lock the descriptor's file; `BlockingIOError` if another one keeps it."""
    patience = time.perf_counter() + _LOCK_PATIENCE_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.perf_counter() >= patience:
                raise
        time.sleep(0.005)


def _out_of_order(path: Path, problem: str, way_out: str) -> CheckpointError:
    return CheckpointError(f"{path}: {problem}; {way_out}")


class RunFolder:
    """One run's folder. `create` makes it, `open` finds an existing one; both leave other runs' files alone.

    To write in it, hold its lock: `create` takes it, after `open` call `lock`; `close` gives it back, as does dying.
    """

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path, self.experiment = path, experiment
        self._lock: int | None = None  # file descriptor

    @classmethod
    def create(cls, path: str | Path, experiment: Experiment, start: Checkpoint) -> RunFolder:
        """Make a new folder (an empty one may exist) and record the experiment and its state before training in it."""
        path = Path(path)
        folder = cls(path, experiment)
        made: list[Path] = []
        try:
            _refuse_taken(path)
            made = [missing for missing in (path, *path.parents) if not missing.exists()]
            path.mkdir(parents=True, exist_ok=True)
            folder._lock = take_lock(path / LOCK)
            _refuse_taken(path)  # somebody may have been faster
            replace_file(path / CHECKPOINT, _to_bytes(start))
            replace_file(path / CONFIG, experiment.to_yaml().encode())
        except OSError as error:
            with suppress(OSError):
                for name in (CHECKPOINT, LOCK):
                    (path / name).unlink(missing_ok=True)
                for missing in made:
                    missing.rmdir()
            folder.close()
            raise RunFolderError(
                f"{path}: cannot be written ({_reason(error)}); make room or mend the folder, or choose another"
            ) from None
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Find a run; `RunFolderError` if there is none there."""
        path = Path(path)
        config = path / CONFIG
        way_out = "give the folder that training reported"
        try:
            if not config.is_file():
                problem = f"holds no run (no {CONFIG})" if path.is_dir() else "no such folder"
                raise RunFolderError(f"{path}: {problem}; {way_out}")
            settings = read_yaml(config)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({_reason(error)}); {way_out}") from None
        except ExperimentError as error:
            raise RunFolderError(str(error)) from None
        try:
            return cls(path, Experiment.recorded(settings))
        except ExperimentError as error:
            raise RunFolderError(f"{config}: {error}") from None

    def lock(self) -> None:
        """Take the folder for writing, until `close`; `RunFolderError` if another process has it."""
        with self.writing(LOCK) as path:
            self._lock = take_lock(path)

    def close(self) -> None:
        """Let others write in the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_free(self) -> bool | None:
        """Whether no process trains here; None where the system cannot tell. Needs no right to write.

        A lock can only be asked for by taking it: a shared one, given back at once, for which `take_lock` waits.
        """
        if fcntl is None:
            return None
        try:
            lock = os.open(self.path / LOCK, os.O_RDONLY)
        except FileNotFoundError:
            return True
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system that knows no locks
            return None
        finally:
            os.close(lock)
        return True

    def save_experiment(self, experiment: Experiment) -> None:
        """Record a changed number of generations or engine."""
        with self.writing(CONFIG) as path:
            replace_file(path, experiment.to_yaml().encode())
        self.experiment = experiment

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint beside the old one and put it in its place."""
        with self.writing(CHECKPOINT) as path:
            replace_file(path, _to_bytes(checkpoint))

    def load_checkpoint(self) -> Checkpoint:
        """Read and verify the checkpoint; `CheckpointError` if it is missing, damaged, newer or another experiment's."""
        path = self.path / CHECKPOINT
        start_again = "start a new run in another folder"
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = stored["header"].tobytes()
                expected = str(stored["sha256"])
                arrays = {name[6:]: stored[name] for name in stored.files if name.startswith("array/")}
            record = json.loads(header)
            version = int(record["format_version"])
        except FileNotFoundError:
            raise _out_of_order(path, "is missing", start_again) from None
        except Exception as error:  # a damaged archive can fail in any way
            raise _out_of_order(path, f"is damaged ({_reason(error)})", start_again) from None
        if version > FORMAT_VERSION:
            raise _out_of_order(
                path,
                f"has format version {version}, this program reads up to {FORMAT_VERSION}",
                "update rsrp-lava (git pull, make install)",
            )
        if _digest(header, arrays) != expected:
            raise _out_of_order(path, "is damaged (its checksum does not match)", start_again)
        if record["fingerprint"] != self.experiment.fingerprint:
            raise _out_of_order(
                path,
                f"belongs to another experiment than {CONFIG} beside it",
                f"restore that {CONFIG}, or {start_again}",
            )
        return Checkpoint(record["fingerprint"], record["generation"], arrays, record["numbers"])

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one generation's record, a line of JSON; flushed to disk, so that no checkpoint counts a line that is not."""
        with self.writing(METRICS) as path, open(path, "ab") as file:
            file.write((json.dumps(record) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """All records so far; a last line cut short by a crash is left out."""
        return MetricsReader(self.path).read()

    def cut_metrics(self, generation: int) -> None:
        """Drop records of generations that the checkpoint does not know, before they are played again."""
        kept = [record for record in self.read_metrics() if record["generation"] < generation]
        with self.writing(METRICS) as path:
            replace_file(path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def save_picture(self, draw: Callable[[io.BytesIO], None]) -> None:
        """Write the run's learning curves, drawn as PNG by `draw`."""
        buffer = io.BytesIO()
        draw(buffer)
        with self.writing(CURVES) as path:
            replace_file(path, buffer.getvalue())

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """The path of a file or folder about to be written; what stops that becomes a `RunFolderError`."""
        try:
            yield self.path / name
        except OSError as error:
            raise RunFolderError(
                f"{self.path / name}: cannot be written ({_reason(error)}); the files of earlier generations are intact: "
                f"make room or mend the folder, then resume (--resume {self.path})"
            ) from None


class MetricsReader:
    """Reads a run's metrics as they grow, from its folder."""

    def __init__(self, path: Path) -> None:
        self._path = path / METRICS
        self._start_over()
        #: Whether the last `read` began at the first line again, as a resume had cut off what was read before.
        self.cut = False

    def _start_over(self) -> None:
        self._read, self._last, self._number = 0, b"", 0  # bytes and lines read, and the last line
        self._file: tuple[int, int] | None = None  # which file that was

    def read(self) -> list[dict[str, Any]]:
        """Records since the last call; a last line that is not whole yet is left for the next one. No file: no records.

        Raises `RunFolderError` for a line that is no record.
        """
        records = []
        try:
            with open(self._path, "rb") as file:  # one state of it: a resume puts another file in its place
                status = os.fstat(file.fileno())
                opened = (status.st_dev, status.st_ino)
                file.seek(self._read - len(self._last))
                self.cut = self._file not in (None, opened) or file.read(len(self._last)) != self._last
                if self.cut:
                    self._start_over()
                    file.seek(0)
                self._file = opened
                for line in file:
                    if line.endswith(b"\n"):
                        self._read, self._last, self._number = self._read + len(line), line, self._number + 1
                        records.append(_parse_record(self._path, self._number, line))
        except FileNotFoundError:
            self.cut = self._read > 0
            self._start_over()
        except OSError as error:
            problem = f"cannot be read ({_reason(error)}); restore it or start a new run"
            raise RunFolderError(f"{self._path}: {problem}") from None
        return records


def _parse_record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
        record["generation"], record["evaluation_return" if "evaluation_return" in record else "sampled_return"]
    except (ValueError, TypeError, KeyError):
        raise RunFolderError(f"{path}: line {number} is no record; restore the file or start a new run") from None
    return record


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


__all__ = ["Checkpoint", "MetricsReader", "RunFolder", "replace_file", "take_lock"]
