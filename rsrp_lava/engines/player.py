"""What a worker does: it holds the experiment, is sent ρ once a generation, and plays the samples it is told to."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from rsrp_lava.engines import open_local
from rsrp_lava.engines.gym import GymEngine
from rsrp_lava.engines.processes import Pulse
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.engines.shards import Asked, Weights
from rsrp_lava.errors import RsrpError
from rsrp_lava.experiment import Experiment
from rsrp_lava.tasks import consent
from rsrp_lava.threads import Threads


class Player:
    """An engine of one thread, ready to play."""

    def __init__(self, experiment: Experiment, seed: int, pulse: Callable[[], None] | None = None) -> None:
        """`pulse` is called at every call of an environment."""
        consent.give(experiment.named_code)  # the process that sent it has asked
        self._engine = open_local(experiment, Threads(1), seed)
        if pulse is not None and isinstance(self._engine, GymEngine):
            self._engine.pulse = pulse
        self._engine.prepare(None)
        self._at_start_mib = memory_mib()

    def play(self, weights: Weights | None, asked: Asked, first: int, samples: int) -> Outcome:
        """Play samples `first`, …; raises `EngineError` if an environment fails and that ends the run."""
        if asked.blindly:
            return self._engine.play_blindly(samples, first)
        assert weights is not None
        arguments = (weights.probabilities, weights.normaliser, asked.generation, samples, asked.deterministic, first)
        return self._engine.play(*arguments, asked.episodes)

    @property
    def grown_mib(self) -> float:
        """Memory this process has grown by since it began."""
        return memory_mib() - self._at_start_mib

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


def memory_mib() -> float:
    """Memory of this process, MiB: what it has now; where the system does not tell, the most it ever had."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(link_descriptor: int, lifeline: int, pulse: int) -> None:
    """A worker process of workers.py: receive the experiment, then orders, until the link or the lifeline ends."""
    threading.Thread(target=_end_with_the_engine, args=(lifeline,), daemon=True).start()
    link = connection.Connection(link_descriptor)
    try:
        experiment, seed = link.recv()
        player = Player(experiment, seed, Pulse(pulse).beat)
        link.send(("ready", None))
        weights: Any = None
        while True:
            given, asked, first, samples = link.recv()
            weights = weights if given is None else given
            outcome = player.play(weights, asked, first, samples)
            link.send(("played", (outcome, player.grown_mib)))
    except EOFError:
        os.killpg(0, signal.SIGKILL)  # as below
    except Exception as error:
        link.send(("failed", str(error) if isinstance(error, RsrpError) else traceback.format_exc()))
        os._exit(1)


def _end_with_the_engine(lifeline: int) -> None:
    """When the engine's process is gone, its end of the lifeline closes; an environment may be in an endless step."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)  # and what the environment has started
