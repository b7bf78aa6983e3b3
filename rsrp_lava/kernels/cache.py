"""Machine code on disk: one sealed file a kernel and signature. Whatever is wrong with a file or its folder: it is compiled.

Numba's own cache trusts its files: what a power cut, a full disk or a bad sector leaves of them ends in an UnpicklingError,
in an abort of LLVM, or in other machine code than was compiled. Here a file begins with the SHA-256 of the rest, which is
looked at before anything else, and the rest says of what it is the code. No index is written by several processes at once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

_SEAL = hashlib.sha256().digest_size
#: Bytes of the largest file that is read; the largest kernel takes less than one MiB.
_LIMIT = 2**26
#: Whether this process has said that there is trouble.
_told = False


class SealedCache(FunctionCache):
    """What `Dispatcher.enable_caching` puts into a dispatcher's `_cache`, with files that are checked.

    `stamp`: what the code depends on beside the function's own file. Raises `RuntimeError` if no folder can be written.
    """

    def __init__(self, function: Any, stamp: tuple[Any, ...] = ()) -> None:
        super().__init__(function)
        locator = self._impl.locator
        identity = (numba.__version__, *stamp, locator.get_source_stamp())
        self._cache_file: Any = _Files(Path(self.cache_path), self._impl.filename_base, identity)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None: it is to be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a seal proves that it is what was written, not that it can still be read
            tell(f"{self._cache_file.base} cannot be read ({_reason(error)}), and is compiled anew")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, where that can be done."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            tell(f"{self._cache_file.base} cannot be written ({_reason(error)}), so it is compiled at every start")


class _Files:
    """In the place of Numba's `IndexDataCacheFile`: a file for each key."""

    def __init__(self, folder: Path, name: str, identity: tuple[Any, ...]) -> None:
        self.base, self._identity = folder / name, identity

    def _path(self, key: tuple[Any, ...]) -> Path:
        """The same for an older version of the same source, which is thus overwritten."""
        signature, machine, _ = key
        digest = hashlib.sha256(repr((signature, machine)).encode()).hexdigest()
        return self.base.with_name(f"{self.base.name}.{digest[:16]}.nbc")

    def load(self, key: tuple[Any, ...]) -> Any:
        """What was saved with this key; None if nothing was, or of other sources."""
        path = self._path(key)
        try:
            content = memoryview(_read(path))
        except FileNotFoundError:
            return None
        if hashlib.sha256(content[_SEAL:]).digest() != content[:_SEAL]:
            raise ValueError(f"{path.name} is damaged")
        identity, saved_key, data = pickle.loads(content[_SEAL:])
        return data if (identity, saved_key) == (self._identity, key) else None

    def save(self, key: tuple[Any, ...], data: Any) -> None:
        """Put a file in its place, as a whole."""
        content, path = dumps((self._identity, key, data)), self._path(key)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def flush(self) -> None:
        """Forget this function: it is being compiled anew (`Dispatcher.recompile`)."""
        for path in self.base.parent.glob(f"{self.base.name}.*.nbc"):
            path.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    """A file that may be trusted to be code: a regular one, of this user's or of whoever could change the program itself."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # of a fifo, without waiting
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
            raise OSError(f"{path.name} is no file of a kernel")
        if hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0, os.stat(__file__).st_uid):
            raise OSError(f"{path.name} belongs to another user")
        return file.read()


def tell(trouble: str) -> None:
    """Say that kernels are compiled again, and why: once a process, as one cause hits many kernels."""
    global _told
    if not _told:
        logging.getLogger(__name__).warning(
            f"kernel cache: {trouble}; this takes seconds (another folder for it: NUMBA_CACHE_DIR)"
        )
    _told = True


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason if reason.split()[0].isupper() else reason[:1].lower() + reason[1:]


__all__ = ["SealedCache", "tell"]
