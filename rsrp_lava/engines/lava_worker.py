"""The process that hosts Lava; `lava_session.py` starts it, and calls `main` with the descriptors of its connections.

Lava forks, adds handlers to the root logger, swallows exceptions, and hangs or leaks when something goes wrong. Here it
does so in a session of its own, which the engine can end as a whole; shared memory carries the session's token in its
name, so that what is left can be found and removed.
"""

from __future__ import annotations

import json
import multiprocessing.shared_memory
import os
import signal
import socket
import threading
import time
import traceback
from functools import partial
from multiprocessing import connection
from typing import Any

from rsrp_lava.engines import shared_memory
from rsrp_lava.engines.processes import end_with_the_parent

#: Bytes that hold any report: a character of its traceback takes six at most.
REPORT_SIZE = 2**18
_TRACEBACK_SIZE = 32_000


def main(link_descriptor: int, report_descriptor: int, lifeline: int, token: str) -> None:
    """Receive the start, compile, build the graph, run it until the engine ends the session."""
    multiprocessing.shared_memory._SHM_NAME_PREFIX = "/" + shared_memory.prefix(token)  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=end_with_the_parent)
    shared_memory.bequeath(token)
    link = connection.Connection(link_descriptor)
    report = partial(send_report, socket.socket(fileno=report_descriptor))
    threading.Thread(target=_end_with_the_engine, args=(lifeline, token), daemon=True).start()
    try:
        start = link.recv()  # before the import of Lava, which can fail: a sender must not wait for that
        _run(start, link, report)
    except BaseException:
        report(process="Lava runtime", traceback=traceback.format_exc())
        time.sleep(10)  # the engine reads the report and ends this session
    os._exit(1)


def _run(start: Any, link: connection.Connection, report: Any) -> None:
    from lava.magma.core.run_conditions import RunContinuous

    from rsrp_lava.engines import lava_graph, lava_rules
    from rsrp_lava.engines.lava_messages import RuleStart

    graphs: Any = lava_rules if isinstance(start, RuleStart) else lava_graph
    graphs.compile_kernels(start)
    graph = graphs.build_graph(start, link, report)["environment"]
    threading.Thread(target=_watch_children, args=(graph, report), daemon=True).start()
    # No process is more than a message ahead of another; by default Lava keeps 64 of each.
    graph.create_runtime(_run_config(start.experiment), compile_config={"pypy_channel_size": 2})
    link.send("ready")
    graph.run(RunContinuous())
    graph.wait()


def _run_config(experiment: Any) -> Any:
    from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg

    if experiment.lava_target == "loihi2":
        return Loihi2HwCfg()
    return Loihi2SimCfg(select_tag="fixed_pt" if experiment.hardware.arithmetic == "integer" else "floating_pt")


def _end_with_the_engine(lifeline: int, token: str) -> None:
    """When the engine's process is gone, its end of the lifeline closes: end the session and its shared memory."""
    os.read(lifeline, 1)
    shared_memory.remove(token)
    os.killpg(0, signal.SIGKILL)


def send_report(report: socket.socket, **failure: Any) -> None:
    """Tell the engine what failed, in one datagram; of a long traceback the end."""
    if "traceback" in failure:
        failure["traceback"] = failure["traceback"][-_TRACEBACK_SIZE:]
    report.send(json.dumps(failure, ensure_ascii=False).encode(errors="replace"))


def _watch_children(graph: Any, report: Any) -> None:
    """Report a child of Lava's that ended by itself, also while others are being started: Lava would wait for ever."""
    ended: list[Any] = []
    while not ended:
        actors = {actor.sentinel: (name, actor) for name, actor in _actors(graph)}
        ended = connection.wait(list(actors), timeout=0.1)
    name, actor = actors[ended[0]]
    time.sleep(0.2)  # an exception reports itself first
    report(process=name, pid=actor.pid, exit=actor.exitcode)


def _actors(graph: Any) -> list[tuple[str, Any]]:
    """Lava's children so far, with their names: processes in the order of their builders, then runtime services."""
    runtime: Any = getattr(graph, "_runtime", None)
    if runtime is None or runtime._messaging_infrastructure is None:
        return []
    actors = list(runtime._messaging_infrastructure.actors)
    names = [process.proc_params["label"] for process in runtime._executable.proc_builders]
    return list(zip([*names, *["runtime service"] * len(actors)], actors, strict=False))
