"""Python processes of our own: started in a session of their own, connected by sockets, killed as a whole."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from rsrp_lava.errors import EngineError

try:
    import fcntl
except ImportError:  # Windows, where sockets are not passed to processes either
    fcntl = None  # type: ignore[assignment]

#: prctl(PR_SET_PDEATHSIG, SIGKILL), as source: a process begins with it, seconds before this package is imported in it.
_BOUND = "import ctypes; ctypes.CDLL(None).prctl(1, 9); " if sys.platform == "linux" else ""


def pair(ours: ExitStack, theirs: ExitStack, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, each closed with its stack."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return ours.enter_context(one), theirs.enter_context(other)


def start(
    module: str,
    sockets: Sequence[socket.socket],
    *arguments: Any,
    log: Any,
    way_out: str,
    environment: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Run `module.main` with the sockets' descriptors and these arguments (of which `repr` is the source).

    It looks for modules where this process does; `python -m` would put the current folder first. `inherited`: descriptors
    that it keeps open. It ends with this process, also while it is stopped or in compiled code.
    """
    descriptors = [end.fileno() for end in sockets]
    path = [entry for entry in sys.path if isinstance(entry, str)]
    call = ", ".join(repr(argument) for argument in (*descriptors, *arguments))
    bound = _BOUND if threading.current_thread() is threading.main_thread() else ""  # Linux means the thread
    code = f"{bound}import sys; sys.path[:] = {path!r}; from {module} import main; main({call})"
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[*descriptors, *inherited],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EngineError(f"{sys.executable} cannot be started ({reason}); {way_out}") from None


def end_with_the_parent() -> None:
    """Be killed when the thread that began this process ends, which a stopped process does not hear of otherwise (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """These variables, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def kill_session(leader: int) -> None:
    """Kill a process that `start` began, and all it started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class Log:
    """What a process prints: a file without a name, in memory where the system has such, of which only the end is kept."""

    #: Bytes from which on it is cut to its end.
    MOST = 2**16

    def __init__(self) -> None:
        in_memory = hasattr(os, "memfd_create")
        anonymous = os.fdopen(os.memfd_create("log"), "w+b", 0) if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
        self._file: Any = anonymous
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_APPEND)  # who writes shares it: after a cut, at the new end

    def fileno(self) -> int:
        """For the process."""
        return self._file.fileno()

    def bound(self) -> None:
        """Cut it, if it has grown large; to be called now and then. What is printed at the same time may be lost."""
        if os.fstat(self.fileno()).st_size > self.MOST:
            end = self._end(4000)
            os.ftruncate(self.fileno(), 0)
            os.write(self.fileno(), end)

    def tail(self, size: int = 4000) -> str:
        """The last words."""
        return self._end(size).decode(errors="replace").strip()

    def _end(self, size: int) -> bytes:
        return os.pread(self.fileno(), size, max(0, os.fstat(self.fileno()).st_size - size))

    def close(self) -> None:
        """Nobody will ask for them."""
        self._file.close()


class Pulse:
    """A number that another process counts up while it makes progress: whoever stands still, or is stopped, is silent.

    Both processes map a file without a name; that takes no message and no lock.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """`descriptor`: of another process's; without one it is new."""
        self._file: Any = tempfile.TemporaryFile() if descriptor is None else os.fdopen(descriptor, "r+b", 0)  # noqa: SIM115
        if descriptor is None:
            self._file.truncate(8)
        self._count = np.frombuffer(mmap.mmap(self._file.fileno(), 8), np.int64)
        self._seen, self._looked = -1, 0.0
        self.silent_s = 0.0  #: as far as this process has looked

    def fileno(self) -> int:
        """For the other process."""
        return self._file.fileno()

    def beat(self) -> None:
        """Progress was made."""
        self._count[0] += 1

    def look(self, now_s: float) -> None:
        """Note whether there was progress since the last look. Time in which nobody looked counts as a second at most."""
        seen = int(self._count[0])
        self.silent_s = self.silent_s + min(now_s - self._looked, 1.0) if seen == self._seen else 0.0
        self._seen, self._looked = seen, now_s

    def close(self) -> None:
        """Safe to call while the other process goes on."""
        self._file.close()
