"""The Lava engine, seen from outside: starts the graph in a worker session, follows its generations, ends it cleanly.

This file imports no Lava. All that the graph says comes over a connection; nothing reads a process's state behind its back.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any

import numpy as np

from rsrp_lava.engines.lava_messages import GraphStart, Order, unpack_update
from rsrp_lava.engines.lava_worker import remove_shared_memory
from rsrp_lava.engines.protocol import Normaliser, Observations, Outcome, StartingState
from rsrp_lava.errors import EngineError, Interrupted
from rsrp_lava.experiment import Experiment
from rsrp_lava.kernels.rollout import STATISTIC_UNIT
from rsrp_lava.learning.rsrp import Update
from rsrp_lava.network import ReleaseProbabilities


def require_lava() -> None:
    """Raise `EngineError` with the way out if Lava cannot run here."""
    if importlib.util.find_spec("lava") is None:
        here = f"this is {platform.python_version()}" if sys.version_info[:2] != (3, 10) else "lava-nc is not installed"
        raise EngineError(
            f"engine lava: Lava supports Python 3.10 only, and {here}; install Python 3.10 and run `make clean install`, "
            "or use --engine fused, which gives the same bits"
        )


class LavaEngine:
    """Plays and learns inside a Lava graph. `play` of the evaluation runs the whole generation; that of the samples
    returns what the same episode gave them."""

    name = "lava"
    worker = "rsrp_lava.engines.lava_worker"  #: module that hosts Lava

    def __init__(self, experiment: Experiment) -> None:
        require_lava()
        self.experiment = experiment
        self.network = experiment.build_network()
        self.stop: Sequence[int] = ()
        self._worker: subprocess.Popen[bytes] | None = None
        self._sampled: Outcome | None = None

    def prepare(self, state: StartingState | None) -> None:
        """Start the worker and wait until it has compiled its kernels; the graph then runs from `state`."""
        assert state is not None
        self._token = secrets.token_hex(2)
        self._link, theirs = connection.Pipe()
        self._report, their_report = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        lifeline, self._lifeline = os.pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 — read when something goes wrong, closed in close()
        descriptors = (theirs.fileno(), their_report.fileno(), lifeline)
        self._worker = subprocess.Popen(
            [sys.executable, "-m", self.worker, *map(str, descriptors), self._token],
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        theirs.close()
        their_report.close()
        os.close(lifeline)
        playing = state.generation < self.experiment.generations
        start = GraphStart(
            self.experiment,
            state.generation,
            state.probabilities,
            state.optimizer,
            state.normaliser,
            state.previous_mean,
            playing,
        )
        self._link.send(start)
        self._receive()

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Normaliser,
        generation: int,
        samples: int,
        deterministic: bool = False,
    ) -> Outcome:
        """See `engines.protocol.Engine.play`; the arguments are what the graph has already."""
        if not deterministic:
            assert self._sampled is not None, "the evaluation of a generation comes first"
            return self._sampled
        _, returns, steps, sums, events = self._receive()
        n = self.experiment.population
        count = float(steps[:n].sum())
        moments = sums.astype(np.float64) * STATISTIC_UNIT / max(count, 1.0)
        self._sampled = Outcome(returns[:n], steps[:n], Observations(count, moments[0], moments[1]), np.zeros_like(events))
        return Outcome(returns[n:], steps[n:], Observations(0.0, moments[0], moments[1]), events)  # the graph counts both

    def learn(self, generation: int, normaliser: Normaliser, previous_mean: float) -> dict[str, Update]:
        """Let the graph learn and go on with `generation`; returns what every plastic projection has become."""
        mean, inverse_std = normaliser.mean.astype(np.float32), (1.0 / normaliser.std).astype(np.float32)
        playing = generation < self.experiment.generations
        self._link.send(Order(generation, playing, previous_mean, mean, inverse_std))
        _, states = self._receive()
        rule = self.experiment.build_rule()
        plastic = [p for p in self.network.projections if p.plastic]
        return {p.name: unpack_update(vector, (p.n_pre, p.n_post), rule) for p, vector in zip(plastic, states, strict=True)}

    def close(self) -> None:
        """End the worker's whole session and remove what it left; safe to call at any time, more than once."""
        if self._worker is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        self._worker = None
        remove_shared_memory(self._token)
        self._link.close()
        self._report.close()
        os.close(self._lifeline)
        self._log.close()

    def _receive(self) -> Any:
        """The graph's next message; an error report, the worker's end, or a request to stop end the wait."""
        assert self._worker is not None
        while True:
            if self.stop:
                raise Interrupted("stopped: the generation in flight is given up")
            ready = connection.wait([self._link, self._report], timeout=0.1)
            if self._report in ready:
                raise EngineError(_describe(json.loads(self._report.recv(65_536))))
            if self._link in ready:
                with suppress(EOFError):
                    return self._link.recv()
            if self._worker.poll() is not None:
                raise EngineError(f"the Lava runtime ended with exit code {self._worker.returncode}\n{self._tail()}")

    def _tail(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4000))
        return self._log.read().decode(errors="replace")


def _describe(report: dict[str, Any]) -> str:
    way_out = "the last checkpoint is intact; resume to go on"
    if "traceback" in report:
        return f"Lava process '{report['process']}' failed; {way_out}\n{report['traceback']}"
    return f"Lava process '{report['process']}' (pid {report['pid']}) ended with exit code {report['exit']}; {way_out}"
