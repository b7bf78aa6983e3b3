"""What SIGINT and SIGTERM do while we work: asked to stop, not torn from compiling.

A signal that the process was started to ignore, as shells start jobs in the background of a script, stays ignored: Ctrl-C is
then meant for somebody else.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.compiler_lock import global_compiler_lock

#: Seconds after which a signal that came while a kernel was being compiled is sent again.
_AGAIN_S = 0.1


class _Later:
    """Signals that have to wait: an exception within LLVM is lost, or ends in a crash."""

    def __init__(self) -> None:
        self._timers: list[threading.Timer] = []

    def send(self, number: int) -> bool:
        """Send the signal again, soon, if something is being compiled now (by this thread: others do not compile)."""
        if not global_compiler_lock.is_locked():
            return False
        self._timers.append(threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)))
        self._timers[-1].start()
        return True

    def cancel(self) -> None:
        """Nothing is sent any more."""
        for timer in self._timers:
            timer.cancel()


@contextmanager
def stop_requests(announce: Callable[[], None]) -> Iterator[list[int]]:
    """A list that holds the signal's number once SIGINT or SIGTERM has asked to stop; a second one acts as usual."""
    received: list[int] = []
    later = _Later()

    def note(number: int, previous: Callable[[], Any]) -> None:
        if number not in received:
            received.append(number)
            announce()
        elif not later.send(number):
            previous()
            signal.raise_signal(number)

    with _handling((signal.SIGINT, signal.SIGTERM), note):
        try:
            yield received
        finally:
            later.cancel()


@contextmanager
def interrupts_wait_for_compiling() -> Iterator[None]:
    """Ctrl-C acts as usual, but not within LLVM; also as a decorator."""
    later = _Later()

    def note(number: int, previous: Callable[[], Any]) -> None:
        if not later.send(number):
            previous()
            signal.raise_signal(number)

    with _handling((signal.SIGINT,), note):
        try:
            yield
        finally:
            later.cancel()


@contextmanager
def _handling(numbers: tuple[int, ...], note: Callable[[int, Callable[[], Any]], None]) -> Iterator[None]:
    """`note(number, previous)` hears these signals, if this thread may; `previous()` puts back who heard it before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    heard = {number: handler or signal.SIG_DFL for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, lambda which, frame: note(which, lambda: signal.signal(which, heard[which])))
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


__all__ = ["interrupts_wait_for_compiling", "stop_requests"]
