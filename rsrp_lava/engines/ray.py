"""Workers of a Ray cluster: actors that hold the experiment, are sent ρ once a generation, and return rewards only.

Which cluster, ray_cluster.py says. Workers follow it: a processor that joins gets one, one that is lost is started again
where there is room.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rsrp_lava.engines.leases import Lease
from rsrp_lava.engines.packing import pack, unpack
from rsrp_lava.engines.player import Player
from rsrp_lava.engines.processes import Pulse
from rsrp_lava.engines.ray_cluster import connect
from rsrp_lava.engines.shards import Answer, Asked, Order, Weights
from rsrp_lava.errors import EngineError, RsrpError
from rsrp_lava.experiment import Experiment
from rsrp_lava.threads import available_threads

#: Seconds between two looks at how large the cluster is.
_CENSUS_S = 2.0


@dataclass(eq=False)
class _Worker:
    """An actor, what it was last asked, and the answer that is awaited: at first, that it is ready."""

    actor: Any
    awaited: Any
    ready: bool = False
    task: tuple[Order, Lease] | None = None


class RemotePlayer:
    """`Player` as an actor; outcomes travel packed."""

    def __init__(self, path: list[str]) -> None:
        """`path`: where the driver looks for modules; those that are not installed here are found there, if it exists."""
        sys.path += [entry for entry in path if entry not in sys.path]
        self._pulse = Pulse()

    def ready(self, experiment: Experiment, seed: int) -> None:
        """Make the player; answers once it is ready."""
        self._player, self._playing = Player(experiment, seed, self._pulse.beat), False
        limit_s = experiment.environment.worker_timeout_s
        threading.Thread(target=self._end_if_silent, args=(limit_s,), daemon=True).start()

    def _end_if_silent(self, limit_s: float) -> None:
        """Be lost, if an environment's call takes too long. Of a process that is stopped, Ray itself must know."""
        while not (self._playing and self._pulse.silent_s > limit_s):
            time.sleep(min(1.0, limit_s / 4))
            self._pulse.look(time.monotonic())
        os._exit(1)

    def play(self, weights: Weights | None, asked: Asked, first: int, samples: int) -> bytes:
        """See `Player.play`."""
        self._pulse.beat()
        self._playing = True
        try:
            return pack(self._player.play(weights, asked, first, samples), asked.deterministic)
        finally:
            self._playing = False


class RayWorkers:
    """One actor a processor, or as many as were asked for."""

    def __init__(self, experiment: Experiment, seed: int, count: int | None) -> None:
        try:
            import ray
        except ImportError:
            raise EngineError("engine ray: Ray is not installed; pip install 'rsrp-lava[ray]'") from None
        if count is not None and count < 1:
            raise EngineError(f"workers: {count} must be 1 or more; leave it out for one each processor of the cluster")
        self._ray, self._experiment, self._seed, self._count = ray, experiment, seed, count
        self._workers: list[_Worker] = []
        self._leave: Callable[[], None] | None = None  #: what ends or leaves the Ray that we started or joined
        self._counted_s = 0.0
        self._sent: tuple[Weights | None, Any] | None = None
        self._unreported_bytes = 0

    @property
    def size(self) -> int:
        """See `engines.shards.Workforce.size`."""
        return max(1, len(self._workers))

    def start(self, stop: Sequence[int] = ()) -> None:
        """See `engines.shards.Workforce.start`."""
        if not self._ray.is_initialized():
            self._leave = connect(self._ray, max(self._count or 0, available_threads()), stop)
        self._census()

    def _census(self) -> None:
        """Start a worker for every processor that has none."""
        self._counted_s = time.monotonic()
        wanted = self._count or int(self._ray.cluster_resources().get("CPU", 1))
        for _ in range(wanted - len(self._workers)):
            self._workers.append(self._open())

    def _open(self) -> _Worker:
        actor_class = self._ray.remote(num_cpus=1, max_restarts=0)(RemotePlayer)
        actor = actor_class.remote([entry for entry in sys.path if entry])
        return _Worker(actor, actor.ready.remote(self._experiment, self._seed))

    def idle(self) -> Sequence[_Worker]:
        """See `engines.shards.Workforce.idle`."""
        if time.monotonic() - self._counted_s > _CENSUS_S:
            self._census()
        return [worker for worker in self._workers if worker.ready and worker.task is None]

    def submit(self, worker: Any, order: Order, lease: Lease) -> None:
        """See `engines.shards.Workforce.submit`."""
        if self._sent is None or self._sent[0] is not order.weights:
            self._sent = (order.weights, self._ray.put(order.weights))
            self._unreported_bytes += len(pickle.dumps(order.weights, 5))
        worker.task = (order, lease)
        worker.awaited = worker.actor.play.remote(self._sent[1], order.asked, *lease)

    def wait(self, timeout_s: float) -> list[Answer]:
        """See `engines.shards.Workforce.wait`."""
        awaited = {worker.awaited: worker for worker in self._workers if worker.awaited is not None}
        if not awaited:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=timeout_s)
        return [answer for answer in (self._answer(awaited[future]) for future in ready) if answer]

    def _answer(self, worker: _Worker) -> Answer | None:
        future, worker.awaited = worker.awaited, None
        order, lease = worker.task or (None, None)
        worker.task = None
        try:
            content = self._ray.get(future)
        except self._ray.exceptions.RayActorError as error:
            self._workers.remove(worker)
            self._counted_s = 0.0  # the next look replaces it
            return Answer(worker, lost=f"was lost ({_first_line(error)})", began=worker.ready)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, RsrpError) else error
            return Answer(worker, lease, order, failure=str(cause))
        worker.ready = True
        if lease is None:
            return None
        outcome, extra = unpack(content), self._unreported_bytes
        self._unreported_bytes = 0
        return Answer(worker, lease, order, replace(outcome, traffic_bytes=outcome.traffic_bytes + extra))

    def close(self) -> None:
        """See `engines.shards.Workforce.close`: end our actors, and Ray if we started or joined it."""
        while self._workers:
            self._ray.kill(self._workers.pop().actor)
        if self._leave is not None:
            leave, self._leave = self._leave, None
            leave()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


__all__ = ["RayWorkers", "RemotePlayer"]
