"""What a checkpoint is, and how it is read without trusting it.

A checksum finds accidents, but anybody can compute one. So before an array is read its name, kind and shape are compared
with a `Layout`: what the experiment itself keeps; and what the arrays hold, before anything computes with it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.arrays import ArrayFile, Kind, Layout, open_arrays
from rsrp_lava.errors import CheckpointError
from rsrp_lava.files import reason

CHECKPOINT = "checkpoint.npz"
#: Version of the checkpoint's layout. A newer one is refused, as its meaning cannot be known.
FORMAT_VERSION = 1
#: Bytes of the header: a fingerprint and some numbers.
_LONGEST_HEADER = 2**16
_ARRAY = "array/"
START_AGAIN = "start a new run in another folder"


@dataclass(frozen=True)
class Checkpoint:
    """Everything training needs to go on as if it had never stopped."""

    fingerprint: str  #: of the experiment
    generation: int  #: generations finished
    arrays: dict[str, np.ndarray]  #: release probabilities, optimizer and normaliser state, by name
    numbers: dict[str, Any]  #: the rest: JSON values


def digest(header: bytes, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the header, and name, kind, shape and content of every array, by name."""
    found = hashlib.sha256(header)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        found.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return found.hexdigest()


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The file."""
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
        sha256=np.array(digest(header, checkpoint.arrays)),
        **{_ARRAY + name: array for name, array in checkpoint.arrays.items()},
    )
    return buffer.getvalue()


def read_checkpoint(path: Path, fingerprints: Container[str], layouts: Sequence[Layout] = ()) -> Checkpoint:
    """Read and verify a checkpoint.

    Parameters
    ----------
    path : its file
    fingerprints : of the experiments it may belong to
    layouts : what it may hold, that of this version first; without any, what its file has room for (nothing is compressed)

    Raises `CheckpointError` if it is missing, damaged, newer, another experiment's, or holds anything else
    """
    try:
        most = max((layout.largest_bytes for layout in layouts), default=path.stat().st_size) + 2 * _LONGEST_HEADER
        with open_arrays(path, most) as stored:
            header, record = _header(stored)
            _check_header(path, record, fingerprints)
            names = [name for name in stored.kinds if name.startswith(_ARRAY)]
            kinds = {name.removeprefix(_ARRAY): stored.kinds[name] for name in names}
            layout = _fitting(path, kinds, layouts)
            arrays = {name.removeprefix(_ARRAY): stored.read(name) for name in names}
            expected = str(stored.read("sha256"))
    except FileNotFoundError:
        raise refused(path, "is missing") from None
    except (OSError, ValueError) as error:
        raise refused(path, f"is damaged ({reason(error)})") from None
    if digest(header, arrays) != expected:
        raise refused(path, "is damaged (its checksum does not match)")
    checkpoint = Checkpoint(record["fingerprint"], record["generation"], arrays, record["numbers"])
    if layout is not None:
        _check_content(path, checkpoint, layout)
    return checkpoint


def refused(path: Path, problem: str, way_out: str = START_AGAIN) -> CheckpointError:
    """The error for a checkpoint that is not as it must be."""
    return CheckpointError(f"{path}: {problem}; {way_out}")


def read_generation(path: Path) -> int | None:
    """Generations that a checkpoint says are finished, unverified; None if it cannot be read."""
    try:
        with open_arrays(path, None) as stored:
            return int(_header(stored)[1]["generation"])
    except (OSError, ValueError):
        return None


def _header(stored: ArrayFile) -> tuple[bytes, dict[str, Any]]:
    """The header as it was written, and what it says."""
    kinds = stored.kinds
    if "header" not in kinds or "sha256" not in kinds:
        raise ValueError("it has no header or no checksum")
    if kinds["header"].size_bytes > _LONGEST_HEADER or kinds["sha256"].size_bytes > _LONGEST_HEADER:
        raise ValueError("its header is too long")
    header = stored.read("header").tobytes()
    try:
        record = json.loads(header)
        _ = int(record["format_version"]), int(record["generation"]), record["fingerprint"], record["numbers"]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ValueError("its header is no record") from None
    return header, record


def _check_header(path: Path, record: Mapping[str, Any], fingerprints: Container[str]) -> None:
    version = int(record["format_version"])
    if version > FORMAT_VERSION:
        problem = f"has format version {version}, this program reads up to {FORMAT_VERSION}"
        raise refused(path, problem, "update rsrp-lava (git pull, make install)")
    if record["fingerprint"] not in fingerprints:
        problem = "belongs to another experiment than config.yaml beside it"
        raise refused(path, problem, f"restore that config.yaml, or {START_AGAIN}")
    if not _is_whole(record["generation"]) or not isinstance(record["numbers"], dict):
        raise refused(path, "is damaged (its header is no record)")


def _fitting(path: Path, kinds: Mapping[str, Kind], layouts: Sequence[Layout]) -> Layout | None:
    """The layout with these names, if the kinds are its own too."""
    if not layouts:
        return None
    layout = next((layout for layout in layouts if layout.arrays.keys() == kinds.keys()), layouts[0])
    for problem, names in (("lacks", layout.arrays.keys() - kinds.keys()), ("holds", kinds.keys() - layout.arrays.keys())):
        if names:
            more = "" if problem == "lacks" else ", which the experiment has no use for"
            raise refused(path, f"is not of this experiment: {problem} the array {_shown(names)}{more}")
    for name, kind in kinds.items():
        if not layout.arrays[name].fits(kind):
            raise refused(path, f"is not of this experiment: {name} is {kind}, not {layout.arrays[name]}")
    return layout


def _check_content(path: Path, checkpoint: Checkpoint, layout: Layout) -> None:
    for name, array in checkpoint.arrays.items():
        values = layout.arrays[name]
        if not values.holds(array):
            limits = "" if math.isinf(values.low) else f" between {values.low:g} and {values.high:g}"
            raise refused(path, f"is not of this experiment: not every number of {name} is finite{limits}")
    for name, value in checkpoint.numbers.items():
        known = name in layout.whole or name in layout.real
        right = _is_whole(value) if name in layout.whole else value is None or _is_real(value)
        if not known or not right:
            raise refused(path, f"is not of this experiment: {name[:80]!r} is {str(value)[:80]}")
    try:
        layout.check(checkpoint.arrays)
    except (ValueError, OverflowError) as error:
        raise refused(path, f"is not of this experiment: {error}") from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_real(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _shown(names: Iterable[str]) -> str:
    return repr(sorted(names)[0][:80])


__all__ = ["CHECKPOINT", "Checkpoint", "read_checkpoint", "read_generation", "refused", "to_bytes"]
