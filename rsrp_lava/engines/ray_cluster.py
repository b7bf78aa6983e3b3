"""Which Ray: the one at RAY_ADDRESS, one that was started as a cluster (`ray start`), or our own, which ends with us."""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from rsrp_lava.engines.processes import environment_variables
from rsrp_lava.errors import EngineError, Interrupted

#: Seconds a cluster has to accept a connection, and then to take a driver.
_REACHABLE_S = 10.0
#: Seconds that importing Ray may take in a process of its own.
_IMPORT_S = 120.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
#: Becomes a driver of the cluster and leaves it again: nothing less shows that one answers (its raylet may be dead).
_TRIAL = "import ray, sys; print(flush=True); ray.init(address=sys.argv[1], log_to_driver=False); ray.shutdown()"
#: Notes, until our end, what our Ray has started, and then ends it: agents of Ray's go on for a minute after a kill, and
#: neither their names nor their environments say whose they are.
_REAPER = """
import os, select, signal, sys
driver, session = int(sys.argv[1]), sys.argv[2].encode()
theirs = {}
def note():
    parents, commands = {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat, open(f"/proc/{entry}/cmdline", "rb") as command:
                fields = stat.read().rpartition(")")[2].split()
                parents[int(entry)], commands[int(entry)] = (int(fields[1]), fields[19]), command.read()
        except OSError:
            pass
    for pid in [pid for pid in theirs if pid not in parents or parents[pid][1] != theirs[pid]]:
        del theirs[pid]
    found = [pid for pid, (parent, _) in parents.items() if parent == driver and session in commands[pid]]
    while found:
        theirs.update((pid, parents[pid][1]) for pid in found)
        found = [pid for pid, (parent, _) in parents.items() if parent in theirs and pid not in theirs]
while os.path.isdir("/proc/self") and not select.select([0], [], [], 2.0 if theirs else 0)[0]:
    note()
note()
for pid in theirs:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""


def connect(ray: Any, processors: int, stop: Sequence[int]) -> Callable[[], None]:
    """Become a driver of a cluster, or start one with so many processors on this machine; returns what gives that back.

    Raises `EngineError` if RAY_ADDRESS names none that answers, `Interrupted` as soon as `stop` holds something.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto"):
        found = _started_as_cluster(ray)
        problem = _problem(found, stop) if found else "none is running here"
        if problem is None:
            address = found
        elif address == "auto":
            raise EngineError(f"engine ray: RAY_ADDRESS = auto, but {problem}; {_WAY_OUT}")
        elif found:
            logging.getLogger(__name__).warning(f"engine ray: {found} was started as a cluster, but {problem}; not used")
    elif address != "local" and (problem := _problem(address, stop)) is not None:
        raise EngineError(f"engine ray: no cluster answers at RAY_ADDRESS = {address} ({problem}); {_WAY_OUT}")
    with ExitStack() as ours:
        with _handlers_kept():
            if address in ("", "auto", "local"):
                _start(ray, processors, ours)
            else:
                ours.callback(ray.shutdown)
                ray.init(address=address, **_QUIET)
        return ours.pop_all().close


_WAY_OUT = "start it (ray start --head), or unset RAY_ADDRESS to use this machine"


def _started_as_cluster(ray: Any) -> str:
    """The address that `ray start` left on this machine. Ray's own "auto" also finds what other programs started for
    themselves, and whoever joins those ends with them."""
    with suppress(AttributeError, OSError):
        return ray._private.services.find_bootstrap_address(None) or ""
    return ""


def _start(ray: Any, processors: int, ours: ExitStack) -> None:
    """A Ray of our own: for whom knows its token only, and with an end."""
    ours.enter_context(_token_of_our_own())
    reapers = ours.enter_context(ExitStack())
    ours.callback(ray.shutdown)
    ray.init(address="local", num_cpus=processors, include_dashboard=False, **_QUIET)
    reaper = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _REAPER, str(os.getpid()), ray._private.worker._global_node.session_name],
        stdin=subprocess.PIPE,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert reaper.stdin is not None
    reapers.callback(reaper.wait)
    reapers.callback(reaper.stdin.close)


@contextmanager
def _token_of_our_own() -> Iterator[None]:
    """Whoever reaches a port of Ray's can run code with it, unless a token is asked for (Ray 2.52 and later)."""
    try:
        from ray._raylet import AuthenticationTokenLoader, Config
    except ImportError:
        yield
        return

    def read_anew() -> None:
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()

    if "RAY_AUTH_MODE" in os.environ:  # the user's decision
        yield
        return
    try:
        with environment_variables({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}):
            read_anew()
            yield
    finally:
        read_anew()


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _problem(address: str, stop: Sequence[int]) -> str | None:
    """Why no cluster can be used at an address, or None. Ray itself would wait for minutes, or for ever."""
    found = re.fullmatch(r"(?:ray://)?(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", address)
    if not found or not 1 <= int(found[3]) <= 65535:
        return "it must be HOST:PORT, as 10.0.0.1:6379"
    try:
        socket.create_connection((found[1] or found[2], int(found[3])), timeout=_REACHABLE_S).close()
    except (OSError, UnicodeError) as error:
        return (getattr(error, "strerror", None) or str(error)).lower()
    trial = subprocess.Popen(
        [sys.executable, "-c", _TRIAL, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    words, begun = trial.stdout, list[float]()
    assert words is not None

    def listen() -> None:
        if words.readline():
            begun.append(time.monotonic())

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    limit = time.monotonic() + _IMPORT_S
    try:
        while trial.poll() is None:
            if stop:
                raise Interrupted("stopped: no cluster had answered yet")
            if time.monotonic() > (begun[0] + _REACHABLE_S if begun else limit):
                return f"something listens there, but takes no driver within {_REACHABLE_S:.0f} s"
            time.sleep(0.05)
        return None if trial.returncode == 0 else "what listens there is no cluster that this Ray can use"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(trial.pid, signal.SIGKILL)
        trial.wait()
        listening.join()
        words.close()


__all__ = ["connect"]
