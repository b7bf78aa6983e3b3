"""CIFAR-10's Python version: six pickles of 10,000 images of 32 × 32 × 3 (Krizhevsky 2009).

A pickle is a program that can call anything. These are read by an unpickler that knows three names and gives each a
stand-in that only keeps what it is told; any other name is refused before anything is called. That, and the checksum
of every file, come before an array is made.

The files hold an image as its red, green and blue planes; here the channel is last, as in all images of this package.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from rsrp_lava.errors import DataError
from rsrp_lava.files import open_regular
from rsrp_lava.tasks.data.base import Labelled, check_labels, check_md5, check_size, refuse, times, unreadable

FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
#: Bytes of the archive without gzip: six batches and two small files, and as much again.
_UNPACKED = 2**29
SHAPE, N_CLASSES = (32, 32, 3), 10


class Batch(NamedTuple):
    """What is known of an official file."""

    size: int  #: bytes
    md5: str | None
    n_images: int = 10_000


TRAIN = {
    "data_batch_1": Batch(31_035_704, "c99cafc152244af753f735de768cd75f"),
    "data_batch_2": Batch(31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
    "data_batch_3": Batch(31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
    "data_batch_4": Batch(31_035_696, "634d18415352ddfa80567beed471001a"),
    "data_batch_5": Batch(31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
}
TEST = {"test_batch": Batch(31_035_526, "40351d587109b95175f43aff81a1287e")}


def read_files(files: dict[str, Path], batches: dict[str, Batch]) -> dict[str, Labelled]:
    """The batches of those names, each from its file; raises `DataError`."""
    parts = {}
    for name, batch in batches.items():
        try:
            with open_regular(files[name]) as file:
                content = file.read(batch.size + 1)
        except OSError as error:
            raise unreadable(files[name], error) from None
        parts[name] = read_batch(content, files[name], batch)
    return parts


def read_archive(files: dict[str, Path], batches: dict[str, Batch]) -> dict[str, Labelled]:
    """The batches of those names from the .tar.gz as it is downloaded, nothing extracted; raises `DataError`."""
    path, parts = files[ARCHIVE], {}
    for name, content in _members(path, {f"{FOLDER}/{name}": batch.size for name, batch in batches.items()}):
        batch = name.rpartition("/")[2]
        parts[batch] = read_batch(content, f"{path}: {name}", batches[batch])
    missing = [name for name in batches if name not in parts]
    if missing:
        refuse(path, f"holds no {FOLDER}/{missing[0]}")
    return parts


def _members(path: Path, sizes: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content, up to one byte more than its size, of each of these members, in the archive's order."""
    try:
        with open_regular(path) as stored, _open_archive(_Limited(gzip.open(stored))) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() and member.name in sizes else None
                if file is not None:
                    yield member.name, file.read(sizes[member.name] + 1)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        refuse(path, f"is no .tar.gz, cut short or damaged ({error})")
    except OSError as error:
        raise unreadable(path, error) from None


def _open_archive(file: _Limited) -> tarfile.TarFile:
    """A stream of members; of the file no more is used than `read`."""
    return tarfile.open(fileobj=cast(IO[bytes], file), mode="r|")


class _Limited:
    """What is unpacked of an archive, to its official size: a header in it can announce any."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self._left = file, _UNPACKED

    def read(self, size: int) -> bytes:
        """At most so many bytes."""
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError(f"unpacks to more than {_UNPACKED:,} bytes")
        return content


def joined(parts: list[Labelled]) -> Labelled:
    """Several batches as one."""
    images, labels = zip(*((part.images, part.labels) for part in parts), strict=True)
    return Labelled(np.concatenate(images), np.concatenate(labels))


def read_batch(content: bytes, where: object, batch: Batch) -> Labelled:
    """One batch: images uint8 (n, 3072), channel last; labels uint8 (n,). Raises `DataError`, which begins with `where`."""
    check_size(where, len(content), batch.size)
    check_md5(where, content, batch.md5)
    try:
        stored = _BatchUnpickler(content, where).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        refuse(where, f"is no pickle or damaged ({error})")
    data, labels = (stored.get("data"), stored.get("labels")) if isinstance(stored, dict) else (None, None)
    planes = data.array() if isinstance(data, _Array) else None
    height, width, channels = SHAPE
    expected = (batch.n_images, height * width * channels)
    if planes is None or planes.shape != expected:
        found = "no array of bytes" if planes is None else times(planes.shape)
        refuse(where, f"holds {found} as its images, expected {times(expected)} bytes")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels) or len(labels) != batch.n_images:
        refuse(where, f"its labels must be a list of {batch.n_images:,} integers")
    check_labels(where, np.array(labels, object), N_CLASSES)
    images = planes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(expected)
    return Labelled(images, np.array(labels, np.uint8))


class _Array:
    """Stands in for a NumPy array that is unpickled: keeps its state, calls nothing."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray | None:
        """The array, uint8; None if it is not one of bytes in C order whose shape and content agree."""
        match self.state:
            case (int(), tuple(shape), _Type(name="u1"), False, str(text)):
                try:
                    return np.frombuffer(text.encode("latin1"), np.uint8).reshape(shape)
                except (ValueError, TypeError):
                    return None
        return None


class _Type:
    """Stands in for `numpy.dtype`."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name

    def __setstate__(self, _: Any) -> None:
        pass  # byte order and alignment, which a byte does not have


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): None,  # an argument of _reconstruct; None cannot be called
    ("numpy", "dtype"): _Type,
}


class _BatchUnpickler(pickle.Unpickler):
    """Builds only dicts, lists, numbers, text and the stand-ins above."""

    def __init__(self, content: bytes, where: object) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # written by Python 2: bytes and text alike become str
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            refuse(self._where, f"its pickle asks for {module}.{name}, which CIFAR-10 does not need; nothing of it was run")
        return _KNOWN[module, name]
