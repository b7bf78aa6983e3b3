"""The worker that hosts Lava, seen from outside: started in a session of its own, listened to, and ended as a whole.

Lava can hang, crash or be killed at any moment; nothing here waits for it without looking for that.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing import connection
from typing import Any

from rsrp_lava.engines import shared_memory
from rsrp_lava.engines.lava_worker import REPORT_SIZE
from rsrp_lava.engines.processes import Log, kill_session, pair, start
from rsrp_lava.errors import EngineError, Interrupted

_INSTEAD = "free memory or processes, or use --engine fused"
_WAY_OUT = "the last checkpoint is intact; resume to go on"
#: Seconds between two looks at what else may have happened while no message comes.
_LOOK_S = 0.1


class Session:
    """A worker, the connections to it, and all that must be given back at its end."""

    def __init__(self, module: str) -> None:
        shared_memory.remove_abandoned()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with ExitStack() as ours, ExitStack() as theirs:
            token, lock = shared_memory.claim()
            owned = () if lock is None else (lock,)
            for descriptor in owned:
                ours.callback(os.close, descriptor)
            ours.callback(shared_memory.remove, token)
            link, their_link = pair(ours, theirs)
            self._report, their_report = pair(ours, theirs, socket.SOCK_DGRAM)
            _, lifeline = pair(ours, theirs)
            self._log = ours.enter_context(closing(Log()))
            sockets = (their_link, their_report, lifeline)
            self._worker = start(module, sockets, token, log=self._log, way_out=_INSTEAD, inherited=owned)
            self._link = connection.Connection(link.detach())
            receiver = threading.Thread(target=_receive_all, args=(self._link, self._inbox), daemon=True)
            receiver.start()
            ours.callback(self._link.close)
            ours.callback(receiver.join, 5)  # the link ends with the last process that holds its other end
            ours.callback(self._worker.wait)
            ours.callback(kill_session, self._worker.pid)
            self._given_back = ours.pop_all()

    def send(self, message: Any) -> None:
        """To the worker. One that is gone is `receive`'s to report: it knows why."""
        with suppress(OSError):
            self._link.send(message)

    def receive(self, stop: Sequence[int]) -> Any:
        """The worker's next message; an error report, the worker's end, or a request to stop end the wait."""
        while not stop:
            self._log.bound()
            with suppress(queue.Empty):
                return self._inbox.get(timeout=_LOOK_S)
            if connection.wait([self._report], timeout=0):
                raise EngineError(_describe(json.loads(self._report.recv(REPORT_SIZE))))
            if self._worker.poll() is not None:
                code = self._worker.returncode
                raise EngineError(f"the Lava runtime ended with exit code {code}; {_WAY_OUT}\n{self._log.tail()}")
        raise Interrupted("stopped: the generation in flight is given up")

    def close(self) -> None:
        """End the whole session and remove what it left; safe to call more than once."""
        with _signals_deferred():
            self._given_back.close()


def _receive_all(link: connection.Connection, inbox: queue.SimpleQueue[Any]) -> None:
    """Until the session ends. On a thread of its own, because a sender killed in mid-message keeps its receiver waiting."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(link.recv())


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """SIGINT and SIGTERM act after the block: a session that is ended by half leaves shared memory behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda which, frame: received.append(which)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler or signal.SIG_DFL)
        for which in received:
            signal.raise_signal(which)


def _describe(report: dict[str, Any]) -> str:
    if "traceback" in report:
        return f"Lava process '{report['process']}' failed; {_WAY_OUT}\n{report['traceback']}"
    return f"Lava process '{report['process']}' (pid {report['pid']}) ended with exit code {report['exit']}; {_WAY_OUT}"
