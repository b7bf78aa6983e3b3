"""The files of this package: how they are read and written, in one place.

Read are regular files only, never more of one than the reader has a use for: no pipe that keeps it waiting, no device that
has no end. Written is beside the old file, under a name that nobody has, then renamed over it; what is in place of a file as
a symbolic link is not followed. A kill leaves a temporary file at most, which the next writer of the same file removes: a
live one holds a lock on it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None  # type: ignore[assignment]

#: Not on Windows: do not wait for the other end of a pipe; no terminal; no link as the last part of the path.
_AT_ONCE = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _opened(path: str | Path, flags: int) -> int:
    """Descriptor of a regular file. Raises `OSError`, of which `strerror` says what is wrong."""
    try:
        descriptor = os.open(path, flags | _AT_ONCE, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and flags & _NO_LINK:
            raise OSError(error.errno, "is a symbolic link, which is not followed", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket, or a pipe that nobody reads
            raise OSError(error.errno, "is no regular file", str(path)) from None
        raise
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return descriptor


def open_regular(path: str | Path, most: int | None = None) -> BinaryIO:
    """A regular file, to read from; `OSError` for anything else, and for one of more than `most` bytes."""
    file = os.fdopen(_opened(path, os.O_RDONLY), "rb")
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        raise OSError(errno.EFBIG, f"has {size:,} bytes, of which at most {most:,} are read", str(path))
    return file


def read_file(path: str | Path, most: int) -> bytes:
    """The whole content of a regular file of at most `most` bytes. Raises `OSError`."""
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown meanwhile
        raise OSError(errno.EFBIG, f"has more than {most:,} bytes, which is all that is read", str(path))
    return content


def open_lock(path: Path, write: bool = True) -> int:
    """Descriptor of a file to lock, made if need be. Raises `OSError`."""
    return _opened(path, (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | _NO_LINK)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, made if need be, and flush it to disk. Raises `OSError`."""
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK), "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, and flush it to disk; `FileExistsError` if it is. Raises `OSError`."""
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Beside(NamedTuple):
    """A new file beside another, which it is to replace."""

    path: Path
    file: BinaryIO


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole: beside the old one, flushed to disk, then renamed over it. Raises `OSError`."""
    with replacing(path) as beside:
        beside.file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[Beside]:
    """`replace_file` of what is written bit by bit, into `file` or by another program into `path`. Raises `OSError`."""
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    remove_left_over(path)
    temporary, descriptor = _new_beside(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield Beside(temporary, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def is_temporary(name: str, of: str) -> bool:
    """Whether this is what a file of ours, that is to be called `of`, is called until it is whole."""
    return _is_temporary_of(name, re.escape(of))


def _is_temporary_of(name: str, names: str) -> bool:
    """The same of several names, a regular expression."""
    plain = re.fullmatch(r"\.(.+)\.[0-9a-f]{16}\.tmp(\.[^.]+)?", name)
    return plain is not None and re.fullmatch(names, plain[1] + (plain[2] or "")) is not None


def remove_left_over(path: Path) -> None:
    """Remove temporary files of this one whose writers are gone."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if is_temporary(entry.name, path.name):
                _remove_if_nobodys(entry.path)


def _new_beside(path: Path) -> tuple[Path, int]:
    """A file that was not there, locked for as long as it is open: its path and descriptor."""
    while True:
        temporary = path.parent / f".{path.stem}.{secrets.token_hex(8)}.tmp{path.suffix}"
        with suppress(FileExistsError):
            descriptor = _opened(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            if fcntl is None:
                return temporary, descriptor
            with suppress(OSError):  # a file system that knows no locks, on which nobody removes anything either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink > 0:
                return temporary, descriptor
            os.close(descriptor)  # taken for a left-over one before it was locked


def _remove_if_nobodys(path: str) -> None:
    """Remove a temporary file unless a writer holds its lock, or nobody can tell."""
    if fcntl is None:
        return
    with suppress(OSError):
        descriptor = _opened(path, os.O_RDWR | _NO_LINK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)


def reason(error: BaseException) -> str:
    """Why a file could not be read or written, for a message."""
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


# --- folders -----------------------------------------------------------------------------------------------------------

_LOCK = "lock"


@contextmanager
def filling(folder: Path, names: str) -> Iterator[Path]:
    """Fill a folder that is new or empty as a whole: yields one inside it, whose files are moved out of it at the end.

    Whatever happens, only what was made here is removed: the inner folder, files by name, and `folder` if it was not there.
    What a kill has left is removed by the next one who fills the same folder.

    Parameters
    ----------
    folder : made if need be, with those above it
    names : what files in it may be called, a regular expression

    Raises `FileExistsError` if anything else is in the folder, or comes there meanwhile under a name of ours; `OSError`
    """
    made = [missing for missing in (folder, *folder.parents) if not os.path.lexists(missing)]
    inner, lock = None, None
    moved: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in list(folder.iterdir()):
            if not _is_inner(entry.name) or not _remove_inner(entry, names, mine=False):
                raise FileExistsError(errno.EEXIST, "exists and is not an empty folder", str(folder))
        inner = folder / f".filling.{secrets.token_hex(8)}.tmp"
        inner.mkdir()
        lock = open_lock(inner / _LOCK)
        if fcntl is not None:
            with suppress(OSError):  # a file system that knows no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield inner
        for file in sorted(inner.iterdir()):
            if file.name != _LOCK:
                _move_new(file, folder / file.name)
                moved.append(folder / file.name)
        _remove_inner(inner, names, mine=True)
    except BaseException:
        with suppress(OSError):
            if inner is not None:
                _remove_inner(inner, names, mine=True)
            for path in moved:
                path.unlink()
            for path in made:
                path.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _is_inner(name: str) -> bool:
    return re.fullmatch(r"\.filling\.[0-9a-f]{16}\.tmp", name) is not None


def _remove_inner(inner: Path, names: str, mine: bool) -> bool:
    """Remove a folder that was filled by us, unless somebody still does; whether it is gone."""
    with suppress(OSError):
        if not mine and (inner / _LOCK).exists():
            lock = open_lock(inner / _LOCK)
            try:
                if fcntl is None:
                    return False
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(lock)
        for entry in inner.iterdir():
            if re.fullmatch(names, entry.name) or _is_temporary_of(entry.name, names):
                entry.unlink()
        (inner / _LOCK).unlink(missing_ok=True)
        inner.rmdir()
    return not os.path.lexists(inner)


def _move_new(source: Path, target: Path) -> None:
    """Rename a file to a name that nobody has; `FileExistsError` if somebody does."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "was put there meanwhile", str(target)) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "was put there meanwhile", str(target)) from None
        os.rename(source, target)
        return
    os.unlink(source)
