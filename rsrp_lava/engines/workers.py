"""Workers on this machine: processes that are started, listened to, replaced when they are lost or grow, and ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from multiprocessing import connection
from typing import Any

from rsrp_lava.engines.leases import Lease
from rsrp_lava.engines.processes import Log, Pulse, kill_session, pair, start
from rsrp_lava.engines.shards import Answer, Order, Weights
from rsrp_lava.experiment import Experiment

#: One thread a worker: libraries that environments use would start as many as there are processors.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


#: Seconds a worker may take to begin, whatever limit its environment has: it imports, and compiles.
_START_S = 600.0


class _Worker:
    """One process, in a session of its own: Ctrl-C in a terminal is ours alone."""

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self.ready = self.began = False
        self.task: tuple[Order, Lease] | None = None
        self.weights: Weights | None = None  #: it was sent last
        with ExitStack() as ours, ExitStack() as theirs:
            link, their_link = pair(ours, theirs)
            _, lifeline = pair(ours, theirs)
            self.log, self.pulse = ours.enter_context(closing(Log())), ours.enter_context(closing(Pulse()))
            way_out = "free memory or processes, or use fewer threads (--threads)"
            module = "rsrp_lava.engines.player"
            self._process = start(
                module,
                (their_link, lifeline),
                self.pulse.fileno(),
                log=self.log,
                way_out=way_out,
                environment=_ONE_THREAD,
                inherited=[self.pulse.fileno()],
            )
            self.link = connection.Connection(link.detach())
            ours.callback(self.link.close)
            ours.callback(self._process.wait)
            ours.callback(kill_session, self._process.pid)
            self._given_back = ours.pop_all()
        self.send((experiment, seed))

    def send(self, message: Any) -> None:
        """To the worker. One that is gone is `wait`'s to report."""
        with suppress(OSError):
            self.link.send(message)

    def end(self, gone: bool = False) -> str:
        """Kill it if it still runs; how it ended, and its last words. `gone`: it ends by itself, if it has not yet."""
        if gone:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        code, words = self._process.poll(), self.log.tail(2000)
        self._given_back.close()
        code = self._process.returncode if code is None else code
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{how}\n{words}" if words else how


class LocalWorkers:
    """As many processes as were asked for. A worker whose environment leaks memory is replaced between two pieces."""

    def __init__(self, experiment: Experiment, seed: int, count: int) -> None:
        self._experiment, self._seed, self.size = experiment, seed, count
        self._limit_mib = experiment.environment.worker_memory_mib
        self._limit_s = experiment.environment.worker_timeout_s
        self._workers: list[_Worker] = []

    def start(self, stop: Sequence[int] = ()) -> None:
        """See `engines.shards.Workforce.start`."""
        self._workers = [self._open() for _ in range(self.size)]

    def _open(self) -> _Worker:
        return _Worker(self._experiment, self._seed)

    def idle(self) -> Sequence[_Worker]:
        """See `engines.shards.Workforce.idle`."""
        return [worker for worker in self._workers if worker.ready and worker.task is None]

    def submit(self, worker: Any, order: Order, lease: Lease) -> None:
        """See `engines.shards.Workforce.submit`."""
        new = None if order.weights is worker.weights else order.weights
        worker.pulse.silent_s = 0.0
        worker.task, worker.weights = (order, lease), order.weights
        worker.send((new, order.asked, *lease))

    def wait(self, timeout_s: float) -> list[Answer]:
        """See `engines.shards.Workforce.wait`."""
        ready = connection.wait([worker.link for worker in self._workers], timeout_s)
        for worker in self._workers:
            worker.log.bound()
        answers = [self._answer(worker) for worker in list(self._workers) if worker.link in ready]
        answers += [self._look(worker) for worker in list(self._workers) if worker.link not in ready]
        return [answer for answer in answers if answer]

    def _look(self, worker: _Worker) -> Answer | None:
        """At a worker that says nothing."""
        worker.pulse.look(time.monotonic())
        limit_s = self._limit_s if worker.ready else max(self._limit_s, _START_S)
        if (worker.ready and worker.task is None) or worker.pulse.silent_s <= limit_s:
            return None
        self._replace(worker)
        words = worker.end().partition("\n")[2]
        how = f"was still in one call after {limit_s:g} s (environment.worker_timeout_s)"
        return Answer(worker, lost=f"{how}\n{words}" if words else how, began=worker.began)

    def _answer(self, worker: _Worker) -> Answer | None:
        try:
            kind, content = worker.link.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return Answer(worker, lost=worker.end(gone=True), began=worker.began)
        if kind == "ready":
            worker.ready = worker.began = True
            return None
        order, lease = worker.task or (None, None)
        worker.task = None
        if kind == "failed":
            worker.ready = False
            return Answer(worker, lease, order, failure=content)
        outcome, grown_mib = content
        if grown_mib > self._limit_mib:
            outcome.faults["memory"] = outcome.faults.get("memory", 0) + 1
            self._replace(worker)
            worker.end()
        return Answer(worker, lease, order, outcome)

    def _replace(self, worker: _Worker) -> None:
        self._workers[self._workers.index(worker)] = self._open()

    def close(self) -> None:
        """See `engines.shards.Workforce.close`."""
        while self._workers:
            self._workers.pop().end()


__all__ = ["LocalWorkers"]
