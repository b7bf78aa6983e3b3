"""Python processes of our own: started in a session of their own, connected by sockets, killed as a whole."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from rsrp_lava.errors import EngineError


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
) -> subprocess.Popen[bytes]:
    """Run `module.main` with the sockets' descriptors and these arguments (of which `repr` is the source).

    It looks for modules where this process does; `python -m` would put the current folder first.
    """
    descriptors = [end.fileno() for end in sockets]
    path = [entry for entry in sys.path if isinstance(entry, str)]
    call = ", ".join(repr(argument) for argument in (*descriptors, *arguments))
    code = f"import sys; sys.path[:] = {path!r}; from {module} import main; main({call})"
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EngineError(f"{sys.executable} cannot be started ({reason}); {way_out}") from None


def kill_session(leader: int) -> None:
    """Kill a process that `start` began, and all it started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def tail(log: Any, size: int = 4000) -> str:
    """The last words in a file that is open for reading in binary."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - size))
    return log.read().decode(errors="replace").strip()
