"""A run on disk: `config.yaml`, `metrics.jsonl`, `checkpoint.npz`, `curves.png`.

Every file is replaced as a whole or appended to, so that a kill at any moment leaves a run that can be resumed: the
checkpoint is written beside the old one, flushed, and renamed over it; metrics past the checkpoint are cut off on resume.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.errors import CheckpointError, ExperimentError, RunFolderError
from rsrp_lava.experiment import Experiment

#: Version of the checkpoint's layout. A newer one is refused, as its meaning cannot be known.
FORMAT_VERSION = 1

CONFIG, METRICS, CHECKPOINT, CURVES = "config.yaml", "metrics.jsonl", "checkpoint.npz", "curves.png"


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


def _out_of_order(path: Path, problem: str, way_out: str) -> CheckpointError:
    return CheckpointError(f"{path}: {problem}; {way_out}")


class RunFolder:
    """One run's folder. `create` makes it, `open` finds an existing one; both leave other runs' files alone."""

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path, self.experiment = path, experiment

    @classmethod
    def create(cls, path: str | Path, experiment: Experiment) -> RunFolder:
        """Make a new folder (an empty one may exist) and record the experiment in it."""
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path}: is a file, not a folder; choose another --out")
        if (path / CONFIG).exists():
            raise RunFolderError(f"{path}: already holds a run; continue it with --resume {path}, or choose another --out")
        try:
            if path.is_dir() and any(path.iterdir()):
                raise RunFolderError(f"{path}: exists and is not empty; choose another --out, or empty it first")
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path, experiment)
            folder._replace(CONFIG, experiment.to_yaml().encode())
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written ({_reason(error)}); choose another --out") from None
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Find a run; `RunFolderError` if there is none there."""
        path = Path(path)
        if not (path / CONFIG).is_file():
            problem = "holds no run (no config.yaml)" if path.is_dir() else "no such folder"
            raise RunFolderError(f"{path}: {problem}; give the folder that `rsrp-lava train` reported")
        try:
            return cls(path, Experiment.from_yaml(path / CONFIG))
        except ExperimentError as error:
            message = str(error)
            prefix = "" if str(path) in message else f"{path / CONFIG}: "
            raise RunFolderError(f"{prefix}{message}") from None

    def save_experiment(self, experiment: Experiment) -> None:
        """Record a changed number of generations or engine."""
        self._replace(CONFIG, experiment.to_yaml().encode())
        self.experiment = experiment

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint beside the old one and put it in its place."""
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
        self._replace(CHECKPOINT, buffer.getvalue())

    def load_checkpoint(self) -> Checkpoint:
        """Read and verify the checkpoint; `CheckpointError` if it is missing, damaged, newer or another experiment's."""
        path = self.path / CHECKPOINT
        start_again = "start a new run with another --out"
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = stored["header"].tobytes()
                expected = str(stored["sha256"])
                arrays = {name[6:]: stored[name] for name in stored.files if name.startswith("array/")}
            record = json.loads(header)
            version = int(record["format_version"])
        except FileNotFoundError:
            raise _out_of_order(path, "no checkpoint yet (no generation was finished)", start_again) from None
        except (OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError, zipfile.BadZipFile) as error:
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
        """Add one generation's record, a line of JSON."""

        def write() -> None:
            with open(self.path / METRICS, "ab") as file:
                file.write((json.dumps(record) + "\n").encode())

        self._guard(METRICS, write)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All records so far; a last line cut short by a crash is left out."""
        path = self.path / METRICS
        if not path.exists():
            return []
        records = []
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if not line:
                continue
            try:
                records.append(json.loads(line))
            except ValueError:
                if line is not None and path.read_bytes().endswith(line):
                    break
                raise RunFolderError(f"{path}: line {number} is not JSON; restore the file or start a new run") from None
        return records

    def cut_metrics(self, generation: int) -> None:
        """Drop records of generations that the checkpoint does not know, before they are played again."""
        kept = [record for record in self.read_metrics() if record["generation"] < generation]
        self._replace(METRICS, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def save_picture(self, draw: Callable[[io.BytesIO], None]) -> None:
        """Write the run's learning curves, drawn as PNG by `draw`."""
        buffer = io.BytesIO()
        draw(buffer)
        self._replace(CURVES, buffer.getvalue())

    def _replace(self, name: str, content: bytes) -> None:
        """Write a file as a whole: beside the old one, flushed to disk, then renamed over it."""
        temporary = self.path / f".{name}.{os.getpid()}.tmp"

        def write() -> None:
            try:
                with open(temporary, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

        self._guard(name, write)

    def _guard(self, name: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise RunFolderError(
                f"{self.path / name}: cannot be written ({_reason(error)}); the files of earlier generations are intact: "
                f"make room or mend the folder, then continue with --resume {self.path}"
            ) from None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


__all__ = ["Checkpoint", "RunFolder"]
