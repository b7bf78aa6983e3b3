"""Arrays in .npz files (NumPy's: a zip archive of .npy members), read without trusting them.

First the headers only, so that a reader can compare names, kinds and sizes with what it has a use for; then the arrays it
asks for. A header must announce what the archive says the member holds, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from rsrp_lava.files import open_regular

#: Bytes of a file beside its arrays: a member's headers and its entry in the archive's list take some hundreds.
_AROUND = 2**16
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
#: How damage of an archive shows.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    TypeError,
)


class Kind(NamedTuple):
    """What an array is, before it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join(map(str, self.shape))})"


class Values(NamedTuple):
    """What an array must be. Numbers are finite, and within the limits; NaN only where it is a value of its own."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]  #: None: up to `longest`
    low: float = -math.inf
    high: float = math.inf
    may_be_nan: bool = False
    longest: int = 0

    @classmethod
    def like(cls, array: np.ndarray, low: float = -math.inf, high: float = math.inf) -> Values:
        """Of the kind and shape of one; NaN as far as it has them."""
        floating = array.dtype.kind == "f"
        return cls(array.dtype, array.shape, low, high, floating and bool(np.isnan(array).any()))

    def fits(self, kind: Kind) -> bool:
        """Whether an array of this kind is one."""
        lengths = zip(self.shape, kind.shape, strict=False)
        right = (n <= self.longest if expected is None else n == expected for expected, n in lengths)
        return kind.dtype == self.dtype and len(kind.shape) == len(self.shape) and all(right)

    def holds(self, array: np.ndarray) -> bool:
        """Whether all numbers are as they must be."""
        if array.dtype.kind not in "f":
            return bool(((array >= self.low) & (array <= self.high)).all())
        right = np.isfinite(array) & (array >= self.low) & (array <= self.high)
        return bool((right | np.isnan(array) if self.may_be_nan else right).all())

    @property
    def largest_bytes(self) -> int:
        """What it takes at most."""
        return math.prod(self.longest if n is None else n for n in self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join(f'up to {self.longest}' if n is None else str(n) for n in self.shape)})"


@dataclass(frozen=True)
class Layout:
    """What a checkpoint of an experiment holds."""

    arrays: Mapping[str, Values]
    #: Of the numbers beside them, which of them are whole; none is negative then. Others are real, or None.
    whole: frozenset[str] = frozenset()
    real: frozenset[str] = frozenset()
    #: What cannot be said of one array: `ValueError` if they do not go together.
    check: Callable[[Mapping[str, np.ndarray]], None] = field(default=lambda arrays: None)

    @classmethod
    def of(
        cls, arrays: Mapping[str, np.ndarray], whole: frozenset[str] = frozenset(), real: frozenset[str] = frozenset()
    ) -> Layout:
        """That of arrays like these."""
        return cls({name: Values.like(array) for name, array in arrays.items()}, whole, real)

    @property
    def largest_bytes(self) -> int:
        """What the arrays take at most."""
        return sum(values.largest_bytes for values in self.arrays.values())


class ArrayFile:
    """An open .npz file. Whatever is wrong with it is a `ValueError`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        #: What every array is, by name.
        self.kinds: dict[str, Kind] = {}
        with _damage():
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename or name in self._members:
                    raise ValueError(f"its member {member.filename[:80]!r} is no array, or there twice")
                self._members[name] = member
                with archive.open(member) as file:
                    kind, _ = _header(file)
                    if member.file_size != file.tell() + kind.size_bytes:
                        raise ValueError(f"{name[:80]!r} has not the size that its header announces")
                self.kinds[name] = kind

    def read(self, name: str) -> np.ndarray:
        """An array, new and writable."""
        with _damage(), self._archive.open(self._members[name]) as file:
            kind, by_columns = _header(file)
            content = bytearray(kind.size_bytes)
            view, at = memoryview(content), 0
            while at < len(content):
                n = file.readinto(view[at : at + 2**20])  # type: ignore[attr-defined]
                if not n:
                    raise EOFError("its data end early")
                at += n
            if file.read(1):  # at the end the archive's checksum is compared
                raise ValueError("its data go on")
        array = np.frombuffer(content, kind.dtype)
        return np.ascontiguousarray(array.reshape(kind.shape[::-1]).T) if by_columns else array.reshape(kind.shape)


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _header(file: IO[bytes]) -> tuple[Kind, bool]:
    """What follows, and whether columns come first."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format {version} is not read")
    shape, by_columns, dtype = _HEADERS[version](file)
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None or dtype.kind not in "buifUS":
        raise ValueError(f"{dtype} is not read")
    if dtype.itemsize == 0 or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("a length that is none")
    return Kind(dtype, shape), by_columns


@contextmanager
def open_arrays(path: str | Path, most: int | None) -> Iterator[ArrayFile]:
    """An .npz file whose arrays take at most `most` bytes (None: any number). Raises `OSError`, `ValueError`."""
    with open_regular(path, None if most is None else most + most // 1000 + _AROUND) as file:
        with _damage():
            archive = zipfile.ZipFile(file)
        with archive:
            arrays = ArrayFile(archive)
            size = sum(kind.size_bytes for kind in arrays.kinds.values())
            if most is not None and size > most:
                raise ValueError(f"its arrays take {size:,} bytes, of which at most {most:,} are read")
            yield arrays
