"""A run on disk: `config.yaml`, `metrics.jsonl`, `checkpoint.npz`, `curves.png`, `lock`, and `tensorboard/` if asked for.

Every file is replaced as a whole or appended to, so that a kill at any moment leaves a run that can be resumed: the
checkpoint is written beside the old one, flushed, and renamed over it; metrics past the checkpoint are cut off on resume.
A new folder gets its checkpoint first and its config last: a folder with a config is a run that can be resumed. What was
killed before it had learned anything is taken over by the same experiment. Who writes holds `lock`; reading needs no lock,
as no file is ever seen half written (of metrics: the last line at most).
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

from rsrp_lava.arrays import Layout
from rsrp_lava.checkpoint import CHECKPOINT, Checkpoint, read_checkpoint, read_generation, to_bytes
from rsrp_lava.errors import BusyError, ExperimentError, RunFolderError, counted
from rsrp_lava.experiment import Experiment, read_yaml
from rsrp_lava.files import append, is_temporary, open_lock, reason, remove_left_over, replace_file
from rsrp_lava.lines import to_line, to_lines
from rsrp_lava.metrics import METRICS, MetricsReader

CONFIG, CURVES = "config.yaml", "curves.png"
TENSORBOARD = "tensorboard"
#: Holds the number of the process that trains here, or last did; what counts is the operating system's lock on it.
LOCK = "lock"
#: Seconds for which a lock may be taken before its taker counts as a trainer: `RunFolder.is_free` holds it for microseconds.
_LOCK_PATIENCE_S = 0.2


def _refuse_taken(path: Path, experiment: Experiment, start: Checkpoint) -> None:
    """`RunFolderError` unless the path is free for a new run, or holds what the same experiment has begun there."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: is a file, not a folder; choose another folder")
    taken = RunFolderError(f"{path}: already holds a run; resume it (--resume {path}), or choose another folder")
    if (path / CONFIG).exists() and not _nothing_learned(path, experiment, start):
        raise taken
    if path.exists() and not all(_is_start(entry) for entry in path.iterdir()):
        if (path / CONFIG).exists():
            raise taken
        raise RunFolderError(f"{path}: exists and is not empty; choose another folder, or empty it first")
    if (path / CHECKPOINT).exists() and not _nothing_learned(path, experiment, start):
        raise RunFolderError(f"{path}: holds the {CHECKPOINT} of another run; choose another folder, or empty it first")


def _is_start(entry: Path) -> bool:
    """Whether this is what a run has in its folder before its first generation is saved."""
    ours = (LOCK, CHECKPOINT, CONFIG, METRICS)
    return entry.name in (*ours, TENSORBOARD) or any(is_temporary(entry.name, of) for of in ours)


def _nothing_learned(path: Path, experiment: Experiment, start: Checkpoint) -> bool:
    """Whether a folder's config, if there is one, and checkpoint are of this experiment before its first generation."""
    layout = Layout.of(start.arrays, real=frozenset(start.numbers))
    try:
        if (path / CONFIG).exists() and RunFolder.open(path).experiment.fingerprint != experiment.fingerprint:
            return False
        return read_checkpoint(path / CHECKPOINT, {experiment.fingerprint}, [layout]).generation == 0
    except RunFolderError:
        return False


def take_lock(path: Path, doing: str = "trains in this folder") -> int | None:
    """Lock the file at `path` until the returned descriptor is closed; `RunFolderError` names the process that has it."""
    if fcntl is None:
        return None
    lock = open_lock(path)
    try:
        _lock_soon(lock)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace")
        os.close(lock)
        owner = owner if owner.isdecimal() else "?"
        raise BusyError(f"{path.parent}: process {owner} {doing}; wait until it ends, or stop it (kill {owner})") from None
    except OSError:
        pass  # a file system that knows no locks
    if os.fstat(lock).st_nlink == 1:  # else it may be somebody's file under another name
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


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunFolder:
    """One run's folder. `create` makes it, `open` finds an existing one; both leave other runs' files alone.

    To write in it, hold its lock: `create` takes it, after `open` call `lock`; `close` gives it back, as does dying.
    """

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path, self.experiment = path, experiment
        self._lock: int | None = None  # file descriptor
        self._last_line: bytes | None = None  # of metrics; None: not known yet
        self._made: list[Path] = []  # folders that `create` made: the run's own, then those above
        self._owned = False  # whether the files there are of a run that `create` has begun

    @classmethod
    def create(cls, path: str | Path, experiment: Experiment, start: Checkpoint) -> RunFolder:
        """Make a new folder (an empty one may exist) and record the experiment and its state before training in it.

        What the same experiment has begun there and was killed before it had learned anything is begun again.
        """
        path = Path(path)
        folder = cls(path, experiment)
        try:
            _refuse_taken(path, experiment, start)
            folder._made = [missing for missing in (path, *path.parents) if not missing.exists()]
            path.mkdir(parents=True, exist_ok=True)
            folder._lock = take_lock(path / LOCK)
            _refuse_taken(path, experiment, start)  # somebody may have been faster
            folder._owned = True
            folder._remove_left_over()
            (path / METRICS).unlink(missing_ok=True)
            replace_file(path / CHECKPOINT, to_bytes(start))
            replace_file(path / CONFIG, experiment.to_record(_now()).encode())
        except OSError as error:
            folder.take_back()
            raise RunFolderError(
                f"{path}: cannot be written ({reason(error)}); make room or mend the folder, or choose another"
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
            settings = read_yaml(config, run=True)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({reason(error)}); {way_out}") from None
        except ExperimentError as error:
            raise RunFolderError(str(error)) from None
        try:
            return cls(path, Experiment.recorded(settings, str(config)))
        except ExperimentError as error:
            raise RunFolderError(f"{config}: {error}") from None

    def lock(self) -> None:
        """Take the folder for writing, until `close`; `RunFolderError` if another process has it."""
        with self.writing(LOCK) as path:
            self._lock = take_lock(path)
        self._remove_left_over()

    def _remove_left_over(self) -> None:
        for name in (CONFIG, CHECKPOINT, METRICS, CURVES):
            remove_left_over(self.path / name)

    def close(self) -> None:
        """Let others write in the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def take_back(self) -> None:
        """Remove a new run: its files by name, and the folders that were made for it. What else is there stays."""
        with suppress(OSError):
            for name in (CONFIG, METRICS, CHECKPOINT, LOCK) if self._owned else ():
                (self.path / name).unlink(missing_ok=True)
            for folder in self._made:
                folder.rmdir()
        self.close()

    def is_free(self) -> bool | None:
        """Whether no process trains here; None where the system cannot tell. Needs no right to write.

        A lock can only be asked for by taking it: a shared one, given back at once, for which `take_lock` waits.
        """
        if fcntl is None:
            return None
        try:
            lock = open_lock(self.path / LOCK, write=False)
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
            replace_file(path, experiment.to_record(_now()).encode())
        self.experiment = experiment

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint beside the old one and put it in its place."""
        with self.writing(CHECKPOINT) as path:
            replace_file(path, to_bytes(checkpoint))

    def load_checkpoint(self, layouts: Sequence[Layout] = ()) -> Checkpoint:
        """Read and verify the checkpoint: see `checkpoint.read_checkpoint`."""
        return read_checkpoint(self.path / CHECKPOINT, self.experiment.goes_on_from, layouts)

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one generation's record, a line of JSON; flushed to disk, so that no checkpoint counts a line that is not."""
        if self._last_line is None or not (self.path / METRICS).exists():
            reader = MetricsReader(self.path)
            reader.read()
            self._last_line = reader.last
        line = to_line(record, self._last_line)
        with self.writing(METRICS) as path:
            append(path, line)
        self._last_line = line

    def read_metrics(self, finished: int | None = None) -> list[dict[str, Any]]:
        """All records so far; a last line cut short by a crash is left out.

        `finished`: generations that the checkpoint counts, beyond which records are left out; `RunFolderError` if records of
        them were cut off. A file that is not there holds no records.
        """
        records = MetricsReader(self.path).read()
        if finished is None:
            return records
        self.require_whole(max((record["generation"] for record in records), default=-1), finished)
        return [record for record in records if record["generation"] <= finished]

    def require_whole(self, last: int, finished: int) -> None:
        """`RunFolderError` if metrics are there and end with generation `last`, though more are finished."""
        if last < finished - 1 and os.path.lexists(self.path / METRICS):
            raise RunFolderError(
                f"{self.path / METRICS}: was cut: it ends after {counted(last + 1, 'generation')}, the {CHECKPOINT} counts "
                f"{finished}; restore the file, remove it (the run goes on, without the records so far), or start a new run"
            )

    def peek_generation(self) -> int | None:
        """Generations that the checkpoint says are finished, unverified; None if it cannot be read."""
        return read_generation(self.path / CHECKPOINT)

    def cut_metrics(self, generation: int) -> None:
        """Drop records of generations that the checkpoint does not know, before they are played again."""
        kept = [record for record in self.read_metrics() if record["generation"] < generation]
        with self.writing(METRICS) as path:
            replace_file(path, to_lines(kept))
        self._last_line = None

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
                f"{self.path / name}: cannot be written ({reason(error)}); the files of earlier generations are intact: "
                f"make room or mend the folder, then resume (--resume {self.path})"
            ) from None


__all__ = ["Checkpoint", "MetricsReader", "RunFolder", "replace_file", "take_lock"]
