"""Shared memory of Lava's sessions: named by the session's token, owned by the processes that hold its lock.

The operating system takes a lock from who dies, however that happens, but leaves shared memory: what a session left whose
processes were all killed at once, the next session finds by a lock that nobody holds, and removes.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no such folder either
    fcntl = None  # type: ignore[assignment]

#: Where Linux keeps shared memory; elsewhere it cannot be listed, and nothing of this has an effect.
FOLDER = Path("/dev/shm")
_LOCK = "rsrp-lava"
_LOCKS = re.compile(rf"r([0-9a-f]{{4}})_{_LOCK}")


def prefix(token: str) -> str:
    """Start of the names of all shared memory of a session; names are short on some systems."""
    return f"r{token}_"


def claim() -> tuple[str, int | None]:
    """A new token, and the descriptor by which it is owned: by this process and by all that inherit it."""
    while True:
        token = secrets.token_hex(2)
        if fcntl is None or not FOLDER.is_dir():
            return token, None
        try:
            path = FOLDER / f"{prefix(token)}{_LOCK}"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        except OSError:  # full, or read-only: Lava will say more
            return token, None
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path):  # else it was taken for abandoned before it was locked
                return token, lock
        os.close(lock)


def bequeath(token: str) -> None:
    """Have the lock removed when this process and its forks are gone, however they ended, as Python does with segments.

    By multiprocessing's resource tracker, a process that outlives them; where it is killed too, `remove_abandoned` is left.
    """
    if (FOLDER / f"{prefix(token)}{_LOCK}").exists():
        resource_tracker.register(f"/{prefix(token)}{_LOCK}", "shared_memory")


def remove(token: str) -> None:
    """Unlink every segment of a session, of this user's, and its lock."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(FOLDER):
            with suppress(OSError):
                if entry.name.startswith(prefix(token)) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    os.unlink(entry.path)


def remove_abandoned() -> None:
    """Remove what sessions of this user left of which no process lives any more, in whatever container."""
    if fcntl is None or not FOLDER.is_dir():
        return
    for name in os.listdir(FOLDER):
        if found := _LOCKS.fullmatch(name):
            with suppress(OSError):  # BlockingIOError: it lives
                lock = os.open(FOLDER / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        remove(found[1])
                finally:
                    os.close(lock)


__all__ = ["bequeath", "claim", "prefix", "remove", "remove_abandoned"]
