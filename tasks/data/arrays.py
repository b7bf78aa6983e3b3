"""Arrays x, y and perhaps x_test, y_test in an .npz file, read without trusting it.

Of a member only the header is read at first (NumPy's, a literal); object arrays would be unpickled and are refused; what the
header announces must be what the archive says the member holds, and fit in memory, before anything is unpacked.
"""

from __future__ import annotations

import functools
import math
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from rsrp_lava.errors import DataError
from rsrp_lava.tasks.data.base import reason, times, unreadable
from rsrp_lava.tasks.data.coding import check_numbers, natural
from rsrp_lava.tasks.data.progress import reading

_NAMES = ("x", "y", "x_test", "y_test")
_PIECE = 2**24
#: Of a machine that does not say how much memory it has.
_MEMORY = 2**34


class Arrays(NamedTuple):
    """What a file held."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray | None
    y_test: np.ndarray | None
    others: tuple[str, ...]  #: names of arrays that are not used


def check_memory(where: str, size: int, what: str) -> None:
    """`DataError` if so many bytes are more than half of this machine's memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        memory = _MEMORY
    if size > memory // 2:
        raise DataError(
            f"{where}: {what} would take {size / 2**30:,.1f} GiB, more than half of this machine's {memory / 2**30:,.1f}; "
            "give fewer or smaller ones"
        )


def read_arrays(path: Path) -> Arrays:
    """The arrays of a file. Raises `DataError` for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")
            }
            for name in _NAMES[:2]:
                if name not in members:
                    held = ", ".join(sorted(members)) or "no arrays"
                    _refuse(path, f"has no array {name} (it holds {held})", "store it as np.savez(FILE, x=…, y=…)")
            if ("x_test" in members) != ("y_test" in members):
                _refuse(path, "has one of x_test and y_test", "store both, or neither")
            there = [name for name in _NAMES if name in members]
            check_memory(str(path), sum(_checked(path, archive, members[name])[1] for name in there), "its arrays")
            with reading("reading MiB", sum(members[name].file_size for name in there) >> 20) as report:
                found: dict[str, np.ndarray] = {}
                done = 0
                for name in there:
                    found[name] = _read(archive, members[name], path, functools.partial(_add, report, done))
                    done += members[name].file_size
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        _refuse(path, f"is no .npz file, cut short or damaged ({reason(error)})", "write it again with np.savez")
    except (NotImplementedError, RuntimeError) as error:  # a compression or an encryption that is not np.savez's
        _refuse(path, f"cannot be unpacked ({reason(error)})", "write it with np.savez")
    except MemoryError:
        _refuse(path, "does not fit in memory", "give fewer or smaller ones")
    except OSError as error:
        raise unreadable(path, error) from None
    others = tuple(sorted(members.keys() - set(_NAMES)))
    return Arrays(found["x"], found["y"], found.get("x_test"), found.get("y_test"), others)


def _add(report: Callable[[int], None], before: int, read: int) -> None:
    report((before + read) >> 20)


def _refuse(path: Path, problem: str, way_out: str) -> NoReturn:
    raise DataError(f"{path}: {problem}; {way_out}") from None


def _header(path: Path, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and kind of number."""
    formats = np.lib.format
    try:
        version = formats.read_magic(file)
        read = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size < 0 or dtype.itemsize == 0:
            raise ValueError("a length that is none")
    except (zipfile.BadZipFile, EOFError, OSError):
        raise
    except Exception as error:  # a header can be wrong in any way
        _refuse(path, f"{name}: is no array of NumPy's ({reason(error)[:80]})", "write it with np.savez")
    if dtype.hasobject or dtype.fields is not None or dtype.kind not in "buifUSO":
        way_out = "store numbers; of y also strings, as np.array(y, dtype=str)"
        _refuse(path, f"{name}: holds {'Python objects' if dtype.hasobject else dtype}, which are not read", way_out)
    return shape, fortran, dtype


def _checked(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Bytes of a member's header and of its array, which are all it may hold."""
    with archive.open(member) as file:
        shape, _, dtype = _header(path, member.filename.removesuffix(".npy"), file)
        begin, size = file.tell(), math.prod(shape) * dtype.itemsize
    if member.file_size != begin + size:
        announced = f"its header announces {times(shape) or 'one'} of {dtype}, {begin + size:,}"
        problem = f"{member.filename}: has {member.file_size:,} bytes, {announced}"
        _refuse(path, problem, "write it again with np.savez")
    return begin, size


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, report: Callable[[int], None]) -> np.ndarray:
    with archive.open(member) as file:
        shape, fortran, dtype = _header(path, member.filename, file)
        content = bytearray(math.prod(shape) * dtype.itemsize)
        view, at = memoryview(content), 0
        while at < len(content):
            piece = file.read(min(_PIECE, len(content) - at))
            if not piece:
                raise EOFError("its data end early")
            view[at : at + len(piece)] = piece
            at += len(piece)
            report(at)
        file.read(1)  # at the end the checksum is compared
    array = np.frombuffer(content, dtype)
    return np.array(array.reshape(shape[::-1]).T if fortran else array.reshape(shape), order="C", copy=fortran)


def check_inputs(where: str, x: np.ndarray) -> np.ndarray:
    """x as vectors (n, features) or pictures (n, height, width, channels)."""
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim not in (2, 4) or 0 in x.shape:
        raise DataError(
            f"{where}: has shape {times(x.shape) or '()'}; it must be (n, features), (n, height, width) or "
            "(n, height, width, channels), none of them 0"
        )
    return check_numbers(where, x)


def check_classes(where: str, y: np.ndarray, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of labels (n,) of any kind: the index of each one's class, and the names of the classes in natural order."""
    y = y.reshape(len(y)) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise DataError(
            f"{where}: has shape {times(y.shape) or '()'}, not a label a row; of one-hot rows give y.argmax(axis=1)"
        )
    if len(y) != n:
        raise DataError(f"{where}: has {len(y):,} labels for {n:,} rows of x; give one a row")
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: is no UTF-8 ({error.reason}); store strings, as np.array(y, dtype=str)") from None
    elif y.dtype.kind == "f":
        if not np.isfinite(y).all() or (y != np.rint(y)).any():
            wrong = y[np.flatnonzero(~(np.isfinite(y) & (y == np.rint(y))))[0]]
            raise DataError(f"{where}: {wrong} names no class; give integers or strings (numbers are not predicted here)")
        y = y.astype(np.int64)
    found, codes = np.unique(y, return_inverse=True)
    names = [str(name) for name in found.tolist()]
    if y.dtype.kind == "U":
        order = sorted(range(len(names)), key=lambda k: natural(names[k]))
        place = np.empty(len(names), np.int64)
        place[order] = np.arange(len(names))
        names, codes = [names[k] for k in order], place[codes]
    return codes.reshape(-1), tuple(names)
